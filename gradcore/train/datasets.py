"""Data sets that come with other packages, split and ready to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gradcore import random
from gradcore.core.tensor import Tensor
from gradcore.tensor import tensor


class Split(NamedTuple):
    """Examples for training and for testing; x is float32 (examples, features), y is int64 (examples,).

    >>> import gradcore as gc
    >>> Split(gc.ones(8, 64), gc.arange(8), gc.ones(2, 64), gc.arange(2)).train_x.shape
    (8, 64)
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def digits(test_share: float = 0.2) -> Split:
    """The 1797 handwritten digits of scikit-learn, 8 by 8 pixels, 10 classes.

    Each class is split by itself, at random (`gradcore.random`). Pixels are standardised with the mean and deviation
    of the training part.

    Args:
        test_share: share of the examples for testing.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.

    Example:
        >>> train_x, train_y, test_x, test_y = digits()  # doctest: +SKIP
        >>> train_x.shape, test_x.shape  # doctest: +SKIP
        ((1438, 64), (359, 64))
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    test = _stratified(y, test_share)
    x = _standardised(x, x[~test])
    return Split(*[tensor(part) for part in (x[~test], y[~test], x[test], y[test])])


def _stratified(labels: Any, share: float) -> Any:
    """True for a random share of the examples of each label."""
    generator = random.generator()
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chosen[members[: round(share * len(members))]] = True
    return chosen


def _standardised(x: Any, like: Any) -> Any:
    """float32, with the mean of `like` at 0 and its deviation at 1; features that never vary there become 0."""
    deviation = like.std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    return ((x - like.mean(axis=0)) * scale).astype(np.float32)


def shuffled(x: Tensor, y: Tensor, size: int) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """Batches for `fit`: a new random order (`gradcore.random`) each time; the last batch may be smaller.

    Args:
        x: tensor whose first axis is the examples.
        y: tensor with the same first axis.
        size: examples per batch.

    Example:
        >>> import gradcore as gc
        >>> batches = shuffled(gc.ones(10, 3), gc.arange(10), 4)
        >>> [x.shape for x, y in batches()]
        [(4, 3), (4, 3), (2, 3)]
    """

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        order = random.generator().permutation(len(x))
        for start in range(0, len(order), size):
            chosen = tensor(order[start : start + size])
            yield x.take(chosen, 0), y.take(chosen, 0)

    return batches
