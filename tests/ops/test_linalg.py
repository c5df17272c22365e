"""Linear algebra: values, shapes and errors; the rules are tested with those of all ops."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc

RNG = np.random.default_rng(5)
A = RNG.normal(size=(2, 3, 3)) + 3 * np.eye(3)
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 4), (1, 3, 1)])
def test_solve_as_numpy(shape, dtype):
    a, b = (A * 3).astype(dtype), (RNG.normal(size=shape) * 9).astype(dtype)
    got, want = gc.linalg.solve(a, b), np.linalg.solve(a, b)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("name", ["inv", "det", "cholesky"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_of_one_matrix_as_numpy(name, dtype):
    a = ((A @ A.swapaxes(-1, -2)) * 2).astype(dtype)
    a = (a + a.swapaxes(-1, -2)) // 1
    got, want = getattr(gc.linalg, name)(a), getattr(np.linalg, name)(a)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-3 if dtype == np.float32 else 1e-10, atol=1e-6)


def test_slogdet_names_its_results():
    sign, logabsdet = result = gc.linalg.slogdet(-A)
    want = np.linalg.slogdet(-A)
    assert result.sign is sign and result.logabsdet is logabsdet
    np.testing.assert_allclose(sign.numpy(), want.sign)
    np.testing.assert_allclose(logabsdet.numpy(), want.logabsdet)
    assert gc.linalg.slogdet(SINGULAR).logabsdet.item() == -np.inf


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_of_what_is_not_quite_symmetric(upper):
    a = A[0] @ A[0].T
    moved = a + np.array([[0, 1e-3, 0], [-1e-3, 0, 0], [0, 0, 0]])
    assert np.array_equal(
        gc.linalg.cholesky(moved, upper).numpy(), gc.linalg.cholesky((moved + moved.T) / 2, upper).numpy()
    )
    g = np.asarray(gc.grad(lambda x: gc.sum(gc.sin(gc.linalg.cholesky(x, upper))))(a))
    np.testing.assert_array_equal(g, g.T)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 5])
def test_matrix_power(n):
    np.testing.assert_allclose(
        gc.linalg.matrix_power(A, n).numpy(), np.linalg.matrix_power(A, n), rtol=1e-10, atol=1e-12
    )
    gc.testing.gradcheck(lambda a: gc.linalg.matrix_power(a, n), (A[0] / 3,), order=2)


def test_singular_matrices():
    with pytest.raises(np.linalg.LinAlgError, match=r"'solve': Singular matrix .*\[2, 2\].*multiple of the identity"):
        gc.linalg.solve(SINGULAR, np.ones(2))
    with pytest.raises(np.linalg.LinAlgError, match="'inv': Singular matrix"):
        gc.linalg.inv(SINGULAR)
    with pytest.raises(np.linalg.LinAlgError, match=r"'cholesky'.*positive definite"):
        gc.linalg.cholesky(-np.eye(2))
    assert gc.linalg.det(SINGULAR).item() == 0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_derivative_of_the_determinant_of_a_singular_matrix(n):
    """Its matrix of cofactors, which is 0 where the rank is below n - 1; the second derivative raises."""
    drawn = RNG.normal(size=(3, n, n))
    drawn[1, -1] = 2 * drawn[1, 0] if n > 1 else 0
    drawn[2] = np.outer(drawn[2, 0], drawn[2, 0]) if n > 1 else 0
    keep = [np.delete(np.arange(n), k) for k in range(n)]
    minors = [
        [[np.linalg.det(a[np.ix_(r, c)]) * (-1) ** (i + j) for j, c in enumerate(keep)] for i, r in enumerate(keep)]
        for a in drawn
    ]
    got = gc.grad(lambda a: gc.sum(gc.linalg.det(a)))(drawn)
    np.testing.assert_allclose(np.asarray(got), minors, rtol=1e-12, atol=1e-12)
    gc.testing.gradcheck(gc.linalg.det, (drawn,), order=1)
    with pytest.raises(gc.core.errors.RuleError, match=r"'cofactor'.*Singular matrix"):
        gc.grad(lambda a: gc.sum(gc.grad(gc.linalg.det)(a)))(np.zeros((n, n)))


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky"])
def test_wrong_operands(name):
    f = getattr(gc.linalg, name)
    with pytest.raises(ValueError, match=f"'{name}' takes square matrices"):
        f(np.ones((2, 3)))
    with pytest.raises(ValueError, match=f"'{name}' takes square matrices"):
        f(np.ones(3))
    with pytest.raises(TypeError, match=f"'{name}' does not take float16"):
        f(np.eye(2, dtype=np.float16))


def test_operands_of_solve_that_do_not_fit():
    with pytest.raises(ValueError, match=r"'solve'.*do not fit"):
        gc.linalg.solve(A, np.ones(4))
    with pytest.raises(TypeError, match="'solve' does not take float16"):
        gc.linalg.solve(np.eye(2, dtype=np.float16), np.ones(2, np.float16))


def test_gaussian_log_density():
    def density(x, covariance):
        lower = np.linalg.cholesky(covariance)
        z = np.linalg.solve(lower, x)
        return -0.5 * np.sum(z**2) - np.sum(np.log(np.diagonal(lower)))

    def again(x, covariance):
        return -0.5 * np.dot(x, np.linalg.solve(covariance, x)) - 0.5 * np.linalg.slogdet(covariance)[1]

    x, covariance = np.array([0.3, -0.2, 0.5]), A[0] @ A[0].T
    for f in (density, again):
        gc.testing.gradcheck(f, (x, covariance), order=2)
    both = [gc.grad(f, argnums=(0, 1))(x, covariance) for f in (density, again)]
    for g, h in zip(*both, strict=True):
        np.testing.assert_allclose(np.asarray(g), np.asarray(h), rtol=1e-10, atol=1e-12)
