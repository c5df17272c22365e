"""What examples must be, whoever gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.core.errors import GradcoreError

TASKS = ("classification", "regression")


class DataError(GradcoreError, ValueError):
    """Examples or a file of examples cannot be used; the message says what is wrong and what to do."""


def checked(x: Any, y: Any, task: str | None, where: str) -> tuple[Any, Any]:
    """Features as float64 (examples, features); targets as classes, int64 or text, or float64 numbers, (examples,).

    Args:
        x: one row per example.
        y: one target per example.
        task: "classification", "regression", or None: integers and text are classes, floats are numbers.
        where: start of the messages.

    Raises:
        DataError: they cannot be used.

    Example:
        >>> import numpy as np
        >>> checked(np.ones((2, 3, 4)), np.array([0.5, 1.0]), None, "data")[0].shape
        (2, 12)
    """
    if task not in (None, *TASKS):
        raise DataError(f"{where}: {task!r} is not a task; choose one of {', '.join(TASKS)}")
    x, y = _numbers("X", np.asarray(x), where), np.asarray(y)
    y = y.astype(str) if y.dtype.kind in "UT" and task != "regression" else _numbers("y", y, where)
    x, y = _features(x, where), _column(y, where)
    if len(x) != len(y):
        raise DataError(f"{where}: X has {len(x)} examples and y has {len(y)}; give one target for each example")
    if len(x) < 2:
        raise DataError(f"{where}: there are too few examples ({len(x)}); give at least 2")
    for name, array in (("X", x), ("y", y)):
        _finite(name, array, where)
    classes = y.dtype.kind != "f" if task is None else task == "classification"
    return x, _classes(y, where) if classes else _targets(y, where)


def checked_features(x: Any, where: str) -> Any:
    """Features without targets, as `checked` gives them.

    Raises:
        DataError: they cannot be used.

    Example:
        >>> checked_features([[1, 2], [3, 4]], "data")
        array([[1., 2.],
               [3., 4.]])
    """
    x = _features(_numbers("X", np.asarray(x), where), where)
    _finite("X", x, where)
    return x


def _numbers(name: str, array: Any, where: str) -> Any:
    wrong = {
        "O": "Python objects",
        "S": "bytes",
        "U": "text",
        "T": "text",
        "c": "complex numbers",
        "M": "dates",
        "m": "time spans",
        "V": "records",
    }
    if array.dtype.kind not in "fiub":
        kind = wrong.get(array.dtype.kind, str(array.dtype))
        wanted = "real numbers, or text that names classes" if name == "y" else "real numbers"
        raise DataError(f"{where}: {name} holds {kind}; it must hold {wanted}")
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float64)


def _features(x: Any, where: str) -> Any:
    if x.ndim < 1 or 0 in x.shape[1:]:
        raise DataError(f"{where}: X has shape {x.shape}; it must be (examples, features) with at least one feature")
    return x.astype(np.float64, copy=False).reshape(len(x), -1) if len(x) else np.empty((0, 1))


def _column(y: Any, where: str) -> Any:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{where}: y has shape {y.shape}; it must be (examples,), one target for each example")
    return y


def _finite(name: str, array: Any, where: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        found = f"{name}{place} is {float(array[tuple(place)])}"
        raise DataError(f"{where}: {found}; remove such examples or fill in numbers")


def _classes(y: Any, where: str) -> Any:
    y = y if y.dtype.kind == "U" else _class_numbers(y, where)
    labels, counts = np.unique(y, return_counts=True)
    if len(labels) < 2:
        raise DataError(f"{where}: y holds one class only ({labels[0]}); give examples of two or more")
    if counts.min() < 2:
        label = labels[counts.argmin()]
        advice = "give more, for training and testing, or choose regression"
        raise DataError(f"{where}: class {label} has a single example; {advice}")
    return y


def _class_numbers(y: Any, where: str) -> Any:
    whole = y == np.floor(y) if y.dtype.kind == "f" else np.ones(len(y), bool)
    if not whole.all():
        raise DataError(f"{where}: {y[~whole][0]} in y is not a class; number the classes, or choose regression")
    if y.dtype.kind in "fu" and int(np.abs(y).max()) >= 2**63:
        raise DataError(f"{where}: {y.max()} in y is too large for a class; number the classes from 0")
    return y.astype(np.int64)


def _targets(y: Any, where: str) -> Any:
    y = y.astype(np.float64, copy=False)
    if y.min() == y.max():
        raise DataError(f"{where}: y is {y[0]} for every example; there is nothing to learn")
    return y
