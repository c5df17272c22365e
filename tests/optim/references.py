"""Optimisers as loops in NumPy, and every optimiser with its loop."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim

Steps = Callable[[Any], Generator[Any, Any, None]]
SHAPES = [(3, 2), (), (4,), (0, 2)]


def sgd(lr: float, momentum: float, decay: float, nesterov: bool = False, decoupled: bool = False) -> Steps:
    def steps(p: Any) -> Generator[Any, Any, None]:
        v = np.zeros_like(p)
        while True:
            g = yield p
            if decoupled:
                p = p * (1 - lr * decay)
            else:
                g = g + decay * p
            v = momentum * v + g
            p = p - lr * (g + momentum * v if nesterov else v)

    return steps


def adam(lr: float, beta1: float, beta2: float, eps: float, decay: float, decoupled: bool) -> Steps:
    def steps(p: Any) -> Generator[Any, Any, None]:
        m = v = np.zeros_like(p)
        t = 0
        while True:
            g = yield p
            t += 1
            if decoupled:
                p = p - lr * decay * p
            else:
                g = g + decay * p
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)

    return steps


def rmsprop(lr: float, alpha: float, eps: float, decay: float, momentum: float, centered: bool) -> Steps:
    def steps(p: Any) -> Generator[Any, Any, None]:
        square = mean = v = np.zeros_like(p)
        while True:
            g = yield p
            g = g + decay * p
            square = alpha * square + (1 - alpha) * g**2
            mean = alpha * mean + (1 - alpha) * g
            v = momentum * v + g / (np.sqrt(square - mean**2 if centered else square) + eps)
            p = p - lr * v

    return steps


def adagrad(lr: float, lr_decay: float, decay: float, first: float, eps: float) -> Steps:
    def steps(p: Any) -> Generator[Any, Any, None]:
        total = np.full_like(p, first)
        t = 0
        while True:
            g = yield p
            g = g + decay * p
            total = total + g**2
            p = p - lr / (1 + t * lr_decay) * g / (np.sqrt(total) + eps)
            t += 1

    return steps


def lion(lr: float, beta1: float, beta2: float, decay: float) -> Steps:
    def steps(p: Any) -> Generator[Any, Any, None]:
        m = np.zeros_like(p)
        while True:
            g = yield p
            p = p * (1 - lr * decay)
            p = p - lr * np.sign(beta1 * m + (1 - beta1) * g)
            m = beta2 * m + (1 - beta2) * g

    return steps


def case(name: str, make: Callable[[Any], Any], reference: Steps) -> Any:
    return pytest.param(make, reference, id=name)


CASES: list[Any] = [
    case("sgd", lambda ps: optim.SGD(ps, lr=0.1), sgd(0.1, 0, 0)),
    case("decay", lambda ps: optim.SGD(ps, lr=0.1, weight_decay=0.1), sgd(0.1, 0, 0.1)),
    case("momentum", lambda ps: optim.SGD(ps, 0.1, 0.8, 0.1), sgd(0.1, 0.8, 0.1)),
    case("nesterov", lambda ps: optim.SGD(ps, 0.1, 0.8, 0.1, nesterov=True), sgd(0.1, 0.8, 0.1, True)),
    case(
        "decoupled nesterov",
        lambda ps: optim.SGD(ps, 0.1, 0.8, 0.1, nesterov=True, decoupled_weight_decay=True),
        sgd(0.1, 0.8, 0.1, True, True),
    ),
    case("adam", lambda ps: optim.Adam(ps, 0.1, (0.7, 0.8), 0.01, 0.3), adam(0.1, 0.7, 0.8, 0.01, 0.3, False)),
    case("adamw", optim.AdamW, adam(1e-3, 0.9, 0.999, 1e-8, 1e-2, True)),
    case("rmsprop", lambda ps: optim.RMSprop(ps, 0.1, 0.8, 0.1, 0.1), rmsprop(0.1, 0.8, 0.1, 0.1, 0, False)),
    case(
        "rmsprop centered",
        lambda ps: optim.RMSprop(ps, 0.1, 0.8, 0.1, 0.1, 0.7, True),
        rmsprop(0.1, 0.8, 0.1, 0.1, 0.7, True),
    ),
    case("adagrad", lambda ps: optim.Adagrad(ps, 0.1, 0.2, 0.1, 0.5, 0.1), adagrad(0.1, 0.2, 0.1, 0.5, 0.1)),
    case("lion", lambda ps: optim.Lion(ps, 0.1, (0.8, 0.9), 0.1), lion(0.1, 0.8, 0.9, 0.1)),
]
MAKERS: list[Any] = [pytest.param(case.values[0], id=case.id) for case in CASES]


def parameters(dtype: Any = np.float64) -> list[nn.Parameter]:
    generator = np.random.default_rng(0)
    return [nn.Parameter(np.asarray(generator.normal(size=shape), dtype)) for shape in SHAPES]


def give_gradients(cells: list[nn.Parameter], seed: int = 0) -> list[Any]:
    generator = np.random.default_rng(100 + seed)
    grads = [np.asarray(generator.normal(size=p.shape), p.dtype) for p in cells]
    for p, g in zip(cells, grads, strict=True):
        p.grad = gc.tensor(g)
    return grads


def check_steps(make: Any, reference: Steps, dtype: Any, tolerance: float, count: int = 6) -> None:
    """Steps on random gradients follow the loop, and parameters keep their dtype."""
    cells = parameters(dtype)
    references = [reference(p.numpy().astype(np.float64)) for p in cells]
    for steps in references:
        next(steps)
    optimizer = make(cells)
    for number in range(count):
        grads = give_gradients(cells, number)
        expected = [steps.send(g.astype(np.float64)) for steps, g in zip(references, grads, strict=True)]
        optimizer.step()
        for p, value in zip(cells, expected, strict=True):
            assert p.dtype == dtype
            np.testing.assert_allclose(p.numpy(), value, rtol=tolerance, atol=tolerance)
