"""Examples worked by hand, compared to the digits that are printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.nn import functional

DTYPES = [np.float32, np.float64]


def printed(value: Any, digits: int) -> Any:
    """What a book would print."""
    return np.round(np.asarray(value.numpy(), np.float64), digits) + 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_sigmoid_neuron(dtype: Any) -> None:
    weight = nn.Parameter(np.array([2.0, -3.0], dtype))
    bias = nn.Parameter(np.array(-3.0, dtype))
    x, y = gc.tensor(np.array([-1.0, -2.0], dtype)), 1.0

    def output() -> Any:
        return gc.sigmoid((weight * x).sum() + bias)

    a = output()
    cost = (y - a) ** 2 / 2
    cost.backward()
    assert printed(a, 3) == 0.731
    assert printed(weight.grad, 4).tolist() == [0.0529, 0.1058]
    assert printed(bias.grad, 4) == -0.0529
    gc.optim.SGD([weight, bias], lr=1.0).step()
    assert printed(output(), 2) == 0.79


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_layers(dtype: Any) -> None:
    x = gc.tensor(np.array([0.5, 0.8], dtype))
    hidden_weight = nn.Parameter(np.array([[0.3, 0.5], [-0.1, 0.2]], dtype))
    hidden_bias = nn.Parameter(np.array([0.1, -0.2], dtype))
    weight = nn.Parameter(np.array([0.4, -0.3], dtype))
    bias = nn.Parameter(np.array(0.05, dtype))
    output = (gc.sigmoid(x @ hidden_weight + hidden_bias) * weight).sum() + bias
    loss = (output - 1.0) ** 2 / 2
    loss.backward()
    assert printed(output, 4) == 0.1013
    assert printed((1.0 - gc.tensor(printed(output, 4))) ** 2 / 2, 4) == 0.4038  # as printed, from the rounded output
    assert printed(loss, 4) == 0.4039  # the loss is 0.40386
    assert printed(weight.grad, 4).tolist() == [-0.4875, -0.4964]
    assert printed(hidden_weight.grad, 4).tolist() == [[-0.0446, 0.0333], [-0.0714, 0.0533]]


def by_hand(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> tuple[Any, ...]:
    """Loss and gradients of mean((relu(x w1 + b1) w2 + b2 - y)²), example by example."""
    count = len(x)
    loss, gradients = 0.0, [np.zeros_like(p) for p in (w1, b1, w2, b2)]
    for row, target in zip(x, y, strict=True):
        z = row @ w1 + b1
        h = np.where(z > 0, z, 0)
        error = h @ w2 + b2 - target
        loss += float(error[0] ** 2) / count
        back = (w2 @ error) * (z > 0)
        parts = (np.outer(row, back), back, np.outer(h, error), error)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient += 2 / count * part
    return (loss, *gradients)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_relu_network_with_squared_error(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(count, 3)), generator.normal(size=(count, 1))
    values = [generator.normal(size=shape) for shape in [(3, 5), (5,), (5, 1), (1,)]]
    w1, b1, w2, b2 = parameters = [nn.Parameter(value) for value in values]
    loss = functional.mse_loss(gc.relu(gc.tensor(x) @ w1 + b1) @ w2 + b2, gc.tensor(y))
    loss.backward()
    expected = by_hand(x, y, *values)
    assert float(loss) == pytest.approx(expected[0], rel=1e-12)
    for parameter, gradient in zip(parameters, expected[1:], strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_a_small_network_learns_xor(seed: int) -> None:
    gc.random.seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 1))
    x = gc.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = gc.tensor([[0.0], [1.0], [1.0], [0.0]])
    optimizer = gc.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(500):
        logits = model(x)
        loss = (functional.softplus(logits) - y * logits).mean()  # -(y log a + (1 - y) log(1 - a))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    outputs = gc.sigmoid(model(x)).numpy().ravel()
    assert (outputs[[0, 3]] < 0.05).all()
    assert (outputs[[1, 2]] > 0.95).all()


def deep(activation: Any, initialise: Any, depth: int = 50, width: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(width, width, dtype=np.float64)
        initialise(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, activation()]
    return nn.Sequential(*layers)


def first_over_last(model: nn.Sequential) -> float:
    """Norm of the first layer's weight gradient as a share of the last layer's."""
    x = gc.random.uniform((16, 32), np.float64) * 2 - 1
    (model(x) ** 2).mean().backward()
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    return float(np.linalg.norm(weights[0].grad.numpy()) / np.linalg.norm(weights[-1].grad.numpy()))


@pytest.mark.parametrize("seed", range(3))
def test_gradients_vanish_in_a_deep_sigmoid_network(seed: int) -> None:
    """Each layer multiplies them by sigmoid' (at most 1/4) and by the weights' gain; 1e-32 to 6e-32 was measured."""
    gc.random.seed(seed)
    assert first_over_last(deep(nn.Sigmoid, nn.init.xavier_uniform_)) < 1e-30


@pytest.mark.parametrize("seed", range(3))
def test_gradients_survive_in_a_deep_relu_network_with_he_initialisation(seed: int) -> None:
    """The variance of gradients is kept from layer to layer; 0.7 to 7 was measured."""
    gc.random.seed(seed)
    model = deep(nn.ReLU, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))
    assert 0.1 < first_over_last(model) < 100
