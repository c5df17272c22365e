"""Ops that change the shape: reshape, transpose, broadcast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.record import sum_to
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.arguments import as_integers, distinct_axes
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import first_operand, linear, normal_axes, normal_axis, public, viewed

Shape = tuple[int, ...]

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
    if x.size != math.prod(shape):
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
reshape_to = public(reshape_op, lambda needed: lambda r, g: (g.reshape(r.avals[0]),))


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
    wanted = as_integers(shape[0] if len(shape) == 1 else shape, "reshape", "sizes")
    x = named_tensor(x, "reshape")
    return reshape_to(x, _resolved(wanted, x.shape))


def _resolved(shape: Shape, old: Shape) -> Shape:
    if min(shape, default=0) >= 0:
        return shape
    if min(shape) < -1 or shape.count(-1) > 1:
        raise ValueError(f"'reshape': only one size of {shape} may be negative, -1")
    known = math.prod([n for n in shape if n != -1])
    total = math.prod(old)
    if known == 0 or total % known:
        raise ValueError(f"'reshape': {total} elements of shape {old} do not fit shape {shape}")
    return tuple([total // known if n == -1 else n for n in shape])


def ravel(x: Any) -> Any:
    """All elements on one axis, in C order.

    Example:
        >>> import gradcore as gc
        >>> gc.ravel(gc.tensor([[1, 2], [3, 4]]))
        tensor([1, 2, 3, 4], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "ravel")
    return reshape_to(x, (math.prod(x.shape),))


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


transpose_to = public(transpose_op, _turned_back)


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
    x = named_tensor(x, "transpose")
    ndim = len(x.shape)
    axes = range(ndim)[::-1] if axes is None else as_integers(axes, "transpose", "axes")
    order = tuple([normal_axis(a, ndim) for a in axes])
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"'transpose': axes {tuple(axes)} are not an order of the {ndim} axes of {x.shape}")
    return transpose_to(x, order)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged; a view.

    Example:
        >>> import gradcore as gc
        >>> gc.swapaxes(gc.zeros(2, 3, 4), 0, -1).shape
        (4, 3, 2)
    """
    x = named_tensor(x, "swapaxes")
    order = list(range(len(x.shape)))
    a, b = [normal_axis(k, len(order)) for k in as_integers((axis1, axis2), "swapaxes", "axes")]
    order[a], order[b] = order[b], order[a]
    return transpose_to(x, tuple(order))


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """One axis, or several, moved to other places; the others keep their order; a view.

    Args:
        x: tensor of any shape.
        source: where the axes are.
        destination: where they go, one place for each.

    Raises:
        ValueError: an axis is out of bounds or named twice, or there are more of one than of the other.

    Example:
        >>> import gradcore as gc
        >>> gc.moveaxis(gc.zeros(2, 3, 4), 0, -1).shape
        (3, 4, 2)
        >>> gc.moveaxis(gc.zeros(2, 3, 4), (0, 1), (-1, 0)).shape
        (3, 4, 2)
    """
    x = named_tensor(x, "moveaxis")
    ndim = len(x.shape)
    moved, places = [distinct_axes(axes, ndim, "moveaxis") for axes in (source, destination)]
    if len(moved) != len(places):
        raise ValueError(f"'moveaxis': {len(moved)} axes cannot move to {len(places)} places")
    order = [axis for axis in range(ndim) if axis not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return transpose_to(x, tuple(order))


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

    Example:
        >>> import gradcore as gc
        >>> gc.broadcast_to(gc.tensor([1, 2]), (2, 2))
        tensor([[1, 2],
                [1, 2]], dtype=int64, device='cpu')
    """
    return _broadcast_to(x, as_integers(shape, "broadcast_to", "sizes"))


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

    Example:
        >>> import gradcore as gc
        >>> gc.expand_dims(gc.zeros(2, 3), (0, -1)).shape
        (1, 2, 3, 1)
    """
    x = named_tensor(x, "expand_dims")
    axes = as_integers(axis, "expand_dims", "axes")
    return _expand_dims(x, normal_axes(axes, len(x.shape) + len(axes)))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Without axes of size 1; a view where memory allows it.

    Args:
        x: tensor of any shape.
        axis: the axes to drop; all of size 1 by default.

    Raises:
        ValueError: an axis has another size than 1.

    Example:
        >>> import gradcore as gc
        >>> x = gc.zeros(1, 3, 1)
        >>> gc.squeeze(x).shape, gc.squeeze(x, -1).shape
        ((3,), (1, 3))
    """
    x = named_tensor(x, "squeeze")
    sizes = x.shape
    axes = [a for a, n in enumerate(sizes) if n == 1] if axis is None else normal_axes(axis, len(sizes))
    if any(sizes[a] != 1 for a in axes):
        raise ValueError(f"'squeeze': axes {axis} of shape {sizes} do not all have size 1; use reshape or index them")
    return reshape_to(x, tuple([n for a, n in enumerate(sizes) if a not in axes]))
