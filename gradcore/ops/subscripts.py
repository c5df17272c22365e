"""`x[key]`, as NumPy has it: a slice of every axis, then one gather.  `x.at[key]` goes the same way and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcore.autodiff.batch import Batch
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.errors import BatchError, StageError
from gradcore.core.graph import Var
from gradcore.core.state import switch
from gradcore.core.tensor import Tensor, Traced
from gradcore.ops.arithmetic import add, mul
from gradcore.ops.conversion import beside
from gradcore.ops.indexing import INT64, positions, take_axis, without_lists
from gradcore.ops.operands import as_tensor
from gradcore.ops.shapes import reshape, transpose_op
from gradcore.ops.slicing import Index, numpy_key, set_slice, take_slice

Shape = tuple[int, ...]


def getitem(x: Any, key: Any) -> Any:
    """`x[key]` by NumPy's rules: integers, slices, None, `...`, integer arrays and boolean masks.

    Integer arrays broadcast together. Their axes stand where the first array stood, or in front if a slice, None or
    `...` lies between two of them. A mask counts as the positions of its true elements; since the shape of the result
    depends on them, it must not be mapped by vmap or computed in a captured graph.

    Raises:
        IndexError: a position is out of bounds (of no elements as well), there are more indices than axes, arrays do
            not broadcast together, or a mask does not fit.
        TypeError: an index is of another kind.
        BatchError: a mask is mapped by vmap.
        StageError: a mask is computed in a graph.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[1, 2, 3], [4, 5, 6]])
        >>> x[1, ::-1]
        tensor([6, 5, 4], dtype=int64, device='cpu')
        >>> x[[0, 1], [2, 0]]
        tensor([3, 4], dtype=int64, device='cpu')
        >>> x[x > 3]
        tensor([4, 5, 6], dtype=int64, device='cpu')
    """
    keys = key if type(key) is tuple else (key,)
    if BASIC.issuperset(map(type, keys)):
        index = _index(keys, x.shape)
        if type(x) is Tensor and x.node is None and not switch.busy:  # of any dtype
            return Tensor(x.data[numpy_key(index)])
        return take_slice(x, index)
    plan = plan_of(x, key)
    part = plan.select(x)
    return part if plan.indices is None else take_axis(part, plan.indices, plan.place)


class Plan(NamedTuple):
    """What `x[key]` does: slice every axis, bring the gathered axes together, join them, gather."""

    spans: Index  # of every axis
    whole: bool  # do they keep everything?
    kept: Shape  # the shape after them
    order: Shape = ()  # the axes of `kept` with the gathered ones side by side
    joined: Shape = ()  # the shape with the gathered axes as one
    indices: Any = None  # positions on that axis; None where nothing is gathered
    place: int = 0  # of that axis

    def select(self, x: Any) -> Any:
        """The part of x from which `indices` are taken."""
        part = x if self.whole else take_slice(x, self.spans)
        return part if self.indices is None else _reshaped(_ordered(part, self.order), self.joined)

    def put(self, x: Any, part: Any) -> Any:
        """Replace that part of x."""
        if self.indices is not None:
            part = _ordered(_reshaped(part, tuple([self.kept[a] for a in self.order])), _inverse(self.order))
        return part if self.whole else set_slice(x, part, self.spans)


class Gathered(NamedTuple):
    """Positions on axes joined to one."""

    indices: Any
    axis: int  # the first of them, of x
    axes: range  # all of them, of `kept`


def plan_of(x: Any, key: Any) -> Plan:
    """The plan of a key for x."""
    sizes = x.shape
    keys = [_normal(k) for k in (key if isinstance(key, tuple) else (key,))]
    plain, gathered = _apart_from_arrays(_expanded(keys, len(sizes)), sizes, x)
    index = _index(plain, sizes)
    whole = index == tuple([(0, n, 1) for n in sizes])
    kept = tuple([1 if k is None else len(range(*k)) for k in index if not isinstance(k, int)])
    if not gathered:
        return Plan(index, whole, kept)
    places = [a for g in gathered for a in g.axes]
    rest = [a for a in range(len(kept)) if a not in places]
    place = 0 if _apart(keys) else gathered[0].axes.start
    joined = [kept[a] for a in rest]
    joined.insert(place, math.prod([kept[a] for a in places]))
    order = (*rest[:place], *places, *rest[place:])
    return Plan(index, whole, kept, order, tuple(joined), _joined(gathered, kept, place), place)


def _apart_from_arrays(keys: Sequence[Any], sizes: Shape, x: Any) -> tuple[list[Any], list[Gathered]]:
    """The key with a full slice for each axis that an array indexes, and those arrays, on the device of x."""
    plain: list[Any] = []
    gathered: list[Gathered] = []
    axis = place = 0
    for k in keys:
        count = _axes(k)
        if hasattr(k, "shape"):
            indices = k if isinstance(k, Tensor) else _true(k, axis, sizes[axis : axis + count])
            gathered.append(Gathered(beside(x, indices), axis, range(place, place + count)))
            plain += [slice(None)] * count
            place += count
        else:
            plain.append(k)
            place += not isinstance(k, int)
        axis += count
    return plain, gathered


def _true(mask: Any, axis: int, sizes: Shape) -> Tensor:
    """Positions of the true elements."""
    if mask.shape != sizes:
        raise IndexError(f"a mask of shape {mask.shape} does not fit axes of sizes {sizes}, from axis {axis} on")
    return Tensor(mask.reshape(-1).nonzero()[0].astype(INT64, copy=False))


def _joined(gathered: Sequence[Gathered], kept: Shape, place: int) -> Any:
    """Positions on all gathered axes joined to one."""
    first = gathered[0]
    if len(gathered) == 1 and first.axis == place:
        return first.indices  # the gather checks them, and names the right axis
    _check_shapes([g.indices.shape for g in gathered])
    at: Any = None
    for indices, axis, axes in gathered:
        n = math.prod([kept[a] for a in axes])
        found = positions(indices, n, axis)
        at = found if at is None else add(mul(at, n), found)
    return at


def _check_shapes(shapes: Sequence[Shape]) -> None:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(f"index arrays of shapes {', '.join(map(str, shapes))} do not broadcast together") from None


def _reshaped(x: Any, shape: Shape) -> Any:
    return x if x.shape == shape else reshape(x, shape)


def _ordered(x: Any, order: Shape) -> Any:
    return x if order == tuple(range(len(order))) else bind(transpose_op, (x,), (order,))


def _inverse(order: Shape) -> Shape:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


# --- keys -------------------------------------------------------------------------------------------------------------

BASIC = {int, slice, type(None), type(...)}


def _index(keys: Sequence[Any], sizes: Shape) -> Index:
    """Integers, slices, None and `...` as the slice op takes them."""
    if len(keys) > len(sizes) or Ellipsis in keys:
        keys = _expanded(keys, len(sizes))
    index: list[Any] = []
    axis = 0
    for k in keys:
        if k is None:
            index.append(None)
            continue
        n = sizes[axis]
        index.append(k.indices(n) if isinstance(k, slice) else _checked(k, axis, n))
        axis += 1
    return tuple(index)


def _checked(at: int, axis: int, n: int) -> int:
    if not -n <= at < n:
        raise IndexError(f"index {at} is out of bounds for axis {axis} with size {n}")
    return at % n


def _normal(k: Any) -> Any:
    """An index as None, `...`, a slice, an int, a Tensor of integers, or a boolean array."""
    if k is None or k is Ellipsis or isinstance(k, slice):
        return k
    if isinstance(k, (int, np.integer)) and not isinstance(k, bool):
        return int(k)
    k = k.read() if isinstance(k, Cell) else np.asarray(k) if isinstance(k, bool) else without_lists(k)
    kind = k.dtype.kind if isinstance(k, (np.ndarray, np.generic, Tensor)) else ""
    if kind == "b":
        return _concrete(as_tensor(k))
    if kind in ("i", "u"):
        return as_tensor(k)
    what = f"{type(k).__name__} of {k.dtype}" if kind else type(k).__name__
    raise TypeError(f"x[{what}] is not supported; use integers, slices, None, ..., integer arrays or boolean masks")


INSTEAD = (
    "the shape of x[mask] depends on the elements of the mask; use where(mask, x, 0) and go on with all elements, or "
    "compute the mask outside"
)


def _concrete(mask: Any) -> Any:
    """The elements of a mask."""
    while isinstance(mask, Traced):
        if isinstance(mask.level, Batch):
            raise BatchError(f"x[mask] with a mask for each example of vmap: {INSTEAD}")
        mask = mask.level.primal(mask)  # type: ignore[attr-defined]
    if isinstance(mask.data, Var):
        raise StageError(f"x[mask] with a mask that is computed in a captured graph: {INSTEAD}")
    return mask.data


def _axes(k: Any) -> int:
    """How many axes an index takes."""
    return 1 if isinstance(k, (int, slice, Tensor)) else 0 if k is None or k is Ellipsis else k.ndim


def _expanded(keys: Sequence[Any], ndim: int) -> list[Any]:
    """`...` and missing indices become full slices."""
    given = sum([_axes(k) for k in keys])
    if given > ndim:
        raise IndexError(f"{given} indices for a tensor of {ndim} axes")
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(keys)
    rest = keys[at + 1 :] if dots else ()
    return [*keys[:at], *[slice(None)] * (ndim - given), *rest]


def _apart(keys: Sequence[Any]) -> bool:
    """Does a slice, None or `...` stand between two arrays or integers?  NumPy then puts the gathered axes first."""
    places = [i for i, k in enumerate(keys) if k is not None and k is not Ellipsis and not isinstance(k, slice)]
    return len(places) <= places[-1] - places[0]
