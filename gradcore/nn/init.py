"""Initial values of parameters.  Each function assigns to a parameter and returns it.

Random values come from `gradcore.random`, so `gradcore.random.seed` fixes them.  They are drawn on the CPU and then go
to the parameter's device.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from gradcore import random
from gradcore.core.cell import Cell
from gradcore.factories import asarray

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
    """Numbers made on the CPU, so that they are the same on every device, as the content of a cell."""
    old = cell.read()
    cell.assign(asarray(np.asarray(array, old.dtype), device=old.device))
    return cell


def uniform_(cell: C, low: float = 0.0, high: float = 1.0) -> C:
    """Uniform in [low, high).

    >>> import gradcore as gc
    >>> weight = uniform_(gc.nn.Linear(30, 20).weight, -0.1, 0.1)
    >>> bool((abs(weight) <= 0.1).numpy().all())
    True
    """
    old = cell.read()
    cell.assign((random.uniform(old.shape, old.dtype) * (high - low) + low).to(old.device))
    return cell


def normal_(cell: C, mean: float = 0.0, std: float = 1.0) -> C:
    """Normally distributed.

    >>> import gradcore as gc
    >>> weight = normal_(gc.nn.Linear(30, 20).weight, mean=5.0, std=0.1)
    >>> 4.9 < float(weight.mean()) < 5.1
    True
    """
    return _assign(cell, random.generator().normal(mean, std, cell.read().shape))


def constant_(cell: C, value: float) -> C:
    """One value everywhere.

    >>> import gradcore as gc
    >>> constant_(gc.nn.Linear(2, 2).bias, 0.5).numpy()
    array([0.5, 0.5], dtype=float32)
    """
    return _assign(cell, np.full(cell.read().shape, value))


def zeros_(cell: C) -> C:
    """Zeros.

    >>> import gradcore as gc
    >>> zeros_(gc.nn.Linear(2, 2).bias).numpy()
    array([0., 0.], dtype=float32)
    """
    return constant_(cell, 0.0)


def ones_(cell: C) -> C:
    """Ones.

    >>> import gradcore as gc
    >>> ones_(gc.nn.Linear(2, 2).bias).numpy()
    array([1., 1.], dtype=float32)
    """
    return constant_(cell, 1.0)


def xavier_uniform_(cell: C, gain: float = 1.0) -> C:
    """Uniform with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        cell: a weight of shape (out, in, ...).
        gain: for the nonlinearity that follows; see `calculate_gain`.

    Example:
        >>> import gradcore as gc
        >>> weight = xavier_uniform_(gc.nn.Linear(3, 3).weight)
        >>> bool((abs(weight) <= 1).numpy().all())
        True
    """
    bound = gain * math.sqrt(6 / sum(_fans(cell)))
    return uniform_(cell, -bound, bound)


def xavier_normal_(cell: C, gain: float = 1.0) -> C:
    """Normal with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Args:
        cell: a weight of shape (out, in, ...).
        gain: for the nonlinearity that follows; see `calculate_gain`.

    Example:
        >>> import gradcore as gc
        >>> weight = xavier_normal_(gc.nn.Linear(200, 200).weight)
        >>> 0.004 < float((weight * weight).mean()) < 0.006
        True
    """
    return normal_(cell, 0.0, gain * math.sqrt(2 / sum(_fans(cell))))


def kaiming_uniform_(cell: C, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> C:
    """Uniform with variance gain² / fan (He et al., 2015, arXiv:1502.01852).

    Args:
        cell: a weight of shape (out, in, ...).
        a: slope of the negative part for "leaky_relu".
        mode: "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
        nonlinearity: what follows; see `calculate_gain`.

    Example:
        >>> import gradcore as gc
        >>> weight = kaiming_uniform_(gc.nn.Linear(6, 4).weight, nonlinearity="relu")
        >>> bool((abs(weight) <= 1).numpy().all())
        True
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(cell, mode))
    return uniform_(cell, -bound, bound)


def kaiming_normal_(cell: C, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> C:
    """Normal with variance gain² / fan (He et al., 2015, arXiv:1502.01852); arguments as `kaiming_uniform_`.

    >>> import gradcore as gc
    >>> weight = kaiming_normal_(gc.nn.Linear(200, 200).weight, nonlinearity="relu")
    >>> 0.009 < float((weight * weight).mean()) < 0.011
    True
    """
    return normal_(cell, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(cell, mode)))
