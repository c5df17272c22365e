"""Slices with positions and new axes, and how they are undone: what `x[key]` does without arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gradcore.autodiff.record import zeros
from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import broadcast_to
from gradcore.ops.structural import first_operand, linear, public, viewed

Index = tuple[tuple[int, int, int] | int | None, ...]
"""For each axis (start, stop, step) as `slice.indices` gives them, or one position; None for a new axis."""


@lru_cache(1024)
def numpy_key(index: Index) -> tuple[Any, ...]:
    """The key that NumPy takes.  `...` makes 0-d results views as well."""
    return (*[_span(*k) if isinstance(k, tuple) else k for k in index], ...)


def _span(start: int, stop: int, step: int) -> slice:
    """Before the first element is -1, which a slice would take for the last."""
    return slice(0, 0) if start < 0 else slice(start, None if stop < 0 else stop, step)


def _whole(n: int) -> tuple[int, int, int]:
    return 0, n, 1


def _slice_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    return bind(slice_op, xs, ((_whole(size), *params[0]),))


slice_op: Op = linear(
    "slice",
    ("x",),
    params=("index",),
    impl=lambda xp, out, x, index: x[numpy_key(index)],
    abstract=viewed(lambda x, index: x[numpy_key(index)]),
    alias=first_operand,
    transpose=lambda g, avals, params, i: bind(unslice_op, (g,), (avals[0].shape, params[0])),
    batch=_slice_batch,
    half=False,
    samples=(
        sample(normal(5, 4), params=(((1, 5, 2), (0, 4, 1)),)),
        sample(normal(5), params=(((4, -1, -2),),)),
        sample(normal(3), params=(((0, 0, 1),),)),
        sample(normal(3, 4, 5), params=((1, None, (3, -1, -3), 4),)),
        sample(normal(3), params=((2,),)),
        sample(normal(3, 2), params=(((-1, -1, -2),),)),
        sample(normal(), params=((),)),
    ),
    doc="Every step-th element from start to stop, or one position, on each axis; new axes of size 1; a view.",
)
take_slice = public(slice_op, lambda needed: lambda r, g: (_unslice_impl(None, None, g, r.avals[0], r.params[0]),))


def _unslice_impl(xp: Any, out: Any, g: Any, shape: tuple[int, ...], index: Index) -> Any:
    if out is None:
        out = (np if xp is None else xp.np).zeros(shape, g.dtype)
    else:
        out.fill(0)
    out[numpy_key(index)] = g
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
    samples=(
        sample(normal(2, 3), params=((5, 4), ((1, 5, 2), (0, 3, 1)))),
        sample(normal(1, 2), params=((3, 4), (None, 1, (3, -1, -3)))),
        sample(normal(), params=((3,), (2,))),
    ),
    doc="The transpose of slice: zeros of a shape with x written into the slice.",
)


def _set_slice_impl(xp: Any, out: Any, x: Any, part: Any, index: Index) -> Any:
    if out is None:
        out = xp.empty(x.shape, x.dtype)
    xp.np.copyto(out, x)
    out[numpy_key(index)] = part
    return out


def _set_slice_transpose(g: Any, avals: Any, params: Any, i: int) -> Any:
    return bind(set_slice_op, (g, zeros(avals[1], g)), params) if i == 0 else bind(slice_op, (g,), params)


def _set_slice_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    every = [x if own else broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]
    return bind(set_slice_op, every, ((_whole(size), *params[0]),))


set_slice_op: Op = linear(
    "set_slice",
    ("x", "part"),
    params=("index",),
    impl=_set_slice_impl,
    abstract=lambda x, part, index: x.update(shape=x.shape),
    transpose=_set_slice_transpose,
    batch=_set_slice_batch,
    half=False,
    samples=(
        sample(normal(5, 4), normal(2, 3), params=(((1, 5, 2), (0, 3, 1)),)),
        sample(normal(5), normal(2), params=(((4, 0, -2),),)),
        sample(normal(3), normal(0), params=(((0, 0, 1),),)),
        sample(normal(3, 4), normal(1, 2), params=((None, 1, (3, -1, -3)),)),
        sample(normal(), normal(), params=((),)),
    ),
    doc="x with a slice replaced by `part`.",
)
set_slice = public(set_slice_op)
