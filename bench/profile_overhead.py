"""How much longer a training step takes inside `gradcore.profile()`, and what opening and closing it costs.

Blocks of steps without and with it in turn; the figures are medians, that of the ratio over pairs of blocks.  A
profile that is open looks at every op, so the ratio is that of a step while it is open.  Opening and closing look at
all objects of the process, once each, and do not depend on the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from timing import median, restart_without_slowing_variables, table

import gradcore as gc
from gradcore import nn, optim

BLOCK, ROUNDS = 10, 9
Step = Callable[[], Any]


class Overhead(NamedTuple):
    """Milliseconds of a step, how many times longer it takes in a profile, and milliseconds to open and close one."""

    step: float
    ratio: float
    around: float


class Block(nn.Module):
    """A residual block with layer norm and dropout."""

    def __init__(self, width: int) -> None:
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Any) -> Any:
        return x + self.drop(self.second(gc.relu(self.first(self.norm(x)))))


def perceptron(*widths: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def digits() -> tuple[nn.Module, int, int]:
    """A network, its inputs and its batch."""
    return perceptron(64, 128, 128, 10), 64, 128


def wide_digits() -> tuple[nn.Module, int, int]:
    """Likewise."""
    return perceptron(64, 256, 256, 10), 64, 256


def mnist() -> tuple[nn.Module, int, int]:
    """Likewise."""
    return perceptron(784, 512, 256, 10), 784, 128


def residual() -> tuple[nn.Module, int, int]:
    """Likewise, of many small ops."""
    return nn.Sequential(nn.Linear(64, 128), *[Block(128) for _ in range(8)], nn.Linear(128, 10)), 64, 256


def training(model: nn.Module, features: int, batch: int) -> Step:
    """A step with AdamW."""
    random = np.random.default_rng(0)
    x, y = gc.tensor(random.standard_normal((batch, features), np.float32)), gc.tensor(random.integers(0, 10, batch))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def measure(model: nn.Module, step: Step) -> Overhead:
    """Medians over rounds."""
    step()
    with gc.profile(model):
        step()  # measures the workspace of its ops
    plain, profiled, around = zip(*_rounds(model, step), strict=True)
    ratio = median(b / a for a, b in zip(plain, profiled, strict=True))
    return Overhead(1e3 * median(plain) / BLOCK, ratio, 1e3 * median(around))


def _rounds(model: nn.Module, step: Step) -> Iterator[tuple[float, float, float]]:
    """Seconds of a block without a profile, of one inside it, and of opening and closing it."""
    for _ in range(ROUNDS):
        plain, start = _seconds(step), perf_counter()
        with gc.profile(model):
            profiled = _seconds(step)
        yield plain, profiled, perf_counter() - start - profiled


def _seconds(step: Step) -> float:
    start = perf_counter()
    for _ in range(BLOCK):
        step()
    return perf_counter() - start


def main() -> None:
    """Print a table."""
    rows = []
    for make in (digits, wide_digits, mnist, residual):
        model, features, batch = make()
        found = measure(model, training(model, features, batch))
        rows.append((make.__name__, f"{found.step:.2f}", f"{found.ratio:.3f}", f"{found.around:.0f}"))
    print(table(("network", "ms a step", "times as long in a profile", "ms to open and close"), rows))


if __name__ == "__main__":
    restart_without_slowing_variables()
    main()
