"""Ops that change the dtype or the shape: cast, reshape, transpose, broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_integer
from typing import Any

import numpy as np

from gradcore.autodiff.record import sum_to
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.operands import as_operand, as_tensor, bind_general
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import first_operand, indexed, linear, normal_axes, normal_axis, public, viewed

Shape = tuple[int, ...]


def _integers(values: Any, name: str, what: str) -> Shape:
    """One integer or several, as a tuple."""
    try:
        return tuple(map(as_integer, values if hasattr(values, "__iter__") else (values,)))
    except TypeError:
        raise TypeError(f"'{name}': {what} must be integers, not {values!r}") from None


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
    samples=(
        sample(normal(3, 4), params=(np.dtype(np.float64),)),
        sample(normal(0), params=(np.dtype(np.float64),)),
        sample(normal(3, 4, low=-9.0, high=9.0), params=(np.dtype(np.int32),)),
        sample(normal(3, 4), params=(np.dtype(bool),)),
    ),
    doc="The same numbers in another dtype.",
)


def cast(x: Any, dtype: Any) -> Any:
    """The same numbers in another dtype; a float that becomes an integer loses its gradient.

    Args:
        x: tensor of any shape.
        dtype: anything that `numpy.dtype` takes.

    Example:
        >>> import gradcore as gc
        >>> gc.cast(gc.tensor([1.5, 2.5]), "int64")
        tensor([1, 2], dtype=int64, device='cpu')
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
    """The same elements in C order in another shape; a view where memory allows it.

    Args:
        x: tensor of any shape.
        shape: sizes, or one tuple of sizes; one of them may be -1.

    Raises:
        ValueError: the number of elements differs.

    Example:
        >>> import gradcore as gc
        >>> gc.reshape(gc.tensor([1.0, 2.0, 3.0, 4.0]), (2, -1)).shape
        (2, 2)
    """
    wanted = _integers(shape[0] if len(shape) == 1 else shape, "reshape", "sizes")
    x = as_operand(x, reshape_op)
    return _reshape(x, _resolved(wanted, as_tensor(x).shape))


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
    """All elements on one axis, in C order.

    >>> import gradcore as gc
    >>> gc.ravel(gc.tensor([[1, 2], [3, 4]]))
    tensor([1, 2, 3, 4], dtype=int64, device='cpu')
    """
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
    """Axes in another order; a view.

    Args:
        x: tensor of any shape.
        axes: the axis of x that each axis of the result is; reversed by default.

    Raises:
        ValueError: the axes are not an order of those of x.

    Example:
        >>> import gradcore as gc
        >>> gc.transpose(gc.zeros(2, 3, 4), (1, 0, 2)).shape
        (3, 2, 4)
    """
    x = as_tensor(as_operand(x, transpose_op))
    ndim = len(x.shape)
    axes = range(ndim)[::-1] if axes is None else _integers(axes, "transpose", "axes")
    order = tuple([normal_axis(a, ndim) for a in axes])
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"'transpose': axes {tuple(axes)} are not an order of the {ndim} axes of {x.shape}")
    return _transpose(x, order)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged; a view.

    >>> import gradcore as gc
    >>> gc.swapaxes(gc.zeros(2, 3, 4), 0, -1).shape
    (4, 3, 2)
    """
    x = as_tensor(as_operand(x, transpose_op))
    order = list(range(len(x.shape)))
    a, b = [normal_axis(k, len(order)) for k in _integers((axis1, axis2), "swapaxes", "axes")]
    order[a], order[b] = order[b], order[a]
    return _transpose(x, tuple(order))


def moveaxis(x: Any, source: int, destination: int) -> Any:
    """One axis moved to another place; a view.

    >>> import gradcore as gc
    >>> gc.moveaxis(gc.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """
    x = as_tensor(as_operand(x, transpose_op))
    source, destination = _integers((source, destination), "moveaxis", "axes")
    order = list(range(len(x.shape)))
    axis = order.pop(normal_axis(source, len(order)))
    order.insert(normal_axis(destination, len(order) + 1), axis)
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


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """Repeat along new axes and axes of size 1, by NumPy's rules; a view.

    >>> import gradcore as gc
    >>> gc.broadcast_to(gc.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]], dtype=int64, device='cpu')
    """
    return _broadcast_to(x, _integers(shape, "broadcast_to", "sizes"))


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
    """New axes of size 1 at the given places of the result; a view.

    >>> import gradcore as gc
    >>> gc.expand_dims(gc.zeros(2, 3), (0, -1)).shape
    (1, 2, 3, 1)
    """
    x = as_tensor(as_operand(x, expand_dims_op))
    axes = _integers(axis, "expand_dims", "axes")
    return _expand_dims(x, normal_axes(axes, len(x.shape) + len(axes)))
