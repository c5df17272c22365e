"""Users' files of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradcore.data.checks import DataError, checked
from gradcore.data.csv_file import read_csv
from gradcore.data.npz_file import read_npz
from gradcore.io.kinds import unreadable

LIMIT = 2**30  # bytes
READERS = {".csv": read_csv, ".npz": read_npz}


def read_file(path: str | Path, task: str | None = None) -> tuple[Any, Any]:
    r"""Examples from a file: `FILE.npz` with arrays X and y, or `FILE.csv`.

    A CSV file may start with a line of names; the column named y or target, else the last one, is the target.  Integer
    and text targets are classes, others are numbers to predict; a column of a CSV file is integer if each number is
    written without a point, and text if it holds no numbers.  Files of up to 1 GiB are read, and nothing
    in them is run.

    Args:
        path: of the file.
        task: "classification" or "regression" to decide by yourself.

    Returns:
        Features, float64 (examples, features), and targets (examples,): classes, int64 or text, or float64 numbers.

    Raises:
        DataError: the file cannot be read or used; one line says what is wrong, and where.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "heights.csv"
        >>> path.write_text("height,age,y\n1.5,30,0\n1.7,31,1\n1.6,32,0\n1.8,33,1\n")
        49
        >>> x, y = read_file(path)
        >>> x.shape, y
        ((4, 2), array([0, 1, 0, 1]))
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: a file of examples must be named FILE.npz or FILE.csv")
    if problem := unreadable(path):
        raise DataError(f"{path} {problem}")
    if path.stat().st_size > LIMIT:
        raise DataError(f"{path} is larger than {LIMIT >> 30} GiB; read it yourself and use gradcore.data.prepare")
    try:
        x, y = reader(path)
        return checked(x, y, task, str(path))
    except MemoryError:
        raise DataError(f"{path} needs more memory than there is; use fewer examples or features") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
