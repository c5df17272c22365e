"""Gathers along an axis and their transposes.

An array is seen as (before, n, after) and indices count along n. Nothing checks them, since the CPU would have to wait
for the answer: positions outside [-n, n) wrap around, so no memory but the array's is touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradcore.kernels.spec import Launch, Plan, RowSpec

THREADS = 256
BLOCKS = 4096
"""Most blocks of a grid; its threads go on through the array in steps of the whole grid."""

_SHARED = r"""
typedef long long Int;

__device__ inline Int thread() { return (Int)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline Int threads() { return (Int)gridDim.x * blockDim.x; }

template <typename U> __device__ inline Int wrapped(U index, Int n)
{
    const Int place = (Int)index % n;
    return place < 0 ? place + n : place;
}
"""

# --- gathers ----------------------------------------------------------------------------------------------------------

_POSITIONS = r"""
extern "C" __global__ void gradcore_positions(const I *__restrict__ indices, Int *out0, Int count, Int n)
{
    for (Int i = thread(); i < count; i += threads()) out0[i] = wrapped(indices[i], n);
}
"""

_TAKE = r"""
// The same `count` indices for every row of (before, count, after).
extern "C" __global__ void gradcore_take(
    const T *__restrict__ x, const I *__restrict__ indices, T *out0, Int size, Int n, Int count, Int after)
{
    for (Int i = thread(); i < size; i += threads()) {
        const Int outer = i / after;
        out0[i] = x[(outer / count * n + wrapped(indices[outer % count], n)) * after + i % after];
    }
}
"""

_TAKE_ALONG = r"""
// An index of its own for every element of (before, count, after).
extern "C" __global__ void gradcore_take_along(
    const T *__restrict__ x, const I *__restrict__ indices, T *out0, Int size, Int n, Int count, Int after)
{
    for (Int i = thread(); i < size; i += threads())
        out0[i] = x[(i / after / count * n + wrapped(indices[i], n)) * after + i % after];
}
"""


def _positions_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    (indices,), (n, _) = operands, params
    count = math.prod(indices.shape)
    _check_range(count, n)
    return Plan({"I": indices.dtype}, _launches("positions", count, ("indices", "out0", count, n)))


def _take_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    (x, indices), (axis,) = operands, params
    before, n, after = _split(x.shape, axis)
    count = math.prod(indices.shape)
    return _gather_plan("take", x, indices, before * count * after, (n, count, after))


def _take_along_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    (x, indices), (axis,) = operands, params
    sizes = (x.shape[axis], indices.shape[axis], math.prod(x.shape[axis + 1 :]))
    return _gather_plan("take_along", x, indices, math.prod(indices.shape), sizes)


def _gather_plan(name: str, x: Any, indices: Any, size: int, sizes: tuple[int, int, int]) -> Plan:
    _check_range(math.prod(indices.shape), sizes[0])
    types = {"T": _bits(x.dtype), "I": indices.dtype}
    return Plan(types, _launches(name, size, ("x", "indices", "out0", size, *sizes)))


def _launches(name: str, size: int, arguments: tuple[Any, ...]) -> tuple[Launch, ...]:
    """One launch with a thread for each element, as far as the grid goes; none for nothing."""
    grid = min(-(-size // THREADS), BLOCKS)
    return (Launch(f"gradcore_{name}", grid, THREADS, arguments),) if size else ()


def _split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _bits(dtype: Any) -> str:
    """What is only moved is moved as bits, so dtypes of one size share a kernel."""
    return f"uint{8 * dtype.itemsize}"


def _check_range(count: int, n: int) -> None:
    if count and not n:
        raise IndexError("an axis of size 0 has no positions")


def _examples(*shapes: tuple[int, ...], params: tuple[Any, ...], dtypes: str) -> Any:
    return ((tuple(zip(shapes, dtypes.split(), strict=True)), params),)


POSITIONS = RowSpec(
    "positions",
    _SHARED + _POSITIONS,
    ("indices",),
    _positions_plan,
    _examples((4, 5), params=(100, 0), dtypes="int64"),
)
TAKE = RowSpec(
    "take",
    _SHARED + _TAKE,
    ("x", "indices"),
    _take_plan,
    _examples((64, 10), (5,), params=(0,), dtypes="float32 int64"),
)
TAKE_ALONG = RowSpec(
    "take_along",
    _SHARED + _TAKE_ALONG,
    ("x", "indices"),
    _take_along_plan,
    _examples((64, 10), (64, 3), params=(1,), dtypes="float32 int64"),
)

# --- scatters ---------------------------------------------------------------------------------------------------------

_LAST = r"""
// winners[p] is 1 + the last index that names position p, or 0. The largest wins, whatever the order of the threads.
extern "C" __global__ void gradcore_clear(unsigned long long *winners, Int size)
{
    for (Int i = thread(); i < size; i += threads()) winners[i] = 0;
}

// Each `part` indices belong to another example, which has n positions of its own.
extern "C" __global__ void gradcore_find(
    const I *__restrict__ indices, unsigned long long *winners, Int count, Int part, Int n)
{
    for (Int i = thread(); i < count; i += threads())
        atomicMax(winners + i / part * n + wrapped(indices[i], n), (unsigned long long)i + 1);
}
"""

_LAST_INDEX = r"""
extern "C" __global__ void gradcore_last_index(
    const I *__restrict__ indices, const unsigned long long *__restrict__ winners, bool *out0,
    Int count, Int part, Int n)
{
    for (Int i = thread(); i < count; i += threads())
        out0[i] = winners[i / part * n + wrapped(indices[i], n)] == i + 1;
}
"""

_SET = r"""
extern "C" __global__ void gradcore_scatter_set(
    const T *__restrict__ x, const T *__restrict__ updates, const unsigned long long *__restrict__ winners, T *out0,
    Int size, Int n, Int count, Int after)
{
    for (Int i = thread(); i < size; i += threads()) {
        const Int outer = i / after, winner = winners[outer % n];
        out0[i] = winner ? updates[(outer / n * count + winner - 1) * after + i % after] : x[i];
    }
}
"""

_ADD = r"""
// `order` sorts the places and keeps equal ones in order. The thread of the first of equal places adds for all, so the
// order of additions is that of the updates.
extern "C" __global__ void gradcore_scatter_add(
    const Int *__restrict__ places, const Int *__restrict__ order, const T *__restrict__ updates, T *out0,
    Int size, Int n, Int count, Int after)
{
    for (Int i = thread(); i < size; i += threads()) {
        const Int outer = i / after, row = outer / count;
        Int k = outer % count;
        const Int place = places[order[k]];
        if (k && places[order[k - 1]] == place) continue;
        T *target = out0 + (row * n + place) * after + i % after;
        T total = *target;
        for (; k < count && places[order[k]] == place; k++)
            total = total + updates[(row * count + order[k]) * after + i % after];
        *target = total;
    }
}
"""


def _find_winners(indices: Any, examples: int, n: int) -> tuple[tuple[Launch, ...], dict[str, Any]]:
    """The launches that fill `winners`, and this scratch."""
    count = math.prod(indices.shape)
    _check_range(count, n)
    clear = _launches("clear", examples * n, ("winners", examples * n))
    find = _launches("find", count, ("indices", "winners", count, count // max(examples, 1), n))
    return (*clear, *find), {"winners": ((examples * n,), "uint64")}


def _last_index_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    (indices,), (n, lead) = operands, params
    examples, part = math.prod(indices.shape[:lead]), math.prod(indices.shape[lead:])
    if not examples * part:
        return Plan({"I": indices.dtype}, ())
    found, scratch = _find_winners(indices, examples, n)
    arguments = ("indices", "winners", "out0", examples * part, part, n)
    return Plan({"I": indices.dtype}, (*found, *_launches("last_index", examples * part, arguments)), scratch)


def _set_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    (x, indices, _), (axis, _) = operands, params
    before, n, after = _split(x.shape, axis)
    found, scratch = _find_winners(indices, 1, n)
    size = before * n * after
    arguments = ("x", "updates", "winners", "out0", size, n, math.prod(indices.shape), after)
    launches = (*found, *_launches("scatter_set", size, arguments)) if size else ()
    return Plan({"T": _bits(x.dtype), "I": indices.dtype}, launches, scratch)


def _add_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    """`params` are the shape of the array that is added to, and the axis."""
    (places, _, updates), (shape, axis) = operands, params
    before, n, after = _split(shape, axis)
    count = math.prod(places.shape)
    size = before * count * after
    arguments = ("places", "order", "updates", "out0", size, n, count, after)
    return Plan({"T": updates.dtype}, _launches("scatter_add", size, arguments))


LAST_INDEX = RowSpec(
    "last_index",
    _SHARED + _LAST + _LAST_INDEX,
    ("indices",),
    _last_index_plan,
    _examples((8, 5), params=(100, 1), dtypes="int64"),
)
SCATTER_SET = RowSpec(
    "scatter_set",
    _SHARED + _LAST + _SET,
    ("x", "indices", "updates"),
    _set_plan,
    _examples((64, 10), (5,), (5, 10), params=(0, False), dtypes="float32 int64 float32"),
)
SCATTER_ADD = RowSpec(
    "scatter_add",
    _SHARED + _ADD,
    ("places", "order", "updates"),
    _add_plan,
    _examples((5,), (5,), (5, 10), params=((64, 10), 0), dtypes="int64 int64 float32"),
)
