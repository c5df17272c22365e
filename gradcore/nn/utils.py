"""What is done to gradients between `backward()` and `step()`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Cell] | Cell, max_norm: float) -> Any:
    """Scale all gradients by one factor so that their common norm is at most `max_norm`.

    Nothing is read back from the device, so it can be captured.

    Args:
        parameters: those without a gradient are skipped.
        max_norm: the largest norm that is left as it is.

    Returns:
        The norm before scaling: the square root of the sum of all squared elements, a 0-d Tensor.

    Raises:
        TypeError: something is not a parameter.
        ValueError: `max_norm` is negative or not a number.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0, 1.0])
        >>> w.grad = [3.0, 4.0]
        >>> gc.nn.utils.clip_grad_norm_([w], 10.0)
        tensor(5., dtype=float32, device='cpu')
    """
    if not isinstance(max_norm, Tensor) and not max_norm >= 0:
        raise ValueError(f"max_norm must be a number that is not negative, not {max_norm}")
    cells = _parameters(parameters)
    grads = [(c.leaf.grad, c.leaf.grad.read()) for c in cells if c.leaf is not None]
    present = [(cell, g) for cell, g in grads if g is not None]
    total = ops.sqrt(_sum_of_squares([g for _, g in present]))
    factor = ops.minimum(max_norm / (total + 1e-6), 1.0)
    for cell, g in present:
        cell.assign(ops.mul(g, ops.cast(factor, g.dtype) if factor.dtype != g.dtype else factor))
    return total


def _parameters(given: Any) -> list[Cell]:
    single = isinstance(given, (Cell, Tensor)) or not isinstance(given, Iterable)
    cells = [given] if single else list(given)
    for cell in cells:
        if not isinstance(cell, Cell):
            raise TypeError(f"clip_grad_norm_ takes parameters, not {type(cell).__name__}; pass model.parameters()")
    return cells


def _sum_of_squares(grads: list[Any]) -> Any:
    total: Any = None
    for g in grads:
        part = ops.sum(ops.square(ops.cast(g, np.float32) if g.dtype == np.float16 else g))
        total = part if total is None else total + part
    return Tensor(np.zeros((), np.float32)) if total is None else total
