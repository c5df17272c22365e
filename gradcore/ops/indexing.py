"""Slices and gathers, and their transposes.  `x[key]` is in `subscripts.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.autodiff.record import zeros
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.ops.operands import as_operand, as_tensor
from gradcore.ops.samples import integers, normal, sample
from gradcore.ops.shapes import broadcast_to, ravel, reshape, transpose_op
from gradcore.ops.structural import first_operand, indexed, linear, normal_axis, public, viewed

Index = tuple[tuple[int, int, int], ...]  # start, stop, step for each axis, as Python's range takes them


def _few(dtype: Any, *shape: int, low: int = 0, high: int = 3) -> Any:
    """Integers of a small dtype, for samples."""
    return lambda rng, floating: rng.integers(low, high, shape).astype(dtype)


# --- slice and its transpose ------------------------------------------------------------------------------------------


def _slices(index: Index) -> tuple[slice, ...]:
    """A stop of -1 with a negative step means: through the first element."""
    return tuple([slice(a, None if b < 0 else b, s) for a, b, s in index])


def _whole(n: int) -> tuple[int, int, int]:
    return 0, n, 1


def _slice_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    return bind(slice_op, xs, ((_whole(size), *params[0]),))


slice_op: Op = linear(
    "slice",
    ("x",),
    params=("index",),
    impl=lambda xp, out, x, index: x[_slices(index)],
    abstract=viewed(lambda x, index: x[_slices(index)]),
    alias=first_operand,
    transpose=lambda g, avals, params, i: bind(unslice_op, (g,), (avals[0].shape, params[0])),
    batch=_slice_batch,
    half=False,
    samples=(
        sample(normal(5, 4), params=(((1, 5, 2), (0, 4, 1)),)),
        sample(normal(5), params=(((4, -1, -2),),)),
        sample(normal(3), params=(((0, 0, 1),),)),
    ),
    doc="Every step-th element from start to stop on each axis; a view.",
)
take_slice = public(slice_op, lambda needed: lambda r, g: (_unslice_impl(None, None, g, r.avals[0], r.params[0]),))


def _unslice_impl(xp: Any, out: Any, g: Any, shape: tuple[int, ...], index: Index) -> Any:
    if out is None:
        out = (np if xp is None else xp.np).zeros(shape, g.dtype)
    else:
        out.fill(0)
    out[_slices(index)] = g
    return out


def _unslice_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    shape, index = params
    return bind(unslice_op, xs, ((size, *shape), (_whole(size), *index)))


unslice_op: Op = linear(
    "unslice",
    ("x",),
    params=("shape", "index"),
    impl=_unslice_impl,
    abstract=lambda x, shape, index: x.update(shape=shape),
    transpose=lambda g, avals, params, i: bind(slice_op, (g,), (params[1],)),
    batch=_unslice_batch,
    half=False,
    samples=(sample(normal(2, 3), params=((5, 4), ((1, 5, 2), (0, 3, 1)))),),
    doc="The transpose of slice: zeros of a shape with x written into the slice.",
)

# --- take and scatter_add ---------------------------------------------------------------------------------------------


def _check_range(indices: Any, size: int) -> None:
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise IndexError(f"an index is out of bounds for an axis of size {size}")


def _flat_impl(xp: Any, out: Any, indices: Any, size: int, axis: int) -> Any:
    _check_range(indices, size)
    if out is None:
        out = xp.empty(indices.shape, INT64)
    xp.np.copyto(out, indices)
    out[out < 0] += size
    starts = xp.np.arange(indices.shape[axis], dtype=INT64) * size
    out += starts.reshape((-1, *(1,) * (indices.ndim - axis - 1)))
    return out


INT64 = np.dtype(np.int64)
flat_indices_op: Op = indexed(
    "flat_indices",
    ("indices",),
    params=("size", "axis"),
    impl=_flat_impl,
    abstract=lambda indices, size, axis: indices.update(shape=indices.shape, dtype=INT64),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(flat_indices_op, xs, (params[0], params[1] + 1)),
    half=False,
    samples=(
        sample(integers(2, 3, low=-3), params=(3, 0)),
        sample(integers(2, 3, low=-3), params=(3, 1)),
        sample(_few(np.uint8, 3, 2, high=100), params=(100, 0)),
        sample(_few(np.int8, 3, low=-100, high=100), params=(100, 0)),
        sample(integers(0, 2), params=(3, 0)),
    ),
    doc="Positions in examples of a size, as positions in all examples joined; `axis` counts the examples.",
)
_flat_indices = public(flat_indices_op)


def _take_impl(xp: Any, out: Any, x: Any, indices: Any, axis: int) -> Any:
    if out is None:
        return xp.np.asarray(xp.np.take(x, indices, axis), order="C")
    _check_range(indices, x.shape[axis])
    return xp.np.take(x, indices, axis, out=out, mode="wrap")


def _take_shape(x: Aval, indices: Aval, axis: int) -> Aval:
    return x.update(shape=(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _flat_batch(size: int, x: Any, indices: Any, axis: int) -> tuple[Any, Any]:
    """Both mapped: fold the examples into the axis; each example's indices, checked, move to its own part."""
    n = x.shape[axis + 1]
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(x.shape)))
    folded = bind(transpose_op, (x,), (order,))
    folded = reshape(folded, (*folded.shape[:axis], size * n, *folded.shape[axis + 2 :]))
    return folded, _flat_indices(indices, n, 0)


def _axis_to_front(x: Any, axis: int) -> Any:
    return bind(transpose_op, (x,), ((axis, *[a for a in range(len(x.shape)) if a != axis]),))


def _take_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    (axis,) = params
    x, indices = xs
    if mapped == [True, False]:
        return bind(take_op, (x, indices), (axis + 1,))
    if mapped[0]:
        x, indices = _flat_batch(size, x, indices, axis)
    return _axis_to_front(bind(take_op, (x, indices), (axis,)), axis)


def _take_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    return bind(scatter_add_op, (zeros(aval_of(xs[0]).update(shape=xs[0].shape), g), xs[1], g), params), None


take_op: Op = indexed(
    "take",
    ("x", "indices"),
    params=("axis",),
    impl=_take_impl,
    abstract=_take_shape,
    differentiable=(True, False),
    vjp=_take_vjp,
    jvp=lambda tangents, xs, ys, params: bind(take_op, (tangents[0], xs[1]), params),
    saves=lambda needed, params: Saved((1,)),
    batch=_take_batch,
    half=False,
    samples=(
        sample(normal(3, 4), integers(2, low=-3), params=(0,)),
        sample(normal(3, 4), integers(2, 2), params=(1,)),
        sample(normal(3), integers(), params=(0,)),
        sample(normal(3), integers(0), params=(0,)),
        sample(normal(60), _few(np.uint8, 4, high=60), params=(0,)),
        sample(normal(2, 50), _few(np.int8, 3, low=-50, high=50), params=(1,)),
    ),
    doc="Elements at integer positions along an axis.",
)
take_axis = public(take_op)


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Elements at integer positions along an axis; negative positions count from the end.

    Args:
        x: tensor of shape (*before, n, *after).
        indices: integers of any shape.
        axis: the axis of size n; by default positions count through all elements of x, in C order.

    Returns:
        Tensor of shape (*before, *indices.shape, *after); without an axis, of the shape of the indices.

    Raises:
        IndexError: a position is outside [-n, n).
        TypeError: the positions are not integers.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> gc.take(x, [1, 1, 0], axis=0)
        tensor([[3., 4.],
                [3., 4.],
                [1., 2.]], dtype=float32, device='cpu')
        >>> gc.take(x, [0, -1])
        tensor([1., 4.], dtype=float32, device='cpu')
    """
    x = as_tensor(as_operand(x, take_op))
    if axis is None:
        x, axis = ravel(x), 0
    return take_axis(x, as_indices(indices), normal_axis(axis, len(x.shape)))


def as_indices(indices: Any) -> Any:
    """Integers of any shape as a Tensor."""
    indices = as_tensor(without_lists(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, not {indices.dtype}")
    return indices


def without_lists(indices: Any) -> Any:
    """An array in place of a list; an empty list is one of integers."""
    if not isinstance(indices, (list, tuple, range)):
        return indices
    array = np.asarray(indices)
    return array if array.size else array.astype(INT64)


def _scatter_impl(xp: Any, out: Any, x: Any, indices: Any, updates: Any, axis: int) -> Any:
    if out is None:
        out = xp.empty(x.shape, x.dtype)
    xp.np.copyto(out, x)
    xp.np.add.at(out, (*[slice(None)] * axis, indices), updates)
    return out


def _scatter_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    return g if needed[0] else None, None, bind(take_op, (g, xs[1]), params) if needed[2] else None


def _scatter_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    moved = [zeros(aval_of(x), x) if t is None else t for t, x in zip(tangents, xs, strict=True)]
    return bind(scatter_add_op, (moved[0], xs[1], moved[2]), params)


def _scatter_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    (axis,) = params
    x, updates = [xs[k] if mapped[k] else broadcast_to(xs[k], (size, *xs[k].shape)) for k in (0, 2)]
    indices = xs[1]
    if not mapped[1]:
        return bind(scatter_add_op, (x, indices, updates), (axis + 1,))
    n = x.shape[axis + 1]
    folded, shifted = _flat_batch(size, x, indices, axis)
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(updates.shape)))
    result = bind(scatter_add_op, (folded, shifted, bind(transpose_op, (updates,), (order,))), (axis,))
    return _axis_to_front(reshape(result, (*result.shape[:axis], size, n, *result.shape[axis + 1 :])), axis)


scatter_add_op: Op = indexed(
    "scatter_add",
    ("x", "indices", "updates"),
    params=("axis",),
    impl=_scatter_impl,
    abstract=lambda x, indices, updates, axis: x.update(shape=x.shape),
    differentiable=(True, False, True),
    vjp=_scatter_vjp,
    jvp=_scatter_jvp,
    saves=lambda needed, params: Saved((1,) if needed[2] else ()),
    batch=_scatter_batch,
    samples=(
        sample(normal(3, 4), integers(2, low=-3), normal(2, 4), params=(0,)),
        sample(normal(3, 4), integers(2, 2), normal(3, 2, 2), params=(1,)),
        sample(normal(3), integers(0), normal(0), params=(0,)),
        sample(normal(60), _few(np.int8, 4, low=-60, high=60), normal(4), params=(0,)),
        sample(normal(100), _few(np.uint8, 2, high=100), normal(2), params=(0,)),
    ),
    doc="Add updates at integer positions along an axis; repeated positions add up, in order.",
)
_scatter_add = public(scatter_add_op)


def scatter_add(x: Any, indices: Any, updates: Any, axis: int = 0) -> Any:
    """Add `updates` to x at integer positions along an axis; repeated positions add up, in order.

    Args:
        x: tensor of shape (*before, n, *after).
        indices: integers of any shape.
        updates: tensor of shape (*before, *indices.shape, *after).
        axis: the axis of size n.

    Returns:
        A new tensor like x.

    Raises:
        IndexError: a position is outside [-n, n).
        ValueError: the shape of the updates does not fit.

    Example:
        >>> import gradcore as gc
        >>> gc.scatter_add(gc.zeros(3), [0, 2, 2], gc.tensor([1.0, 10.0, 20.0]))
        tensor([ 1.,  0., 30.], dtype=float32, device='cpu')
    """
    x, updates, indices = as_tensor(x), as_tensor(updates), as_indices(indices)
    axis = normal_axis(axis, len(x.shape))
    expected = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if updates.shape != expected:
        raise ValueError(f"'scatter_add': updates have shape {updates.shape}, expected {expected}")
    return _scatter_add(x, indices, updates, axis)
