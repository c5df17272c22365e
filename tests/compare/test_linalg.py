"""Derivatives of solve, slogdet, inv, det and cholesky to the third order equal those of JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc

from .libraries import jax, jnp

pytestmark = pytest.mark.compare
RNG = np.random.default_rng(3)
A = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
B = RNG.normal(size=(3, 2))
W = RNG.normal(size=(3, 3))
FUNCTIONS = {
    "solve": lambda np, a: np.sum(np.linalg.solve(a, B) * W[:, :2]),
    "slogdet": lambda np, a: np.linalg.slogdet(a)[1],
    "inv": lambda np, a: np.sum(np.linalg.inv(a) * W),
    "det": lambda np, a: np.linalg.det(a),
    "cholesky": lambda np, a: np.sum(np.linalg.cholesky(np.matmul(a, a.T)) * W),
}


def along(gradient: Any, function: Any, direction: Any, order: int) -> Any:
    """The gradient of the derivative of this order less one along a direction."""
    if order == 1:
        return gradient(function)
    return along(gradient, lambda a: (gradient(function)(a) * direction).sum(), direction, order - 1)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_jax(name: str, order: int) -> None:
    f = FUNCTIONS[name]
    got = along(gc.grad, lambda a: f(np, a), W, order)(gc.tensor(A))
    want = along(jax.grad, lambda a: f(jnp, a), W, order)(jnp.asarray(A))
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-10, atol=1e-10 * float(abs(want).max()))
