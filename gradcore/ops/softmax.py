"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any

from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.ops.arithmetic import div, exp, mul, sub
from gradcore.ops.fused import fused, raw_vjp
from gradcore.ops.reductions import _finite, as_floating, logsumexp, max_op, sum_op
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import broadcast_to, moveaxis, stop_gradient
from gradcore.ops.structural import normal_axis, public


def softmax_meaning(x: Any) -> Any:
    parts = exp(sub(x, _finite(stop_gradient(bind(max_op, (x,), ((len(x.shape) - 1,), True))))))
    return div(parts, bind(sum_op, (parts,), ((len(x.shape) - 1,), True)))


def softmax_impl(xp: Any, out: Any, x: Any) -> Any:
    np = xp.np
    y = xp.empty(x.shape, x.dtype) if out is None else out
    row = xp.scratch((*x.shape[:-1], 1), x.dtype)
    shifted(np, x, row, y)
    np.exp(y, y)
    np.add.reduce(y, -1, None, row, True)
    return np.true_divide(y, row, y)


def shifted(np: Any, x: Any, row: Any, y: Any) -> None:
    """Write x - max(x) to y, where the maximum is finite; `row` holds the maximum afterwards."""
    np.maximum.reduce(x, -1, None, row, True)
    if not np.isfinite(row).all():
        np.copyto(row, 0, where=~np.isfinite(row))
    np.subtract(x, row, y)


def _softmax_vjp_impl(xp: Any, out: Any, g: Any, y: Any) -> Any:
    np = xp.np
    gx = xp.empty(y.shape, y.dtype) if out is None else out
    row = xp.scratch((*y.shape[:-1], 1), y.dtype)
    np.multiply(g, y, gx)
    np.add.reduce(gx, -1, None, row, True)
    np.subtract(g, row, gx)
    return np.multiply(gx, y, gx)


def _softmax_vjp_meaning(g: Any, y: Any) -> Any:
    return mul(sub(g, bind(sum_op, (mul(g, y),), ((len(y.shape) - 1,), True))), y)


softmax_vjp_op: Op = fused(
    "softmax_vjp",
    ("g", "y"),
    meaning=_softmax_vjp_meaning,
    impl=_softmax_vjp_impl,
    abstract=lambda g, y: y.update(shape=y.shape),
    batch=lambda size, mapped, xs, params: bind(softmax_vjp_op, all_mapped(size, mapped, xs)),
    samples=(sample(normal(3, 4), normal(3, 4)), sample(normal(4), normal(4))),
    doc="Backward of softmax, (g - sum(g * y)) * y.",
)


def all_mapped(size: int, mapped: Any, xs: Any) -> list[Any]:
    return [x if own else broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]


softmax_op: Op = fused(
    "softmax",
    ("x",),
    promotion=Promotion.FLOAT,
    meaning=softmax_meaning,
    impl=softmax_impl,
    abstract=lambda x: x.update(shape=x.shape),
    vjp_op=lambda needed, params: (softmax_vjp_op, ()),
    saves=lambda needed, params: Saved((), (0,)),
    batch=lambda size, mapped, xs, params: bind(softmax_op, xs),
    samples=(sample(normal(3, 4)), sample(normal(4)), sample(normal(2, 1, 3)), sample(normal(0, 3))),
    doc="exp(x) / sum(exp(x)) over the last axis.",
)
_softmax = public(softmax_op, raw_vjp(softmax_op))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) over an axis, without overflow.

    Args:
        x: tensor with at least one axis.
        axis: which one.

    Returns:
        A tensor of the shape of x.

    Example:
        >>> import gradcore as gc
        >>> gc.softmax(gc.tensor([1000.0, 1000.0]))
        tensor([0.5, 0.5], dtype=float32, device='cpu')
    """
    x = as_floating(x, "softmax")
    axis = normal_axis(axis, len(x.shape))
    last = len(x.shape) - 1
    return _softmax(x) if axis == last else moveaxis(_softmax(moveaxis(x, axis, last)), last, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x)) over an axis, without overflow.

    Args:
        x: tensor with at least one axis.
        axis: which one.

    Returns:
        A tensor of the shape of x.

    Example:
        >>> import gradcore as gc
        >>> gc.log_softmax(gc.tensor([0.0, 1000.0]))
        tensor([-1000.,     0.], dtype=float32, device='cpu')
    """
    return sub(x, logsumexp(x, axis, keepdims=True))
