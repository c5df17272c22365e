"""C and CUDA text: the C is compiled and compared with NumPy; the CUDA is read."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest
from gradcore.kernels import expr
from gradcore.kernels.emit_c import emit_c, emit_c_unit
from gradcore.kernels.emit_cuda import emit_cuda, print_cuda
from gradcore.kernels.emit_numpy import compile_numpy
from gradcore.kernels.expr import const, var
from gradcore.kernels.spec import ElementwiseSpec

from .common import inputs_for, keywords, samples, sigmoid, traced

SPECS = samples()
TOLERANCE = {"double": 1e-14, "float": 2e-6}
EXTREMES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, np.inf, -np.inf, np.nan])
EXACT = (
    "maximum", "minimum", "where", "less", "less_equal", "equal", "not_equal", "logical_and",
    "logical_or", "logical_not", "sign", "abs", "neg", "floor", "ceil", "round", "mod", "isnan",
    "floor_divide", "logical_xor",
)  # fmt: skip


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: neither cc nor gcc is on the path")
    folder = tmp_path_factory.mktemp("c")
    return {type: build(compiler, folder, type) for type in ("double", "float")}


def build(compiler, folder, type):
    source, library = folder / f"{type}.c", folder / f"{type}.so"
    source.write_text(emit_c_unit(SPECS, type))
    flags = ["-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror"]
    ignore = ["-Wno-unused-variable", "-Wno-unused-function", "-Wno-parentheses"]
    command = [compiler, *flags, *ignore, str(source), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def run(library, spec, type, arrays, outs=None):
    dtype = np.dtype(np.float64 if type == "double" else np.float32)
    made = [np.empty(arrays[0].shape, bool if o.boolean else dtype) for o in spec.outputs]
    outs = outs or made
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, *outs)]
    getattr(library, f"{spec.name}_{type}")(ctypes.c_long(arrays[0].size), *pointers)
    return outs


def reference(spec, arrays):
    with np.errstate(all="ignore"):
        result = compile_numpy(spec).call(*arrays)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("type", ["double", "float"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_c_agrees_with_numpy(libraries, spec, type):
    dtype = np.float64 if type == "double" else np.float32
    arrays = inputs_for(spec, np.random.default_rng(2), (1000,), dtype)
    for got, expected in zip(run(libraries[type], spec, type, arrays), reference(spec, arrays), strict=True):
        assert got.dtype == expected.dtype
        error = np.abs(got.astype(float) - expected.astype(float))
        assert np.all(error <= TOLERANCE[type] * np.maximum(np.abs(expected), 1))


@pytest.mark.parametrize("name", EXACT)
def test_c_agrees_with_numpy_at_extremes(libraries, name):
    spec = next(spec for spec in SPECS if spec.name == f"leaf_{name}")
    first, second = (a.ravel() for a in np.meshgrid(EXTREMES, EXTREMES))
    arrays = [first != 0, second, first] if name == "where" else [first, second]
    arrays = [a.copy() for a in arrays[: len(spec.inputs)]]
    (got,), (expected,) = run(libraries["double"], spec, "double", arrays), reference(spec, arrays)
    np.testing.assert_array_equal(got, expected)
    if name not in ("maximum", "minimum"):
        zero = expected == 0
        np.testing.assert_array_equal(np.signbit(got[zero] * 1.0), np.signbit(expected[zero] * 1.0))


def test_c_outputs_may_overwrite_inputs(libraries):
    spec = next(spec for spec in SPECS if spec.name == "adam")
    arrays = inputs_for(spec, np.random.default_rng(4), (50,))
    expected = run(libraries["double"], spec, "double", arrays)
    copies = [a.copy() for a in arrays]
    run(libraries["double"], spec, "double", copies, copies[:3])
    for got, wanted in zip(copies, expected, strict=False):
        np.testing.assert_array_equal(got, wanted)


def test_shared_subexpressions_are_named_once():
    text = emit_c(traced(sigmoid), "double")
    assert text.count("exp(") == 1
    assert "const double t0 = exp(-fabs(x));" in text
    assert "(x >= 0.0 ? 1.0 : t0) / (1.0 + t0);" in text
    for operation in ("exp(", "fabs("):
        assert print_cuda(traced(sigmoid)).partition("#ifndef")[2].count(operation) == 1


def test_names_of_c_and_of_the_kernel_itself_are_changed():
    text = emit_c(traced(keywords), "double")
    for name in ("double_", "n_", "t0_", "out0_", "exp_", "x_in_"):
        assert f"const double {name} = {name}_in[i];" in text


def test_numbers_are_of_the_type():
    x = var("x")
    spec = ElementwiseSpec("k", ("x",), (x * 0.1 + 2, x - const(-1e30), x * float("inf")))
    text = emit_c(spec, "float")
    assert "x * 0.1f + 2.0f" in text
    assert "x - -1e+30f" in text
    assert "x * INFINITY" in text
    assert "R(0.1)" in emit_cuda(spec).operation


def test_cuda_elementwise():
    spec = traced(lambda c, x: (expr.where(c, x, 0), x > 1), boolean_inputs=frozenset("c"))
    kernel = emit_cuda(spec)
    assert kernel.in_params == "bool c_in_, T x_in_"
    assert kernel.out_params == "T out0, bool out1"
    assert kernel.operation.splitlines() == [
        "typedef gradcore_compute<T>::type R;",
        "const bool c = c_in_;",
        "const R x = x_in_;",
        "out0 = c ? x : R(0);",
        "out1 = x > R(1);",
    ]
    assert "gradcore_compute<float16> { typedef float type; }" in kernel.preamble


def test_an_input_without_axes_has_one_element():
    spec = traced(lambda rate, x: rate * x, scalar_inputs=frozenset({"rate"}))
    for text in (emit_c(spec, "float"), print_cuda(spec)):
        assert "rate = rate_in[0];" in text and "x = x_in[i];" in text
    assert "rate = rate_in_;" in emit_cuda(spec).operation


def test_printed_cuda_is_a_readable_file():
    text = print_cuda(traced(sigmoid, doc="Logistic function."))
    assert text.startswith("// sigmoid: Logistic function.\n//\n//     out0 = where(x >= 0, 1, ")
    assert 'extern "C" __global__ void gradcore_sigmoid(' in text
    assert "long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;" in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_every_temporary_is_defined_before_use_and_used(spec):
    for text in (emit_c(spec, "double"), print_cuda(spec)):
        names = re.findall(r"\bconst \w+ (t\d+) =", text)
        assert len(names) == len(set(names))
        for name in names:
            assert len(re.findall(rf"\b{name}\b", text)) >= 3 or f"{name} != {name}" in text
