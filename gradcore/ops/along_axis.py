"""Gathering with positions of its own for every row, and the transpose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.record import zeros
from gradcore.core.aval import aval_of
from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.kernels.indexing import TAKE_ALONG
from gradcore.ops.indexing import as_indices
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import integers, normal, sample
from gradcore.ops.shapes import broadcast_to, ravel, reshape_to, transpose_to
from gradcore.ops.structural import indexed, normal_axis, public


def with_axis(x: Any, axis: int | None) -> tuple[Any, int]:
    """A tensor and one of its axes; without an axis, the tensor with all elements on one."""
    if axis is not None:
        return x, normal_axis(axis, len(x.shape))
    return (x if len(x.shape) == 1 else ravel(x)), 0


def along(axis: int, start: int | None = None, stop: int | None = None, step: int | None = None) -> Any:
    """The key that slices one axis of an array."""
    return (*[slice(None)] * axis, slice(start, stop, step))


def _take_impl(xp: Any, out: Any, x: Any, indices: Any, axis: int) -> Any:
    found = xp.np.asarray(xp.np.take_along_axis(x, indices, axis), order="C")
    if out is None:
        return found
    xp.np.copyto(out, found)
    return out


def folded(x: Any, axes: Sequence[int]) -> Any:
    """The tensor with several axes as one, the last."""
    rest = [a for a in range(len(x.shape)) if a not in axes]
    order = (*rest, *axes)
    turned = x if order == tuple(range(len(x.shape))) else transpose_to(x, order)
    return reshape_to(turned, (*[x.shape[a] for a in rest], math.prod([x.shape[a] for a in axes])))


def unfolded(x: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """The inverse of `folded`, for a tensor that had this shape."""
    order = (*[a for a in range(len(shape)) if a not in axes], *axes)
    turned = reshape_to(x, tuple([shape[a] for a in order]))
    return transpose_to(turned, tuple([order.index(a) for a in range(len(shape))]))


def all_mapped(size: int, mapped: Any, xs: Any) -> list[Any]:
    """Operands of a batch rule, repeated for every example where they are not mapped."""
    return [x if own else broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]


def _take_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    blank = zeros(aval_of(xs[0]).update(shape=xs[0].shape), g)
    return bind(scatter_add_along_axis_op, (blank, xs[1], g), params), None


take_along_axis_op: Op = indexed(
    "take_along_axis",
    ("x", "indices"),
    params=("axis",),
    impl=_take_impl,
    kernels={"cuda": TAKE_ALONG},
    abstract=lambda x, indices, axis: x.update(shape=indices.shape),
    differentiable=(True, False),
    vjp=_take_vjp,
    jvp=lambda tangents, xs, ys, params: bind(take_along_axis_op, (tangents[0], xs[1]), params),
    saves=lambda needed, params: Saved((1,)),
    batch=lambda size, mapped, xs, params: bind(take_along_axis_op, all_mapped(size, mapped, xs), (params[0] + 1,)),
    half=False,
    samples=(
        sample(normal(3, 4), integers(2, 4, low=-3), params=(0,)),
        sample(normal(3, 4), integers(3, 5, low=-4, high=4), params=(1,)),
        sample(normal(2, 3, 2), integers(2, 1, 2), params=(1,)),
        sample(normal(3), integers(0), params=(0,)),
        sample(normal(0, 3), integers(0, 2), params=(1,)),
    ),
    doc="Elements at positions along an axis, other ones in every row.",
)
take_along = public(take_along_axis_op)


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """Elements at integer positions along an axis, where every row has positions of its own, as `argsort` gives them.

    Args:
        x: tensor of shape (*before, n, *after).
        indices: integers of shape (*before, m, *after); negative ones count from the end. Axes of size 1 of x and of
            the indices are repeated, but for the one named.
        axis: the axis of size n; None for all elements of x in C order.

    Returns:
        Tensor of the shape of the indices.

    Raises:
        IndexError: a position is outside [-n, n); on CUDA it wraps around, as for `take`.
        TypeError: the positions are not integers.
        ValueError: x and the indices have different numbers of axes.

    Example:
        >>> import gradcore as gc
        >>> gc.take_along_axis(gc.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1, 1], [0, 1]], axis=1)
        tensor([[2., 2.],
                [3., 4.]], dtype=float32, device='cpu')
    """
    x, axis = with_axis(named_tensor(x, "take_along_axis"), axis)
    indices = as_indices(indices, x)
    if len(indices.shape) != len(x.shape):
        raise ValueError(f"'take_along_axis': indices have shape {indices.shape}, and x has {len(x.shape)} axes")
    return take_along(*_broadcast(x, indices, axis), axis)


def _broadcast(x: Any, indices: Any, axis: int) -> list[Any]:
    """Both with the same sizes on every axis but one."""
    ones = [(*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in (x, indices)]
    if ones[0] == ones[1]:
        return [x, indices]
    shape = np.broadcast_shapes(*ones)
    return [broadcast_to(t, (*shape[:axis], t.shape[axis], *shape[axis + 1 :])) for t in (x, indices)]


def _scatter_impl(xp: Any, out: Any, x: Any, indices: Any, updates: Any, axis: int) -> Any:
    """One-dimensional positions, with which NumPy's `add.at` is several times as fast."""
    np = xp.np
    out = xp.empty(x.shape, x.dtype) if out is None else out
    np.copyto(out, x)
    places = np.arange(out.size).reshape(out.shape)
    flat = xp.run(take_along_axis_op, None, (places, indices), (axis,)).reshape(-1)
    xp.add_at(out.reshape(-1), flat, updates.reshape(-1), 0)
    return out


def _scatter_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    return g if needed[0] else None, None, bind(take_along_axis_op, (g, xs[1]), params) if needed[2] else None


def _scatter_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    moved = [zeros(aval_of(x), x) if t is None else t for t, x in zip(tangents, xs, strict=True)]
    return bind(scatter_add_along_axis_op, (moved[0], xs[1], moved[2]), params)


scatter_add_along_axis_op: Op = indexed(
    "scatter_add_along_axis",
    ("x", "indices", "updates"),
    params=("axis",),
    impl=_scatter_impl,
    abstract=lambda x, indices, updates, axis: x.update(shape=x.shape),
    differentiable=(True, False, True),
    vjp=_scatter_vjp,
    jvp=_scatter_jvp,
    saves=lambda needed, params: Saved((1,) if needed[2] else ()),
    batch=lambda size, mapped, xs, params: bind(
        scatter_add_along_axis_op, all_mapped(size, mapped, xs), (params[0] + 1,)
    ),
    samples=(
        sample(normal(3, 4), integers(2, 4, low=-3), normal(2, 4), params=(0,)),
        sample(normal(3, 4), integers(3, 5), normal(3, 5), params=(1,)),
        sample(normal(3), integers(0), normal(0), params=(0,)),
    ),
    doc="Add updates at positions along an axis, other ones in every row; repeated positions add up, in order.",
)
scatter_along = public(scatter_add_along_axis_op)
