"""Reductions, statistics and running sums and products against NumPy; derivatives at zeros, ties and extremes."""

from itertools import product

import numpy as np
import pytest

import gradcore as gc
from gradcore.ops.cumulative import _recurrence
from gradcore.testing import gradcheck

RNG = np.random.default_rng(11)
DTYPES = ("bool", "int8", "uint16", "int64", "float16", "float32", "float64")
TOLERANCE = {"float16": 4e-3, "float32": 2e-6, "float64": 1e-12}
SHAPES = {
    (): (None,),
    (5,): (None, 0, -1, (0,)),
    (3, 4): (None, 0, -1, (1, 0), ()),
    (2, 3, 4): (None, 1, (0, -1)),
    (3, 1, 2): (-2, (0, 1)),
}


def draw(shape, dtype):
    x = RNG.integers(-3, 4, shape) + 0.25 * RNG.integers(0, 3, shape)
    return np.asarray(abs(x) if dtype.startswith("u") else x).astype(dtype)


def assert_same(got, want, what):
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype), what
    if want.dtype.kind == "f":
        tol = TOLERANCE[want.dtype.name]
        np.testing.assert_allclose(got.numpy(), want, rtol=tol, atol=tol, err_msg=what)
    else:
        np.testing.assert_array_equal(got.numpy(), want, err_msg=what)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sum", "prod", "min", "max", "any", "all", "mean", "var", "std"])
def test_against_numpy(name, dtype):
    for shape, axes in SHAPES.items():
        for axis, keepdims in product(axes, (False, True)):
            x = draw(shape, dtype)
            want = getattr(np, name)(x, axis=axis, keepdims=keepdims)
            assert_same(getattr(gc, name)(x, axis, keepdims), want, f"{name} of {shape} over {axis}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running(name, dtype):
    for shape, axis in [((5,), None), ((3, 4), None), ((3, 4), 0), ((2, 3, 4), -2), ((), None), ((0, 3), 1)]:
        x = draw(shape, dtype)
        assert_same(getattr(gc, name)(x, axis), getattr(np, name)(x, axis), f"{name} of {shape} over {axis}")


@pytest.mark.parametrize("name", ["sum", "prod", "any", "all"])
def test_nothing_has_a_neutral_element(name):
    for shape, axis in [((0,), None), ((0, 3), 0), ((0, 3), 1), ((2, 0, 3), (1, 2))]:
        x = np.zeros(shape, np.float32)
        assert_same(getattr(gc, name)(x, axis), getattr(np, name)(x, axis=axis), f"{name} of {shape}")


@pytest.mark.parametrize("name", ["min", "max", "argmin", "argmax"])
def test_nothing_has_no_extreme(name):
    with pytest.raises(ValueError, match=f"'{name}'"):
        getattr(gc, name)(np.zeros((0, 3)), 0)
    assert getattr(gc, name)(np.zeros((0, 3)), 1).shape == (0,)


@pytest.mark.parametrize("name", ["sum", "prod", "min", "max", "mean", "var", "std", "norm", "median", "cumsum"])
def test_nan_goes_through(name):
    assert np.isnan(getattr(gc, name)(np.array([1.0, np.nan, 2.0])).numpy()).any()


@pytest.mark.parametrize("name", ["sum", "prod", "min", "any", "var", "norm", "median"])
def test_wrong_axes(name):
    function = getattr(gc, name)
    with pytest.raises(ValueError, match="out of bounds"):
        function(np.ones((2, 3)), axis=2)
    with pytest.raises(ValueError, match="twice"):
        function(np.ones((2, 3)), axis=(0, -2))
    with pytest.raises(TypeError, match=r"axis|integer"):
        function(np.ones((2, 3)), axis=1.5)


# --- extremes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [gc.max, gc.min])
def test_equal_extremes_share_the_gradient(function):
    x = np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 5.0]]) * (1 if function is gc.max else -1)
    want = [[1 / 3, 1 / 3, 1 / 3], [0, 0, 1]]
    np.testing.assert_allclose(np.asarray(gc.grad(lambda x: function(x, axis=1).sum())(x)), want)


# --- products ---------------------------------------------------------------------------------------------------------


def others(x, *places):
    return np.prod(np.delete(x, places))


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_derivatives_of_a_product_with_zeros(zeros):
    x = RNG.normal(size=5)
    x[RNG.permutation(5)[:zeros]] = 0
    every = range(5)
    np.testing.assert_allclose(np.asarray(gc.grad(gc.prod)(x)), [others(x, i) for i in every], rtol=1e-12)
    second = [[others(x, i, j) if i != j else 0 for j in every] for i in every]
    row = gc.vmap(lambda v: gc.jvp(gc.grad(gc.prod), (x,), (v,))[1])(np.eye(5))
    np.testing.assert_allclose(np.asarray(row), second, rtol=1e-12, atol=1e-15)
    gradcheck(gc.prod, (x,), order=3)


def test_derivatives_of_running_products_with_zeros():
    for zeros in ([], [0], [2], [4], [1, 3], [0, 1, 2, 3, 4]):
        x = RNG.normal(size=5)
        x[zeros] = 0
        w = RNG.normal(size=5)
        want = [sum(w[k] * others(x[: k + 1], i) for k in range(i, 5)) for i in range(5)]
        np.testing.assert_allclose(np.asarray(gc.grad(lambda x, w=w: (gc.cumprod(x) * w).sum())(x)), want, atol=1e-13)
        gradcheck(gc.cumprod, (x,), order=2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 9, 33])
def test_recurrence_against_a_loop(n, reverse):
    a, b = RNG.normal(size=(2, 3, n))
    want, s = np.zeros((3, n)), np.zeros(3)
    for t in reversed(range(n)) if reverse else range(n):
        s = want[:, t] = a[:, t] * s + b[:, t]
    np.testing.assert_allclose(_recurrence(a, b, 1, reverse).numpy(), want, rtol=1e-12, atol=1e-12)


# --- var, std, norm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", [0, 1, 0.5])
def test_correction(correction):
    x = RNG.normal(size=(3, 4))
    assert_same(gc.var(x, 1, correction=correction), np.var(x, 1, ddof=correction), "var")
    assert_same(gc.std(x, None, True, correction), np.std(x, keepdims=True, ddof=correction), "std")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_more_correction_than_elements():
    x = np.array([1.0, 3.0])
    for correction in (2, 3):
        assert gc.var(x, correction=correction).numpy() == np.var(x, ddof=correction) == np.inf
    assert np.isnan(gc.var(np.zeros(0)).numpy())


def test_var_far_from_zero():
    x = np.array([1e8, 1e8 + 1, 1e8 + 2])
    assert gc.var(x).item() == pytest.approx(2 / 3, rel=1e-12)


@pytest.mark.parametrize("function", [gc.std, gc.norm], ids=lambda f: f.__name__)
def test_derivatives_are_0_where_the_root_is_0(function):
    x = np.zeros(3)
    assert np.asarray(gc.grad(function)(x)).tolist() == [0, 0, 0]
    assert gc.jvp(function, (x,), (np.ones(3),))[1].item() == 0
    assert np.asarray(gc.grad(lambda x: gc.grad(function)(x).sum())(x)).tolist() == [0, 0, 0]
    rows = np.asarray(gc.grad(lambda x: function(x, axis=1).sum())(np.array([[0.0, 0.0], [1.0, 3.0]])))
    assert rows[0].tolist() == [0, 0] and np.abs(rows[1]).min() > 0.1


@pytest.mark.parametrize("dtype, huge", [("float64", 1e200), ("float32", 1e30), ("float16", 3e4)])
def test_norm_neither_overflows_nor_vanishes(dtype, huge):
    for scale in (huge, 1 / huge):
        x = np.array([0.75, 1.0], dtype) * np.array(scale, dtype)
        assert gc.norm(x).numpy() == pytest.approx(1.25 * float(x[1]), rel=2e-3)
        np.testing.assert_allclose(np.asarray(gc.grad(gc.norm)(x)), [0.6, 0.8], rtol=2e-3)


def test_norm_of_infinities():
    assert gc.norm(np.array([np.inf, -1.0])).item() == np.inf
    assert np.isnan(gc.norm(np.array([np.inf, np.nan])).numpy())
    assert gc.norm(np.zeros((0, 2)), axis=0).numpy().tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3, 2.5, -1, -2, np.inf, -np.inf])
def test_norm_of_vectors(ord, dtype):
    x = np.asarray(draw((3, 4), "float64") + 0.3).astype(dtype)
    x = np.where(x == 0, np.asarray(1, dtype), x)
    for axis, keepdims in product((0, -1), (False, True)):
        want = np.linalg.norm(x.astype("float64"), ord, axis, keepdims)
        got = gc.norm(x, ord, axis, keepdims)
        assert_same(got, want.astype(x.dtype if x.dtype.kind == "f" else "float64"), f"norm of order {ord}")
    assert_same(gc.norm(x[0].astype("float64"), ord), np.linalg.norm(x[0].astype("float64"), ord), f"order {ord}")


@pytest.mark.parametrize("ord", [None, "fro", 1, -1, np.inf, -np.inf])
def test_norm_of_matrices(ord):
    x = RNG.normal(size=(2, 3, 4))
    for axis, keepdims in product([(0, 1), (2, 0), (-1, -2)], (False, True)):
        assert_same(gc.norm(x, ord, axis, keepdims), np.linalg.norm(x, ord, axis, keepdims), f"order {ord}")
    assert_same(gc.norm(x[0], ord), np.linalg.norm(x[0], ord), f"order {ord}")


@pytest.mark.parametrize("ord, axis", [(2, (0, 1)), ("nuc", (0, 1)), ("fro", 0), (3, (0, 1)), (1, None), ("x", 0)])
def test_norms_that_are_refused(ord, axis):
    with pytest.raises(ValueError, match="'norm': order"):
        gc.norm(np.ones((2, 3, 4)), ord, axis)


def test_norm_of_negative_order_of_infinities_is_infinite():
    with np.errstate(divide="ignore"):
        assert gc.norm(np.array([np.inf, -np.inf]), -1).item() == np.inf
        assert gc.norm(np.zeros((0, 2)), -2, 0).numpy().tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("shape, ord, axis", [(0, np.inf, None), ((2, 0), np.inf, 1), ((2, 0), 1, None), (0, 3, None)])
def test_norm_of_nothing(shape, ord, axis):
    """As in NumPy 2.4; older ones refuse some."""
    norm = gc.norm(np.zeros(shape), ord, axis)
    assert norm.shape == np.sum(np.zeros(shape), axis).shape and not norm.numpy().any()


@pytest.mark.parametrize("ord", [1, 2, 3, -1, np.inf, -np.inf])
def test_derivatives_of_norms(ord):
    x = np.array([[1.0, -2.0, 0.5], [-0.7, 3.0, 0.2]])
    gradcheck(lambda x: gc.norm(x, ord, 1), (x,), order=2)
    if ord not in (2, 3):
        gradcheck(lambda x: gc.norm(x, ord, (0, 1)), (x,), order=2)


def test_gradient_of_a_norm_of_zeros():
    for ord in (1, 2, 3, np.inf):
        assert np.asarray(gc.grad(lambda x, p=ord: gc.norm(x, p))(np.zeros(2))).tolist() == [0, 0], ord


# --- median and quantiles ---------------------------------------------------------------------------------------------

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


@pytest.mark.parametrize("dtype", ["int64", "float16", "float32", "float64"])
def test_median(dtype):
    for shape, axes in SHAPES.items():
        for axis, keepdims in product([a for a in axes if a != ()], (False, True)):
            x = draw(shape, dtype)
            assert_same(gc.median(x, axis, keepdims), np.median(x, axis, keepdims=keepdims), f"median of {shape}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_median_of_nothing():
    assert np.isnan(gc.median(np.zeros((0, 2)), 0).numpy()).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quantile(method, dtype):
    for shape, axis in [((6,), None), ((7, 3), 0), ((2, 3, 4), (0, 2)), ((1,), 0)]:
        x = draw(shape, dtype)
        for q in (0, 0.5, 1.0, 0.3, [0.0, 0.25, 1.0], np.linspace(0, 1, 11).astype(dtype).reshape(1, 11)):
            for keepdims in (False, True):
                levels = np.asarray(q, dtype) if isinstance(q, list) else q
                want = np.quantile(x.astype("float64"), levels, axis, method=method, keepdims=keepdims)
                got = gc.quantile(x, q, axis, keepdims, method)
                assert_same(got, want.astype(dtype), f"{method} {q} of {shape} over {axis}")


def test_dtypes_of_quantiles():
    x = np.ones(3, np.float32)
    assert gc.quantile(x, np.array(0.5)).dtype == gc.quantile(np.ones(3, int), 0.5).dtype == np.float64
    assert gc.quantile(x, 0.5).dtype == gc.quantile(x, [0.5]).dtype == np.float32
    assert gc.quantile(x.astype(np.float16), 0.5).dtype == np.float16


@pytest.mark.filterwarnings("ignore:invalid value")  # inf - inf, as in NumPy
def test_quantiles_with_infinities_and_nan():
    x = np.array([[0.0, np.inf, 1.0], [-np.inf, 0.0, np.nan]])
    got = gc.quantile(x, [0.0, 0.5, 1.0], axis=1).numpy()
    np.testing.assert_array_equal(got, [[0, np.nan], [1, np.nan], [np.inf, np.nan]])
    np.testing.assert_array_equal(gc.median(x, axis=1).numpy(), [1, np.nan])


@pytest.mark.parametrize("q", [0.5, [0.5], gc.asarray(np.array(0.5))])
def test_quantiles_are_elements_where_the_method_says_so(q):
    """Not one of them plus a difference, which loses the smaller one."""
    x = np.array([-1e20, 1.0])
    assert gc.quantile(x, q, method="lower").item() == gc.quantile(x, q, method="nearest").item() == -1e20
    assert gc.quantile(x, q, method="higher").item() == 1


@pytest.mark.filterwarnings("ignore:invalid value")  # inf - inf, as in NumPy
@pytest.mark.parametrize("x", [[-np.inf, 1.0], [1.0, np.inf], [-np.inf, np.inf], [np.inf, np.inf]])
def test_quantiles_beside_infinities(x):
    for q in (0.25, 0.5, 0.75):
        np.testing.assert_array_equal(gc.quantile(np.array(x), q).numpy(), np.quantile(x, q))
        np.testing.assert_array_equal(gc.quantile(np.array(x), gc.asarray(np.array(q))).numpy(), np.quantile(x, q))


def test_a_quantile_takes_few_ops():
    for q in (0.5, [0.25, 0.75]):
        assert len(gc.make_graph(lambda x, q=q: gc.quantile(x, q))(np.ones(4)).nodes) <= 16
    assert len(gc.make_graph(gc.median)(np.ones(4)).nodes) <= 10


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_of_quantiles(method):
    x = RNG.permutation(24).reshape(4, 6) * 0.1
    gradcheck(lambda x: gc.quantile(x, [0.13, 0.62], 0, method=method), (x,), order=2)
    q = np.array([[0.13, 0.62]])
    gradcheck(lambda x, q: gc.quantile(x, q, (0, 1), method=method), (x, q), order=2)
    mapped = np.asarray(gc.vmap(lambda x, q: gc.quantile(x, q, method=method))(x, np.array([0.0, 0.2, 0.55, 1.0])))
    np.testing.assert_allclose(
        mapped, [np.quantile(r, p, method=method) for r, p in zip(x, (0, 0.2, 0.55, 1), strict=True)]
    )


def test_gradient_of_a_median():
    x = np.array([3.0, 1.0, 2.0, 9.0])
    assert np.asarray(gc.grad(gc.median)(x)).tolist() == [0.5, 0, 0.5, 0]
    assert np.asarray(gc.grad(gc.median)(x[:3])).tolist() == [0, 0, 1]


def test_wrong_quantiles():
    for q in (1.5, -0.1, [0.5, 2.0], float("nan")):
        with pytest.raises(ValueError, match=r"q must lie in \[0, 1\]"):
            gc.quantile(np.ones(3), q)
    with pytest.raises(ValueError, match="no elements"):
        gc.quantile(np.zeros((0, 3)), 0.5, axis=0)
    with pytest.raises(ValueError, match="'cubic' is not among linear"):
        gc.quantile(np.ones(3), 0.5, method="cubic")
    outside = gc.quantile(np.ones(3), gc.asarray(np.array([-0.1, 0.5, 1.1, np.nan]))).numpy()
    np.testing.assert_array_equal(outside, [np.nan, 1, np.nan, np.nan])
