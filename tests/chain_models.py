"""Chains that the tests of both devices share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import gradcore as gc
from gradcore import nn
from gradcore.memory import Chain, Costs, checkpoint_chain, front, measured_costs


class Block(nn.Module):
    """A residual block with layer norm and dropout."""

    def __init__(self, width: int) -> None:
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Any) -> Any:
        return x + self.dropout(self.down(gc.relu(self.up(self.norm(x)))))


class Gated(nn.Module):
    """A stage whose activation is used more than once."""

    def __init__(self, given: int, width: int) -> None:
        self.linear = nn.Linear(given, width)

    def forward(self, x: Any) -> Any:
        y = self.linear(x)
        return y * gc.sigmoid(y) + gc.sin(y)


def residual() -> nn.Sequential:
    """48 equal stages."""
    return nn.Sequential(*[Block(16) for _ in range(48)])


def unequal() -> nn.Sequential:
    """20 stages of four kinds and many widths; two of them are the same module, so they share weights."""
    rng = np.random.default_rng(0)
    stages: list[Any] = []
    width = 16
    for number in range(18):
        wider = int(rng.integers(8, 96))
        kinds: list[Callable[[], Any]] = [
            lambda: nn.Sequential(nn.Linear(width, wider), nn.Tanh()),
            lambda: nn.Sequential(nn.Linear(width, wider), nn.LayerNorm(wider), nn.GELU()),
            lambda: Gated(width, wider),
            lambda: nn.Sequential(nn.Linear(width, wider), nn.Dropout(0.2)),
        ]
        stages.append(kinds[number % 4]())
        width = wider
    shared = Block(width)
    return nn.Sequential(*stages, shared, shared)


def random_plan(draw: random.Random, first: int, end: int) -> Any:
    """Any plan of the stages first..end - 1."""
    parts: list[Any] = []
    while first < end - 1:
        following = draw.randint(first + 1, end - 1) if draw.random() < 0.5 else 0
        parts.append(random_plan(draw, first, following) if following else first)
        first = following or first + 1
    return (*parts, end - 1)


class Trial(NamedTuple):
    """A model, an input of it, and what its stages cost."""

    model: nn.Sequential
    x: Any
    costs: Costs

    def chain(self, budget: Any) -> Chain:
        return checkpoint_chain(list(self.model), budget=budget, costs=self.costs)

    def backward(self, function: Callable[[Any], Any]) -> None:
        """Forward and backward, with a cotangent that lives to the end."""
        y = function(self.x)
        y.backward(gc.ones(*y.shape, device=str(y.aval.device)))

    def bits(self, function: Callable[[Any], Any]) -> list[bytes]:
        """All gradients of the parameters, with the same random numbers each time."""
        self.model.zero_grad()
        gc.random.seed(7)
        self.backward(function)
        return [np.asarray(p.grad.to("cpu")).tobytes() for p in self.model.parameters()]

    def budgets(self, count: int) -> list[int]:
        """From the least that is feasible to what saving everything needs."""
        choices = front(self.costs)
        return [int(b) for b in np.linspace(choices[0].peak, choices[-1].peak, count)]


def trial(make: Callable[[], nn.Sequential], device: str = "cpu", batch: int = 64) -> Trial:
    """A model on a device, measured."""
    gc.random.seed(0)
    model = make().to(device)
    x = gc.tensor(np.random.default_rng(1).normal(size=(batch, 16)).astype(np.float32), device=device)
    return Trial(model, x, measured_costs(list(model), x))
