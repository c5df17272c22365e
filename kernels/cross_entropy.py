"""Cross entropy of integer labels over the last axis: loss, gradient, and both in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcore.kernels.blocks import BLOCKS, PARTS, matrix_shape, row_blocks, row_threads, sum_type
from gradcore.kernels.softmax import EXPONENTIALS
from gradcore.kernels.spec import Launch, Plan, RowSpec

_ROW = r"""
// A label that no class has gives NaN: to report it, the host would have to wait.
__device__ inline bool is_class(long long label, long long n) { return label >= 0 && label < n; }

__device__ inline R not_a_number() { return infinity() - infinity(); }

// (softmax(x) - one_hot(label)) * weight, from exp(x - shift) and their sum.
__device__ void store_gradient(Part<1> &part, const Shift &shift, R total, long long label, R weight, T *row)
{
    if (!is_class(label, part.n)) weight = not_a_number();
    part.each(shift, [&](long long c, Chunk *y) {
        for (int i = 0; i < V; i++) y->at[i] = (y->at[i] / total - (c * V + i == label ? 1 : 0)) * weight;
        store_chunk(row, c, part.n, part.wide, *y);
    });
}
"""

_LOSS = r"""
// The loss of each row to `losses`, if there is one; the sum of the block's, divided by `divisor`, to thread 0.
template <bool GRADIENT> __device__ __forceinline__ R cross_entropy(
    const T *__restrict__ x, const L *__restrict__ labels, T *losses, T *gradient,
    long long rows, long long n, long long width, R divisor)
{
    const bool wide = n % V == 0 && aligned(x) && (!GRADIENT || aligned(gradient));
    const long long teams = blockDim.x / width;
    R sum = 0;
    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        Part<1> part = part_of<1>({x}, r, rows, n, width, wide, -infinity());
        const Shift shift = shift_of(part);
        const R total = exponentials(part, shift);
        const long long label = r < rows ? (long long)labels[r] : -1;
        if (part.lane == 0 && r < rows) {
            const R loss = is_class(label, n) ? log(total) - ((R)x[r * n + label] - shift.top) : not_a_number();
            if (losses) losses[r] = (T)loss;
            sum += loss;
        }
        if (GRADIENT) store_gradient(part, shift, total, label, 1 / divisor, gradient + r * n);
    }
    return losses ? 0 : sum_of(sum, blockDim.x);
}

// The sum of what the blocks have, by the last of them.
__device__ void finish(R sum, T *out0, R *partials, unsigned int *tickets, R divisor)
{
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
    if (!is_last(tickets, gridDim.x)) return;
    R total = 0;
    for (int k = threadIdx.x; k < gridDim.x; k += blockDim.x) total += partials[k];
    total = sum_of(total, blockDim.x);
    if (threadIdx.x == 0) out0[0] = (T)(total / divisor);
}
"""

_CROSS_ENTROPY = r"""
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_cross_entropy(
    const T *__restrict__ x, const L *__restrict__ labels, T *out0, R *partials, unsigned int *tickets,
    long long rows, long long n, long long width, double divisor)
{
    finish(cross_entropy<false>(x, labels, 0, 0, rows, n, width, divisor), out0, partials, tickets, divisor);
}

extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_cross_entropy_rows(
    const T *__restrict__ x, const L *__restrict__ labels, T *out0,
    long long rows, long long n, long long width, double divisor)
{
    cross_entropy<false>(x, labels, out0, 0, rows, n, width, divisor);
}
"""

_WITH_GRADIENT = r"""
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_cross_entropy_with_gradient(
    const T *__restrict__ x, const L *__restrict__ labels, T *out0, T *out1, R *partials, unsigned int *tickets,
    long long rows, long long n, long long width, double divisor)
{
    finish(cross_entropy<true>(x, labels, 0, out1, rows, n, width, divisor), out0, partials, tickets, divisor);
}

extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_cross_entropy_with_gradient_rows(
    const T *__restrict__ x, const L *__restrict__ labels, T *out0, T *out1,
    long long rows, long long n, long long width, double divisor)
{
    cross_entropy<true>(x, labels, out0, out1, rows, n, width, divisor);
}
"""

_VJP = r"""
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_cross_entropy_vjp(
    const T *__restrict__ g, const T *__restrict__ x, const L *__restrict__ labels, T *out0,
    long long rows, long long n, long long width, long long g_step, double divisor)
{
    const bool wide = n % V == 0 && aligned(x) && aligned(out0);
    const long long teams = blockDim.x / width;
    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        Part<1> part = part_of<1>({x}, r, rows, n, width, wide, -infinity());
        const Shift shift = shift_of(part);
        const R total = exponentials(part, shift);
        if (r < rows)
            store_gradient(part, shift, total, labels[r], (R)g[r * g_step] / (R)divisor, out0 + r * n);
    }
}
"""


def _types(x: Any, labels: Any) -> dict[str, str]:
    return {"T": str(x.dtype), "R": sum_type(x.dtype), "L": str(labels.dtype)}


def _divisor(rows: int, reduction: str) -> float:
    return float(rows if reduction == "mean" else 1)


def _loss_plan(entry: str, outputs: tuple[str, ...]) -> Any:
    def plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
        x, labels = operands
        rows, n = matrix_shape(x.shape)
        width, block = row_threads(n, x.dtype)
        grid = row_blocks(rows, width, block)
        sizes = (rows, n, width, _divisor(rows, params[0]))
        if params[0] == "none":
            launch = Launch(f"{entry}_rows", grid, block, ("x", "labels", *outputs, *sizes))
            return Plan(_types(x, labels), (launch,) if rows else ())
        launch = Launch(entry, grid, block, ("x", "labels", *outputs, "partials", "tickets", *sizes))
        return Plan(_types(x, labels), (launch,), {"partials": ((grid,), sum_type(x.dtype))})

    return plan


def _vjp_plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    _, x, labels = operands
    rows, n = matrix_shape(x.shape)
    width, block = row_threads(n, x.dtype)
    sizes = (rows, n, width, int(params[0] == "none"), _divisor(rows, params[0]))
    arguments = ("g", "x", "labels", "out0", *sizes)
    launch = Launch("gradcore_cross_entropy_vjp", row_blocks(rows, width, block), block, arguments)
    return Plan(_types(x, labels), (launch,) if rows * n else ())


def _examples(with_g: bool) -> Any:
    return tuple(
        ((*((((), dtype),) if with_g else ()), ((64, 10), dtype), ((64,), "int64")), ("mean",))
        for dtype in ("float16", "float32", "float64")
    )


_TEXT = BLOCKS + PARTS + EXPONENTIALS + _ROW

CROSS_ENTROPY = RowSpec(
    "cross_entropy",
    _TEXT + _LOSS + _CROSS_ENTROPY,
    ("x", "labels"),
    _loss_plan("gradcore_cross_entropy", ("out0",)),
    _examples(False),
)
CROSS_ENTROPY_WITH_GRADIENT = RowSpec(
    "cross_entropy_with_gradient",
    _TEXT + _LOSS + _WITH_GRADIENT,
    ("x", "labels"),
    _loss_plan("gradcore_cross_entropy_with_gradient", ("out0", "out1")),
    _examples(False),
)
CROSS_ENTROPY_VJP = RowSpec("cross_entropy_vjp", _TEXT + _VJP, ("g", "x", "labels"), _vjp_plan, _examples(True))
