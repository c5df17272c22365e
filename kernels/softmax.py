"""Softmax over the last axis, and its backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcore.kernels.blocks import BLOCKS, PARTS, matrix_shape, row_blocks, row_threads, sum_type
from gradcore.kernels.spec import Launch, Plan, RowSpec

EXPONENTIALS = r"""
__device__ R max_of(R value, int width)
{
    return joined(value, width, [](R a, R b) { return fmax(a, b); });
}

// exp(x - max(x)) of each element in place of x, and their sum; a maximum that is not finite counts as 0.
struct Shift {
    R top;

    __device__ void operator()(long long, Chunk *x) const
    {
        for (int i = 0; i < V; i++) x->at[i] = exp(x->at[i] - top);
    }
};

__device__ Shift shift_of(Part<1> &part)
{
    R top = part.padding;
    part.each([&](long long, Chunk *x) {
        for (int i = 0; i < V; i++) top = fmax(top, x->at[i]);
    });
    top = max_of(top, part.width);
    return {top - top == 0 ? top : 0};
}

__device__ R exponentials(Part<1> &part, const Shift &shift)
{
    R total = 0;
    part.each([&](long long c, Chunk *x) {
        shift(c, x);
        for (int i = 0; i < V; i++) total += x->at[i];
    });
    return sum_of(total, part.width);
}
"""

_SOFTMAX = r"""
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_softmax(const T *__restrict__ x, T *out0, long long rows, long long n, long long width)
{
    const bool wide = n % V == 0 && aligned(x) && aligned(out0);
    const long long teams = blockDim.x / width;
    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        Part<1> part = part_of<1>({x}, r, rows, n, width, wide, -infinity());
        const Shift shift = shift_of(part);
        const R total = exponentials(part, shift);
        part.each(shift, [&](long long c, Chunk *y) {
            for (int i = 0; i < V; i++) y->at[i] /= total;
            store_chunk(out0 + r * n, c, n, wide, *y);
        });
    }
}
"""

_SOFTMAX_VJP = r"""
extern "C" __global__ void __launch_bounds__(512, 1)
gradcore_softmax_vjp(
    const T *__restrict__ g, const T *__restrict__ y, T *out0, long long rows, long long n, long long width)
{
    const bool wide = n % V == 0 && aligned(g) && aligned(y) && aligned(out0);
    const long long teams = blockDim.x / width;
    for (long long first = blockIdx.x * teams; first < rows; first += gridDim.x * teams) {
        const long long r = first + threadIdx.x / width;
        Part<2> part = part_of<2>({g, y}, r, rows, n, width, wide, 0);
        R inner = 0;
        part.each([&](long long, Chunk *gy) {
            for (int i = 0; i < V; i++) inner += gy[0].at[i] * gy[1].at[i];
        });
        inner = sum_of(inner, width);
        part.each([&](long long c, Chunk *gy) {
            for (int i = 0; i < V; i++) gy[0].at[i] = (gy[0].at[i] - inner) * gy[1].at[i];
            store_chunk(out0 + r * n, c, n, wide, gy[0]);
        });
    }
}
"""


def _row_plan(entry: str, inputs: tuple[str, ...]) -> Any:
    def plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
        x = operands[-1]
        rows, n = matrix_shape(x.shape)
        types = {"T": str(x.dtype), "R": sum_type(x.dtype)}
        width, block = row_threads(n, x.dtype)
        launch = Launch(entry, row_blocks(rows, width, block), block, (*inputs, "out0", rows, n, width))
        return Plan(types, (launch,) if rows * n else ())

    return plan


def _examples(count: int) -> Any:
    return tuple((((((64, n), dtype),) * count), ()) for dtype in ("float16", "float32", "float64") for n in (10, 5000))


SOFTMAX = RowSpec(
    "softmax",
    BLOCKS + PARTS + EXPONENTIALS + _SOFTMAX,
    ("x",),
    _row_plan("gradcore_softmax", ("x",)),
    _examples(1),
)
SOFTMAX_VJP = RowSpec(
    "softmax_vjp",
    BLOCKS + PARTS + _SOFTMAX_VJP,
    ("g", "y"),
    _row_plan("gradcore_softmax_vjp", ("g", "y")),
    _examples(2),
)
