"""Examples that can be worked by hand, and their explanations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcore import nn, ops, random
from gradcore.explanation.explanation import Explanation, explain
from gradcore.factories import tensor


def neuron() -> tuple[str, Callable[[], Any]]:
    """One sigmoid neuron with two inputs, and the squared error of its output."""
    weight = nn.Parameter(np.array([2.0, -3.0]))
    bias = nn.Parameter(np.array(-3.0))
    x = tensor(np.array([-1.0, -2.0]))

    def cost() -> Any:
        z = (weight * x).sum() + bias
        a = ops.sigmoid(z)
        error = 1.0 - a
        cost = error**2 / 2
        return cost

    return "One sigmoid neuron", cost


def two_layer() -> tuple[str, Callable[[], Any]]:
    """A hidden layer of two sigmoid neurons, a linear output, and its squared error."""
    hidden_weight = nn.Parameter(np.array([[0.3, 0.5], [-0.1, 0.2]]))
    hidden_bias = nn.Parameter(np.array([0.1, -0.2]))
    weight = nn.Parameter(np.array([0.4, -0.3]))
    bias = nn.Parameter(np.array(0.05))
    x = tensor(np.array([[0.5, 0.8]]))

    def loss() -> Any:
        z = x @ hidden_weight + hidden_bias
        h = ops.sigmoid(z)
        output = (h * weight).sum() + bias
        error = output - 1.0
        loss = error**2 / 2
        return loss

    return "Two layers", loss


def xor() -> tuple[str, Callable[[], Any]]:
    """The first step of a network that learns XOR: two inputs, eight sigmoid neurons, one output."""
    model = _xor_model()
    x = tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = tensor([[0.0], [1.0], [1.0], [0.0]])

    def loss() -> Any:
        logits = model(x)
        losses = ops.softplus(logits) - y * logits
        loss = losses.mean()
        return loss

    return "XOR, the first step", loss


def _xor_model() -> nn.Sequential:
    """With the same weights every time; the user's random numbers go on as if nothing had been drawn."""
    before = random.state_dict()
    try:
        random.seed(0)
        return nn.Sequential(nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 1))
    finally:
        random.load_state_dict(before)


EXAMPLES = {"neuron": neuron, "two-layer": two_layer, "xor": xor}


def example(name: str, expand: bool = False) -> Explanation:
    """The explanation of an example.

    Args:
        name: "neuron", "two-layer" or "xor".
        expand: show fused ops as what they mean.

    Example:
        >>> example("two-layer").gradients["weight"]
        tensor([-0.48747104, -0.49637745], dtype=float64, device='cpu')
    """
    title, function = EXAMPLES[name]()
    explanation = explain(function, expand=expand)
    explanation.title = title
    return explanation
