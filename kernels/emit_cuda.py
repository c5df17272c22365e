"""CUDA from specs: for CuPy's ElementwiseKernel, and as a file to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradcore.kernels.emit_c import Dialect, load_lines, safe_name, statements
from gradcore.kernels.expr import walk
from gradcore.kernels.spec import ElementwiseSpec

_COMPUTE = """\
template <typename U> struct gradcore_compute { typedef U type; };
template <> struct gradcore_compute<float16> { typedef float type; };
"""
_FLOOR_MOD = """\
// The remainder with the sign of the divisor.
__device__ inline double floor_mod(double a, double b)
{
    const double r = fmod(a, b);
    if (r == 0) return copysign(r, b);
    return (r < 0) != (b < 0) ? r + b : r;
}
__device__ inline float floor_mod(float a, float b)
{
    const float r = fmodf(a, b);
    if (r == 0) return copysignf(r, b);
    return (r < 0) != (b < 0) ? r + b : r;
}
template <typename U> __device__ inline U floor_mod(U a, U b)
{
    const U r = b ? a % b : 0;
    return r && (r < 0) != (b < 0) ? r + b : r;
}
"""


@dataclass(frozen=True)
class CudaElementwise:
    """The arguments of `cupy.ElementwiseKernel`; T is the type of all numbers, float16 included."""

    in_params: str
    out_params: str
    operation: str
    name: str
    preamble: str


def emit_cuda(spec: ElementwiseSpec) -> CudaElementwise:
    """`spec` for CuPy. Numbers of type T are computed as R, which is float for float16."""
    inputs = [f"{'bool' if name in spec.boolean_inputs else 'T'} {safe_name(name)}_in_" for name in spec.inputs]
    outputs = [f"{'bool' if output.boolean else 'T'} out{place}" for place, output in enumerate(spec.outputs)]
    loads = [line.replace("_in[i];", "_in_;") for line in load_lines(spec, "R", "bool")]
    body = statements(spec, Dialect("R", "bool", _number("R")), "out{}")
    operation = "\n".join(["typedef gradcore_compute<T>::type R;", *loads, *body])
    preamble = _COMPUTE + _helpers(spec)
    return CudaElementwise(", ".join(inputs), ", ".join(outputs), operation, f"gradcore_{spec.name}", preamble)


def print_cuda(spec: ElementwiseSpec) -> str:
    """A complete CUDA file: what it computes, and a kernel for contiguous arrays of n elements."""
    parameters = ["const long long n"]
    parameters += [
        f"const {'bool' if name in spec.boolean_inputs else 'T'} *{safe_name(name)}_in" for name in spec.inputs
    ]
    parameters += [f"{'bool' if output.boolean else 'T'} *out{place}" for place, output in enumerate(spec.outputs)]
    lines = load_lines(spec, "T", "bool")
    lines += statements(spec, Dialect("T", "bool", _number("T")), "out{}[i]")
    return _FILE.format(
        comment="\n".join(f"// {line}".rstrip() for line in _comment(spec)),
        helpers=_helpers(spec),
        name=spec.name,
        parameters=", ".join(parameters),
        body="\n".join(f"        {line}" for line in lines),
    )


_FILE = """\
{comment}

#ifndef REAL
#define REAL float
#endif
typedef REAL T;

{helpers}extern "C" __global__ void {name}(
    {parameters})
{{
    const long long stride = (long long)blockDim.x * gridDim.x;
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i < n; i += stride) {{
{body}
    }}
}}
"""


def _comment(spec: ElementwiseSpec) -> list[str]:
    doc = f"{spec.name}: {spec.doc}" if spec.doc else spec.name
    formulas = [f"    out{place} = {output}" for place, output in enumerate(spec.outputs)]
    return [*doc.splitlines(), "", *formulas]


def _helpers(spec: ElementwiseSpec) -> str:
    return _FLOOR_MOD if any(node.leaf == "mod" for node in walk(spec.outputs)) else ""


def _number(type: str) -> Callable[[float], str]:
    def text(value: float) -> str:
        if math.isnan(value):
            return f"({type}(1e300) * {type}(1e300) * 0)"
        if math.isinf(value):
            return ("-" if value < 0 else "") + f"({type}(1e300) * {type}(1e300))"
        return f"{type}({value!r})"

    return text
