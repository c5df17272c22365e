"""Initial values of parameters.  Each function assigns to a parameter and returns it.

Random values come from `gradcore.random`, so `gradcore.random.seed` fixes them.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from gradcore import random
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor

C = TypeVar("C", bound=Cell)

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}


def calculate_gain(nonlinearity: str, slope: float = 0.0) -> float:
    """Factor by which the weights before a nonlinearity should be larger, so that variance is kept.

    Args:
        nonlinearity: "linear", "sigmoid", "tanh", "relu" or "leaky_relu".
        slope: of the negative part of "leaky_relu".

    Example:
        >>> calculate_gain("tanh")
        1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in GAINS:
        raise ValueError(f"nonlinearity must be one of {[*GAINS, 'leaky_relu']}, not {nonlinearity!r}")
    return GAINS[nonlinearity]


def _fans(cell: Cell) -> tuple[int, int]:
    """Inputs and outputs of one unit, for a weight of shape (out, in, ...)."""
    shape = cell.read().shape
    if len(shape) < 2:
        raise ValueError(f"fan-in and fan-out need a weight of at least 2 axes, not of shape {shape}; use uniform_")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fan(cell: Cell, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', not {mode!r}")
    return _fans(cell)[mode == "fan_out"]


def _assign(cell: C, array: Any) -> C:
    old = cell.read()
    cell.assign(Tensor(np.asarray(array, old.dtype)))
    return cell


def uniform_(cell: C, low: float = 0.0, high: float = 1.0) -> C:
    """Uniform in [low, high)."""
    old = cell.read()
    cell.assign(random.uniform(old.shape, old.dtype) * (high - low) + low)
    return cell


def normal_(cell: C, mean: float = 0.0, std: float = 1.0) -> C:
    """Normally distributed."""
    return _assign(cell, random.generator().normal(mean, std, cell.read().shape))


def constant_(cell: C, value: float) -> C:
    """One value everywhere."""
    return _assign(cell, np.full(cell.read().shape, value))


def zeros_(cell: C) -> C:
    """Zeros."""
    return constant_(cell, 0.0)


def ones_(cell: C) -> C:
    """Ones."""
    return constant_(cell, 1.0)


def xavier_uniform_(cell: C, gain: float = 1.0) -> C:
    """Uniform with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6 / sum(_fans(cell)))
    return uniform_(cell, -bound, bound)


def xavier_normal_(cell: C, gain: float = 1.0) -> C:
    """Normal with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""
    return normal_(cell, 0.0, gain * math.sqrt(2 / sum(_fans(cell))))


def kaiming_uniform_(cell: C, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> C:
    """Uniform with variance gain² / fan (He et al., 2015, arXiv:1502.01852).

    Args:
        cell: a weight of shape (out, in, ...).
        a: slope of the negative part for "leaky_relu".
        mode: "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
        nonlinearity: what follows; see `calculate_gain`.
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(cell, mode))
    return uniform_(cell, -bound, bound)


def kaiming_normal_(cell: C, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> C:
    """Normal with variance gain² / fan (He et al., 2015, arXiv:1502.01852); arguments as `kaiming_uniform_`."""
    return normal_(cell, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(cell, mode)))
