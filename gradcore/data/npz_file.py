"""Examples from .npz files: zip archives of NumPy arrays."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gradcore.data.checks import DataError
from gradcore.io.kinds import kind_of

ADVICE = "write it with numpy.savez(FILE, X=..., y=...)"
LIMIT = 2**30  # bytes of an array, in the file and as float64
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> tuple[Any, Any]:
    """The arrays X and y.

    Args:
        path: of the file.

    Raises:
        DataError: it is not such a file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez(path, X=np.ones((2, 3)), y=[0, 1])
        >>> read_npz(path)[1]
        array([0, 1])
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            for name in ("X", "y"):
                if name not in members:
                    raise DataError(f"{path} lacks the array {name!r}; it has {_few(list(members))}; {ADVICE}")
            return _array(path, archive, "X", members["X"]), _array(path, archive, "y", members["y"])
    except (DataError, MemoryError, OSError):
        raise
    except Exception as error:  # a damaged archive may make the readers raise anything
        raise DataError(_damage(path, error)) from error


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (" ..." if len(names) > 10 else "") if names else "nothing"


def _array(path: Path, archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> Any:
    """The array of a member.  Nothing large is read or allocated before the sizes are known to be sensible."""
    if member.file_size > LIMIT:
        raise DataError(f"{path}: {name} has {member.file_size:,} bytes; arrays of up to {LIMIT:,} are read")
    with archive.open(member) as file:
        shape, fortran, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        if dtype.hasobject:
            raise DataError(f"{path}: {name} holds Python objects, which are not read; it must hold real numbers")
        count = math.prod(shape)
        if count > LIMIT // 8:
            raise DataError(f"{path}: {name} has {count:,} numbers; arrays of up to {LIMIT // 8:,} are read")
        if count * dtype.itemsize != member.file_size - file.tell():
            raise DataError(f"{path} is damaged: {name} does not have the {count} numbers that it announces")
        content = file.read()
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _damage(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        why = " ".join(str(error).split()) or type(error).__name__
        return f"{path} is damaged ({why}); {ADVICE} again"
    return f"{path} is not a .npz file{' but ' if kind_of(start) else ''}{kind_of(start)}; {ADVICE}"
