"""Order: the place of an extreme, sorting, searching.

A derivative follows the elements by `argsort`, which has none, and `take_along_axis` or its transpose.  NaN counts as
larger than every number, as in NumPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.autodiff.record import zeros
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import bind
from gradcore.core.evaluate import SCALARS
from gradcore.core.op import Op, Promotion, Saved
from gradcore.kernels.argmax import ARGMAX, ARGMIN
from gradcore.kernels.spec import RowSpec
from gradcore.ops.along_axis import all_mapped, along, scatter_along, take_along, with_axis
from gradcore.ops.arguments import as_integers
from gradcore.ops.arithmetic import sub
from gradcore.ops.conversion import beside
from gradcore.ops.joining import concatenate
from gradcore.ops.operands import as_operand, as_tensor, named_tensor
from gradcore.ops.reductions import reduced_shape
from gradcore.ops.samples import distinct, integers, normal, sample
from gradcore.ops.shapes import reshape
from gradcore.ops.slicing import take_slice
from gradcore.ops.structural import indexed, public

INT64 = np.dtype(np.int64)

# --- argmax and argmin ------------------------------------------------------------------------------------------------


def _place_impl(name: str) -> Any:
    def impl(xp: Any, out: Any, x: Any, axis: int) -> Any:
        if out is None:
            out = xp.empty((*x.shape[:axis], *x.shape[axis + 1 :]), INT64)
        return getattr(xp.np, name)(x, axis, out=out)

    return impl


def _place_of(name: str, kernel: RowSpec, doc: str) -> Op:
    op: Op = indexed(
        name,
        ("x",),
        params=("axis",),
        impl=_place_impl(name),
        kernels={"cuda": kernel},
        abstract=lambda x, axis: x.update(shape=reduced_shape(x.shape, (axis,), False), dtype=INT64),
        differentiable=(False,),
        batch=lambda size, mapped, xs, params: bind(op, xs, (params[0] + 1,)),
        half=False,
        samples=(
            sample(normal(3, 4), params=(1,)),
            sample(integers(3, 4), params=(0,)),
            sample(normal(2, 3, 4), params=(1,)),
            sample(normal(1), params=(0,)),
            sample(normal(0, 3), params=(1,)),
        ),
        doc=doc,
    )
    return op


argmax_op = _place_of("argmax", ARGMAX, "Place of the first maximum along an axis; of the first NaN, if there is one.")
argmin_op = _place_of("argmin", ARGMIN, "Place of the first minimum along an axis; of the first NaN, if there is one.")
_argmax = public(argmax_op)
_argmin = public(argmin_op)


def _place(find: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
    x = named_tensor(x, find.__name__)
    flat, along = with_axis(x, axis)
    places = find(flat, along)
    axes = range(len(x.shape)) if axis is None else (along,)
    return reshape(places, reduced_shape(x.shape, tuple(axes), True)) if keepdims else places


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Place of the first maximum along an axis; of the first NaN, if there is one. It has no derivative.

    Args:
        x: tensor of any shape.
        axis: the axis; by default places count through all elements of x, in C order.
        keepdims: keep the reduced axes with size 1.

    Returns:
        int64 tensor without the axis.

    Raises:
        ValueError: there is nothing to choose from, or the axis is out of bounds.

    Example:
        >>> import gradcore as gc
        >>> gc.argmax(gc.tensor([[1.0, 5.0], [3.0, 3.0]]), axis=1)
        tensor([1, 0], dtype=int64, device='cpu')
    """
    return _place(_argmax, x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Place of the first minimum along an axis; of the first NaN, if there is one. Arguments as for `argmax`.

    Example:
        >>> import gradcore as gc
        >>> gc.argmin(gc.tensor([[1.0, 5.0], [3.0, 3.0]]), axis=0)
        tensor([0, 1], dtype=int64, device='cpu')
    """
    return _place(_argmin, x, axis, keepdims)


# --- sorting ----------------------------------------------------------------------------------------------------------


def _argsort_impl(xp: Any, out: Any, x: Any, axis: int, descending: bool) -> Any:
    """Descending order is ascending order of the reversed elements, reversed: that is stable too."""
    np = xp.np
    key = along(axis, step=-1 if descending else 1)
    order = np.argsort(x[key], axis, kind="stable")[key]
    if descending:
        np.subtract(x.shape[axis] - 1, order, order)
    return _given(np, out, order)


def _given(np: Any, out: Any, result: Any) -> Any:
    """The result in C order, in the memory that was given, if any."""
    if out is None:
        return np.asarray(result, order="C")
    np.copyto(out, result)
    return out


argsort_op: Op = indexed(
    "argsort",
    ("x",),
    params=("axis", "descending"),
    impl=_argsort_impl,
    abstract=lambda x, axis, descending: x.update(shape=x.shape, dtype=INT64),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(argsort_op, xs, (params[0] + 1, params[1])),
    half=False,
    samples=(
        sample(normal(3, 4), params=(1, False)),
        sample(integers(3, 5), params=(1, True)),
        sample(normal(2, 3, 2), params=(1, True)),
        sample(normal(1), params=(0, False)),
        sample(normal(0, 3), params=(0, True)),
    ),
    doc="The positions that sort x along an axis; equal elements keep their order.",
)
_argsort = public(argsort_op)


def argsort(x: Any, axis: int | None = -1, descending: bool = False) -> Any:
    """The positions that sort x along an axis; equal elements keep their order. It has no derivative.

    Args:
        x: tensor of any shape.
        axis: the axis; None for all elements in C order.
        descending: largest first. NaN counts as the largest: it is last in ascending order, first in descending.

    Returns:
        int64 tensor of the shape of x; without an axis, of shape (x.size,).

    Raises:
        ValueError: the axis is out of bounds.

    Example:
        >>> import gradcore as gc
        >>> gc.argsort(gc.tensor([3.0, 1.0, 2.0, 1.0]))
        tensor([1, 3, 2, 0], dtype=int64, device='cpu')
    """
    return _argsort(*with_axis(named_tensor(x, "argsort"), axis), bool(descending))


def _sort_impl(xp: Any, out: Any, x: Any, axis: int, descending: bool) -> Any:
    return _given(xp.np, out, xp.np.sort(x, axis)[along(axis, step=-1 if descending else 1)])


def _sort_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    return scatter_along(zeros(aval_of(g), g), bind(argsort_op, (xs[0],), params), g, params[0])


sort_op: Op = indexed(
    "sort",
    ("x",),
    params=("axis", "descending"),
    impl=_sort_impl,
    abstract=lambda x, axis, descending: x.update(shape=x.shape),
    vjp=_sort_vjp,
    jvp=lambda tangents, xs, ys, params: take_along(tangents[0], bind(argsort_op, (xs[0],), params), params[0]),
    saves=lambda needed, params: Saved((0,)),
    batch=lambda size, mapped, xs, params: bind(sort_op, xs, (params[0] + 1, params[1])),
    half=False,
    samples=(
        sample(distinct(3, 4), params=(1, False)),
        sample(distinct(2, 3, 2), params=(1, True)),
        sample(distinct(4), params=(0, True)),
        sample(distinct(0, 3), params=(0, False)),
    ),
    doc="The elements in order, along an axis.",
)
_sort = public(sort_op)


def sort(x: Any, axis: int | None = -1, descending: bool = False) -> Any:
    """The elements in order, along an axis. A gradient goes back to where each element came from, by `argsort`.

    Arguments as for `argsort`.

    Example:
        >>> import gradcore as gc
        >>> gc.sort(gc.tensor([3.0, 1.0, 2.0]), descending=True)
        tensor([3., 2., 1.], dtype=float32, device='cpu')
    """
    return _sort(*with_axis(named_tensor(x, "sort"), axis), bool(descending))


def topk(x: Any, k: int, axis: int = -1, largest: bool = True) -> tuple[Any, Any]:
    """The k largest elements along an axis, in order, and their positions. NaN counts as the largest.

    Args:
        x: tensor of shape (*before, n, *after).
        k: how many.
        axis: the axis of size n.
        largest: False for the k smallest.

    Returns:
        values: tensor of shape (*before, k, *after); a gradient goes back to where each element came from.
        indices: int64 tensor of the same shape. Of equal elements the first come first.

    Raises:
        ValueError: k is outside [0, n], or the axis is out of bounds.

    Example:
        >>> import gradcore as gc
        >>> values, indices = gc.topk(gc.tensor([3.0, 1.0, 2.0]), 2)
        >>> values
        tensor([3., 2.], dtype=float32, device='cpu')
        >>> indices
        tensor([0, 2], dtype=int64, device='cpu')
    """
    x, axis = with_axis(named_tensor(x, "topk"), axis)
    (k,) = as_integers(k, "topk", "k")
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"'topk': k is {k}, but axis {axis} has {x.shape[axis]} elements")
    order = _argsort(x, axis, bool(largest))
    indices = part(order, axis, 0, k)
    return take_along(x, indices, axis), indices


def part(x: Any, axis: int, start: int, stop: int) -> Any:
    """The elements from start to stop along an axis; a view."""
    whole = [(0, n, 1) for n in x.shape]
    return take_slice(x, (*whole[:axis], (start, stop, 1), *whole[axis + 1 :]))


# --- searchsorted -----------------------------------------------------------------------------------------------------


def _search_impl(xp: Any, out: Any, ordered: Any, values: Any, side: str) -> Any:
    return _given(xp.np, out, xp.np.searchsorted(ordered, values, side))


def _search_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    """Other rows to search in: the place of a value is its rank among both, less its rank among the values.

    A stable sort of both joined puts a value before equal elements, or behind them, by the order of joining.
    """
    if not mapped[0]:
        return bind(searchsorted_op, xs, params)
    ordered, values = all_mapped(size, mapped, xs)
    flat = reshape(values, (size, math.prod(values.shape[1:])))
    n, m = ordered.shape[1], flat.shape[1]
    left = params[0] == "left"
    ranks = _ranks(concatenate((flat, ordered) if left else (ordered, flat), 1))
    own = part(ranks, 1, 0, m) if left else part(ranks, 1, n, n + m)
    return reshape(sub(own, _ranks(flat)), values.shape)


def _ranks(rows: Any) -> Any:
    """The place of each element of a row in the sorted row."""
    order = bind(argsort_op, (rows,), (1, False))
    return bind(argsort_op, (order,), (1, False))


def _ordered(*shape: int) -> Any:
    return lambda rng, dtype: np.sort(rng.integers(0, 5, shape), -1).astype(dtype)


def _search_shape(ordered: Aval, values: Aval, side: str) -> Aval:
    return values.update(shape=values.shape, dtype=INT64)


searchsorted_op: Op = indexed(
    "searchsorted",
    ("ordered", "values"),
    params=("side",),
    impl=_search_impl,
    abstract=_search_shape,
    promotion=Promotion.COMMON,
    differentiable=(False, False),
    batch=_search_batch,
    half=False,
    samples=(
        sample(_ordered(6), _ordered(2, 3), params=("left",)),
        sample(_ordered(6), _ordered(4), params=("right",)),
        sample(_ordered(3), normal(), params=("left",)),
        sample(_ordered(0), normal(2), params=("left",)),
        sample(distinct(4), normal(0, 2), params=("right",)),
    ),
    doc="Where to insert values into sorted elements so that they stay sorted.",
)
_searchsorted = public(searchsorted_op)


def searchsorted(sorted: Any, values: Any, side: str = "left") -> Any:
    """Where to insert values into sorted elements so that they stay sorted. It has no derivative.

    Args:
        sorted: tensor of shape (n,), in ascending order (this is not checked).
        values: tensor of any shape, or a number.
        side: "left": before elements that equal the value; "right": behind them.

    Returns:
        int64 tensor of the shape of the values, with numbers in [0, n].

    Raises:
        ValueError: `sorted` has not one axis, or the side is another word.

    Example:
        >>> import gradcore as gc
        >>> gc.searchsorted(gc.tensor([1.0, 2.0, 3.0]), gc.tensor([0.0, 2.0, 9.0]))
        tensor([0, 1, 3], dtype=int64, device='cpu')
    """
    ordered = named_tensor(sorted, "searchsorted")
    if len(ordered.shape) != 1:
        raise ValueError(f"'searchsorted': the sorted elements have shape {ordered.shape}, expected one axis")
    if side not in ("left", "right"):
        raise ValueError(f"'searchsorted': side must be 'left' or 'right', not {side!r}")
    values = as_operand(values, "searchsorted")
    if isinstance(values, SCALARS):
        values = beside(ordered, as_tensor(values, np.result_type(ordered.dtype, values)))
    return _searchsorted(ordered, values, side)
