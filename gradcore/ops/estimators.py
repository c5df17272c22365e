"""Gradients that are chosen, not derived: the straight-through estimator."""

from __future__ import annotations

from typing import Any

from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import broadcast_to
from gradcore.ops.structural import indexed, public


def _batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    every = [x if own else broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]
    return bind(straight_through_op, every)


straight_through_op: Op = indexed(
    "straight_through",
    ("x", "value"),
    impl=lambda xp, out, x, value: value[...],
    abstract=lambda x, value: value,
    alias=lambda x, value: 1,
    differentiable=(True, False),
    vjp=lambda needed, g, xs, ys, params: (g, None),
    jvp=lambda tangents, xs, ys, params: tangents[0],
    batch=_batch,
    half=False,
    samples=(
        sample(normal(3, 4), normal(3, 4), smooth=False),
        sample(normal(), normal(), smooth=False),
        sample(normal(0, 3), normal(0, 3), smooth=False),
    ),
    doc="The elements of value, with the gradient of x.",
)
_straight_through = public(straight_through_op, lambda needed: lambda r, g: (g, None))


def straight_through(x: Any, value: Any) -> Any:
    """`value` exactly, differentiated as if it were x: the straight-through estimator.

    It gives functions that are flat almost everywhere, such as rounding, a gradient (Bengio, Léonard and Courville,
    2013, arXiv:1308.3432). Nothing flows back to `value`.

    Args:
        x: tensor that gets the gradient.
        value: tensor of the same shape and dtype.

    Raises:
        TypeError: the dtypes differ.
        ValueError: the shapes differ.

    Example:
        >>> import gradcore as gc
        >>> gc.grad(lambda x: gc.straight_through(x, gc.round(x)).sum())(gc.tensor([0.2, 0.8]))
        tensor([1., 1.], dtype=float32, device='cpu')
    """
    x, value = [named_tensor(each, "straight_through") for each in (x, value)]
    if x.shape != value.shape:
        raise ValueError(f"'straight_through': x {x.shape} and value {value.shape} must have one shape")
    if x.dtype != value.dtype:
        raise TypeError(f"'straight_through': x is {x.dtype} and value {value.dtype}; cast one with .astype()")
    return _straight_through(x, value)
