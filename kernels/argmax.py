"""Place of the first maximum or minimum along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradcore.kernels.blocks import BLOCKS, row_blocks, row_threads
from gradcore.kernels.spec import Launch, Plan, RowSpec

_TEXT = r"""
struct Best { R value; long long place; };

// A NaN beats all that are none.
__device__ inline bool beats(R a, R b) { return a BEATS b || (a != a && b == b); }

__device__ inline Best of_neighbour(const Best &best, int offset)
{
    return {of_neighbour(best.value, offset), __shfl_xor_sync(~0u, best.place, offset)};
}

__device__ inline Best better(const Best &a, const Best &b)
{
    return beats(b.value, a.value) || (!beats(a.value, b.value) && b.place < a.place) ? b : a;
}

extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_NAME(const T *__restrict__ x, long long *out0, long long rows, long long n, long long width)
{
    const bool wide = n % V == 0 && aligned(x);
    const long long teams = blockDim.x / width, chunks = (n + V - 1) / V;
    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        const T *row = x + (r < rows ? r : rows - 1) * n;
        Best best = {(R)row[0], 0};
        for (long long c = threadIdx.x % width; c < chunks; c += width) {
            const Chunk chunk = load_chunk(row, c, n, wide, (R)row[0]);
            for (int i = 0; i < V; i++)
                if (beats(chunk.at[i], best.value)) best = {chunk.at[i], c * V + i};
        }
        best = joined(best, width, [](const Best &a, const Best &b) { return better(a, b); });
        if (threadIdx.x % width == 0 && r < rows) out0[r] = best.place;
    }
}

// Along an axis before the last: a thread for each place, neighbours side by side.
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_NAME_columns(const T *__restrict__ x, long long *out0, long long places, long long n, long long inner)
{
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long j = (long long)blockIdx.x * blockDim.x + threadIdx.x; j < places; j += stride) {
        const T *column = x + j / inner * n * inner + j % inner;
        Best best = {(R)column[0], 0};
        for (long long k = 1; k < n; k++)
            if (beats((R)column[k * inner], best.value)) best = {(R)column[k * inner], k};
        out0[j] = best.place;
    }
}
"""
_COMPARED = {
    "float16": "float32",
    "bool": "int32",
    "int8": "int32",
    "int16": "int32",
    "uint8": "int32",
    "uint16": "int32",
}


def _plan(name: str) -> Any:
    def plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
        (x,), (axis,) = operands, params
        outer, n, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
        if not n:
            raise ValueError(f"attempt to get {name} of an empty sequence")
        types = {"T": str(x.dtype), "R": _COMPARED.get(str(x.dtype), str(x.dtype))}
        places = outer * inner
        width, block = row_threads(n, x.dtype) if inner == 1 else (1, 128)
        entry, size = (f"gradcore_{name}", width) if inner == 1 else (f"gradcore_{name}_columns", inner)
        launch = Launch(entry, row_blocks(places, width, block), block, ("x", "out0", places, n, size))
        return Plan(types, (launch,) if places else ())

    return plan


def _spec(name: str, beats: str) -> RowSpec:
    text = BLOCKS + _TEXT.replace("NAME", name).replace("BEATS", beats)
    dtypes = ("float16", "float32", "float64", "int64", "bool")
    return RowSpec(name, text, ("x",), _plan(name), tuple(((((64, 10), dtype),), (1,)) for dtype in dtypes))


ARGMAX = _spec("argmax", ">")
ARGMIN = _spec("argmin", "<")
