"""Unusual arguments of NumPy's functions: as in NumPy, or an error that names them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.tensor import Tensor

RNG = np.random.default_rng(0)
T = RNG.normal(size=(2, 3, 4))
I8 = RNG.integers(-100, 100, (2, 3, 4)).astype(np.int8)
SPECIAL = np.array([0.0, -1.5, np.inf, -np.inf, np.nan, 2.5])


def assert_as_numpy(function, *arrays):
    wanted, found = (
        r if isinstance(r, (tuple, list)) else [r] for r in (function(*arrays), function(*map(gc.tensor, arrays)))
    )
    assert len(wanted) == len(found)
    for want, got in zip(wanted, found, strict=True):
        want = np.asarray(want)
        assert isinstance(got, Tensor) and (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got.numpy(), want, rtol=2e-3 if want.dtype == np.float16 else 1e-6, atol=1e-12)


@pytest.mark.parametrize("function", [np.sort, np.argsort, lambda x, axis: np.concatenate([x, x], axis)])
@pytest.mark.parametrize("axis", [None, 0, -2])
def test_no_axis_means_all_of_it(function, axis):
    assert_as_numpy(lambda x: function(x, axis=axis), T)
    if function is not np.argsort:
        gc.testing.gradcheck(lambda x: function(x, axis=axis), (T,), order=1)


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod", "trace"])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "float32"])
def test_a_dtype_is_that_of_the_result(name, dtype):
    assert_as_numpy(
        lambda x: getattr(np, name)(x, dtype=dtype, axis=1) if name != "trace" else np.trace(x, dtype=dtype), I8
    )


@pytest.mark.parametrize("name", ["sum", "cumsum", "mean", "var", "std", "nansum", "nanmean", "nanvar", "trace"])
def test_a_dtype_that_would_cut_numbers_off_is_refused(name):
    with pytest.raises(TypeError, match=rf"numpy.{name} cannot honour dtype=int64 for float64\[2,3,4\]"):
        getattr(np, name)(gc.tensor(T), dtype=int)


@pytest.mark.parametrize("name", ["var", "std"])
def test_integers_have_no_variance_in_integers(name):
    with pytest.raises(TypeError, match=f"numpy.{name} cannot honour dtype=int64"):
        getattr(np, name)(gc.tensor(I8), dtype=int)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.logaddexp2(x, np.float64(2.0)),
        lambda x: np.logaddexp2(2, x),
        lambda x: np.fmod(x, 2),
        lambda x: np.fmod(2.5, x * x + 1),
        lambda x: np.heaviside(x, 1),
        lambda x: np.heaviside(x, x),
        lambda x: np.modf(x),
        lambda x: np.gradient(x, axis=1),
        lambda x: np.nan_to_num(x, nan=np.float64(3)),
        lambda x: np.average(x, axis=1, weights=x > -9),
        lambda x: [np.degrees(x), np.radians(x), np.cbrt(x), np.fabs(x), np.rint(x)],
        lambda x: np.linalg.vector_norm(x[:0], axis=(0, 2)),
        lambda x: np.linalg.vector_norm(x, axis=()),
        lambda x: np.reshape(x, (4, 6), order="f"),
        lambda x: np.sum(x, where=np.True_, axis=np.int64(1)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
def test_dtypes_are_those_of_numpy(call, dtype):
    assert_as_numpy(call, (T * 3).astype(dtype))


def test_differences_of_unsigned_integers_do_not_wrap():
    assert_as_numpy(np.gradient, np.array([200, 3, 100, 0], np.uint8))


def test_logaddexp2_keeps_the_digits_of_the_wider_operand():
    assert np.logaddexp2(gc.tensor(np.float64(1)), np.float32(0)).item() == pytest.approx(math.log2(3), rel=1e-15)


@pytest.mark.parametrize("name", ["modf", "rint", "trunc", "fabs", "cbrt", "nan_to_num", "heaviside"])
def test_infinities_and_nans(name):
    with np.errstate(invalid="ignore"):
        assert_as_numpy(lambda x: getattr(np, name)(*[x] * (2 if name == "heaviside" else 1)), SPECIAL)


@pytest.mark.filterwarnings("ignore:Degrees of freedom")
@pytest.mark.parametrize("name", ["nanvar", "nanstd"])
def test_nan_variance_without_enough_numbers(name):
    x = np.array([[1.0, np.nan, np.nan], [1.0, 2.0, np.nan], [1.0, 2.0, 5.0]])
    for ddof in (0, 1, 2, 3):
        assert_as_numpy(lambda x, ddof=ddof: getattr(np, name)(x, axis=1, ddof=ddof), x)


def test_the_deviation_of_one_number_has_the_derivative_zero():
    for function in (np.std, np.nanstd):
        assert np.asarray(gc.grad(lambda x, f=function: f(x, axis=0).sum())(np.ones((1, 2)))).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda x: np.reshape(x, -1, order="A"), TypeError, "numpy.reshape cannot honour order='A'"),
        (lambda x: np.clip(x, -1, 1, min=0), ValueError, "a_min and a_max, or min and max"),
        (lambda x: np.var(x, ddof=1, correction=1), ValueError, "ddof or correction"),
        (lambda x: np.nanstd(x, ddof=1, correction=1), ValueError, "ddof or correction"),
        (lambda x: np.diff(x, n=-1), ValueError, "numpy.diff takes n of 0 or more, .* n = -1"),
        (lambda x: np.ediff1d(x.astype("int64"), to_end=1.5), TypeError, "numpy.ediff1d cannot put float64"),
        (lambda x: np.gradient(x[:1], axis=0), ValueError, "numpy.gradient needs two points"),
        (lambda x: np.rot90(x, axes=(0, -3)), ValueError, "two different axes"),
        (lambda x: np.rollaxis(x, 9), ValueError, "axis 9 is out of bounds"),
        (lambda x: np.linalg.vector_norm(x, axis=(0, 9)), ValueError, "axis 9 is out of bounds"),
        (lambda x: np.linalg.vector_norm(x, axis=(0, -3)), ValueError, "names an axis twice"),
        (lambda x: np.sum(x, where=False), TypeError, "numpy.sum cannot honour where="),
    ],
)
def test_refusals(call, error, named):
    with pytest.raises(error, match=named):
        call(gc.tensor(T))
