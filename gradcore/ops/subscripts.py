"""`x[key]`, as NumPy has it, from slices, a reshape and one gather."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.ops.indexing import as_indices, take_axis, take_slice, without_lists
from gradcore.ops.shapes import reshape, transpose_op

SUPPORTED = "use integers, slices, None, ... or one integer array"


def getitem(x: Any, key: Any) -> Any:
    """`x[key]` for integers, slices, None, `...` and one integer array.

    Raises:
        IndexError: a position is out of bounds, or there are more indices than axes, or two ellipses.
        TypeError: an index is of another kind, such as a boolean mask.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[1, 2, 3], [4, 5, 6]])
        >>> x[1, ::-1]
        tensor([6, 5, 4], dtype=int64, device='cpu')
        >>> x[:, [0, 2]]
        tensor([[1, 3],
                [4, 6]], dtype=int64, device='cpu')
    """
    keys = key if isinstance(key, tuple) else (key,)
    plan = _Plan(x.shape)
    for k in _expanded(keys, len(x.shape)):
        plan.add(k)
    result = x if plan.whole() else take_slice(x, tuple(plan.index))
    if tuple(plan.shape) != result.shape:
        result = reshape(result, tuple(plan.shape))
    if plan.indices is None:
        return result
    result = take_axis(result, plan.indices, plan.place)
    return _to_front(result, plan.place, len(plan.indices.shape)) if _apart(keys) else result


class _Plan:
    """What `x[key]` does: a slice of every axis, then a reshape, then perhaps a gather along one axis."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self.index: list[tuple[int, int, int]] = []
        self.shape: list[int] = []
        self.indices: Any = None
        self.place = 0

    def whole(self) -> bool:
        """Does the slice keep everything?"""
        return all(i == (0, n, 1) for i, n in zip(self.index, self.sizes, strict=True))

    def add(self, k: Any) -> None:
        """The next index."""
        if k is None:
            self.shape.append(1)
        elif isinstance(k, slice):
            span = range(self.sizes[len(self.index)])[k]
            self.index.append((span.start, span.stop if span.stop >= 0 else -1, span.step))
            self.shape.append(len(span))
        elif isinstance(k, (int, np.integer)) and not isinstance(k, bool):
            at = self._checked(int(k))
            self.index.append((at, at + 1, 1))
        else:
            self._gather(_as_array(k))

    def _gather(self, indices: Any) -> None:
        if self.indices is not None:
            raise TypeError(f"x[...] with two arrays is not supported; {SUPPORTED}")
        self.indices, self.place = indices, len(self.shape)
        n = self.sizes[len(self.index)]
        self.index.append((0, n, 1))
        self.shape.append(n)

    def _checked(self, at: int) -> int:
        axis = len(self.index)
        n = self.sizes[axis]
        if not -n <= at < n:
            raise IndexError(f"index {at} is out of bounds for axis {axis} of size {n}")
        return at % n


def _as_array(k: Any) -> Any:
    """An index that is not a number, as a Tensor of integers."""
    k = k.read() if isinstance(k, Cell) else without_lists(k)
    kind = k.dtype.kind if isinstance(k, (np.ndarray, np.generic, Tensor)) else "b" if isinstance(k, bool) else ""
    if kind == "b":
        raise TypeError(
            "x[mask] with booleans is not supported, since its shape would depend on the elements; use where(mask, x, "
            "0) and go on with all elements, or take(x, indices) with integers"
        )
    if kind not in ("i", "u"):
        what = f"{type(k).__name__} of {k.dtype}" if kind else type(k).__name__
        raise TypeError(f"x[{what}] is not supported; {SUPPORTED}")
    return as_indices(k)


def _apart(keys: tuple[Any, ...]) -> bool:
    """Does a slice, None or `...` stand between an array and an integer?  NumPy then puts the gathered axes first."""
    places = [i for i, k in enumerate(keys) if k is not None and k is not Ellipsis and not isinstance(k, slice)]
    return len(places) <= places[-1] - places[0]


def _to_front(x: Any, place: int, count: int) -> Any:
    moved = range(place, place + count)
    rest = [a for a in range(len(x.shape)) if a not in moved]
    return bind(transpose_op, (x,), ((*moved, *rest),)) if count and place else x


def _expanded(keys: tuple[Any, ...], ndim: int) -> list[Any]:
    """One key per axis: `...` and missing ones become full slices."""
    given = sum(k is not None and k is not Ellipsis for k in keys)
    if given > ndim:
        raise IndexError(f"{given} indices for a tensor of {ndim} axes")
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(keys)
    rest = keys[at + 1 :] if dots else ()
    return [*keys[:at], *[slice(None)] * (ndim - given), *rest]
