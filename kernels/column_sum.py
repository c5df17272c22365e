"""Sums of the columns of a matrix, tall or wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcore.kernels.blocks import BLOCKS, chunks_of, power_of_two, sum_type
from gradcore.kernels.spec import Launch, Plan, RowSpec

THREADS = 256
_CHUNKS = 8
"""Chunks that a block is wide at most: 128 bytes, what memory gives at once."""
_BLOCKS = 1024
_ROWS_OF_A_THREAD = 16

COLUMNS = (
    f"\nconstexpr int THREADS = {THREADS};\n"
    r"""
__device__ inline Chunk plus(Chunk a, const Chunk &b)
{
    for (int i = 0; i < V; i++) a.at[i] += b.at[i];
    return a;
}

// Sum of the rows [first, last) of chunk c of the columns. The block stands `width` wide over the columns, its other
// threads one below the other; the sum is with those in the first row of threads.
template <typename U> __device__ Chunk sum_of_rows(
    const U *x, long long first, long long last, long long columns, long long c, int width)
{
    const bool wide = columns % V == 0 && aligned(x);
    const long long step = THREADS / width;
    Chunk total = {};
    if (c * V < columns) {
        long long r = first + threadIdx.x / width;
        for (; r + 3 * step < last; r += 4 * step) {
            const Chunk c0 = load_chunk(x + r * columns, c, columns, wide, (R)0);
            const Chunk c1 = load_chunk(x + (r + step) * columns, c, columns, wide, (R)0);
            const Chunk c2 = load_chunk(x + (r + 2 * step) * columns, c, columns, wide, (R)0);
            const Chunk c3 = load_chunk(x + (r + 3 * step) * columns, c, columns, wide, (R)0);
            total = plus(total, plus(plus(c0, c1), plus(c2, c3)));
        }
        for (; r < last; r += step) total = plus(total, load_chunk(x + r * columns, c, columns, wide, (R)0));
    }
    __shared__ Chunk parts[THREADS];
    for (int half = THREADS / 2; half >= width; half /= 2) {
        if (threadIdx.x < 2 * half) parts[threadIdx.x] = total;
        __syncthreads();
        if (threadIdx.x < half) total = plus(total, parts[threadIdx.x + half]);
        __syncthreads();
    }
    return total;
}
"""
)

_COLUMN_SUM = r"""
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gradcore_column_sum(
    const T *__restrict__ x, T *out0, R *partials, unsigned int *tickets,
    long long rows, long long columns, long long width, long long tiles, long long groups)
{
    const long long tile = blockIdx.x % tiles, group = blockIdx.x / tiles;
    const long long c = tile * width + threadIdx.x % width;
    const long long size = (rows + groups - 1) / groups, first = group * size;
    const bool writes = threadIdx.x < width;
    Chunk total = sum_of_rows(x, first, first + size < rows ? first + size : rows, columns, c, width);
    if (groups > 1) {
        if (writes) store_chunk(partials + group * columns, c, columns, false, total);
        if (!is_last(tickets + tile, groups)) return;
        total = sum_of_rows(partials, 0, groups, columns, c, width);
    }
    if (writes) store_chunk(out0, c, columns, columns % V == 0 && aligned(out0), total);
}
"""


def column_tiles(columns: int, dtype: Any) -> tuple[int, int]:
    """Chunks that a block is wide, and the number of blocks beside each other."""
    chunks = chunks_of(columns, dtype)
    width = min(power_of_two(chunks), _CHUNKS)
    return width, -(-chunks // width)


def _plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    (x,) = operands
    rows, columns = x.shape
    width, tiles = column_tiles(columns, x.dtype)
    groups = max(1, min(rows * width // (THREADS * _ROWS_OF_A_THREAD), _BLOCKS // max(tiles, 1)))
    arguments = ("x", "out0", "partials", "tickets", rows, columns, width, tiles, groups)
    launch = Launch("gradcore_column_sum", tiles * groups, THREADS, arguments)
    types = {"T": str(x.dtype), "R": sum_type(x.dtype)}
    return Plan(types, (launch,) if columns else (), {"partials": ((groups * columns,), types["R"])})


COLUMN_SUM = RowSpec(
    "column_sum",
    BLOCKS + COLUMNS + _COLUMN_SUM,
    ("x",),
    _plan,
    tuple(((((512, 256), dtype),), ()) for dtype in ("float16", "float32", "float64")),
)
