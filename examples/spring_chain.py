"""A hanging chain of springs is kicked so that its free end reaches a target: the gradient of 100 physics steps.

python examples/spring_chain.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

import gradcore as gc

MASSES, STEPS, TIME_STEP = 8, 100, 0.01
STIFFNESS, DAMPING, GRAVITY = 400.0, 0.5, np.array([0.0, -9.81])
LENGTH = 1 / MASSES
AT_REST = np.stack([np.zeros(MASSES), -LENGTH * np.arange(1, MASSES + 1)], axis=1)
TARGET = np.array([0.6, -0.5])


def forces(x: Any, v: Any) -> Any:
    """Springs between neighbours (the first one hangs at the origin), gravity, and friction."""
    link = x - np.concatenate([np.zeros((1, 2)), x[:-1]])
    length = np.sqrt(np.sum(link**2, axis=1, keepdims=True))
    pull = STIFFNESS * (LENGTH - length) * link / length
    return pull - np.concatenate([pull[1:], np.zeros((1, 2))]) + GRAVITY - DAMPING * v


def simulate(kick: Any) -> Any:
    """Where the masses are one second after a kick (a velocity of each)."""
    x, v = AT_REST, kick
    for _ in range(STEPS):
        v = v + TIME_STEP * forces(x, v)
        x = x + TIME_STEP * v
    return x


def cost(kick: Any) -> Any:
    """The squared distance of the free end from the target, and a little for the strength of the kick."""
    kick = np.reshape(kick, (MASSES, 2))
    return np.sum((simulate(kick)[-1] - TARGET) ** 2) + 1e-5 * np.sum(kick**2)


def solve() -> OptimizeResult:
    """The kick, found from rest."""
    return minimize(gc.value_and_grad(cost), np.zeros(2 * MASSES), method="BFGS", jac=True, options={"maxiter": 15})


def miss(kick: Any) -> float:
    """Distance of the free end from the target."""
    return float(np.linalg.norm(simulate(np.reshape(kick, (MASSES, 2)))[-1] - TARGET))


if __name__ == "__main__":
    found = solve()
    print(f"distance from the target {miss(np.zeros(2 * MASSES)):.3f} m without a kick, {miss(found.x):.4f} m with it")
    print(f"{found.nfev} gradients, each through {STEPS} steps")
