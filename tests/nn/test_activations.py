"""Activation modules against formulas in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.nn import functional

X = np.random.default_rng(0).normal(size=(4, 3)) * 2


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def tanh_gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x: Any, axis: int) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


@pytest.mark.parametrize(
    ("module", "formula"),
    [
        (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
        (nn.LeakyReLU(0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
        (nn.ELU(), lambda x: np.where(x > 0, x, np.expm1(x))),
        (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
        (nn.SELU(), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543773 * np.expm1(x))),
        (nn.SiLU(), lambda x: x * logistic(x)),
        (nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
        (nn.Hardtanh(), lambda x: np.clip(x, -1, 1)),
        (nn.Hardtanh(-0.5, 2.0), lambda x: np.clip(x, -0.5, 2)),
        (nn.Softsign(), lambda x: x / (1 + abs(x))),
        (nn.LogSigmoid(), lambda x: np.log(logistic(x))),
        (nn.GELU("tanh"), tanh_gelu),
        (nn.Softmax(), lambda x: softmax(x, -1)),
        (nn.Softmax(0), lambda x: softmax(x, 0)),
        (nn.LogSoftmax(0), lambda x: np.log(softmax(x, 0))),
    ],
    ids=repr,
)
def test_against_numpy(module: Any, formula: Any) -> None:
    np.testing.assert_allclose(module(X).numpy(), formula(X), rtol=1e-12, atol=1e-14)
    assert module(X.astype(np.float32)).dtype == np.float32


def test_defaults_and_keywords_are_those_of_pytorch() -> None:
    x = gc.tensor([-1.0, 3.0])
    assert functional.leaky_relu(x).numpy().tolist() == functional.leaky_relu(x, negative_slope=0.01).numpy().tolist()
    assert functional.elu(x).numpy().tolist() == functional.elu(x, alpha=1.0).numpy().tolist()
    assert functional.hardtanh(x, max_val=2.0).numpy().tolist() == [-1, 2]
    assert functional.hardtanh(x, min_val=-0.5).numpy().tolist() == [-0.5, 1]


def test_a_slope_is_an_operand() -> None:
    """So a new value compiles nothing, and a learned one has a gradient."""
    slope = gc.tensor(0.25, requires_grad=True)
    gc.leaky_relu(gc.tensor([-2.0, 3.0]), slope).sum().backward()
    assert slope.grad.item() == -2


def test_bad_arguments_raise() -> None:
    with pytest.raises(ValueError, match="min_val < max_val"):
        nn.Hardtanh(1.0, 1.0)
    with pytest.raises(ValueError, match="'none' or 'tanh', not 'erf'"):
        gc.gelu(gc.tensor(1.0), "erf")
