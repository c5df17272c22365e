"""Layer normalisation over the last axis, and its backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcore.kernels.blocks import BLOCKS, PARTS, matrix_shape, row_blocks, row_threads, sum_type
from gradcore.kernels.column_sum import COLUMNS, THREADS, column_tiles
from gradcore.kernels.spec import Launch, Plan, RowSpec

_LAYER_NORM = r"""
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_layer_norm(
    const T *__restrict__ x, const T *__restrict__ w, const T *__restrict__ b, T *out0, R *out1, R *out2,
    long long rows, long long n, long long width, double eps)
{
    const bool wide = n % V == 0 && aligned(x) && aligned(w) && aligned(b) && aligned(out0);
    const long long teams = blockDim.x / width;
    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        Part<1> part = part_of<1>({x}, r, rows, n, width, wide, 0);
        R sum = 0, squares = 0;
        part.each([&](long long, Chunk *x) {
            for (int i = 0; i < V; i++) sum += x->at[i];
        });
        const R average = sum_of(sum, width) / n;
        auto centre = [&](long long c, Chunk *x) {
            for (int i = 0; i < V; i++) x->at[i] = c * V + i < n ? x->at[i] - average : 0;
        };
        part.each([&](long long c, Chunk *x) {
            centre(c, x);
            for (int i = 0; i < V; i++) squares += x->at[i] * x->at[i];
        });
        const R rstd = 1 / sqrt(sum_of(squares, width) / n + (R)eps);
        part.each(centre, [&](long long c, Chunk *x) {
            const Chunk scale = load_chunk(w, c, n, wide, (R)0), shift = load_chunk(b, c, n, wide, (R)0);
            for (int i = 0; i < V; i++) x->at[i] = x->at[i] * rstd * scale.at[i] + shift.at[i];
            store_chunk(out0 + r * n, c, n, wide, *x);
        });
        if (part.lane == 0 && r < rows) {
            out1[r] = average;
            out2[r] = rstd;
        }
    }
}
"""

_LAYER_NORM_VJP = r"""
// What the threads of a block have kept of the same columns, one after another; `mine` is the block's.
__device__ inline void add_teams(const Chunk (&kept)[HELD][2], R *const (&mine)[2], long long n, int width)
{
    extern __shared__ R shared[];
    const int teams = blockDim.x / width, lane = threadIdx.x % width;
    R *const sums[2] = {teams > 1 ? shared : mine[0], teams > 1 ? shared + n : mine[1]};
    for (int team = 0; team < teams; team++) {
        #pragma unroll
        for (int k = 0; k < HELD; k++)
            for (int j = 0; j < 2; j++)
                for (int i = 0; i < V; i++) {
                    const long long column = (lane + k * width) * V + i;
                    if (threadIdx.x / width == team && column < n)
                        sums[j][column] = team ? sums[j][column] + kept[k][j].at[i] : kept[k][j].at[i];
                }
        __syncthreads();
    }
    if (teams > 1)
        for (long long i = threadIdx.x; i < n; i += blockDim.x)
            for (int j = 0; j < 2; j++) mine[j][i] = sums[j][i];
}

// Each thread sums the columns it has over the rows it goes through: those of its held chunks in registers, those of
// others in the block's partial sums, which nobody else touches.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gradcore_layer_norm_vjp(
    const T *__restrict__ g, const T *__restrict__ x, const T *__restrict__ w, const R *__restrict__ average,
    const R *__restrict__ rstd, T *out0, R *partials, long long rows, long long n, long long width)
{
    const bool wide = n % V == 0 && aligned(g) && aligned(x) && aligned(w) && aligned(out0);
    const long long teams = blockDim.x / width, chunks = (n + V - 1) / V;
    const int lane = threadIdx.x % width;
    R *const mine[2] = {partials + blockIdx.x * n, partials + (gridDim.x + blockIdx.x) * n};
    Chunk kept[HELD][2] = {};
    for (long long c = lane + HELD * width; c < chunks; c += width)
        for (int j = 0; j < 2; j++) store_chunk(mine[j], c, n, false, Chunk());

    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        const R mean = r < rows ? average[r] : 0, scale = r < rows ? rstd[r] : 0;
        Part<2> part = part_of<2>({x, g}, r, rows, n, width, wide, 0);
        R sum = 0, product = 0;
        auto standardize = [&](long long c, Chunk *zg) {
            for (int i = 0; i < V; i++) zg[0].at[i] = c * V + i < n ? (zg[0].at[i] - mean) * scale : 0;
        };
        part.each([&](long long c, Chunk *zg) {
            const Chunk weight = load_chunk(w, c, n, wide, (R)0);
            standardize(c, zg);
            for (int i = 0; i < V; i++) {
                sum += zg[1].at[i] * weight.at[i];
                product += zg[1].at[i] * weight.at[i] * zg[0].at[i];
            }
        });
        sum = sum_of(sum, width) / n;
        product = sum_of(product, width) / n;
        #pragma unroll
        for (int k = 0; k < HELD; k++)
            if (lane + k * width < part.chunks)
                for (int i = 0; i < V; i++) {
                    kept[k][0].at[i] += part.held[k][1].at[i] * part.held[k][0].at[i];
                    kept[k][1].at[i] += part.held[k][1].at[i];
                }
        auto add = [&](long long c, Chunk *zg) {
            standardize(c, zg);
            for (int i = 0; i < V && c * V + i < n; i++) {
                mine[0][c * V + i] += zg[1].at[i] * zg[0].at[i];
                mine[1][c * V + i] += zg[1].at[i];
            }
        };
        part.each(add, [&](long long c, Chunk *zg) {
            const Chunk weight = load_chunk(w, c, n, wide, (R)0);
            for (int i = 0; i < V; i++)
                zg[0].at[i] = (zg[1].at[i] * weight.at[i] - sum - zg[0].at[i] * product) * scale;
            store_chunk(out0 + r * n, c, n, wide, zg[0]);
        });
    }

    add_teams(kept, mine, n, width);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gradcore_layer_norm_vjp_columns(
    const R *__restrict__ partials, T *out1, T *out2, long long groups, long long n, long long width)
{
    const long long tiles = gridDim.x / 2, j = blockIdx.x / tiles;
    const long long c = blockIdx.x % tiles * width + threadIdx.x % width;
    const Chunk total = sum_of_rows(partials + j * groups * n, 0, groups, n, c, width);
    if (threadIdx.x < width) store_chunk(j ? out2 : out1, c, n, false, total);
}
"""


def _plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    x = operands[0]
    rows, n = matrix_shape(x.shape)
    width, block = row_threads(n, x.dtype)
    arguments = ("x", "w", "b", "out0", "out1", "out2", rows, n, width, float(params[0]))
    launch = Launch("gradcore_layer_norm", row_blocks(rows, width, block), block, arguments)
    return Plan({"T": str(x.dtype), "R": sum_type(x.dtype)}, (launch,) if rows else ())


def _most_groups(n: int) -> int:
    """Blocks of the backward, each of which leaves a row of partial sums: enough to fill a device, few to add up."""
    return max(256, min(2**18 // max(n, 1), 1024))


def _vjp_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    x = operands[1]
    rows, n = matrix_shape(x.shape)
    types = {"T": str(x.dtype), "R": sum_type(x.dtype)}
    width, block = row_threads(n, x.dtype, THREADS)
    grid = row_blocks(rows, width, block, _most_groups(n))
    shared = 2 * n * (8 if types["R"] == "float64" else 4) if width < block else 0
    inputs = ("g", "x", "w", "average", "rstd")
    by_rows = Launch("gradcore_layer_norm_vjp", grid, block, (*inputs, "out0", "partials", rows, n, width), shared)
    width, tiles = column_tiles(n, x.dtype)
    by_columns = Launch(
        "gradcore_layer_norm_vjp_columns", 2 * tiles, THREADS, ("partials", "out1", "out2", grid, n, width)
    )
    return Plan(types, (by_rows, by_columns) if n else (), {"partials": ((2, grid, n), types["R"])})


def _examples(*operands: str) -> Any:
    def shape_of(name: str, n: int) -> tuple[int, ...]:
        return (64, n) if name in "gx" else (n,) if name in "wb" else (64, 1)

    def dtype_of(name: str, dtype: str) -> str:
        return dtype if len(name) == 1 else "float64" if dtype == "float64" else "float32"

    return tuple(
        (tuple((shape_of(name, n), dtype_of(name, dtype)) for name in operands), (1e-5,))
        for dtype in ("float16", "float32", "float64")
        for n in (256, 5000)
    )


LAYER_NORM = RowSpec("layer_norm", BLOCKS + PARTS + _LAYER_NORM, ("x", "w", "b"), _plan, _examples("x", "w", "b"))
LAYER_NORM_VJP = RowSpec(
    "layer_norm_vjp",
    BLOCKS + PARTS + COLUMNS + _LAYER_NORM_VJP,
    ("g", "x", "w", "average", "rstd"),
    _vjp_plan,
    _examples("g", "x", "w", "average", "rstd"),
)
