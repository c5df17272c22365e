"""NumPy's and CuPy's functions on tensors that live on a GPU."""

import cupy
import numpy as np
import pytest

import gradcore as gc

A = np.array([[1.0, 2.0, 0.5], [0.3, 1.5, 2.5], [2.0, 0.1, 0.7]])


def on_gpu(**options):
    return gc.tensor(A, device="cuda", **options)


@pytest.mark.parametrize("name", ["sin", "exp", "sqrt", "absolute", "isnan", "logical_not"])
def test_cupy_functions_of_one_operand(name):
    got = getattr(cupy, name)(on_gpu())
    assert isinstance(got, gc.Tensor) and str(got.device) == "cuda:0"
    np.testing.assert_allclose(got.numpy(), getattr(np, name)(A), rtol=1e-14)


@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "less", "arctan2"])
def test_cupy_functions_of_two_operands(name):
    other = cupy.asarray(A.T.copy())
    for got in (getattr(cupy, name)(other, on_gpu()), getattr(np, name)(other, on_gpu())):
        assert isinstance(got, gc.Tensor) and str(got.device) == "cuda:0"
        np.testing.assert_allclose(got.numpy(), getattr(np, name)(A.T, A), rtol=1e-14)


def test_operators_with_cupy_arrays():
    got = cupy.asarray(A) * on_gpu(requires_grad=True)
    assert got.requires_grad and np.array_equal(got.numpy(), A * A)


def test_what_cupy_cannot_do_with_tensors():
    x = on_gpu()
    with pytest.raises(TypeError, match=r"cupy.sin cannot honour out="):
        cupy.sin(x, cupy.empty((3, 3)))
    with pytest.raises(TypeError, match="the CuPy kernel 'double' does not take tensors"):
        cupy.ElementwiseKernel("T x", "T y", "y = 2 * x", "double")(x)
    with pytest.raises(TypeError):
        cupy.concatenate([x, x])


def test_gradients_of_numpy_functions():
    def f(x):
        return np.sum(np.tanh(np.concatenate([x, x * 2], axis=1)) ** 2) + np.mean(np.sort(x)) + np.max(x)

    got, want = gc.grad(f)(on_gpu()), gc.grad(f)(gc.tensor(A))
    assert str(got.device) == "cuda:0"
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["solve", "inv", "det", "slogdet", "cholesky"])
def test_linalg_is_called_on_the_device(name, monkeypatch):
    """Which function of CuPy gets what."""
    called = []

    def record(*arrays):
        called.append([type(x) for x in arrays])
        return tuple(cupy.zeros(()) for _ in range(2)) if name == "slogdet" else cupy.zeros_like(arrays[-1])

    monkeypatch.setattr(cupy.linalg, name, record)
    getattr(gc.linalg, name)(*[on_gpu()] * (2 if name == "solve" else 1))
    assert called == [[cupy.ndarray] * (2 if name == "solve" else 1)]


@pytest.mark.parametrize("name", ["solve", "inv", "det", "slogdet", "cholesky"])
def test_values_of_linalg(name):
    a = A @ A.T + np.eye(3)
    operands = [a] * (2 if name == "solve" else 1)

    def f(*xs):
        result = getattr(gc.linalg, name)(*xs)
        return gc.sum(gc.sin(result[1] if name == "slogdet" else result))

    got = gc.grad(f)(*[gc.tensor(x, device="cuda") for x in operands])
    want = gc.grad(f)(*map(gc.tensor, operands))
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-9, atol=1e-12)
