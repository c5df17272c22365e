"""Every kernel that gradcore launches, as complete CUDA: for the compiler's tests and its table of registers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from itertools import product
from pkgutil import iter_modules
from types import SimpleNamespace
from typing import Any

import numpy as np

import gradcore.kernels
from gradcore.core.op import OPS, Promotion
from gradcore.kernels.emit_cuda import cuda_source, emit_cuda, emit_reduction
from gradcore.kernels.expr import var
from gradcore.kernels.multi_tensor import emit_clip, emit_multi_tensor, emit_norm
from gradcore.kernels.spec import ElementwiseSpec, Launch, ReductionSpec, RowSpec
from gradcore.ops.print_kernels import specs
from gradcore.ops.scalar import Scalar

TYPES = {"float16": "float16", "float32": "float", "float64": "double"}
EXACT = {"int64": "long long", "bool": "bool"}
COMBINATIONS = ("add", "multiply", "maximum", "minimum", "logical_or", "logical_and")
HEADER = """\
#include <cuda_fp16.h>

// float16 as CuPy's ElementwiseKernel declares it.
class float16 {
    half value;
public:
    __device__ float16() {}
    __device__ float16(float v) : value(v) {}
    explicit __device__ float16(bool v) : value(float(v)) {}
    explicit __device__ float16(double v) : value(v) {}
    explicit __device__ float16(int v) : value(v) {}
    explicit __device__ float16(unsigned int v) : value(v) {}
    explicit __device__ float16(long long v) : value(v) {}
    explicit __device__ float16(unsigned long long v) : value(v) {}
    __device__ operator float() const { return float(value); }
    float16 &operator=(const float16 &) = default;
    template <typename U> __device__ float16 &operator=(const U &v) { return *this = static_cast<float16>(v); }
};
"""
_ENTRY = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')

_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class KernelText:
    """A kernel for one set of types: its name, the types in words, its text, and launches that examples ask for."""

    name: str
    types: str
    source: str
    launches: tuple[Launch, ...] = ()

    @property
    def entries(self) -> tuple[str, ...]:
        """The functions that can be launched."""
        return tuple(_ENTRY.findall(self.source))


def kernel_texts(group: str) -> Iterator[KernelText]:
    """The kernels of a group of GROUPS."""
    return GROUPS[group]()


def elementwise_texts(dtype: str) -> Iterator[KernelText]:
    """The derived kernels for one dtype, as CuPy completes them for contiguous arrays."""
    for spec in specs() if dtype in TYPES else _of_all_numbers():
        yield KernelText(spec.name, dtype, _elementwise(spec, (TYPES | EXACT)[dtype]))


def _of_all_numbers() -> Iterator[ElementwiseSpec]:
    """Those whose operands may be integers."""
    for op in OPS.values():
        if isinstance(op.spec, Scalar) and op.promotion is Promotion.COMMON:
            yield op.spec.forward


def row_texts() -> Iterator[KernelText]:
    """The kernels written in CUDA, once for each set of types that their examples ask for."""
    for spec in row_specs():
        launches: dict[str, tuple[Launch, ...]] = {}
        sources: dict[str, str] = {}
        for operands, params in spec.examples:
            plan = spec.plan([SimpleNamespace(shape=s, dtype=np.dtype(d)) for s, d in operands], params)
            types = _words(plan.types)
            sources[types] = cuda_source(spec, plan.types)
            launches[types] = (*launches.get(types, ()), *plan.launches)
        yield from (KernelText(spec.name, types, source, launches[types]) for types, source in sources.items())


def reduction_texts() -> Iterator[KernelText]:
    """Reductions for each floating dtype, as CuPy completes them for contiguous arrays and one result."""
    found = [ReductionSpec(kind, ("x",), var("x"), kind) for kind in COMBINATIONS]
    found += [kernel for op in OPS.values() for kernel in op.kernels.values() if isinstance(kernel, ReductionSpec)]
    for spec, dtype in product({spec.name: spec for spec in found}.values(), TYPES):
        yield KernelText(f"reduce_{spec.name}", dtype, _reduction(spec, dtype))


def multi_tensor_texts() -> Iterator[KernelText]:
    """The kernels that take all parameters of a network: optimiser steps, norms, clipping."""
    steps = [op.kernels["elementwise"].forward for op in OPS.values() if "elementwise" in op.kernels]
    for spec, dtype in product(steps, TYPES):
        yield KernelText(f"multi_{spec.name}", dtype, emit_multi_tensor(spec, dtype))
    for real in (np.dtype(np.float32), np.dtype(np.float64)):
        yield KernelText("multi_norm_2", str(real), emit_norm(2.0, real))
        yield KernelText("multi_norm_inf", str(real), emit_norm(np.inf, real))
        yield KernelText("multi_clip", str(real), emit_clip(real))


def row_specs() -> list[RowSpec]:
    """Those of `kernels/` and those of the op table, each once."""
    modules = [import_module(f"gradcore.kernels.{m.name}") for m in iter_modules(gradcore.kernels.__path__)]
    values = [value for module in modules for value in vars(module).values()]
    values += [kernel for op in OPS.values() for kernel in op.kernels.values()]
    return list({value.name: value for value in values if isinstance(value, RowSpec)}.values())


def units(texts: Iterable[KernelText]) -> list[list[KernelText]]:
    """Texts that can be compiled together, because no two of them define the same function."""
    found: list[tuple[list[KernelText], set[str]]] = []
    for text in texts:
        unit = next((u for u in found if u[1].isdisjoint(text.entries)), None)
        if unit is None:
            found.append(unit := ([], set()))
        unit[0].append(text)
        unit[1].update(text.entries)
    return [kernels for kernels, _ in found]


def source_of(unit: Iterable[KernelText]) -> str:
    """One text for all kernels of a unit, each with its own names; messages name the kernel and its line."""
    return "\n".join([HEADER, *[_apart(text, f"unit{place}") for place, text in enumerate(unit)]])


def _apart(text: KernelText, namespace: str) -> str:
    forget = "\n".join(f"#undef {name}" for name in _MACRO.findall(text.source))
    return f'namespace {namespace} {{\n#line 1 "{text.name} ({text.types})"\n{text.source}\n}}\n{forget}'


def _words(types: Any) -> str:
    return ", ".join(f"{name} {np.dtype(dtype)}" for name, dtype in sorted(types.items()))


def _elementwise(spec: ElementwiseSpec, type: str) -> str:
    cuda = emit_cuda(spec)
    inputs = [parameter.split() for parameter in cuda.in_params.split(", ")]
    outputs = [parameter.split() for parameter in cuda.out_params.split(", ")]
    pointers = [f"const {t} *_raw_{name}" for t, name in inputs] + [f"{t} *_raw_{name}" for t, name in outputs]
    views = [f"const {t} &{name} = _raw_{name}[i];" for t, name in inputs]
    views += [f"{t} &{name} = _raw_{name}[i];" for t, name in outputs]
    return f"""\
typedef {type} T;
{cuda.preamble}
extern "C" __global__ void {cuda.name}({", ".join(pointers)}, long long n)
{{
    const long long stride = (long long)blockDim.x * gridDim.x;
    #pragma unroll 1
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {{
        {" ".join(views)}
        {cuda.operation}
    }}
}}
"""


_REDUCTION = """\
struct Indexer {{ ptrdiff_t length; __device__ ptrdiff_t size() const {{ return length; }} }};
{preamble}
#define REDUCE(a, b) ({reduce_expr})
#define POST_MAP(a) ({post_map_expr})
typedef {reduce_type} _type_reduce;
extern "C" __global__ void {name}({pointers}, Indexer _in_ind, Indexer _out_ind)
{{
    __shared__ _type_reduce _sdata[512];
    _type_reduce _s = _type_reduce({identity});
    #pragma unroll 1
    for (ptrdiff_t i = threadIdx.x; i < _in_ind.size(); i += 512) {{
        {views}
        const _type_reduce _a = static_cast<_type_reduce>({map_expr});
        _s = REDUCE(_s, _a);
    }}
    _sdata[threadIdx.x] = _s;
    for (int offset = 256; offset; offset /= 2) {{
        __syncthreads();
        if (threadIdx.x >= offset) continue;
        const _type_reduce _a = _sdata[threadIdx.x], _b = _sdata[threadIdx.x + offset];
        _sdata[threadIdx.x] = REDUCE(_a, _b);
    }}
    if (threadIdx.x) return;
    {result} &out0 = *_raw_out0;
    POST_MAP(_sdata[0]);
}}
"""


def _reduction(spec: ReductionSpec, dtype: str) -> str:
    logic = spec.combine.startswith("logical")
    cuda = emit_reduction(spec, np.dtype(dtype), np.dtype(np.bool_ if logic else dtype))
    type, result = TYPES[dtype], "bool" if logic else TYPES[dtype]
    names = [parameter.split()[1] for parameter in cuda.in_params.split(", ")]
    pointers = ", ".join([*[f"const {type} *_raw_{name}" for name in names], f"{result} *_raw_out0"])
    views = " ".join(f"const {type} &{name} = _raw_{name}[i];" for name in names)
    return _REDUCTION.format(**asdict(cuda), pointers=pointers, views=views, result=result)


GROUPS: dict[str, Callable[[], Iterator[KernelText]]] = {
    **{f"elementwise-{dtype}": partial(elementwise_texts, dtype) for dtype in TYPES | EXACT},
    "reductions": reduction_texts,
    "rows": row_texts,
    "multi-tensor": multi_tensor_texts,
}
