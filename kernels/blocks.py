"""What the kernels that work by rows share: loads of 16 bytes, sums over threads, and how rows are dealt to threads."""

from __future__ import annotations

import math
from typing import Any

HELD = 4
"""Chunks of 16 bytes that a thread keeps in registers."""

ROW_BLOCKS = 2048
"""Most blocks of a grid that goes through rows: what the largest devices hold at once."""

BLOCKS = r"""
// The elements of a row are dealt in chunks of 16 bytes: chunk c goes to thread c % width of the row's threads.
// Which thread adds what depends on the row's length alone, not on alignment, so neither do the bits of a sum.
constexpr int V = 16 / sizeof(T);

template <typename U> struct alignas(16) Pack { U at[V]; };
struct Chunk { R at[V]; };

__device__ inline bool aligned(const void *p) { return ((size_t)p & 15) == 0; }

// Chunk c of a row of n elements, and `padding` after its end.
template <typename U> __device__ inline Chunk load_chunk(
    const U *row, long long c, long long n, bool wide, R padding)
{
    Chunk chunk;
    if (wide) {
        const Pack<U> pack = ((const Pack<U> *)row)[c];
        for (int i = 0; i < V; i++) chunk.at[i] = (R)pack.at[i];
    } else {
        for (int i = 0; i < V; i++) chunk.at[i] = c * V + i < n ? (R)row[c * V + i] : padding;
    }
    return chunk;
}

template <typename U> __device__ inline void store_chunk(
    U *row, long long c, long long n, bool wide, const Chunk &chunk)
{
    if (wide) {
        Pack<U> pack;
        for (int i = 0; i < V; i++) pack.at[i] = (U)chunk.at[i];
        ((Pack<U> *)row)[c] = pack;
    } else {
        for (int i = 0; i < V; i++)
            if (c * V + i < n) row[c * V + i] = (U)chunk.at[i];
    }
}

// --- Over the threads of a row: `width` of them, a power of two, at most 32 or the whole block

__device__ inline R of_neighbour(R value, int offset) { return __shfl_xor_sync(~0u, value, offset); }

template <typename U, typename Join> __device__ U joined(U value, int width, Join join)
{
    for (int offset = (width < 32 ? width : 32) / 2; offset; offset /= 2)
        value = join(value, of_neighbour(value, offset));
    if (width <= 32) return value;
    __shared__ U parts[32];
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[threadIdx.x % (width / 32)];
    for (int offset = width / 64; offset; offset /= 2) value = join(value, of_neighbour(value, offset));
    __syncthreads();
    return value;
}

__device__ R sum_of(R value, int width)
{
    return joined(value, width, [](R a, R b) { return a + b; });
}

// Whether this is the last of `count` blocks to come here; what the others wrote before is then to be seen.
__device__ bool is_last(unsigned int *ticket, unsigned int count)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1u) == count - 1;
        if (last) *ticket = 0;
    }
    __syncthreads();
    __threadfence();
    return last;
}
"""

PARTS = (
    f"\nconstexpr int HELD = {HELD};\n"
    r"""
__device__ inline R infinity() { return (R)__int_as_float(0x7f800000); }

// What one thread has of N rows of equal length. It holds its first chunks in registers; those of a row longer than
// that it reads again whenever they are needed.
template <int N> struct Part {
    const T *row[N];
    long long n, chunks;
    int lane, width;
    bool wide;
    R padding;
    Chunk held[HELD][N];

    __device__ void load(long long c, Chunk *chunk) const
    {
        for (int k = 0; k < N; k++) chunk[k] = load_chunk(row[k], c, n, wide, padding);
    }

    __device__ void hold()
    {
        #pragma unroll
        for (int k = 0; k < HELD; k++) {
            for (int j = 0; j < N; j++) held[k][j] = Chunk();
            if (lane + k * width < chunks) load(lane + k * width, held[k]);
        }
    }

    // use(c, chunk of each row) for every chunk c; `redo` does to a chunk read again what was done to the held ones.
    template <typename Redo, typename Use> __device__ void each(Redo redo, Use use)
    {
        #pragma unroll
        for (int k = 0; k < HELD; k++)
            if (lane + k * width < chunks) use(lane + k * width, held[k]);
        for (long long c = lane + HELD * width; c < chunks; c += width) {
            Chunk chunk[N];
            load(c, chunk);
            redo(c, chunk);
            use(c, chunk);
        }
    }

    template <typename Use> __device__ void each(Use use) { each([](long long, Chunk *) {}, use); }
};

// The part of row r; past the last row there is none, but the thread goes on, for the sake of its neighbours.
template <int N> __device__ Part<N> part_of(
    const T *const (&x)[N], long long r, long long rows, long long n, int width, bool wide, R padding)
{
    Part<N> part;
    for (int k = 0; k < N; k++) part.row[k] = x[k] + r * n;
    part.n = n;
    part.chunks = r < rows ? (n + V - 1) / V : 0;
    part.lane = threadIdx.x % width;
    part.width = width;
    part.wide = wide;
    part.padding = padding;
    part.hold();
    return part;
}
"""
)


def sum_type(dtype: Any) -> str:
    """The dtype that sums of `dtype` are taken in."""
    return "float64" if str(dtype) == "float64" else "float32"


def chunks_of(n: int, dtype: Any) -> int:
    """Number of 16-byte chunks of a row of n elements."""
    return int(-(-n * dtype.itemsize // 16))


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def row_threads(n: int, dtype: Any, most: int = 512) -> tuple[int, int]:
    """How many threads share a row of n elements, and how many are in a block.

    A warp or a part of one while its registers hold the row, then a whole block.
    """
    chunks = chunks_of(n, dtype)
    if chunks <= 32 * HELD:
        return min(power_of_two(chunks), 32), 128
    width = min(power_of_two(-(-chunks // HELD)), most)
    return width, width


def row_blocks(rows: int, width: int, block: int, most: int = ROW_BLOCKS) -> int:
    """Number of blocks that go through the rows."""
    return max(1, min(-(-rows * width // block), most))


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and their length, of an array whose last axis is a row."""
    return math.prod(shape[:-1]), shape[-1]
