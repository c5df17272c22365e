"""The bias of an affine map, added to a product that may be wider than the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gradcore.kernels.spec import Launch, Plan, RowSpec

_TEXT = """
// out = z + b for the rows of z.  Sixteen-bit results come from products in float, so they are rounded once.
extern "C" __global__ void gradcore_add_bias(const Z *z, const T *b, T *out0, long long size, long long columns)
{
    const long long stride = (long long)gridDim.x * blockDim.x * PACK;
    long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * PACK;
    const bool packed = columns % PACK == 0 && (((size_t)z | (size_t)b | (size_t)out0) & 15) == 0;
    for (; i < size; i += stride) {
        long long column = i % columns;
        if (packed) {
            PackZ sum = *(const PackZ *)(z + i);
            const PackT bias = *(const PackT *)(b + column);
            PackT rounded;
            for (int k = 0; k < PACK; k++) rounded.at[k] = (T)(sum.at[k] + (Z)bias.at[k]);
            *(PackT *)(out0 + i) = rounded;
        } else {
            for (int k = 0; k < PACK && i + k < size; k++, column = column + 1 == columns ? 0 : column + 1)
                out0[i + k] = (T)(z[i + k] + (Z)b[column]);
        }
    }
}
"""
_PACKS = """
#define PACK ((int)(16 / sizeof(Z)))
struct __align__(16) PackZ { Z at[PACK]; };
struct __align__(sizeof(T) * (16 / sizeof(Z))) PackT { T at[PACK]; };
"""
THREADS, BLOCKS = 256, 4096


def _plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
    z, b = operands
    size = int(np.prod(z.shape, dtype=np.int64))
    types = {"Z": z.dtype, "T": b.dtype}
    if not size:
        return Plan(types, ())
    blocks = min(-(-size // (THREADS * 4)), BLOCKS)
    launch = Launch("gradcore_add_bias", blocks, THREADS, ("z", "b", "out0", size, z.shape[-1]))
    return Plan(types, (launch,))


def _examples() -> tuple[Any, ...]:
    pairs = (("float32", "float16"), ("float32", "float32"), ("float64", "float64"))
    return tuple([((((64, 10), z), ((10,), b)), ()) for z, b in pairs])


ADD_BIAS = RowSpec("add_bias", _PACKS + _TEXT, ("z", "b"), _plan, _examples())
