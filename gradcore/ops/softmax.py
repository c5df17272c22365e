"""Softmax, its logarithm, and log(sum(exp(x)))."""

from __future__ import annotations

import math
from typing import Any

from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.kernels.softmax import SOFTMAX, SOFTMAX_VJP
from gradcore.ops.arithmetic import abs as absolute
from gradcore.ops.arithmetic import div, equal, exp, log, mul, sub, where
from gradcore.ops.conversion import cast, stop_gradient
from gradcore.ops.fused import fused, raw_vjp
from gradcore.ops.reductions import (
    REDUCTION_SAMPLES,
    Axes,
    AxisArgument,
    as_floating,
    batch_axes,
    kept,
    max_op,
    reduced_shape,
    shape_rule,
    sum_op,
    weighted,
)
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import broadcast_to, moveaxis, reshape_op
from gradcore.ops.structural import normal_axes, normal_axis, public

# --- logsumexp --------------------------------------------------------------------------------------------------------


def _logsumexp_meaning(x: Any, axes: Axes, keepdims: bool) -> Any:
    top = finite(stop_gradient(bind(max_op, (x,), (axes, True))))
    total = log(bind(sum_op, (exp(sub(x, top)),), (axes, True))) + top
    return total if keepdims else bind(reshape_op, (total,), (reduced_shape(x.shape, axes, False),))


def finite(x: Any) -> Any:
    """Infinities as 0, so that they are not subtracted from each other."""
    return where(equal(absolute(x), math.inf), 0.0, x)


def _logsumexp_impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
    np = xp.np
    top = xp.reduce("maximum", x, axes, xp.scratch(reduced_shape(x.shape, axes, True), x.dtype), True)
    np.copyto(top, 0, where=~np.isfinite(top))
    parts = np.subtract(x, top, out=xp.scratch(x.shape, x.dtype))
    np.exp(parts, out=parts)
    total = xp.empty(reduced_shape(x.shape, axes, keepdims), x.dtype) if out is None else out
    xp.reduce("add", parts, axes, total, keepdims)
    np.log(total, out=total)
    return np.add(total, top.reshape(total.shape), out=total)


def _softmax_weights(x: Any, y: Any, params: Any) -> Any:
    """The softmax of x; an infinite entry has all the weight, and of -inf alone none has any."""
    y = kept(y, x.shape, *params)
    top = cast(where(equal(x, math.inf), 0.0, -math.inf), x.dtype)
    return exp(where(equal(y, math.inf), top, sub(x, finite(y))))


logsumexp_op: Op = fused(
    "logsumexp",
    ("x",),
    params=("axes", "keepdims"),
    meaning=_logsumexp_meaning,
    impl=_logsumexp_impl,
    abstract=shape_rule("logsumexp"),
    **weighted(_softmax_weights),
    batch=batch_axes(lambda: logsumexp_op),
    samples=REDUCTION_SAMPLES[:3],
    doc="log(sum(exp(x))) over axes, without overflow.",
)
_logsumexp = public(logsumexp_op)


def logsumexp(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over axes, without overflow. Arguments as for `sum`.

    Example:
        >>> import gradcore as gc
        >>> gc.logsumexp(gc.tensor([1000.0, -1000.0]))
        tensor(1000., dtype=float32, device='cpu')
    """
    x = as_floating(x, "logsumexp")
    return _logsumexp(x, normal_axes(axis, len(x.shape)), keepdims)


# --- softmax ----------------------------------------------------------------------------------------------------------


def softmax_meaning(x: Any) -> Any:
    parts = exp(sub(x, finite(stop_gradient(bind(max_op, (x,), ((len(x.shape) - 1,), True))))))
    return div(parts, bind(sum_op, (parts,), ((len(x.shape) - 1,), True)))


def softmax_impl(xp: Any, out: Any, x: Any) -> Any:
    np = xp.np
    y = xp.empty(x.shape, x.dtype) if out is None else out
    row = xp.scratch((*x.shape[:-1], 1), x.dtype)
    shifted(xp, x, row, y)
    np.exp(y, y)
    xp.reduce("add", y, -1, row, True)
    return np.true_divide(y, row, y)


def shifted(xp: Any, x: Any, row: Any, y: Any) -> None:
    """Write x - max(x) to y, where the maximum is finite; `row` holds the maximum afterwards."""
    np = xp.np
    xp.reduce("maximum", x, -1, row, True)
    if not np.isfinite(row).all():
        np.copyto(row, 0, where=~np.isfinite(row))
    np.subtract(x, row, y)


def _softmax_vjp_impl(xp: Any, out: Any, g: Any, y: Any) -> Any:
    np = xp.np
    gx = xp.empty(y.shape, y.dtype) if out is None else out
    row = xp.scratch((*y.shape[:-1], 1), y.dtype)
    np.multiply(g, y, gx)
    xp.reduce("add", gx, -1, row, True)
    np.subtract(g, row, gx)
    return np.multiply(gx, y, gx)


def _softmax_vjp_meaning(g: Any, y: Any) -> Any:
    return mul(sub(g, bind(sum_op, (mul(g, y),), ((len(y.shape) - 1,), True))), y)


softmax_vjp_op: Op = fused(
    "softmax_vjp",
    ("g", "y"),
    meaning=_softmax_vjp_meaning,
    kernels={"cuda": SOFTMAX_VJP},
    impl=_softmax_vjp_impl,
    abstract=lambda g, y: y.update(shape=y.shape),
    batch=lambda size, mapped, xs, params: bind(softmax_vjp_op, all_mapped(size, mapped, xs)),
    samples=(sample(normal(3, 4), normal(3, 4)), sample(normal(4), normal(4))),
    doc="Backward of softmax, (g - sum(g * y)) * y.",
)


def all_mapped(size: int, mapped: Any, xs: Any) -> list[Any]:
    return [x if own else broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]


def _softmax_shape(x: Aval) -> Aval:
    if x.shape[-1] == 0:
        raise ValueError("zero-size array to reduction operation maximum which has no identity")
    return x.update(shape=x.shape)


softmax_op: Op = fused(
    "softmax",
    ("x",),
    promotion=Promotion.FLOAT,
    meaning=softmax_meaning,
    impl=softmax_impl,
    kernels={"cuda": SOFTMAX},
    abstract=_softmax_shape,
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
