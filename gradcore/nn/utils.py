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
    """
    cells = [parameters] if isinstance(parameters, Cell) else list(parameters)
    grads = [(c.leaf.grad, c.leaf.grad.read()) for c in cells if c.leaf is not None]
    present = [(cell, g) for cell, g in grads if g is not None]
    total = ops.sqrt(_sum_of_squares([g for _, g in present]))
    factor = ops.minimum(max_norm / (total + 1e-6), 1.0)
    for cell, g in present:
        cell.assign(ops.mul(g, ops.cast(factor, g.dtype) if factor.dtype != g.dtype else factor))
    return total


def _sum_of_squares(grads: list[Any]) -> Any:
    total: Any = None
    for g in grads:
        part = ops.sum(ops.square(ops.cast(g, np.float32) if g.dtype == np.float16 else g))
        total = part if total is None else total + part
    return Tensor(np.zeros((), np.float32)) if total is None else total
