"""The NumPy emitter: call and into agree to the bit, whatever shapes, strides and aliases."""

from __future__ import annotations

import traceback
import tracemalloc
import warnings

import numpy as np
import pytest
from gradcore.kernels import expr
from gradcore.kernels.emit_numpy import _evaluate, _ufunc, compile_numpy
from gradcore.kernels.expr import const, trace, var, where
from gradcore.kernels.numpy_plan import Plan
from gradcore.kernels.spec import ElementwiseSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from .common import ABC, adam, inputs_for, samples, sigmoid, traced

SPECS = samples()
UNARY = ("neg", "abs", "sign", "sqrt", "exp", "log1p", "tanh", "sin", "floor", "arctan", "erf")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "hypot", "mod", "arctan2")
TESTS = ("less", "less_equal", "equal", "not_equal")


def scratch(shape, dtype):
    return np.full(shape, 7, dtype)


def call(kernel, *arrays):
    with np.errstate(all="ignore"):
        result = kernel.call(*arrays)
    return result if isinstance(result, tuple) else (result,)


def into(kernel, outs, *arrays):
    with np.errstate(all="ignore"):
        kernel.into(tuple(outs), scratch, *arrays)


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    signs = (np.signbit(each) & ~np.isnan(each) for each in (a, b))
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(*signs)


def check(spec, *arrays):
    """`call` against a naive evaluation; `into` against `call`, with every aliasing of an out.

    The naive evaluation starts after constants are folded (in float64, so in float32 another bit than a ufunc's).
    """
    kernel = compile_numpy(spec)
    expected = call(kernel, *[a.copy() for a in arrays])
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    for result, output in zip(expected, Plan(spec, _evaluate).outputs, strict=True):
        assert same_bits(result, naive(spec, output, arrays, shape))
        assert np.asarray(result).flags.c_contiguous
        assert not any(np.shares_memory(result, a) for a in arrays)
    outs = [np.full_like(np.asarray(e), 9, order="C") for e in expected]
    into(kernel, outs, *arrays)
    assert all(map(same_bits, outs, expected)), kernel.source
    check_aliases(kernel, expected, arrays)
    return kernel


def naive(spec, output, arrays, shape):
    """Every node by its own ufunc, no buffers: the meaning."""
    values = dict(zip(spec.inputs, arrays, strict=True))
    results = {}
    for node in expr.walk([output]):
        if node.leaf == "var":
            results[node] = values[node.value]
        elif node.leaf == "const":
            results[node] = node.value
        else:
            results[node] = naive_leaf(node, [results[a] for a in node.args], values, spec)
    result = np.asarray(results[output])
    if isinstance(results[output], (int, float)):
        result = result.astype(np.result_type(*numeric(values, spec), results[output]))
    return np.broadcast_to(result, shape)


def naive_leaf(node, args, values, spec):
    numbers = args[1:] if node.leaf == "where" else args
    plain = all(isinstance(a, (int, float)) for a in numbers)
    if plain and node.leaf == "where":
        args[1] = np.result_type(*numeric(values, spec), *numbers).type(args[1])
    with np.errstate(all="ignore"):
        result = _ufunc(node.leaf)(*args)
    return result.item() if plain and node.leaf != "where" else result


def numeric(values, spec):
    return [value for name, value in values.items() if name not in spec.boolean_inputs]


def check_aliases(kernel, expected, arrays):
    for target, result in enumerate(expected):
        for place, array in enumerate(arrays):
            if array.dtype == result.dtype and array.shape == result.shape:
                inputs = [a.copy() for a in arrays]
                outs = [np.full_like(np.asarray(e), 9, order="C") for e in expected]
                outs[target] = inputs[place]
                into(kernel, outs, *inputs)
                assert all(map(same_bits, outs, expected)), kernel.source


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples(spec, dtype):
    rng = np.random.default_rng(3)
    for shape in [(5, 7), (0, 3), ()]:
        check(spec, *map(np.asarray, inputs_for(spec, rng, shape, dtype)))


def test_all_inputs_permuted_in_place():
    """A rotation: every out is the memory of an input that another out is made of."""
    kernel = compile_numpy(traced(lambda a, b, c: (b, c, a + 1)))
    a, b, c = (np.full(3, n, float) for n in (1, 2, 3))
    into(kernel, (a, b, c), a, b, c)
    assert (a[0], b[0], c[0]) == (2, 3, 2)


@st.composite
def expressions(draw):
    pool = [*map(var, ABC), const(2), const(0.5)]
    for _ in range(draw(st.integers(1, 9))):
        one = st.sampled_from(pool)
        kind = draw(st.sampled_from(["unary", "binary", "binary", "where"]))
        if kind == "unary":
            pool.append(expr.Expr(draw(st.sampled_from(UNARY)), (draw(one),)))
        elif kind == "binary":
            pool.append(expr.Expr(draw(st.sampled_from(BINARY)), (draw(one), draw(one))))
        else:
            test = expr.Expr(draw(st.sampled_from(TESTS)), (draw(one), draw(one)))
            pool.append(where(test, draw(one), draw(one)))
    return tuple(draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3)))


SHAPES = [((3, 4),) * 3, ((3, 4), (4,), ()), ((3, 1), (1, 4), (3, 4)), ((),) * 3, ((0, 2),) * 3,
          ((2, 1, 3), (4, 1), (3,))]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    expressions(),
    st.sampled_from(SHAPES),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["C", "F", "strided"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_random_expressions(outputs, shapes, dtype, layout, scalar, seed):
    rng = np.random.default_rng(seed)
    arrays = [arranged(rng.integers(-4, 5, shape) / 2, dtype, layout) for shape in shapes]
    scalars = frozenset("c" if scalar and shapes[2] == () != shapes[0] else "")
    spec = ElementwiseSpec("random", ABC, outputs, scalar_inputs=scalars)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(spec, *arrays)


def arranged(array, dtype, layout):
    if layout == "strided" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return np.asarray(array, dtype, order="F" if layout == "F" else "C")


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers(dtype):
    spec = traced(lambda a, b: (a + b * 2, expr.maximum(a, b), where(a > b, a, -b), a < b))
    a, b = np.arange(-3, 4, dtype=dtype), np.full(7, 2, dtype)
    kernel = check(spec, a, b)
    assert [r.dtype for r in call(kernel, a, b)] == [dtype, dtype, dtype, bool]


def test_integers_that_become_floats():
    spec = traced(lambda a: expr.exp(-abs(a)))
    check(spec, np.arange(-3, 4))


def test_float16_and_numpy_scalars():
    kernel = compile_numpy(traced(sigmoid))
    assert kernel.call(np.ones(3, np.float16)).dtype == np.float16
    assert kernel.call(np.float32(0)) == 0.5
    assert kernel.call(np.float32(0)).dtype == np.float32


@pytest.mark.parametrize("spec", [s for s in SPECS if "leaf" in s.name], ids=lambda s: s.name)
def test_weak_scalars_go_to_single_ufuncs(spec):
    kernel = compile_numpy(spec)
    assert kernel.weak_ok == (spec.name != "leaf_where")
    if kernel.weak_ok and len(spec.inputs) == 2 and not spec.outputs[0].boolean:
        assert kernel.call(np.ones(3, np.float32), 1.0).dtype == np.float32


def test_a_conditions_numbers_take_the_dtype_of_the_inputs():
    kernel = compile_numpy(traced(lambda x, y: (where(x > 0, 1, 0) * y, (x > 0) * 2.5)))
    ones = np.ones(3, np.float32)
    assert [r.dtype for r in kernel.call(ones, ones)] == [np.float32] * 2


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_into_allocates_nothing(spec):
    side = 512
    kernel, rng = compile_numpy(spec), np.random.default_rng(1)
    arrays = inputs_for(spec, rng, (side, side), np.float32)
    outs = call(kernel, *arrays)
    pool = {dtype: [np.empty((side, side), dtype) for _ in range(12)] for dtype in (bool, "f")}
    free = {dtype: iter(arrays) for dtype, arrays in pool.items()}
    tracemalloc.start()
    try:
        with np.errstate(all="ignore"):
            kernel.into(outs, lambda _, d: next(free[bool if np.dtype(d) == bool else "f"]), *arrays)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


def test_sigmoid_needs_two_scratch_arrays_and_relu_none():
    assert compile_numpy(traced(sigmoid)).source.count("scratch(") == 2
    relu = compile_numpy(traced(lambda x: expr.maximum(x, 0)))
    assert "scratch(" not in relu.source
    assert relu.source.count("np_maximum(") == 2


def test_equal_shapes_reuse_buffers():
    spec = traced(adam, scalar_inputs=frozenset({"rate"}))
    kernel = compile_numpy(spec)
    uniform = kernel.source.partition("return")[0]
    assert uniform.count('order="C"') <= 4


def test_nan_infinity_and_zero():
    nan, inf = np.nan, np.inf
    a = np.array([nan, 1.0, inf, -inf, nan, 0.0])
    b = np.array([1.0, nan, 2.0, 2.0, nan, 0.0])
    kernel = compile_numpy(traced(lambda a, b: (expr.maximum(a, b), expr.minimum(a, b))))
    high, low = kernel.call(a, b)
    np.testing.assert_array_equal(high, [nan, nan, inf, 2, nan, 0])
    np.testing.assert_array_equal(low, [nan, nan, 2, -inf, nan, 0])
    chosen = compile_numpy(traced(lambda a, b: where(a, a, b))).call(a, b)
    np.testing.assert_array_equal(chosen, [nan, 1, inf, -inf, nan, 0])


def test_branches_not_taken_do_not_leak():
    kernel = compile_numpy(traced(lambda x: where(x > 0, x, const(-0.0))))
    result = kernel.call(np.array([np.inf, -np.inf, np.nan, -1]))
    assert result.tolist() == [np.inf, 0, 0, 0]
    assert np.signbit(result[1:]).all()


def test_constants_that_numpy_alone_can_fold():
    infinite = expr.log(const(0))
    kernel = compile_numpy(ElementwiseSpec("k", ("x",), (var("x") * infinite + const(np.nan),)))
    assert np.isnan(kernel.call(np.ones(2, np.float32))).all()
    assert kernel.call(np.ones(2, np.float32)).dtype == np.float32


def test_tracebacks_show_generated_lines():
    kernel = compile_numpy(ElementwiseSpec("doubled", ("x",), trace(lambda x: x + x, "x")))
    with pytest.raises(TypeError) as caught:
        kernel.call(np.array(["a", None], object))
    text = "".join(traceback.format_exception(caught.value))
    assert "<gradcore kernel doubled>" in text
    assert "np_add(x, x" in text
