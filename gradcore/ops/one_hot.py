"""Classes as rows with a single 1."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.indexing import without_lists
from gradcore.ops.operands import as_tensor
from gradcore.ops.samples import integers, sample
from gradcore.ops.structural import indexed, public


def _one_hot_impl(xp: Any, out: Any, labels: Any, classes: int, dtype: Any) -> Any:
    if xp.checks_values and labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"'one_hot': labels must lie in [0, {classes}), got {labels.min()} to {labels.max()}")
    out = xp.empty((*labels.shape, classes), dtype) if out is None else out
    return xp.np.equal(labels[..., None], xp.np.arange(classes), out)


one_hot_op: Op = indexed(
    "one_hot",
    ("labels",),
    params=("classes", "dtype"),
    impl=_one_hot_impl,
    abstract=lambda labels, classes, dtype: labels.update(shape=(*labels.shape, classes), dtype=dtype),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(one_hot_op, xs, params),
    half=False,
    samples=(
        sample(integers(2, 3), params=(3, np.dtype(np.float32))),
        sample(integers(), params=(4, np.dtype(np.bool_))),
        sample(lambda rng, floating: rng.integers(0, 200, 4).astype(np.uint8), params=(300, np.dtype(np.float16))),
        sample(integers(0), params=(0, np.dtype(np.int64))),
    ),
    doc="1 at the place of each label, 0 elsewhere, on a new last axis.",
)
_one_hot = public(one_hot_op)


def one_hot(labels: Any, num_classes: int, dtype: Any = np.float32) -> Any:
    """1 at the place of each label, 0 elsewhere, on a new last axis.

    Args:
        labels: integers of any shape, in [0, num_classes).
        num_classes: size of the new axis.
        dtype: of the result; floating by default, as JAX has it (PyTorch's is int64).

    Returns:
        Tensor of shape (*labels.shape, num_classes); it has no derivative.

    Raises:
        TypeError: the labels, or their number, are not integers.
        ValueError: a label is out of range (on CUDA its row is 0 instead), or the number is negative.

    Example:
        >>> import gradcore as gc
        >>> gc.one_hot([2, 0], 3)
        tensor([[0., 0., 1.],
                [1., 0., 0.]], dtype=float32, device='cpu')
    """
    labels = as_tensor(without_lists(labels))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"'one_hot': labels must be integers, not {labels.dtype}")
    if index(num_classes) < 0:
        raise ValueError(f"'one_hot': num_classes must not be negative, got {num_classes}")
    return _one_hot(labels, index(num_classes), np.dtype(dtype))
