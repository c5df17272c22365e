"""Layers, losses, initial values, clipping: against plain NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.nn import functional, init

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(4, 3)).astype(np.float32)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    layer = nn.Linear(3, 2, bias=bias)
    expected = X @ layer.weight.numpy().T + (layer.bias.numpy() if bias else 0)
    np.testing.assert_allclose(layer(X).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert (layer.bias is not None) == bias
    assert nn.Linear(3, 2, dtype=np.float64).weight.dtype == np.float64


def test_linear_starts_uniform_within_one_over_root_in() -> None:
    gc.random.seed(0)
    weight = nn.Linear(400, 50).weight.numpy()
    assert np.abs(weight).max() <= 0.05
    assert np.abs(weight).max() > 0.0499
    assert abs(weight.std() - 0.05 / math.sqrt(3)) < 3e-4
    gc.random.seed(0)
    np.testing.assert_array_equal(nn.Linear(400, 50).weight.numpy(), weight)


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Tanh(), np.tanh),
        (nn.GELU(), lambda x: x * np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(x)),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.Identity(), lambda x: x),
        (nn.Flatten(), lambda x: x),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_activations(layer: Any, formula: Any) -> None:
    np.testing.assert_allclose(layer(gc.tensor(X)).numpy(), formula(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("first", "last", "shape"), [(1, -1, (2, 60)), (0, -1, (120,)), (1, 2, (2, 12, 5))])
def test_flatten(first: int, last: int, shape: tuple[int, ...]) -> None:
    assert nn.Flatten(first, last)(gc.ones(2, 3, 4, 5)).shape == shape


@pytest.mark.parametrize("shape", [3, (4, 3)])
def test_layer_norm(shape: Any) -> None:
    axes = -1 if shape == 3 else (0, 1)
    layer = nn.LayerNorm(shape)
    init.normal_(layer.weight)
    centred = X - X.mean(axes, keepdims=True)
    plain = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + 1e-5)
    expected = plain * layer.weight.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(layer(gc.tensor(X)).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(functional.layer_norm(gc.tensor(X), shape).numpy(), plain, rtol=1e-4, atol=1e-5)


def test_layer_norm_names_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"over \(5,\) needs these as the last axes of x, which has shape \(4, 3\)"):
        nn.LayerNorm(5)(gc.tensor(X))


def test_layer_norm_says_what_it_takes() -> None:
    rows = X.tolist()
    with pytest.raises(TypeError, match=r"'layer_norm' got list; .*gradcore\.tensor makes a tensor from lists"):
        functional.layer_norm(rows, 3)
    with pytest.raises(TypeError, match="layer_norm needs a floating x, not int64"):
        functional.layer_norm(gc.arange(3), 3)
    with pytest.raises(ValueError, match=r"over \(4, 3\) needs a weight of that shape, not of \(3, 4\)"):
        functional.layer_norm(X, (4, 3), np.ones((3, 4), np.float32))
    np.testing.assert_array_equal(
        functional.layer_norm(X, np.int64(3)).numpy(),  # type: ignore[arg-type]
        functional.layer_norm(gc.tensor(X), 3).numpy(),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [-1, 1, 2, float("nan")])
def test_dropout_refuses_probabilities_in_every_mode(p: float, training: bool) -> None:
    with pytest.raises(ValueError, match=r"probability of dropout must lie in \[0, 1\), not"):
        functional.dropout(gc.ones(3), p, training)


def test_dropout() -> None:
    gc.random.seed(1)
    layer, x = nn.Dropout(0.25), gc.ones(100, 100)
    first, second = layer(x).numpy(), layer(x).numpy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert (first != second).any()
    assert layer.eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match="probability of Dropout"):
            nn.Dropout(p)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str) -> None:
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    labels, target = np.array([0, 2, 1, 1]), GENERATOR.normal(size=(4, 3)).astype(np.float32)
    rows = np.log(np.exp(X).sum(1)) - X[np.arange(4), labels]
    entropy = nn.CrossEntropyLoss(reduction)(gc.tensor(X), gc.tensor(labels))
    np.testing.assert_allclose(entropy.numpy(), reduce(rows), rtol=1e-5)
    error = nn.MSELoss(reduction)(gc.tensor(X), gc.tensor(target))
    np.testing.assert_allclose(error.numpy(), reduce((X - target) ** 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("fill", "variance"),
    [
        (init.xavier_uniform_, 2 / 500),
        (init.xavier_normal_, 2 / 500),
        (init.kaiming_uniform_, 2 / 200),
        (init.kaiming_normal_, 2 / 200),
        (lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="tanh"), (5 / 3) ** 2 / 300),
        (lambda w: init.normal_(w, std=0.5), 0.25),
        (lambda w: init.uniform_(w, -1, 1), 1 / 3),
        (init.zeros_, 0),
    ],
)
def test_initial_values(fill: Any, variance: float) -> None:
    gc.random.seed(0)
    layer = nn.Linear(200, 300)
    assert fill(layer.weight) is layer.weight
    values = layer.weight.numpy()
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.01
    assert values.var() == pytest.approx(variance, rel=0.02)


def test_initial_values_refuse_what_they_cannot_do() -> None:
    layer = nn.Linear(2, 2)
    assert init.ones_(layer.bias).numpy().tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="at least 2 axes"):
        init.xavier_uniform_(layer.bias)
    with pytest.raises(ValueError, match="mode must be"):
        init.kaiming_normal_(layer.weight, mode="fan")
    with pytest.raises(ValueError, match="nonlinearity must be one of"):
        init.calculate_gain("gelu")
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0


def clipped(max_norm: float) -> tuple[float, Any]:
    layer = nn.Linear(3, 2)
    layer.weight.grad, layer.bias.grad = gc.tensor(X[:2]), gc.tensor([1.0, -2.0])
    total = nn.utils.clip_grad_norm_([*layer.parameters(), nn.Parameter([1.0])], max_norm)
    return float(total), np.concatenate([layer.weight.grad.numpy().ravel(), layer.bias.grad.numpy()])


def test_clip_grad_norm() -> None:
    grads = np.concatenate([X[:2].ravel(), np.float32([1.0, -2.0])])
    norm = np.linalg.norm(grads)
    total, scaled = clipped(0.5)
    assert total == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(scaled, grads * 0.5 / norm, rtol=1e-5)
    np.testing.assert_array_equal(clipped(100.0)[1], grads)


def test_clip_grad_norm_without_gradients() -> None:
    assert float(nn.utils.clip_grad_norm_(nn.Linear(2, 2).parameters(), 1.0)) == 0.0


def test_clip_grad_norm_of_float16() -> None:
    parameter = nn.Parameter(np.zeros(2, np.float16))
    parameter.grad = gc.tensor(np.array([300.0, 400.0], np.float16))
    assert float(nn.utils.clip_grad_norm_(parameter, 1.0)) == 500.0
    assert parameter.grad.dtype == np.float16
    np.testing.assert_allclose(parameter.grad.numpy(), [0.6, 0.8], rtol=1e-3)


@pytest.mark.parametrize("given", [[gc.ones(2)], gc.ones(2), gc.ones(()), {"w": 1}, nn.Linear(2, 2), 3, [None]])
def test_clip_grad_norm_takes_parameters(given: Any) -> None:
    with pytest.raises(TypeError, match=r"clip_grad_norm_ takes parameters, not \w+; pass model\.parameters\(\)"):
        nn.utils.clip_grad_norm_(given, 1.0)


@pytest.mark.parametrize("max_norm", [-1.0, float("nan")])
def test_clip_grad_norm_refuses_norms(max_norm: float) -> None:
    with pytest.raises(ValueError, match="max_norm must be a number that is not negative, not"):
        nn.utils.clip_grad_norm_(nn.Linear(2, 2).parameters(), max_norm)
