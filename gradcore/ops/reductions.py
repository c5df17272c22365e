"""Ops that combine the elements along axes: sum, mean, max, min, any, all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Rule, Saved
from gradcore.core.tensor import Tensor
from gradcore.kernels.expr import var
from gradcore.kernels.spec import ReductionSpec
from gradcore.ops.arithmetic import div, equal, mul
from gradcore.ops.conversion import cast
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import booleans, distinct, integers, normal, sample
from gradcore.ops.shapes import broadcast_to_op, reshape_op
from gradcore.ops.structural import indexed, linear, normal_axes, public

BOTH = Saved((0,), (0,))
Axes = tuple[int, ...]
AxisArgument = int | Sequence[int] | None


def reduced_shape(shape: tuple[int, ...], axes: Axes, keepdims: bool) -> tuple[int, ...]:
    if keepdims:
        return tuple([1 if i in axes else n for i, n in enumerate(shape)])
    return tuple([n for i, n in enumerate(shape) if i not in axes])


def kept(y: Any, shape: tuple[int, ...], axes: Axes, keepdims: bool) -> Any:
    """A reduced value with its axes back, as size 1."""
    return y if keepdims else bind(reshape_op, (y,), (reduced_shape(shape, axes, True),))


def reduce_by(ufunc: str) -> Callable[..., Any]:
    """A ufunc's reduction into C-contiguous memory (the order of a sum must not depend on how NumPy lays it out)."""

    def impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
        if out is None and not x.flags.c_contiguous:
            out = xp.empty(reduced_shape(x.shape, axes, keepdims), result_dtype(ufunc, x.dtype))
        return xp.reduce(ufunc, x, axes, out, keepdims)

    return impl


def result_dtype(ufunc: str, dtype: Any) -> Any:
    """NumPy adds and multiplies booleans and small integers in the widest integer; logic gives booleans."""
    if ufunc in ("logical_or", "logical_and"):
        return np.dtype(np.bool_)
    if ufunc not in ("add", "multiply") or dtype.kind not in "biu":
        return dtype
    return np.result_type(dtype, np.uint64 if dtype.kind == "u" else np.int64)


def shape_rule(ufunc: str) -> Callable[..., Aval]:
    def abstract(x: Aval, axes: Axes, keepdims: bool) -> Aval:
        return x.update(shape=reduced_shape(x.shape, axes, keepdims), dtype=result_dtype(ufunc, x.dtype))

    return abstract


def batch_axes(op: Callable[[], Op]) -> Callable[..., Any]:
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
    impl=reduce_by("add"),
    abstract=shape_rule("add"),
    transpose=_spread,
    batch=batch_axes(lambda: sum_op),
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

    Returns:
        Tensor without the reduced axes; 0 where there is nothing to add.

    Raises:
        ValueError: an axis is out of bounds, or named twice.

    Example:
        >>> import gradcore as gc
        >>> gc.sum(gc.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        tensor([4., 6.], dtype=float32, device='cpu')
    """
    if type(x) is not Tensor:
        x = named_tensor(x, "sum")
    return _sum(x, normal_axes(axis, len(x.shape)), keepdims)


def _mean_impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
    total = sum_op.impl(xp, out, x, axes, keepdims)
    count = x.size // total.size if total.size else 1
    return xp.np.true_divide(total, count, out if out is not None else total if total.ndim else None)


def _mean_transpose(g: Any, avals: Any, params: Any, i: int) -> Any:
    shape = avals[0].shape
    return _spread(div(g, _count(shape, params[0])), avals, params, i)


def _count(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod([shape[a] for a in axes])


def _mean_raw(r: Any, g: Any) -> Any:
    g = np.asarray(np.true_divide(g, _count(r.avals[0], r.params[0])))
    return _spread_raw(r, g)


mean_op: Op = linear(
    "mean",
    ("x",),
    params=("axes", "keepdims"),
    impl=_mean_impl,
    kernels={"cuda": ReductionSpec("mean", ("x",), var("x"), mean=True)},
    abstract=shape_rule("mean"),
    transpose=_mean_transpose,
    batch=batch_axes(lambda: mean_op),
    promotion=Promotion.FLOAT,
    samples=REDUCTION_SAMPLES,
    doc="Arithmetic mean over axes.",
)
_mean = public(mean_op, lambda needed: _mean_raw)


def mean(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Arithmetic mean over axes; integers give float64. Arguments as for `sum`.

    Example:
        >>> import gradcore as gc
        >>> gc.mean(gc.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
        tensor([1.5, 3.5], dtype=float32, device='cpu')
    """
    x = as_floating(x, "mean")
    return _mean(x, normal_axes(axis, len(x.shape)), keepdims)


def as_floating(x: Any, name: str) -> Any:
    """A tensor; integers become float64, as in `numpy.mean`."""
    x = named_tensor(x, name)
    return x if x.dtype.kind == "f" else cast(x, np.float64)


# --- max and min ------------------------------------------------------------------------------------------------------


def weighted(weights: Rule, saved: Saved = BOTH) -> dict[str, Rule]:
    """Rules of a reduction to one number whose derivative is `weights(x, y, params)`, entry by entry."""

    def vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
        return mul(weights(xs[0], ys[0], params), kept(g, xs[0].shape, *params))

    def jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
        return bind(sum_op, (mul(weights(xs[0], ys[0], params), tangents[0]),), params)

    return {"vjp": vjp, "jvp": jvp, "saves": lambda needed, params: saved}


def _shares(x: Any, y: Any, params: Any) -> Any:
    """1 at the extreme, 0 elsewhere; equal extremes share."""
    axes = params[0]
    hit = cast(equal(x, kept(y, x.shape, *params)), x.dtype)
    return div(hit, bind(sum_op, (hit,), (axes, True)))


def _extreme(name: str, ufunc: str, doc: str) -> Op:
    op: Op = indexed(
        name,
        ("x",),
        params=("axes", "keepdims"),
        impl=reduce_by(ufunc),
        abstract=shape_rule(ufunc),
        **weighted(_shares),
        batch=batch_axes(lambda: op),
        samples=(
            sample(distinct(3, 4), params=((0, 1), False)),
            sample(distinct(3, 4), params=((1,), True)),
            sample(distinct(2, 3, 4), params=((0, 2), False)),
            sample(distinct(), params=((), False)),
            sample(distinct(0, 3), params=((1,), False)),
        ),
        doc=doc,
    )
    return op


max_op = _extreme("max", "maximum", "Maximum over axes; equal maxima share the gradient. NaN if there is one.")
min_op = _extreme("min", "minimum", "Minimum over axes; equal minima share the gradient. NaN if there is one.")
_max = public(max_op)
_min = public(min_op)


def max(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Maximum over axes; NaN if there is one. Equal maxima share the gradient. Arguments as for `sum`.

    Raises:
        ValueError: there is nothing to choose from.

    Example:
        >>> import gradcore as gc
        >>> gc.max(gc.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=0)
        tensor([3., 5.], dtype=float32, device='cpu')
    """
    x = named_tensor(x, "max")
    return _max(x, normal_axes(axis, len(x.shape)), keepdims)


def min(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Minimum over axes; NaN if there is one. Equal minima share the gradient. Arguments as for `sum`.

    Raises:
        ValueError: there is nothing to choose from.

    Example:
        >>> import gradcore as gc
        >>> gc.min(gc.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=0)
        tensor([1., 4.], dtype=float32, device='cpu')
    """
    x = named_tensor(x, "min")
    return _min(x, normal_axes(axis, len(x.shape)), keepdims)


# --- any and all ------------------------------------------------------------------------------------------------------


def _logic(name: str, ufunc: str, doc: str) -> Op:
    op: Op = indexed(
        name,
        ("x",),
        params=("axes", "keepdims"),
        impl=reduce_by(ufunc),
        abstract=shape_rule(ufunc),
        differentiable=(False,),
        batch=batch_axes(lambda: op),
        samples=(
            sample(booleans(3, 4), params=((0, 1), False)),
            sample(booleans(2, 3, 4), params=((0, 2), True)),
            sample(integers(3, 2), params=((1,), False)),
            sample(normal(0, 3), params=((0,), False)),
            sample(normal(), params=((), False)),
        ),
        doc=doc,
    )
    return op


any_op = _logic("any", "logical_or", "Is an element true (not 0), over axes?")
all_op = _logic("all", "logical_and", "Are all elements true (not 0), over axes?")
_any = public(any_op)
_all = public(all_op)


def any(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Is an element true (not 0; NaN is true)? Of no elements, none is. Arguments as for `sum`.

    Example:
        >>> import gradcore as gc
        >>> gc.any(gc.tensor([[True, False], [False, False]]), axis=1)
        tensor([ True, False], dtype=bool, device='cpu')
    """
    x = named_tensor(x, "any")
    return _any(x, normal_axes(axis, len(x.shape)), keepdims)


def all(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Are all elements true (not 0; NaN is true)? Of no elements, all are. Arguments as for `sum`.

    Example:
        >>> import gradcore as gc
        >>> gc.all(gc.tensor([[True, False], [True, True]]), axis=1)
        tensor([False,  True], dtype=bool, device='cpu')
    """
    x = named_tensor(x, "all")
    return _all(x, normal_axes(axis, len(x.shape)), keepdims)
