"""Examples from .csv files."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gradcore.data.checks import DataError

Row = tuple[int, list[str]]  # number of the line, and its cells
TARGETS = ("y", "target")
LONGEST_LABEL = 100  # characters


def read_csv(path: Path) -> tuple[Any, Any]:
    r"""Features and targets.  Targets are integers if all are written without a point, and text if none is a number.

    Args:
        path: of the file.

    Raises:
        DataError: it is not such a file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.csv"
        >>> with path.open("w") as file:
        ...     print("height,target,age", "1.5,0.25,3", "1.75,1,4", sep="\n", file=file)
        >>> read_csv(path)[1]
        array([0.25, 1.  ])
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _examples(str(path), _rows(str(path), file))
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(f"{path} is not UTF-8 text (it has byte 0x{byte:02x}); save it in UTF-8") from error


def _rows(path: str, lines: Iterable[str]) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    width = 0
    try:
        for cells in reader:
            if not cells:
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise DataError(f"{path}, line {reader.line_num}: {len(cells)} cells, but the first line has {width}")
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _examples(path: str, rows: Iterator[Row]) -> tuple[Any, Any]:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty")
    start = [cell.strip() for cell in first[1]]
    _check_separator(path, start)
    header = start if _is_header(start) else None
    target = _target(path, header, len(start))
    names = [repr(name) for name in header] if header else [str(number + 1) for number in range(len(start))]
    features, targets, whole, text = array("d"), [], True, False
    for line, cells in rows if header else chain([first], rows):
        where = f"{path}, line {line}"
        targets.append(cells[target].strip())
        text = text if targets[1:] else not _is_number(targets[0])
        if text:
            _check_label(where, names[target], targets[-1])
            cells[target] = "0"
        features.extend(_numbers(cells) or _refused(where, names, cells))
        whole = whole and targets[-1].lstrip("+-").isdecimal()
    if not targets:
        raise DataError(f"{path} has a line of names but no examples")
    table = np.frombuffer(features).reshape(len(targets), -1)
    y = np.array(targets) if text else _whole(path, targets) if whole else table[:, target]
    return np.delete(table, target, 1), y


def _check_separator(path: str, cells: list[str]) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if sum(cell.count(mark) for cell in cells) >= len(cells):
            raise DataError(f"{path} is separated by {name}; separate it by commas, and write numbers with a point")
    if len(cells) < 2:
        raise DataError(f"{path} has one column only; it must have features and a target, separated by commas")


def _is_header(cells: list[str]) -> bool:
    """Names only, or one of the names of targets; a line with some numbers is an example with a wrong cell."""
    return any(cell in TARGETS for cell in cells) or not any(map(_is_number, cells))


def _target(path: str, header: list[str] | None, width: int) -> int:
    for name in TARGETS:
        found = [i for i, cell in enumerate(header or ()) if cell == name]
        if len(found) > 1:
            raise DataError(f"{path} has {len(found)} columns named {name!r}; rename all but the target")
        if found:
            return found[0]
    return width - 1


def _numbers(cells: list[str]) -> list[float]:
    """Nothing if a cell is not a finite number."""
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return []
    return numbers if all(map(math.isfinite, numbers)) else []


def _check_label(where: str, name: str, cell: str) -> None:
    if not cell or "\0" in cell:
        _refused(where, [name], [cell])
    if _is_number(cell):
        advice = "is a number, but the targets before it are text; number the classes"
        raise DataError(f"{where}, column {name}: {_short(cell)} {advice}")
    if len(cell) > LONGEST_LABEL:
        raise DataError(f"{where}, column {name}: {_short(cell)} is too long to name a class; number the classes")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _refused(where: str, names: list[str], cells: list[str]) -> NoReturn:
    """Say what is wrong with the first wrong cell of a line."""
    name, cell = next((name, cell.strip()) for name, cell in zip(names, cells, strict=True) if not _numbers([cell]))
    if not cell:
        raise DataError(f"{where}, column {name}: empty; fill in a number or remove the line")
    if "\0" in cell:
        raise DataError(f"{where}, column {name}: holds NUL bytes; it is not a text file")
    advice = "is not finite; fill in a number or remove the line" if _is_number(cell) else "is not a number"
    raise DataError(f"{where}, column {name}: {_short(cell)} {advice}")


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:40] + "...")


def _whole(path: str, targets: list[str]) -> Any:
    try:
        return np.array([int(cell) for cell in targets], np.int64)
    except (OverflowError, ValueError):
        longest = max(targets, key=len)
        raise DataError(f"{path}: the target {_short(longest)} is too large for a class; number the classes") from None
