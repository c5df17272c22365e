"""Ops that combine the elements along axes: sum, mean, max, logsumexp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.core.tensor import Tensor
from gradcore.ops.arithmetic import abs as absolute
from gradcore.ops.arithmetic import div, equal, exp, less, log, mul, sub, where
from gradcore.ops.fused import fused
from gradcore.ops.operands import as_operand, as_tensor
from gradcore.ops.samples import distinct, normal, sample
from gradcore.ops.shapes import broadcast_to_op, cast, reshape_op, stop_gradient
from gradcore.ops.structural import indexed, linear, normal_axes, public

Axes = tuple[int, ...]
AxisArgument = int | Sequence[int] | None


def reduced_shape(shape: tuple[int, ...], axes: Axes, keepdims: bool) -> tuple[int, ...]:
    if keepdims:
        return tuple([1 if i in axes else n for i, n in enumerate(shape)])
    return tuple([n for i, n in enumerate(shape) if i not in axes])


def kept(y: Any, shape: tuple[int, ...], axes: Axes, keepdims: bool) -> Any:
    """A reduced value with its axes back, as size 1."""
    return y if keepdims else bind(reshape_op, (y,), (reduced_shape(shape, axes, True),))


def _reduce(ufunc: str) -> Callable[..., Any]:
    """A ufunc's reduction into C-contiguous memory (the order of a sum must not depend on how NumPy lays it out)."""

    def impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
        reduce = getattr(xp.np, ufunc).reduce
        if out is None and not x.flags.c_contiguous:
            out = xp.empty(reduced_shape(x.shape, axes, keepdims), _sum_dtype(ufunc, x.dtype))
        return reduce(x, axes, None, out, keepdims)

    return impl


def _sum_dtype(ufunc: str, dtype: Any) -> Any:
    """NumPy adds booleans and small integers in the widest integer."""
    if ufunc != "add" or dtype.kind not in "biu":
        return dtype
    return np.result_type(dtype, np.uint64 if dtype.kind == "u" else np.int64)


def _shape_rule(ufunc: str) -> Callable[..., Aval]:
    def abstract(x: Aval, axes: Axes, keepdims: bool) -> Aval:
        return x.update(shape=reduced_shape(x.shape, axes, keepdims), dtype=_sum_dtype(ufunc, x.dtype))

    return abstract


def _batch(op: Callable[[], Op]) -> Callable[..., Any]:
    def batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
        axes, *rest = params
        return bind(op(), xs, (tuple([a + 1 for a in axes]), *rest))

    return batch


def _spread(g: Any, avals: Any, params: Any, i: int) -> Any:
    """The transpose of a sum: every element gets the cotangent of its sum."""
    shape = avals[0].shape
    return bind(broadcast_to_op, (kept(g, shape, *params),), (shape,))


def _spread_raw(r: Any, g: Any) -> Any:
    """The cotangent repeated along the reduced axes (`np.broadcast_to` takes NumPy several times as long)."""
    (shape,) = r.avals
    axes, keepdims = r.params
    if g.ndim and not keepdims:
        g = g.reshape(reduced_shape(shape, axes, True))
    spread = np.empty(shape, g.dtype)
    spread[...] = g
    return (spread,)


REDUCTION_SAMPLES = (
    sample(normal(3, 4), params=((0, 1), False)),
    sample(normal(3, 4), params=((1,), True)),
    sample(normal(2, 3, 4), params=((0, 2), False)),
    sample(normal(), params=((), False)),
)

sum_op: Op = linear(
    "sum",
    ("x",),
    params=("axes", "keepdims"),
    impl=_reduce("add"),
    abstract=_shape_rule("add"),
    transpose=_spread,
    batch=_batch(lambda: sum_op),
    samples=(*REDUCTION_SAMPLES, sample(normal(0, 3), params=((0,), False))),
    doc="Sum over axes.",
)


_add_reduce: Callable[..., Any] = np.add.reduce


def _sum_call(x: Any, axes: Axes, keepdims: bool) -> Any:
    if x.flags.c_contiguous:
        return _add_reduce(x, axes, None, None, keepdims)
    return sum_op.impl(NUMPY, None, x, axes, keepdims)


_sum = public(sum_op, lambda needed: _spread_raw, _sum_call)


def sum(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Sum over axes.

    Args:
        x: tensor of any shape; booleans and integers are added as 64-bit integers.
        axis: an axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.

    >>> import gradcore as gc
    >>> gc.sum(gc.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([4., 6.], dtype=float32, device='cpu')
    """
    if type(x) is not Tensor:
        x = as_tensor(as_operand(x, sum_op))
    return _sum(x, normal_axes(axis, len(x.shape)), keepdims)


def _mean_impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
    total = sum_op.impl(xp, out, x, axes, keepdims)
    count = x.size // total.size if total.size else 1
    return xp.np.true_divide(total, count, out if out is not None else total if total.ndim else None)


def _mean_transpose(g: Any, avals: Any, params: Any, i: int) -> Any:
    shape = avals[0].shape
    return _spread(div(g, _count(shape, params[0])), avals, params, i)


def _count(shape: tuple[int, ...], axes: Axes) -> int:
    return int(np.prod([shape[a] for a in axes], dtype=np.int64))


def _mean_raw(r: Any, g: Any) -> Any:
    g = np.asarray(np.true_divide(g, _count(r.avals[0], r.params[0])))
    return _spread_raw(r, g)


mean_op: Op = linear(
    "mean",
    ("x",),
    params=("axes", "keepdims"),
    impl=_mean_impl,
    abstract=_shape_rule("mean"),
    transpose=_mean_transpose,
    batch=_batch(lambda: mean_op),
    promotion=Promotion.FLOAT,
    samples=REDUCTION_SAMPLES,
    doc="Arithmetic mean over axes.",
)
_mean = public(mean_op, lambda needed: _mean_raw)


def mean(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Arithmetic mean over axes; integers give float64. Arguments as for `sum`."""
    x = as_floating(x, mean_op)
    return _mean(x, normal_axes(axis, len(x.shape)), keepdims)


def as_floating(x: Any, op: Op) -> Any:
    """A tensor; integers become float64, as in `numpy.mean`."""
    x = as_tensor(as_operand(x, op))
    return x if x.dtype.kind == "f" else cast(x, np.float64)


def _max_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    x, y = xs[0], ys[0]
    return mul(_shares(x, y, params), kept(g, x.shape, *params))


def _shares(x: Any, y: Any, params: Any) -> Any:
    """1 at the maximum, 0 elsewhere; equal maxima share."""
    axes = params[0]
    hit = cast(equal(x, kept(y, x.shape, *params)), x.dtype)
    return div(hit, bind(sum_op, (hit,), (axes, True)))


def _max_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    return bind(sum_op, (mul(_shares(xs[0], ys[0], params), tangents[0]),), params)


max_op: Op = indexed(
    "max",
    ("x",),
    params=("axes", "keepdims"),
    impl=_reduce("maximum"),
    abstract=_shape_rule("maximum"),
    vjp=_max_vjp,
    jvp=_max_jvp,
    saves=lambda needed, params: Saved((0,), (0,)),
    batch=_batch(lambda: max_op),
    samples=(
        sample(distinct(3, 4), params=((0, 1), False)),
        sample(distinct(3, 4), params=((1,), True)),
        sample(distinct(2, 3, 4), params=((0, 2), False)),
        sample(distinct(0, 3), params=((1,), False)),
    ),
    doc="Maximum over axes; equal maxima share the gradient. NaN if there is one.",
)
_max = public(max_op)


def max(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Maximum over axes; NaN if there is one. Equal maxima share the gradient. Arguments as for `sum`."""
    x = as_tensor(as_operand(x, max_op))
    return _max(x, normal_axes(axis, len(x.shape)), keepdims)


# --- logsumexp --------------------------------------------------------------------------------------------------------


def _logsumexp_meaning(x: Any, axes: Axes, keepdims: bool) -> Any:
    top = _finite(stop_gradient(bind(max_op, (x,), (axes, True))))
    total = log(bind(sum_op, (exp(sub(x, top)),), (axes, True))) + top
    return total if keepdims else bind(reshape_op, (total,), (reduced_shape(x.shape, axes, False),))


def _finite(x: Any) -> Any:
    """Infinities as 0, so that they are not subtracted from each other."""
    return where(less(absolute(x), math.inf), x, 0.0)


def _logsumexp_impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
    np = xp.np
    top = np.maximum.reduce(x, axes, None, xp.scratch(reduced_shape(x.shape, axes, True), x.dtype), True)
    np.copyto(top, 0, where=~np.isfinite(top))
    parts = np.subtract(x, top, out=xp.scratch(x.shape, x.dtype))
    np.exp(parts, out=parts)
    total = xp.empty(reduced_shape(x.shape, axes, keepdims), x.dtype) if out is None else out
    np.add.reduce(parts, axes, None, total, keepdims)
    np.log(total, out=total)
    return np.add(total, top.reshape(total.shape), out=total)


def _logsumexp_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    """The softmax of x times g; an infinite entry has all the weight, and of -inf alone none has any."""
    x, shape = xs[0], xs[0].shape
    y = kept(ys[0], shape, *params)
    top = cast(where(equal(x, math.inf), 0.0, -math.inf), x.dtype)
    return mul(exp(where(equal(y, math.inf), top, sub(x, _finite(y)))), kept(g, shape, *params))


logsumexp_op: Op = fused(
    "logsumexp",
    ("x",),
    params=("axes", "keepdims"),
    meaning=_logsumexp_meaning,
    impl=_logsumexp_impl,
    abstract=_shape_rule("logsumexp"),
    vjp=_logsumexp_vjp,
    saves=lambda needed, params: Saved((0,), (0,)),
    batch=_batch(lambda: logsumexp_op),
    samples=REDUCTION_SAMPLES[:3],
    doc="log(sum(exp(x))) over axes, without overflow.",
)
_logsumexp = public(logsumexp_op)


def logsumexp(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over axes, without overflow. Arguments as for `sum`."""
    x = as_floating(x, logsumexp_op)
    return _logsumexp(x, normal_axes(axis, len(x.shape)), keepdims)
