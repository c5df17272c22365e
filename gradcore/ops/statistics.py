"""Spread and norms of the elements along axes: var, std, norm."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.kernels import expr as e
from gradcore.kernels.spec import ElementwiseSpec, ReductionSpec
from gradcore.ops.arithmetic import abs as absolute
from gradcore.ops.arithmetic import div, equal, maximum, minimum, mul, not_equal, power, sqrt, square, sub, where
from gradcore.ops.conversion import cast, stop_gradient
from gradcore.ops.fused import fused
from gradcore.ops.reductions import (
    REDUCTION_SAMPLES,
    Axes,
    AxisArgument,
    as_floating,
    batch_axes,
    kept,
    mean_op,
    reduced_shape,
    shape_rule,
    sum_op,
    weighted,
)
from gradcore.ops.reductions import max as max_
from gradcore.ops.reductions import min as min_
from gradcore.ops.reductions import sum as sum_
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import reshape
from gradcore.ops.structural import normal_axes, public

# --- var and std ------------------------------------------------------------------------------------------------------


def _divisor(shape: tuple[int, ...], axes: Axes, correction: float) -> float:
    """How many elements, less the correction; at least 0, by which NumPy divides too."""
    return max(math.prod([shape[a] for a in axes]) - correction, 0)


def _centered(x: Any, axes: Axes) -> Any:
    return sub(x, bind(mean_op, (x,), (axes, True)))


def _var_meaning(x: Any, axes: Axes, keepdims: bool, correction: float) -> Any:
    total = bind(sum_op, (square(_centered(x, axes)),), (axes, keepdims))
    return div(total, _divisor(x.shape, axes, correction))


def _var_impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool, correction: float) -> Any:
    np = xp.np
    middle = xp.scratch(reduced_shape(x.shape, axes, True), x.dtype)
    xp.reduce("add", x, axes, middle, True)
    np.true_divide(middle, _divisor(x.shape, axes, 0), middle)
    parts = np.subtract(x, middle, out=xp.scratch(x.shape, x.dtype))
    np.multiply(parts, parts, parts)
    out = xp.empty(reduced_shape(x.shape, axes, keepdims), x.dtype) if out is None else out
    xp.reduce("add", parts, axes, out, keepdims)
    return np.true_divide(out, _divisor(x.shape, axes, correction), out)


X, MIDDLE, TOP, TOTAL = [e.var(name) for name in ("x", "middle", "top", "total")]
SQUARES = (X - MIDDLE) * (X - MIDDLE)


def _var_on_cuda(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool, correction: float) -> Any:
    """The same in two reductions."""
    middle = xp.run(mean_op, None, (x,), (axes, True))
    name = "squared_distances" if correction else "variance"
    spec = ReductionSpec(name, ("x", "middle"), SQUARES, mean=not correction)
    total = xp.reduce_terms(spec, (x, middle), axes, out, keepdims)
    return xp.np.true_divide(total, _divisor(x.shape, axes, correction), total) if correction else total


def _var_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    x = xs[0]
    axes, keepdims, correction = params
    g = div(mul(g, 2.0), _divisor(x.shape, axes, correction))
    return mul(_centered(x, axes), kept(g, x.shape, axes, keepdims))


var_op: Op = fused(
    "var",
    ("x",),
    params=("axes", "keepdims", "correction"),
    promotion=Promotion.FLOAT,
    meaning=_var_meaning,
    impl=_var_impl,
    kernels={"cuda": _var_on_cuda},
    abstract=lambda x, axes, keepdims, correction: x.update(shape=reduced_shape(x.shape, axes, keepdims)),
    vjp=_var_vjp,
    saves=lambda needed, params: Saved((0,)),
    batch=batch_axes(lambda: var_op),
    samples=(
        sample(normal(3, 4), params=((0, 1), False, 0)),
        sample(normal(3, 4), params=((1,), True, 1)),
        sample(normal(2, 3, 4), params=((0, 2), False, 0.5)),
        sample(normal(), params=((), False, 0)),
        sample(normal(3, 0), params=((0,), False, 1)),
    ),
    doc="Mean squared distance from the mean, over axes.",
)
_var = public(var_op)


def var(x: Any, axis: AxisArgument = None, keepdims: bool = False, correction: float = 0) -> Any:
    """Variance over axes: the sum of squared distances from the mean, divided by n - correction.

    Args:
        x: tensor of any shape; integers give float64.
        axis: an axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.
        correction: 0 for the variance of the elements themselves, 1 for the unbiased estimate from a sample (`ddof`).

    Raises:
        ValueError: an axis is out of bounds, or named twice.

    Example:
        >>> import gradcore as gc
        >>> gc.var(gc.tensor([[1.0, 3.0], [2.0, 6.0]]), axis=1)
        tensor([1., 4.], dtype=float32, device='cpu')
    """
    x = as_floating(x, "var")
    return _var(x, normal_axes(axis, len(x.shape)), keepdims, correction)


def std(x: Any, axis: AxisArgument = None, keepdims: bool = False, correction: float = 0) -> Any:
    """Standard deviation over axes, the square root of `var`. Where it is 0, so is its derivative. Arguments as there.

    Example:
        >>> import gradcore as gc
        >>> gc.std(gc.tensor([[1.0, 3.0], [2.0, 6.0]]), axis=1)
        tensor([1., 2.], dtype=float32, device='cpu')
    """
    return _power_or_zero(var(as_floating(x, "std"), axis, keepdims, correction), 0.5)


def _power_or_zero(x: Any, exponent: float) -> Any:
    """A root of a sum, with derivative 0 where the sum is 0 (the true one is infinite)."""
    nothing = equal(x, 0)
    inside = where(nothing, 1.0, x)
    return where(nothing, 0.0, sqrt(inside) if exponent == 0.5 else power(inside, exponent))


# --- norm -------------------------------------------------------------------------------------------------------------


@cache
def _limits(dtype: Any) -> tuple[float, float]:
    """The smallest normal number and the largest one."""
    info = np.finfo(dtype)
    return float(info.tiny), float(info.max)


def _largest(sizes: Any, axes: AxisArgument, keepdims: bool) -> Any:
    """Of no elements, 0."""
    return (sum_ if 0 in sizes.shape else max_)(sizes, axes, keepdims)


def _norm_meaning(x: Any, axes: Axes, keepdims: bool) -> Any:
    size = absolute(x)
    tiny, huge = _limits(x.dtype)
    scale = stop_gradient(minimum(maximum(_largest(size, axes, True), tiny), huge))
    root = _power_or_zero(sum_(square(div(x, scale)), axes, True), 0.5)
    return reshape(mul(scale, root), reduced_shape(x.shape, axes, keepdims))


def _norm_impl(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
    """Divided by the largest, no square overflows or vanishes."""
    np = xp.np
    tiny, huge = _limits(x.dtype)
    parts = np.absolute(x, out=xp.scratch(x.shape, x.dtype))
    scale = xp.scratch(reduced_shape(x.shape, axes, True), x.dtype)
    xp.reduce("maximum" if parts.size else "add", parts, axes, scale, True)
    np.maximum(scale, tiny, out=scale)
    np.minimum(scale, huge, out=scale)
    np.true_divide(parts, scale, parts)
    np.multiply(parts, parts, parts)
    out = xp.empty(reduced_shape(x.shape, axes, keepdims), x.dtype) if out is None else out
    xp.reduce("add", parts, axes, out, keepdims)
    np.sqrt(out, out)
    return np.multiply(out, scale.reshape(out.shape), out)


@cache
def _norm_kernels(dtype: Any) -> tuple[ReductionSpec, ReductionSpec, ElementwiseSpec]:
    """The largest magnitude, the sum of squares divided by it, and the root of that times it."""
    scale = e.minimum(e.maximum(TOP, _limits(dtype)[0]), _limits(dtype)[1])
    part = X / scale
    return (
        ReductionSpec("largest", ("x",), e.abs(X), "maximum"),
        ReductionSpec("scaled_squares", ("x", "top"), part * part),
        ElementwiseSpec("scaled_root", ("total", "top"), (e.sqrt(TOTAL) * scale,)),
    )


def _norm_on_cuda(xp: Any, out: Any, x: Any, axes: Axes, keepdims: bool) -> Any:
    largest, squares, root = _norm_kernels(x.dtype)
    top = xp.reduce_terms(largest, (x,), axes, None, True)
    total = xp.reduce_terms(squares, (x, top), axes, out, keepdims)
    return xp.launch(root, (total,), (total, top.reshape(total.shape)))[0]


def _unit(x: Any, y: Any, params: Any) -> Any:
    """The elements divided by their norm; 0 where that is 0."""
    return div(x, kept(where(equal(y, 0), math.inf, y), x.shape, *params))


norm_op: Op = fused(
    "norm",
    ("x",),
    params=("axes", "keepdims"),
    promotion=Promotion.FLOAT,
    meaning=_norm_meaning,
    impl=_norm_impl,
    kernels={"cuda": _norm_on_cuda},
    abstract=shape_rule("norm"),
    **weighted(_unit),
    batch=batch_axes(lambda: norm_op),
    samples=(*REDUCTION_SAMPLES, sample(normal(0, 3), params=((0,), False))),
    doc="Square root of the sum of squares over axes, without overflow; its derivative at 0 is 0.",
)
_norm = public(norm_op)


def norm(x: Any, ord: float | str | None = None, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Norm of vectors or of matrices, as `numpy.linalg.norm`.

    Args:
        x: tensor of any shape; integers give float64.
        ord: None for the square root of the sum of squares. Of vectors: a number p for sum(abs(x)**p)**(1/p), inf for
            the largest abs(x), -inf for the smallest, 0 for the number of elements that are not 0. Of matrices: "fro"
            (as None), 1 for the largest column sum of abs(x), inf for the largest row sum, -1 and -inf for the
            smallest.
        axis: one axis for vectors, two for matrices. By default all of x, which must have one or two axes if ord is
            given.
        keepdims: keep the reduced axes with size 1.

    Returns:
        Tensor without the reduced axes. The derivative of abs(x) at 0 is 0, and so is that of a norm that is 0; with
        p < 1 it is not finite where an element is 0.

    Raises:
        ValueError: the order does not fit, or needs singular values (2, -2 and "nuc" of matrices).

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[3.0, 4.0], [0.0, -2.0]])
        >>> gc.norm(x, axis=1)
        tensor([5., 2.], dtype=float32, device='cpu')
        >>> gc.norm(x, ord=1)
        tensor(6., dtype=float32, device='cpu')
    """
    x = as_floating(x, "norm")
    axes = normal_axes(axis, len(x.shape))
    if ord is None or (ord == 2 and len(axes) == 1) or (ord == "fro" and len(axes) == 2):
        return _norm(x, axes, keepdims)
    if len(axes) == 1 and not isinstance(ord, str):
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2 and ord in (1, -1, math.inf, -math.inf):
        row, column = axes if axis is None else [a % len(x.shape) for a in axis]  # type: ignore[union-attr]
        return _matrix_norm(x, ord, row, column, keepdims)
    raise ValueError(f"'norm': order {ord!r} over {len(axes)} axes is not supported; see help(gradcore.norm)")


def _vector_norm(x: Any, ord: float, axes: Axes, keepdims: bool) -> Any:
    if ord == 0:
        return sum_(cast(not_equal(x, 0), x.dtype), axes, keepdims)
    size = absolute(x)
    if math.isinf(ord):
        return (_largest if ord > 0 else min_)(size, axes, keepdims)
    if ord == 1:
        return sum_(size, axes, keepdims)
    total = sum_(power(size, float(ord)), axes, keepdims)
    return _power_or_zero(total, 1 / ord) if ord > 0 else power(total, 1 / ord)  # of infinities alone, infinity


def _matrix_norm(x: Any, ord: Any, row: int, column: int, keepdims: bool) -> Any:
    """The largest or smallest sum of magnitudes, of columns (1, -1) or of rows (inf, -inf)."""
    inner, outer = (row, column) if abs(ord) == 1 else (column, row)
    sums = sum_(absolute(x), inner, True)
    result = (_largest if ord > 0 else min_)(sums, outer, True)
    return reshape(result, reduced_shape(x.shape, (row, column), keepdims))
