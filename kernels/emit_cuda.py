"""CUDA from specs: for CuPy's ElementwiseKernel, and as a file to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradcore.kernels.emit_c import Dialect, load_lines, safe_name, statements
from gradcore.kernels.expr import walk
from gradcore.kernels.spec import ElementwiseSpec, ReductionSpec, RowSpec

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
# CUDA's functions are ambiguous for integers, and CuPy instantiates a kernel for these as well.
_ANY_TYPE = {"abs": "gradcore_abs({0})", "power": "gradcore_pow({0}, {1})"}
_ANY_TYPE_HELPERS = {
    "abs": """\
__device__ inline double gradcore_abs(double x) { return fabs(x); }
__device__ inline float gradcore_abs(float x) { return fabsf(x); }
template <typename U> __device__ inline U gradcore_abs(U x) { return x < 0 ? -x : x; }
""",
    "power": """\
__device__ inline double gradcore_pow(double x, double n) { return pow(x, n); }
__device__ inline float gradcore_pow(float x, float n) { return powf(x, n); }
// By squaring; with a negative exponent, the reciprocal without its fraction.
template <typename U> __device__ inline U gradcore_pow(U x, U n)
{
    if (n < 0) return x * x == 1 ? (n % 2 ? x : 1) : 0;
    U y = 1;
    for (; n > 0; n /= 2, x = x * x)
        if (n % 2) y = y * x;
    return y;
}
""",
}


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
    body = statements(spec, Dialect("R", "bool", _number("R"), _ANY_TYPE), "out{}")
    operation = "\n".join(["typedef gradcore_compute<T>::type R;", *loads, *body])
    preamble = _COMPUTE + _helpers(spec, _HELPERS | _ANY_TYPE_HELPERS)
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


def _helpers(spec: ElementwiseSpec, texts: Mapping[str, str] = _HELPERS) -> str:
    leaves = {node.leaf for node in walk(spec.outputs)}
    return "".join(text for leaf, text in texts.items() if leaf in leaves)


def _number(type: str) -> Callable[[float], str]:
    def text(value: float) -> str:
        if math.isnan(value):
            return "__int_as_float(0x7fffffff)"
        if math.isinf(value):  # a float in every kernel, since integers are compared with it too
            return ("-" if value < 0 else "") + "__int_as_float(0x7f800000)"
        return f"{type}({value!r})"

    return text


# --- kernels written in CUDA ------------------------------------------------------------------------------------------

_C_NAMES = {
    "float16": "__half",
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
}


def cuda_source(spec: RowSpec, types: Mapping[str, Any]) -> str:
    """The text of a kernel with its types filled in."""
    names = {name: _C_NAMES[str(dtype)] for name, dtype in types.items()}
    header = "#include <cuda_fp16.h>\n" if "__half" in names.values() else ""
    return header + "".join(f"typedef {c} {name};\n" for name, c in sorted(names.items())) + spec.text


# --- reductions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CudaReduction:
    """The arguments of `cupy.ReductionKernel`."""

    in_params: str
    out_params: str
    map_expr: str
    reduce_expr: str
    post_map_expr: str
    identity: str
    name: str
    reduce_type: str
    preamble: str


COMBINE = {
    "add": "a + b",
    "multiply": "a * b",
    "maximum": "gradcore_maximum(a, b)",
    "minimum": "gradcore_minimum(a, b)",
    "logical_or": "a || b",
    "logical_and": "a && b",
}
_EXTREMES = """\
// A NaN wins, as in NumPy.
template <typename U> __device__ inline U gradcore_maximum(U a, U b) { return a != a ? a : b != b || b > a ? b : a; }
template <typename U> __device__ inline U gradcore_minimum(U a, U b) { return a != a ? a : b != b || b < a ? b : a; }
"""


def emit_reduction(spec: ReductionSpec, operand: Any, result: Any) -> CudaReduction:
    """`spec` for CuPy, for operands of one dtype; float16 is combined in float."""
    names = {str(dtype): "float16" if str(dtype) == "float16" else _C_NAMES[str(dtype)] for dtype in (operand, result)}
    real = "float" if str(result) == "float16" else names[str(result)]
    inner = "float" if str(operand) == "float16" else names[str(operand)]
    logic = spec.combine.startswith("logical")
    mapped = f"gradcore_term({', '.join(f'({inner}){safe_name(name)}_in' for name in spec.inputs)})"
    total = "a / (_in_ind.size() / _out_ind.size())" if spec.mean else "a"
    return CudaReduction(
        ", ".join(f"{operand} {safe_name(name)}_in" for name in spec.inputs),
        f"{result} out0",
        f"bool({mapped})" if logic else f"({real}){mapped}",
        COMBINE[spec.combine],
        f"out0 = {total}",
        _identity(spec.combine, result, real),
        f"gradcore_{spec.name}",
        real,
        term_function(spec, inner),
    )


def term_function(spec: ReductionSpec, type: str) -> str:
    """`gradcore_term` on numbers of a type, and the functions with which terms are combined."""
    parameters = ", ".join(f"const {type} {safe_name(name)}" for name in spec.inputs)
    term = ElementwiseSpec(spec.name, spec.inputs, (spec.term,))
    body = statements(term, Dialect(type, "bool", _number(type), _ANY_TYPE), "const auto term{}")
    function = f"__device__ inline auto gradcore_term({parameters})\n{{\n    " + "\n    ".join([*body, "return term0;"])
    return _EXTREMES + _helpers(term, _HELPERS | _ANY_TYPE_HELPERS) + function + "\n}\n"


def _identity(combine: str, dtype: Any, type: str) -> str:
    if combine in ("maximum", "minimum"):
        sign = "-" if combine == "maximum" else ""
        if str(dtype).startswith("float"):
            return f"({sign}{type}(1e300) * {type}(1e300))"
        lowest, highest = _bounds(str(dtype))
        return f"({type}){lowest if sign else highest}"
    return {"add": "0", "multiply": "1", "logical_or": "false", "logical_and": "true"}[combine]


def _bounds(dtype: str) -> tuple[str, str]:
    """The smallest and the largest integer of a dtype, as C writes them."""
    if dtype == "bool":
        return "0", "1"
    bits = int(dtype.lstrip("uint"))
    if dtype.startswith("u"):
        return "0", f"{2**bits - 1}ull"
    return f"(-{2 ** (bits - 1) - 1}ll - 1)", f"{2 ** (bits - 1) - 1}ll"
