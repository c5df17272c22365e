"""dtypes meet by NumPy 2's rules, on arrays and on Python scalars."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.hooks import Hook, hooked

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64"]
SCALARS = [True, 1, 1.0]
BINARY = {
    "add": np.add,
    "mul": np.multiply,
    "div": np.true_divide,
    "mod": np.remainder,
    "floor_divide": np.floor_divide,
    "arctan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
    "logical_and": np.logical_and,
    "logical_xor": np.logical_xor,
    "maximum": np.maximum,
    "power": np.power,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "where": lambda a, b: np.where(np.True_, a, b),
}
NAMES = ("exp", "log", "sin", "tanh", "sqrt", "abs", "square", "expm1", "arctan", "round", "isfinite", "logical_not")
UNARY = {name: getattr(np, name) for name in NAMES}


def operands():
    arrays = [np.ones(2, dtype) for dtype in DTYPES]
    yield from ((a, b) for a in arrays for b in arrays)
    yield from ((a, s) for a in arrays for s in SCALARS)
    yield from ((s, a) for a in arrays for s in SCALARS)


def function(name):
    return (lambda a, b: gc.where(True, a, b)) if name == "where" else getattr(gc, name)


def boxed(x):
    return gc.asarray(x) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    wrong = []
    for a, b in operands():
        want, got = BINARY[name](a, b), function(name)(boxed(a), boxed(b))
        if got.dtype != want.dtype or not np.array_equal(got.numpy(), want):
            wrong.append(f"{described(a)}, {described(b)}: {got.dtype} {got.numpy()} instead of {want.dtype} {want}")
    assert not wrong, f"{name}: {len(wrong)} wrong\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unary(name, dtype):
    x = np.ones(2, dtype)
    want, got = UNARY[name](x), getattr(gc, name)(gc.asarray(x))
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-3)


def described(x):
    return str(x.dtype) if isinstance(x, np.ndarray) else type(x).__name__


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_alone_makes_a_tensor(scalar):
    expected = {bool: "bool", int: "int64", float: "float32"}[type(scalar)]
    assert gc.maximum(scalar, scalar).dtype == expected


def test_numpy_scalars_are_not_weak():
    assert gc.add(gc.tensor([1.0]), np.float64(1)).dtype == np.float64
    assert gc.add(gc.tensor([1.0]), 1.0).dtype == np.float32


@pytest.mark.parametrize("function", [gc.equal, gc.greater_equal, gc.mul, gc.maximum])
def test_a_scalar_takes_half_precision_before_it_is_used(function):
    """0.3 is another number in float16, whichever interpreter sees the op."""
    x = np.array([0.3, 0.1, 2.5], np.float16)
    want = function(gc.asarray(x), np.float16(0.3)).numpy()
    assert np.array_equal(function(gc.asarray(x), 0.3).numpy(), want)
    assert np.array_equal(np.asarray(gc.vmap(lambda x: function(x, 0.3))(x)), want)
    with hooked(Hook()):
        assert np.array_equal(function(gc.asarray(x), 0.3).numpy(), want)


def test_a_scalar_that_does_not_fit_raises_as_in_numpy():
    with pytest.raises(OverflowError):
        np.add(np.ones(2, np.int8), 300)
    with pytest.raises(OverflowError):
        gc.add(gc.asarray(np.ones(2, np.int8)), 300)


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_numbers_stay_whole(dtype):
    x = np.arange(3).astype(dtype)
    for function in (gc.floor, gc.ceil):
        got = function(gc.asarray(x))
        assert got.dtype == dtype and np.array_equal(got.numpy(), x)
    if dtype != "bool":  # NumPy refuses these
        assert gc.sign(gc.asarray(x)).dtype == dtype
        assert gc.round(gc.asarray(x), 1).dtype == np.round(x, 1).dtype
        assert gc.round(gc.asarray(x * 13), -1).numpy().tolist() == np.round(x * 13, -1).tolist()


def test_bounds_promote():
    x = np.arange(4)
    for bounds in ((1, 2), (1.0, 2.5), (None, 2), (1, None), (np.float32(1), 2)):
        want, got = np.clip(x, *bounds), gc.clip(x, *bounds)
        assert got.dtype == want.dtype and np.array_equal(got.numpy(), want), bounds
    with pytest.raises(ValueError, match="needs a bound"):
        gc.clip(x)
