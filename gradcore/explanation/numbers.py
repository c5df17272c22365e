"""Numbers and arrays as short text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = 4  # rows and columns that are shown


def number(value: Any) -> str:
    """Four digits: decimals where the number is ordinary, significant ones where it is small or large.

    >>> number(0.7310586), number(-2.0), number(0.00012345), number(123456.789)
    ('0.7311', '-2', '0.0001234', '1.235e+05')
    """
    if np.result_type(value).kind != "f":
        return str(value)
    x = float(value)
    if 0.01 <= abs(x) < 1e5:
        return f"{x:.4f}".rstrip("0").rstrip(".")
    return f"{x:.4g}" if x else "0"


def block(array: Any, largest: int = LARGEST) -> list[str]:
    """The lines of an array; one that is not small becomes its dtype, shape and range.

    >>> block(np.array([[1.0, 0.5], [-0.25, 2.0]]))
    ['[[    1, 0.5],', ' [-0.25,   2]]']
    >>> block(np.zeros((8, 3), np.float32))
    ['float32[8, 3]', '0 to 0']
    """
    array = np.asarray(array)
    if array.ndim > 2 or max(array.shape, default=0) > largest or (array.ndim == 2 and not array.size):
        return _summary(array)
    if array.ndim == 0:
        return [number(array[()])]
    texts = [[number(x) for x in row] for row in np.atleast_2d(array)]
    rows = ["[" + ", ".join(row) + "]" for row in _aligned(texts)]
    if array.ndim == 1:
        return rows
    return ["[" * (i == 0) + " " * (i > 0) + row + ("]" if i == len(rows) - 1 else ",") for i, row in enumerate(rows)]


def _aligned(texts: list[list[str]]) -> list[list[str]]:
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [[text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in texts]


def _summary(array: Any) -> list[str]:
    kind = f"{array.dtype}{list(array.shape)}"
    return [kind, f"{number(array.min())} to {number(array.max())}"] if array.size else [kind]


def written(parts: Sequence[Any]) -> list[str]:
    """The lines of an equation of texts and arrays.

    >>> written(["y = 2 × ", np.array([[1.0], [3.0]])])
    ['y = 2 × [[1],', '         [3]]']
    """
    return beside(*[[part] if isinstance(part, str) else block(part) for part in parts])


def beside(*blocks: list[str]) -> list[str]:
    """Blocks of lines side by side, centred on one line.

    >>> beside(["2"], [" × "], ["[[1],", " [3]]"])
    ['2 × [[1],', '     [3]]']
    """
    height = max(map(len, blocks))
    columns = []
    for lines in blocks:
        above = (height - len(lines)) // 2
        whole = [""] * above + lines + [""] * (height - len(lines) - above)
        columns.append([line.ljust(max(map(len, lines))) for line in whole])
    return ["".join(row).rstrip() for row in zip(*columns, strict=True)]
