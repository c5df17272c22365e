"""The protocols themselves: operators, arguments, refusals, scipy.special, the array API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.special

import gradcore as gc
from gradcore.core.tensor import Tensor
from gradcore.numpy_protocol.print_numpy import PAGE, page
from gradcore.numpy_protocol.unsupported import UNSUPPORTED

A = np.array([1.0, 2.0, 3.0])
T = gc.tensor(A)
R = gc.tensor(A, requires_grad=True)
P = gc.nn.Parameter(A)


@pytest.mark.parametrize("t", [T, R, P], ids=["tensor", "recorded", "cell"])
def test_operators_with_arrays_give_tensors(t):
    for left in (A, A[::-1], np.float64(2), [1.0, 2.0, 3.0]):
        results = np.multiply(left, t), np.subtract(left, t), np.less(left, t)
        wanted = np.multiply(left, A), np.subtract(left, A), np.less(left, A)
        for got, want in zip(results, wanted, strict=True):
            assert isinstance(got, Tensor) and got.dtype == want.dtype
            assert got.numpy().tolist() == want.tolist()
    for got, want in ((A * t, A * A), (A @ t, A @ A), (t < A, A > A), (np.float64(2) ** t, 2**A), (A // t, A // A)):
        assert isinstance(got, Tensor) and np.array_equal(got.numpy(), want)
    assert (A * t).requires_grad == (t is not T)


def test_an_array_is_not_changed_by_a_tensor():
    a = A.copy()
    with pytest.raises(TypeError, match=r"numpy.add cannot honour out=.*a = a \+ t"):
        a += T
    a = a + T
    assert isinstance(a, Tensor)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: np.sin(T, out=A.copy()), "numpy.sin cannot honour out="),
        (lambda: np.sin(T, where=A > 1), "numpy.sin cannot honour where="),
        (lambda: np.add(T, 1, casting="unsafe"), "numpy.add cannot honour casting="),
        (lambda: np.add(T, 1, dtype=np.float32), "numpy.add cannot honour dtype="),
        (lambda: np.sum(T, where=A > 1), "numpy.sum cannot honour where="),
        (lambda: np.sum(T, initial=3), "numpy.sum cannot honour initial="),
        (lambda: np.concatenate([T, T], casting="unsafe"), "numpy.concatenate cannot honour casting="),
        (lambda: np.ravel(T, order="F"), "numpy.ravel cannot honour order="),
        (lambda: np.add.at(T, [0], 1), r"numpy.add.at does not take tensors"),
        (lambda: np.add.reduceat(T, [0]), r"numpy.add.reduceat does not take tensors"),
        (lambda: np.subtract.reduce(T), r"numpy.subtract.reduce does not take tensors"),
        (lambda: np.add.reduce(T, out=A.copy()), "numpy.add.reduce cannot honour out="),
        (lambda: np.dot(T, T, A), "numpy.dot cannot honour out="),
        (lambda: np.stack([T, [T, T, T]]), "holds tensors"),
        (lambda: np.where(T > 1), "pass both"),
        (lambda: np.gradient(T, T), "edge_order=1"),
        (lambda: np.frompyfunc(abs, 1, 1)(T), "the universal function 'abs \\(vectorized\\)' does not take tensors"),
        (lambda: scipy.special.gamma(T), "the universal function 'gamma' does not take tensors"),
        (lambda: np.bitwise_and(gc.tensor([1]), 1), "boolean tensors"),
        (lambda: np.linalg.svd(gc.ones((2, 2))), "numpy.linalg.svd does not take tensors: it needs singular"),
        (lambda: np.nonzero(T), "numpy.nonzero does not take tensors: the shape of its result"),
        (lambda: np.copyto(A.copy(), T), "numpy.copyto does not take tensors: it changes"),
        (lambda: np.fft.fft(T), "numpy.fft.fft does not take tensors"),
    ],
)
def test_refusals(call, named):
    with pytest.raises(TypeError, match=named):
        call()


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_unsupported_functions_are_no_rules(name):
    where = np.linalg if name.startswith("linalg.") else np
    f = getattr(where, name.removeprefix("linalg."), None)
    if f is None:
        pytest.skip("not in this NumPy")
    kind = np.ufunc
    with pytest.raises(TypeError, match=f"numpy.{name} does not take tensors"):
        if isinstance(f, kind):
            T.__array_ufunc__(f, "__call__", *[T] * f.nin)
        else:
            T.__array_function__(f, (Tensor,), (T,), {})


def test_defaults_given_by_name_are_no_reason_to_refuse():
    assert np.sum(T, axis=None, out=None, where=True).item() == 6
    assert np.add(T, 1, out=None, where=True, casting="same_kind").numpy().tolist() == [2, 3, 4]
    assert np.sum(R, dtype=np.float32).dtype == np.float32
    assert np.einsum("i,i", T, A, optimize=True).item() == 14


def test_methods_of_universal_functions():
    m = gc.tensor(np.arange(6.0).reshape(2, 3))
    assert np.array_equal(np.add.reduce(m).numpy(), [3, 5, 7])
    assert np.array_equal(np.multiply.reduce(m, axis=1).numpy(), [0, 60])
    assert np.array_equal(np.add.accumulate(m, axis=1).numpy(), np.add.accumulate(m.numpy(), axis=1))
    assert np.array_equal(np.subtract.outer(T, A).numpy(), np.subtract.outer(A, A))
    assert np.array_equal(np.multiply.outer(A, T).numpy(), np.multiply.outer(A, A))


def test_indexing_and_methods_are_differentiable():
    got = gc.grad(lambda x: np.sum(x[np.array([0, 2])] ** 2) + np.max(x[::-1]))(A)
    assert np.asarray(got).tolist() == [2, 0, 7]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nested_transforms(order):
    def f(x):
        return np.sum(np.tanh(A * x) * np.exp(-np.square(x)))

    gc.testing.gradcheck(f, (A / 3,), order=order)


def test_an_unmodified_function_of_numpy():
    def f(w):
        hidden = np.tanh(np.dot(np.stack([A, A * A]), w))
        return -np.mean(np.log(np.where(hidden > 0, hidden, 1 - hidden)))

    gc.testing.gradcheck(f, (np.array([[0.1, -0.2], [0.3, 0.1], [0.2, -0.1]]),), order=2)


SPECIAL = [
    (scipy.special.expit, gc.special.expit),
    (scipy.special.erf, gc.special.erf),
    (scipy.special.erfc, gc.special.erfc),
    (scipy.special.log_expit, gc.special.log_expit),
    (lambda x: scipy.special.xlogy(x, x + 1), lambda x: gc.special.xlogy(x, x + 1)),
]


@pytest.mark.parametrize(("theirs", "ours"), SPECIAL)
def test_scipy_special(theirs, ours):
    for x in (T, R, gc.tensor(A.astype(np.float32))):
        got, want = theirs(x), theirs(x.numpy())
        assert isinstance(got, Tensor) and got.dtype == want.dtype and got.requires_grad == x.requires_grad
        np.testing.assert_allclose(got.numpy(), want, rtol=2e-6 if x.dtype == np.float32 else 1e-14)
        assert np.array_equal(ours(x).numpy(), got.numpy())
    gc.testing.gradcheck(theirs, (A,), order=3)


def test_xlogy_at_zero():
    x, y = np.array([0.0, 0.0, 0.0, 2.0, np.nan]), np.array([0.0, 2.0, np.nan, 3.0, 1.0])
    np.testing.assert_array_equal(gc.special.xlogy(x, y).numpy(), scipy.special.xlogy(x, y))
    assert float(gc.grad(lambda x: gc.special.xlogy(x, 2.0))(np.array(0.0))) == pytest.approx(np.log(2.0))


def test_logsumexp_of_scipy_refuses_and_ours_does_not():
    with pytest.raises(TypeError, match=r"gradcore.special.logsumexp"):
        scipy.special.logsumexp(R)
    assert gc.special.logsumexp(R).item() == pytest.approx(scipy.special.logsumexp(A))


def test_the_array_namespace():
    xp = T.__array_namespace__()
    assert xp is P.__array_namespace__(api_version="2024.12")
    got = xp.sum(xp.multiply(xp.asarray(A), R), axis=-1)
    assert got.requires_grad and got.item() == 14
    assert xp.concat([T, T]).shape == (6,) and xp.float32 == np.float32 and xp.pi == np.pi
    assert not hasattr(xp, "unique_values")
    with pytest.raises(ValueError, match=r"2024\.12"):
        T.__array_namespace__(api_version="2021.12")


def test_the_page_is_current():
    printed = Path(__file__).resolve().parents[2] / PAGE
    assert printed.read_text(encoding="utf-8") == page(), "run `python -m gradcore.numpy_protocol.print_numpy`"
