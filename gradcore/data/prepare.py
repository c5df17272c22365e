"""Examples made ready to train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradcore import random
from gradcore.core.tensor import Tensor
from gradcore.data.checks import DataError, checked
from gradcore.data.task import Task, standardised
from gradcore.factories import tensor


class Split(NamedTuple):
    """Examples for training and for testing.

    x is (examples, features), standardised with the mean and deviation of the training part; y is int64 (examples,),
    numbers of classes, or standardised targets of x's dtype, (examples, 1).

    >>> import gradcore as gc
    >>> Split(gc.ones(8, 64), gc.arange(8), gc.ones(2, 64), gc.arange(2), Task("classification", (0, 1))).features
    64
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    task: Task

    @property
    def features(self) -> int:
        """How many numbers describe an example."""
        return self.train_x.shape[1]


def prepare(
    x: Any,
    y: Any,
    task: str | None = None,
    test_share: float = 0.2,
    dtype: Any = np.float32,
    source: str | Path = "the examples",
) -> Split:
    """Split examples at random (`gradcore.random`) and standardise them with the training part.

    Each class is split by itself.  Features that never vary in the training part become 0.

    Args:
        x: numbers, (examples, ...); further axes become one.
        y: targets, (examples,).
        task: "classification", "regression", or None: integers and text are classes, floats are numbers.
        test_share: share of the examples for testing, in (0, 1).
        dtype: of the tensors: float16, float32 or float64.
        source: where they come from, the start of every message.

    Raises:
        DataError: the examples cannot be used.
        ValueError: the share or the dtype is not one of these.

    Example:
        >>> import numpy as np, gradcore as gc
        >>> split = gc.data.prepare(np.arange(20.0).reshape(10, 2), [3, 7] * 5)
        >>> split.train_x.shape, split.test_x.shape, split.task.classes
        ((8, 2), (2, 2), (3, 7))
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, not at {test_share}")
    if np.dtype(dtype).name not in ("float16", "float32", "float64"):
        raise ValueError(f"examples can be prepared as float16, float32 or float64, not as {np.dtype(dtype)}")
    x, y = checked(x, y, task, str(source))
    try:
        return _split(x, y, test_share, np.dtype(dtype))
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _split(x: Any, y: Any, test_share: float, dtype: Any) -> Split:
    """Split and standardise what `checked` gave."""
    labels, numbers = np.unique(y, return_inverse=True)
    if y.dtype.kind == "f":
        test = _stratified(np.zeros(len(y), int), test_share)
        y, mean, scale = _standardised(y[:, None], ~test, dtype, "y")
        if not scale[0]:
            raise DataError(f"y is {mean[0]} in the whole training part; give more examples")
        task = Task("regression", mean=float(mean[0]), scale=float(scale[0]))
    else:
        test = _stratified(numbers, test_share)
        y, task = numbers, Task("classification", tuple(labels.tolist()))
    x, means, scales = _standardised(x, ~test, dtype, "X")
    task = replace(task, feature_means=tuple(means.tolist()), feature_scales=tuple(scales.tolist()), dtype=dtype.name)
    return Split(tensor(x[~test]), tensor(y[~test]), tensor(x[test]), tensor(y[test]), task)


def _stratified(labels: Any, share: float) -> Any:
    """True for a random share of the examples of each label: at least one, and not all."""
    generator = random.generator()
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen[members[: min(max(round(share * len(members)), 1), len(members) - 1)]] = True
    return chosen


def _standardised(x: Any, train: Any, dtype: Any, name: str) -> tuple[Any, Any, Any]:
    """With mean 0 and deviation 1 in the training part, and columns that never vary there 0; mean and deviation."""
    like = x[train]
    varies = like.max(axis=0) > like.min(axis=0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean, deviation = like.mean(axis=0), np.where(varies, like.std(axis=0), 0)
        factor = np.where(varies, 1 / deviation, 0)
    return standardised(x, mean, factor, dtype, name), mean, deviation
