"""Ops that move elements without changing them: cast, reshape, transpose, broadcast, slice, pad, concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.record import sum_to
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import OPS, Op, Promotion
from gradcore.ops.operands import as_operand, as_tensor, bind_general, common_dtype
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import first_operand, indexed, linear, normal_axis, public, viewed

Shape = tuple[int, ...]

# --- cast and stop_gradient -------------------------------------------------------------------------------------------


def _cast_impl(xp: Any, out: Any, x: Any, dtype: Any) -> Any:
    if out is None:
        return x.astype(dtype, order="C")
    xp.np.copyto(out, x, casting="unsafe")
    return out


cast_op: Op = linear(
    "cast",
    ("x",),
    params=("dtype",),
    impl=_cast_impl,
    abstract=lambda x, dtype: x.update(dtype=dtype, weak=False, shape=x.shape),
    transpose=lambda g, avals, params, i: bind(cast_op, (g,), (avals[0].dtype,)),
    batch=lambda size, mapped, xs, params: bind(cast_op, xs, params),
    half=False,
    samples=(sample(normal(3, 4), params=(np.dtype(np.float64),)), sample(normal(0), params=(np.dtype(np.float64),))),
    doc="The same numbers in another dtype.",
)


def cast(x: Any, dtype: Any) -> Any:
    """The same numbers in another dtype; a float that becomes an integer loses its gradient.

    Args:
        x: tensor of any shape.
        dtype: anything that `numpy.dtype` takes.
    """
    return bind_general(cast_op, (x,), (np.dtype(dtype),))  # a short-cut record would not know the dtype of x


stop_gradient_op: Op = indexed(
    "stop_gradient",
    ("x",),
    impl=lambda xp, out, x: x[...],
    abstract=viewed(lambda x: x[...]),
    alias=first_operand,
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(stop_gradient_op, xs, params),
    half=False,
    samples=(sample(normal(3, 4)), sample(normal())),
    doc="The same values, as a constant: no gradient flows back.",
)
stop_gradient = public(stop_gradient_op)

# --- reshape ----------------------------------------------------------------------------------------------------------


def _reshape_impl(xp: Any, out: Any, x: Any, shape: Shape) -> Any:
    """A view of contiguous memory, else a C-contiguous copy (never a view that depends on luck)."""
    if x.flags.c_contiguous:
        return x.reshape(shape)
    if out is None:
        return xp.np.ascontiguousarray(x).reshape(shape)
    xp.np.copyto(out.reshape(x.shape), x)
    return out


def _check_reshape(x: Aval, shape: Shape) -> Aval:
    if x.size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"'reshape': {x.size} elements of shape {x.shape} do not fit shape {shape}")
    return x.update(shape=shape)


reshape_op: Op = linear(
    "reshape",
    ("x",),
    params=("shape",),
    impl=_reshape_impl,
    abstract=_check_reshape,
    alias=lambda x, shape: 0 if x.strides is None else None,
    transpose=lambda g, avals, params, i: bind(reshape_op, (g,), (avals[0].shape,)),
    batch=lambda size, mapped, xs, params: bind(reshape_op, xs, ((size, *params[0]),)),
    half=False,
    samples=(
        sample(normal(3, 4), params=((2, 6),)),
        sample(normal(), params=((1, 1),)),
        sample(normal(0, 3), params=((3, 0),)),
    ),
    doc="The same elements in C order in another shape.",
)
_reshape = public(reshape_op, lambda needed: lambda r, g: (g.reshape(r.avals[0]),))


def reshape(x: Any, *shape: Any) -> Any:
    """The same elements in C order in another shape; one size may be -1.

    >>> import gradcore as gc
    >>> gc.reshape(gc.tensor([1.0, 2.0, 3.0, 4.0]), (2, -1)).shape
    (2, 2)
    """
    wanted = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
    x = as_operand(x, reshape_op)
    return _reshape(x, _resolved(tuple(map(int, wanted)), as_tensor(x).shape))


def _resolved(shape: Shape, old: Shape) -> Shape:
    if -1 not in shape:
        return shape
    if shape.count(-1) > 1:
        raise ValueError(f"'reshape': only one size of {shape} may be -1")
    known = int(np.prod([n for n in shape if n != -1], dtype=np.int64))
    total = int(np.prod(old, dtype=np.int64))
    if known == 0 or total % known:
        raise ValueError(f"'reshape': {total} elements of shape {old} do not fit shape {shape}")
    return tuple([total // known if n == -1 else n for n in shape])


def ravel(x: Any) -> Any:
    """All elements on one axis, in C order."""
    return reshape(x, -1)


# --- transpose --------------------------------------------------------------------------------------------------------


def _inverse(axes: Shape) -> Shape:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


transpose_op: Op = linear(
    "transpose",
    ("x",),
    params=("axes",),
    impl=lambda xp, out, x, axes: x.transpose(axes),
    abstract=viewed(lambda x, axes: x.transpose(axes)),
    alias=first_operand,
    transpose=lambda g, avals, params, i: bind(transpose_op, (g,), (_inverse(params[0]),)),
    batch=lambda size, mapped, xs, params: bind(transpose_op, xs, ((0, *[a + 1 for a in params[0]]),)),
    half=False,
    samples=(
        sample(normal(3, 4), params=((1, 0),)),
        sample(normal(2, 3, 4), params=((2, 0, 1),)),
        sample(normal(), params=((),)),
    ),
    doc="Axes in another order; a view.",
)


def _turned_back(needed: Any) -> Any:
    return lambda r, g: (np.asarray(g.transpose(_inverse(r.params[0])), order="C"),)


_transpose = public(transpose_op, _turned_back)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """Axes in another order (reversed by default); a view."""
    x = as_tensor(as_operand(x, transpose_op))
    ndim = len(x.shape)
    order = tuple(range(ndim))[::-1] if axes is None else tuple([normal_axis(int(a), ndim) for a in axes])
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"'transpose': axes {tuple(axes or ())} are not an order of the {ndim} axes of {x.shape}")
    return _transpose(x, order)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged; a view."""
    x = as_tensor(as_operand(x, transpose_op))
    order = list(range(len(x.shape)))
    a, b = normal_axis(axis1, len(order)), normal_axis(axis2, len(order))
    order[a], order[b] = order[b], order[a]
    return _transpose(x, tuple(order))


# --- broadcast_to and expand_dims -------------------------------------------------------------------------------------


def _broadcast_transpose(g: Any, avals: Any, params: Any, i: int) -> Any:
    return sum_to(g, avals[0].shape)


def _broadcast_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    (x,) = xs
    shape = params[0]
    missing = len(shape) - (len(x.shape) - 1)
    x = bind(reshape_op, (x,), ((size, *(1,) * missing, *x.shape[1:]),)) if missing else x
    return bind(broadcast_to_op, (x,), ((size, *shape),))


broadcast_to_op: Op = linear(
    "broadcast_to",
    ("x",),
    params=("shape",),
    impl=lambda xp, out, x, shape: xp.np.broadcast_to(x, shape),
    abstract=viewed(lambda x, shape: np.broadcast_to(x, shape)),
    alias=first_operand,
    transpose=_broadcast_transpose,
    batch=_broadcast_batch,
    half=False,
    samples=(
        sample(normal(3, 1), params=((2, 3, 4),)),
        sample(normal(), params=((3,),)),
        sample(normal(1, 3), params=((0, 3),)),
    ),
    doc="Repeat along new axes and axes of size 1; a view.",
)
_broadcast_to = public(broadcast_to_op)


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """Repeat along new axes and axes of size 1, by NumPy's rules; a view."""
    return _broadcast_to(x, tuple(map(int, shape)))


def _insert(x: Any, axes: Shape) -> Any:
    index: list[Any] = [slice(None)] * (x.ndim + len(axes))
    for axis in axes:
        index[axis] = None
    return x[tuple(index)]


expand_dims_op: Op = linear(
    "expand_dims",
    ("x",),
    params=("axes",),
    impl=lambda xp, out, x, axes: _insert(x, axes),
    abstract=viewed(_insert),
    alias=first_operand,
    transpose=lambda g, avals, params, i: bind(reshape_op, (g,), (avals[0].shape,)),
    batch=lambda size, mapped, xs, params: bind(expand_dims_op, xs, (tuple([a + 1 for a in params[0]]),)),
    half=False,
    samples=(sample(normal(3, 4), params=((0, 2),)), sample(normal(), params=((0,),))),
    doc="New axes of size 1; a view.",
)
_expand_dims = public(expand_dims_op)


def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """New axes of size 1 at the given places of the result; a view."""
    x = as_tensor(as_operand(x, expand_dims_op))
    axes = [axis] if isinstance(axis, (int, np.integer)) else list(axis)
    ndim = len(x.shape) + len(axes)
    return _expand_dims(x, tuple(sorted(normal_axis(int(a), ndim) for a in axes)))


# --- pad and concatenate ----------------------------------------------------------------------------------------------


def _pad_impl(xp: Any, out: Any, x: Any, widths: Any, value: Any) -> Any:
    if out is None:
        out = xp.empty(tuple([n + low + high for n, (low, high) in zip(x.shape, widths, strict=True)]), x.dtype)
    out.fill(value)
    out[tuple([slice(low, low + n) for n, (low, _) in zip(x.shape, widths, strict=True)])] = x
    return out


def _pad_shape(x: Aval, widths: Any, value: Any) -> Aval:
    return x.update(shape=tuple([n + low + high for n, (low, high) in zip(x.shape, widths, strict=True)]))


def _unpad(g: Any, avals: Any, params: Any, i: int) -> Any:
    index = tuple([(low, low + n, 1) for n, (low, _) in zip(avals[0].shape, params[0], strict=True)])
    return bind(OPS["slice"], (g,), (index,))


pad_op: Op = linear(
    "pad",
    ("x",),
    params=("widths", "value"),
    impl=_pad_impl,
    abstract=_pad_shape,
    transpose=_unpad,
    jvp=lambda tangents, xs, ys, params: bind(pad_op, tangents, (params[0], 0)),
    batch=lambda size, mapped, xs, params: bind(pad_op, xs, (((0, 0), *params[0]), params[1])),
    half=False,
    samples=(
        sample(normal(3, 4), params=(((1, 0), (2, 3)), 0)),
        sample(normal(2), params=(((0, 2),), 1.5)),
        sample(normal(0), params=(((1, 1),), 0)),
    ),
    doc="A border of one value.",
)
_pad = public(pad_op)


def pad(x: Any, pad_width: Any, constant_values: float = 0) -> Any:
    """A border of one value around a tensor.

    Args:
        x: tensor of any shape.
        pad_width: `(before, after)` for each axis, one such pair for all axes, or one number; not negative.
        constant_values: the value.
    """
    x = as_tensor(as_operand(x, pad_op))
    widths = np.broadcast_to(np.asarray(pad_width, dtype=np.int64), (len(x.shape), 2))
    if (widths < 0).any():
        raise ValueError(f"'pad': pad_width {pad_width} has negative entries; use slicing to cut")
    return _pad(x, tuple([(int(a), int(b)) for a, b in widths]), constant_values)


def _concatenate_impl(xp: Any, out: Any, *operands: Any) -> Any:
    *arrays, axis = operands
    if out is not None:
        return xp.np.concatenate(arrays, axis, out=out)
    return xp.np.ascontiguousarray(xp.np.concatenate(arrays, axis))


def _concatenate_shape(*operands: Any) -> Aval:
    *avals, axis = operands
    shapes = [a.shape for a in avals]
    rests = {(*s[:axis], *s[axis + 1 :]) for s in shapes}
    if len(rests) > 1:
        raise ValueError(f"'concatenate': shapes {shapes} differ on another axis than {axis}")
    total = sum(s[axis] for s in shapes)
    return avals[0].update(shape=(*shapes[0][:axis], total, *shapes[0][axis + 1 :]))  # type: ignore[no-any-return]


def _piece(g: Any, avals: Any, params: Any, i: int) -> Any:
    (axis,) = params
    start = sum(a.shape[axis] for a in avals[:i])
    index = [(0, n, 1) for n in g.shape]
    index[axis] = (start, start + avals[i].shape[axis], 1)
    return bind(OPS["slice"], (g,), (tuple(index),))


def _concatenate_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    whole = [x if own else bind(broadcast_to_op, (x,), ((size, *x.shape),)) for x, own in zip(xs, mapped, strict=True)]
    return bind(concatenate_op, whole, (params[0] + 1,))


concatenate_op: Op = linear(
    "concatenate",
    ("tensors",),
    params=("axis",),
    variadic=True,
    impl=_concatenate_impl,
    abstract=_concatenate_shape,
    transpose=_piece,
    batch=_concatenate_batch,
    half=False,
    samples=(
        sample(normal(2, 3), normal(2, 1), normal(2, 0), params=(1,)),
        sample(normal(2), normal(3), params=(0,)),
    ),
    doc="Tensors joined along an axis.",
)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along an axis on which alone their shapes may differ."""
    if not len(tensors):
        raise ValueError("'concatenate' needs at least one tensor")
    operands = [as_tensor(as_operand(t, concatenate_op)) for t in tensors]
    dtype = common_dtype(operands, Promotion.COMMON)
    operands = [t if t.dtype == dtype else cast(t, dtype) for t in operands]
    return bind_general(concatenate_op, operands, (normal_axis(axis, len(operands[0].shape)),))


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis."""
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


def moveaxis(x: Any, source: int, destination: int) -> Any:
    """One axis moved to another place; a view."""
    x = as_tensor(as_operand(x, transpose_op))
    order = list(range(len(x.shape)))
    axis = order.pop(normal_axis(source, len(order)))
    order.insert(normal_axis(destination, len(order) + 1), axis)
    return _transpose(x, tuple(order))
