"""A reduction of whole arrays to one number, in one launch: CuPy's kernel for two operands would be a single block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from gradcore.kernels.blocks import BLOCKS, chunks_of, sum_type
from gradcore.kernels.emit_cuda import COMBINE, term_function
from gradcore.kernels.expr import var
from gradcore.kernels.spec import Launch, Plan, ReductionSpec, RowSpec

THREADS = 256
_CHUNKS_OF_A_THREAD = 4
_MOST_BLOCKS = 1024
_IDENTITY = {"add": "0", "maximum": "-__int_as_float(0x7f800000)", "minimum": "__int_as_float(0x7f800000)"}

_TEXT = r"""
struct Combine { __device__ R operator()(R a, R b) const { return COMBINED; } };

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gradcore_NAME(PARAMETERS, T *out0, R *partials, unsigned int *tickets, long long n, long long divisor)
{
    const Combine combine;
    const R identity = IDENTITY;
    const bool wide = n % V == 0 && ALIGNED;
    const long long chunks = (n + V - 1) / V, step = (long long)gridDim.x * THREADS;
    R total = identity;
    for (long long c = (long long)blockIdx.x * THREADS + threadIdx.x; c < chunks; c += step) {
        LOADS
        for (int i = 0; i < V; i++)
            if (c * V + i < n) total = combine(total, gradcore_term(TERMS));
    }
    total = joined(total, THREADS, combine);
    if (gridDim.x > 1) {
        if (threadIdx.x == 0) partials[blockIdx.x] = total;
        if (!is_last(tickets, gridDim.x)) return;
        total = identity;
        for (int k = threadIdx.x; k < gridDim.x; k += THREADS) total = combine(total, partials[k]);
        total = joined(total, THREADS, combine);
    }
    if (threadIdx.x == 0) out0[0] = (T)(total / (R)divisor);
}
"""


@cache
def total(spec: ReductionSpec) -> RowSpec:
    """The kernel of a reduction by add, maximum or minimum, of floats of one shape."""

    def plan(operands: Sequence[Any], params: tuple[Any, ...]) -> Plan:
        x = operands[0]
        n = math.prod(x.shape)
        blocks = max(1, min(chunks_of(n, x.dtype) // (THREADS * _CHUNKS_OF_A_THREAD), _MOST_BLOCKS))
        arguments = (*spec.inputs, "out0", "partials", "tickets", n, n if spec.mean else 1)
        types = {"T": x.dtype, "R": sum_type(x.dtype)}
        launch = Launch(f"gradcore_{spec.name}", blocks, THREADS, arguments)
        return Plan(types, (launch,), {"partials": ((blocks,), types["R"])})

    operands = tuple([((512, 256), "float32")] * len(spec.inputs))
    return RowSpec(f"{spec.name}_total", _text(spec), spec.inputs, plan, ((operands, ()),))


def _text(spec: ReductionSpec) -> str:
    names = [f"{name}_in" for name in spec.inputs]
    filled = {
        "COMBINED": COMBINE[spec.combine],
        "NAME": spec.name,
        "PARAMETERS": ", ".join([f"const T *__restrict__ {name}" for name in names]),
        "IDENTITY": _IDENTITY[spec.combine],
        "ALIGNED": " && ".join([f"aligned({name})" for name in names]),
        "LOADS": " ".join([f"const Chunk {name}_chunk = load_chunk({name}, c, n, wide, (R)0);" for name in names]),
        "TERMS": ", ".join([f"{name}_chunk.at[i]" for name in names]),
        "THREADS": str(THREADS),
    }
    text = _TEXT
    for word, value in filled.items():
        text = text.replace(word, value)
    return BLOCKS + term_function(spec, "R") + text


SUM = total(ReductionSpec("sum", ("x",), var("x")))
