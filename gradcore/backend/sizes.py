"""Sizes as text, and text as sizes."""

from __future__ import annotations

import re
from numbers import Integral

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
UNITS |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_FACTORS = {"": 1} | {unit.lower(): factor for unit, factor in UNITS.items()}


def size_text(count: int) -> str:
    """Bytes in a unit that a person reads easily.

    Example:
        >>> size_text(512), size_text(200 * 2**20)
        ('512 B', '200.0 MiB')
    """
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count >= UNITS[unit]:
            return f"{count / UNITS[unit]:,.1f} {unit}"
    return f"{count} B"


def parse_size(size: int | str) -> int:
    """A number of bytes; text may have a unit, in capitals or not.

    Raises:
        TypeError: it is neither a whole number nor text.
        ValueError: the text is no size, or the size is negative.

    Example:
        >>> parse_size("200 MiB"), parse_size("1.5 kB"), parse_size(64)
        (209715200, 1500, 64)
    """
    if isinstance(size, str):
        found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)\s*", size)
        factor = _FACTORS.get(found[2].lower()) if found else None
        if not found or factor is None:
            raise ValueError(f"a size is a number of bytes, or has a unit ({', '.join(UNITS)}), got {size!r}")
        return int(found[1]) * factor if found[1].isdigit() else int(float(found[1]) * factor)
    if not isinstance(size, Integral) or isinstance(size, bool):
        raise TypeError(f"a size must be an int (bytes) or text such as '200 MiB', got {type(size).__name__}")
    if size < 0:
        raise ValueError(f"a size must not be negative, got {size}")
    return int(size)
