"""Gathers along an axis, and their transposes.  `x[key]` is in `subscripts.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcore.autodiff.record import add, zeros
from gradcore.backend import backend_on
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import bind
from gradcore.core.evaluate import SCALARS
from gradcore.core.op import OPS, Op, Saved
from gradcore.core.tensor import Tensor
from gradcore.kernels.indexing import POSITIONS, TAKE
from gradcore.ops.conversion import beside, cast
from gradcore.ops.operands import as_tensor, named_tensor
from gradcore.ops.samples import integers, normal, sample
from gradcore.ops.shapes import broadcast_to, ravel, reshape, transpose_op
from gradcore.ops.structural import indexed, normal_axis, public


def _few(dtype: Any, *shape: int, low: int = 0, high: int = 3) -> Any:
    """Integers of a small dtype, for samples."""
    return lambda rng, floating: rng.integers(low, high, shape).astype(dtype)


def _check_range(indices: Any, size: int, axis: int) -> None:
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        bad = indices.max() if indices.min() >= -size else indices.min()
        raise IndexError(f"index {bad} is out of bounds for axis {axis} with size {size}")


def _positions_impl(xp: Any, out: Any, indices: Any, size: int, axis: int) -> Any:
    _check_range(indices, size, axis)
    if out is None:
        out = xp.empty(indices.shape, INT64)
    xp.np.copyto(out, indices, casting="same_kind")
    out[out < 0] += size
    return out


INT64 = np.dtype(np.int64)
positions_op: Op = indexed(
    "positions",
    ("indices",),
    params=("size", "axis"),
    impl=_positions_impl,
    kernels={"cuda": POSITIONS},
    abstract=lambda indices, size, axis: indices.update(shape=indices.shape, dtype=INT64),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(positions_op, xs, params),
    half=False,
    samples=(
        sample(integers(2, 3, low=-3), params=(3, 0)),
        sample(integers(low=-3), params=(3, 1)),
        sample(_few(np.uint8, 3, 2, high=100), params=(100, 0)),
        sample(_few(np.int8, 3, low=-100, high=100), params=(100, 0)),
        sample(integers(0, 2), params=(0, 0)),
    ),
    doc="Indices into an axis of a size, checked, counted from its start; `axis` is for the message.",
)
positions = public(positions_op)


def _take_impl(xp: Any, out: Any, x: Any, indices: Any, axis: int) -> Any:
    if out is not None or not x.size:  # of no elements, NumPy takes any
        _check_range(indices, x.shape[axis], axis)
    if out is None:
        return xp.np.asarray(xp.np.take(x, indices, axis), order="C")
    return xp.np.take(x, indices, axis, out=out, mode="wrap")


def _take_shape(x: Aval, indices: Aval, axis: int) -> Aval:
    return x.update(shape=(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _flat_batch(size: int, x: Any, indices: Any, axis: int) -> tuple[Any, Any]:
    """Both mapped: fold the examples into the axis; each example's indices, checked, move to its own part."""
    n = x.shape[axis + 1]
    order = (*range(1, axis + 1), 0, *range(axis + 1, len(x.shape)))
    folded = bind(transpose_op, (x,), (order,))
    folded = reshape(folded, (*folded.shape[:axis], size * n, *folded.shape[axis + 2 :]))
    starts = Tensor(backend_on(indices.aval.device).make("arange", 0, size, 1, INT64))
    starts = reshape(bind(OPS["mul"], (starts, n)), (size, *(1,) * (len(indices.shape) - 1)))
    return folded, add(positions(indices, n, axis), starts)


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
    kernels={"cuda": TAKE},
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
        IndexError: a position is outside [-n, n). On CUDA it wraps around instead: to look at the positions, the CPU
            would have to wait for the GPU.
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
    x = named_tensor(x, "take")
    if axis is None:
        x, axis = ravel(x), 0
    return take_axis(x, as_indices(indices, x), normal_axis(axis, len(x.shape)))


def as_indices(indices: Any, x: Any) -> Any:
    """Integers of any shape as a Tensor on the device of x."""
    indices = as_tensor(without_lists(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, not {indices.dtype}")
    return beside(x, indices)


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
    xp.add_at(out, indices, updates, axis)
    return out


def _scatter_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    return g if needed[0] else None, None, bind(take_op, (g, xs[1]), params) if needed[2] else None


def scatter_jvp(op: Callable[[], Op]) -> Callable[..., Any]:
    """The jvp of an op on (x, indices, updates) that is linear in x and updates."""

    def jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
        x, updates = [zeros(aval_of(xs[k]), xs[k]) if tangents[k] is None else tangents[k] for k in (0, 2)]
        return bind(op(), (x, xs[1], updates), params)

    return jvp


def scatter_batch(op: Callable[[], Op]) -> Callable[..., Any]:
    """The batch rule of an op on (x, indices, updates) with the axis as its first parameter."""

    def batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
        axis, *rest = params
        x, updates = [xs[k] if mapped[k] else broadcast_to(xs[k], (size, *xs[k].shape)) for k in (0, 2)]
        indices = xs[1]
        if not mapped[1]:
            return bind(op(), (x, indices, updates), (axis + 1, *rest))
        n = x.shape[axis + 1]
        folded, shifted = _flat_batch(size, x, indices, axis)
        order = (*range(1, axis + 1), 0, *range(axis + 1, len(updates.shape)))
        result = bind(op(), (folded, shifted, bind(transpose_op, (updates,), (order,))), params)
        return _axis_to_front(reshape(result, (*result.shape[:axis], size, n, *result.shape[axis + 1 :])), axis)

    return batch


scatter_add_op: Op = indexed(
    "scatter_add",
    ("x", "indices", "updates"),
    params=("axis",),
    impl=_scatter_impl,
    abstract=lambda x, indices, updates, axis: x.update(shape=x.shape),
    differentiable=(True, False, True),
    vjp=_scatter_vjp,
    jvp=scatter_jvp(lambda: scatter_add_op),
    saves=lambda needed, params: Saved((1,) if needed[2] else ()),
    batch=scatter_batch(lambda: scatter_add_op),
    samples=(
        sample(normal(3, 4), integers(2, low=-3), normal(2, 4), params=(0,)),
        sample(normal(3, 4), integers(2, 2), normal(3, 2, 2), params=(1,)),
        sample(normal(3), integers(0), normal(0), params=(0,)),
        sample(normal(60), _few(np.int8, 4, low=-60, high=60), normal(4), params=(0,)),
        sample(normal(100), _few(np.uint8, 2, high=100), normal(2), params=(0,)),
    ),
    doc="Add updates at integer positions along an axis; repeated positions add up, in order.",
)
scatter_add_axis = public(scatter_add_op)


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
        IndexError: a position is outside [-n, n); on CUDA it wraps around, as for `take`.
        TypeError: the updates have a dtype that x cannot hold, by NumPy's same_kind rule.
        ValueError: the shape of the updates does not fit.

    Example:
        >>> import gradcore as gc
        >>> gc.scatter_add(gc.zeros(3), [0, 2, 2], gc.tensor([1.0, 10.0, 20.0]))
        tensor([ 1.,  0., 30.], dtype=float32, device='cpu')
    """
    x = named_tensor(x, "scatter_add")
    indices, updates = as_indices(indices, x), held(updates, x, "'scatter_add'")
    axis = normal_axis(axis, len(x.shape))
    expected = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if updates.shape != expected:
        raise ValueError(f"'scatter_add': updates have shape {updates.shape}, expected {expected}")
    return scatter_add_axis(x, indices, updates, axis)


def held(values: Any, x: Any, name: str) -> Any:
    """Values as a Tensor of the dtype and the device of an x that is to hold them."""
    dtype = x.dtype
    if isinstance(values, SCALARS) and not isinstance(values, np.generic):
        fits = np.result_type(dtype, values) == dtype
        values = Tensor(np.asarray(values, dtype)) if fits else values
    else:
        values = as_tensor(values)
        fits = np.can_cast(values.dtype, dtype, "same_kind")
    if not fits:
        got = getattr(values, "dtype", type(values).__name__)
        raise TypeError(f"{name}: x is {dtype} and cannot hold {got}; cast x or the values with .astype(dtype)")
    return beside(x, values if values.dtype == dtype else cast(values, dtype))
