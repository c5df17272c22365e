"""Running sums and products, and the product over axes.

A product has an exact gradient where factors are 0, to every order, since nothing is divided: the derivative of a
running product is a linear recurrence s[t] = a[t] s[t-1] + b[t], and that of a recurrence is another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.ops.along_axis import all_mapped, along, folded, unfolded, with_axis
from gradcore.ops.arithmetic import add, mul
from gradcore.ops.operands import named_tensor
from gradcore.ops.reductions import (
    Axes,
    AxisArgument,
    batch_axes,
    reduce_by,
    result_dtype,
    shape_rule,
    weighted,
)
from gradcore.ops.samples import Make, normal, sample
from gradcore.ops.slicing import slice_op, unslice_op
from gradcore.ops.structural import indexed, linear, normal_axes, public


def _batch(op: Callable[[], Op]) -> Callable[..., Any]:
    return lambda size, mapped, xs, params: bind(op(), xs, (params[0] + 1, *params[1:]))


def _accumulated(ufunc: str) -> Callable[..., Aval]:
    return lambda x, axis, *rest: x.update(shape=x.shape, dtype=result_dtype(ufunc, x.dtype))


def _shifted(x: Any, axis: int, reverse: bool) -> Any:
    """The element before each one along an axis (with `reverse`, the one after it); 0 where there is none."""
    whole = [(0, n, 1) for n in x.shape]
    n = x.shape[axis]
    if n == 0:
        return x
    ahead, behind = list(whole), list(whole)
    ahead[axis], behind[axis] = (1, n, 1), (0, n - 1, 1)
    source, place = (ahead, behind) if reverse else (behind, ahead)
    return bind(unslice_op, (bind(slice_op, (x,), (tuple(source),)),), (x.shape, tuple(place)))


# --- cumsum -----------------------------------------------------------------------------------------------------------


def _cumsum_impl(xp: Any, out: Any, x: Any, axis: int, reverse: bool) -> Any:
    out = xp.empty(x.shape, result_dtype("add", x.dtype)) if out is None else out
    order = along(axis, step=-1 if reverse else 1)
    xp.np.cumsum(x[order], axis, out=out[order])
    return out


cumsum_op: Op = linear(
    "cumsum",
    ("x",),
    params=("axis", "reverse"),
    impl=_cumsum_impl,
    abstract=_accumulated("add"),
    transpose=lambda g, avals, params, i: bind(cumsum_op, (g,), (params[0], not params[1])),
    batch=_batch(lambda: cumsum_op),
    samples=(
        sample(normal(3, 4), params=(1, False)),
        sample(normal(3, 4), params=(0, True)),
        sample(normal(1), params=(0, False)),
        sample(normal(0, 3), params=(0, False)),
    ),
    doc="Running sum along an axis, from the start or from the end.",
)
_cumsum = public(cumsum_op)


def cumsum(x: Any, axis: int | None = None) -> Any:
    """Sum of the elements up to each one, along an axis.

    Args:
        x: tensor of any shape; booleans and integers are added as 64-bit integers.
        axis: the axis; by default the sum runs through all elements of x, in C order.

    Returns:
        Tensor of the shape of x; without an axis, of shape (x.size,).

    Raises:
        ValueError: the axis is out of bounds.

    Example:
        >>> import gradcore as gc
        >>> gc.cumsum(gc.tensor([1.0, 2.0, 3.0]))
        tensor([1., 3., 6.], dtype=float32, device='cpu')
    """
    return _cumsum(*with_axis(named_tensor(x, "cumsum"), axis), False)


# --- linear recurrence ------------------------------------------------------------------------------------------------


def _recurrence_impl(xp: Any, out: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    """Pairs (a, b) compose; the composition of 1, 2, 4, ... neighbours takes log2(n) passes (Hillis and Steele, 1986).

    The first factor meets no sum, and is taken as 0, so that products that do not count cannot overflow.
    """
    out = xp.empty(b.shape, b.dtype) if out is None else out
    xp.np.copyto(out, b)
    factors = xp.scratch(a.shape, a.dtype)
    xp.np.copyto(factors, a)
    order = along(axis, step=-1 if reverse else 1)
    s, a = out[order], factors[order]
    a[along(axis, 0, 1)] = 0
    moved = xp.scratch(a.shape, a.dtype)
    distance = 1
    while distance < a.shape[axis]:
        late, early = along(axis, distance), along(axis, 0, -distance)
        part = moved[late]
        s[late] += xp.np.multiply(a[late], s[early], out=part)
        a[late] = xp.np.multiply(a[late], a[early], out=part)
        distance *= 2
    return out


def _recurrence_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    axis, reverse = params
    gb = bind(recurrence_op, (_shifted(xs[0], axis, not reverse), g), (axis, not reverse))
    return mul(gb, _shifted(ys[0], axis, reverse)) if needed[0] else None, gb if needed[1] else None


def _recurrence_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    ta, tb = tangents
    through = None if ta is None else mul(ta, _shifted(ys[0], *params))
    moved = tb if through is None else through if tb is None else add(through, tb)
    return bind(recurrence_op, (xs[0], moved), params)


def _recurrence_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    return bind(recurrence_op, all_mapped(size, mapped, xs), (params[0] + 1, params[1]))


recurrence_op: Op = indexed(
    "recurrence",
    ("a", "b"),
    params=("axis", "reverse"),
    impl=_recurrence_impl,
    abstract=lambda a, b, axis, reverse: b.update(shape=b.shape),
    vjp=_recurrence_vjp,
    jvp=_recurrence_jvp,
    saves=lambda needed, params: Saved((0,), (0,) if needed[0] else ()),
    batch=_recurrence_batch,
    samples=(
        sample(normal(5), normal(5), params=(0, False)),
        sample(normal(3, 4), normal(3, 4), params=(1, True)),
        sample(normal(1, 2), normal(1, 2), params=(0, False)),
        sample(normal(0, 3), normal(0, 3), params=(0, False)),
    ),
    doc="s[t] = a[t] * s[t-1] + b[t] along an axis, from the start or from the end; s is 0 before.",
)
_recurrence = public(recurrence_op)

# --- cumprod ----------------------------------------------------------------------------------------------------------


def _cumprod_impl(xp: Any, out: Any, x: Any, axis: int, reverse: bool, exclusive: bool) -> Any:
    out = xp.empty(x.shape, result_dtype("multiply", x.dtype)) if out is None else out
    order = along(axis, step=-1 if reverse else 1)
    source, y = x[order], out[order]
    if exclusive:
        y[along(axis, 0, 1)] = 1
        source, y = source[along(axis, 0, -1)], y[along(axis, 1)]
    xp.np.cumprod(source, axis, out=y)
    return out


def _before(x: Any, axis: int, reverse: bool) -> Any:
    """The product of all elements before each one."""
    return bind(cumprod_op, (x,), (axis, reverse, True))


def _cumprod_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    x = xs[0]
    axis, reverse, exclusive = params
    g = _shifted(g, axis, not reverse) if exclusive else g
    after = bind(recurrence_op, (_shifted(x, axis, not reverse), g), (axis, not reverse))
    return mul(after, _before(x, axis, reverse))


def _cumprod_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    x = xs[0]
    axis, reverse, exclusive = params
    moved = bind(recurrence_op, (x, mul(tangents[0], _before(x, axis, reverse))), (axis, reverse))
    return _shifted(moved, axis, reverse) if exclusive else moved


def _holed(*shape: int) -> Make:
    """Normal numbers with some zeros."""
    make = normal(*shape)

    def holed(rng: Any, dtype: Any) -> Any:
        x = make(rng, dtype)
        x.reshape(-1)[1::3] = 0
        return x

    return holed


cumprod_op: Op = indexed(
    "cumprod",
    ("x",),
    params=("axis", "reverse", "exclusive"),
    impl=_cumprod_impl,
    abstract=_accumulated("multiply"),
    vjp=_cumprod_vjp,
    jvp=_cumprod_jvp,
    saves=lambda needed, params: Saved((0,)),
    batch=_batch(lambda: cumprod_op),
    samples=(
        sample(normal(3, 4), params=(1, False, False)),
        sample(_holed(3, 4), params=(0, True, True)),
        sample(_holed(6), params=(0, False, False)),
        sample(normal(1), params=(0, False, True)),
        sample(normal(0, 3), params=(0, False, True)),
    ),
    doc="Running product along an axis, from the start or from the end, with or without the element itself.",
)
_cumprod = public(cumprod_op)


def cumprod(x: Any, axis: int | None = None) -> Any:
    """Product of the elements up to each one, along an axis. The gradient is exact where factors are 0.

    Args:
        x: tensor of any shape; booleans and integers are multiplied as 64-bit integers.
        axis: the axis; by default the product runs through all elements of x, in C order.

    Returns:
        Tensor of the shape of x; without an axis, of shape (x.size,).

    Raises:
        ValueError: the axis is out of bounds.

    Example:
        >>> import gradcore as gc
        >>> gc.cumprod(gc.tensor([1.0, 2.0, 3.0]))
        tensor([1., 2., 6.], dtype=float32, device='cpu')
    """
    return _cumprod(*with_axis(named_tensor(x, "cumprod"), axis), False, False)


# --- prod -------------------------------------------------------------------------------------------------------------


def _others(x: Any, axes: Axes) -> Any:
    """The product over axes of all elements but the one at each place."""
    flat = folded(x, axes)
    last = len(flat.shape) - 1
    return unfolded(mul(_before(flat, last, False), _before(flat, last, True)), x.shape, axes)


prod_op: Op = indexed(
    "prod",
    ("x",),
    params=("axes", "keepdims"),
    impl=reduce_by("multiply"),
    abstract=shape_rule("multiply"),
    **weighted(lambda x, y, params: _others(x, params[0]), Saved((0,))),
    batch=batch_axes(lambda: prod_op),
    samples=(
        sample(normal(3, 2), params=((0, 1), False)),
        sample(_holed(3, 4), params=((1,), True)),
        sample(_holed(2, 3, 2), params=((0, 2), False)),
        sample(normal(), params=((), False)),
        sample(normal(0, 3), params=((0,), False)),
    ),
    doc="Product over axes.",
)
_prod = public(prod_op)


def prod(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """Product over axes; 1 where there is nothing to multiply. The gradient is exact where factors are 0.

    Args:
        x: tensor of any shape; booleans and integers are multiplied as 64-bit integers.
        axis: an axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.

    Raises:
        ValueError: an axis is out of bounds, or named twice.

    Example:
        >>> import gradcore as gc
        >>> gc.prod(gc.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1)
        tensor([ 2., 12.], dtype=float32, device='cpu')
        >>> gc.grad(gc.prod)(gc.tensor([0.0, 2.0, 3.0]))
        tensor([6., 0., 0.], dtype=float32, device='cpu')
    """
    x = named_tensor(x, "prod")
    return _prod(x, normal_axes(axis, len(x.shape)), keepdims)
