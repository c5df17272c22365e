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
_FLOOR_DIVIDE = """\
// The quotient rounded down, as NumPy does it.
__device__ inline double floor_divide(double a, double b)
{
    const double r = fmod(a, b), q = (a - r) / b - (r != 0 && (r < 0) != (b < 0));
    if (b == 0) return a / b;
    if (q == 0) return copysign(q, a / b);
    return floor(q) + (q - floor(q) > 0.5);
}
__device__ inline float floor_divide(float a, float b)
{
    const float r = fmodf(a, b), q = (a - r) / b - (r != 0 && (r < 0) != (b < 0));
    if (b == 0) return a / b;
    if (q == 0) return copysignf(q, a / b);
    return floorf(q) + (q - floorf(q) > 0.5f);
}
template <typename U> __device__ inline U floor_divide(U a, U b)
{
    return b ? a / b - (a % b && (a % b < 0) != (b < 0)) : 0;
}
"""
_HELPERS = {"mod": _FLOOR_MOD, "floor_divide": _FLOOR_DIVIDE}


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
    loads = load_lines(spec, "R", "bool", "{}_in_")
    body = statements(spec, Dialect("R", "bool", _number("R")), "out{}")
    operation = "\n".join(["typedef gradcore_compute<T>::type R;", *loads, *body])
    preamble = _COMPUTE + _helpers(spec)
    return CudaElementwise(", ".join(inputs), ", ".join(outputs), operation, _kernel_name(spec), preamble)


def print_cuda(spec: ElementwiseSpec) -> str:
    """A complete CUDA file: what it computes, and a kernel for contiguous arrays of n elements (0-d ones of one)."""
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
        name=_kernel_name(spec),
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


def _kernel_name(spec: ElementwiseSpec) -> str:
    """A name of ours: `exp` alone would be CUDA's function."""
    return f"gradcore_{spec.name}"


def _comment(spec: ElementwiseSpec) -> list[str]:
    doc = f"{spec.name}: {spec.doc}" if spec.doc else spec.name
    formulas = [f"    out{place} = {output}" for place, output in enumerate(spec.outputs)]
    return [*doc.splitlines(), "", *formulas]


def _helpers(spec: ElementwiseSpec) -> str:
    leaves = {node.leaf for node in walk(spec.outputs)}
    return "".join(text for leaf, text in _HELPERS.items() if leaf in leaves)


def _number(type: str) -> Callable[[float], str]:
    def text(value: float) -> str:
        if math.isnan(value):
            return f"({type}(1e300) * {type}(1e300) * 0)"
        if math.isinf(value):
            return ("-" if value < 0 else "") + f"({type}(1e300) * {type}(1e300))"
        return f"{type}({value!r})"

    return text
