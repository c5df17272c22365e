"""What is done to gradients between `backward()` and `step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.cell import Cell, update
from gradcore.core.tensor import Tensor
from gradcore.ops.clipping import clip_to_norm_op, global_norm


def clip_grad_norm_(
    parameters: Iterable[Cell] | Cell, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Any:
    """Scale all gradients by one factor so that their common norm is at most `max_norm` (Pascanu et al., 2013).

    Nothing is read back from the device, so it can be captured.  A norm that is NaN makes all gradients NaN; an
    infinite one makes them 0, and elements that were infinite NaN.

    Args:
        parameters: those without a gradient are skipped.
        max_norm: the largest norm that is left as it is.
        norm_type: 2 for the square root of the sum of all squared elements, `math.inf` for the largest absolute value.
        error_if_nonfinite: read the norm back, and raise where it is infinite or NaN; gradients are as they were then.

    Returns:
        The norm before scaling, a 0-d Tensor.

    Raises:
        RuntimeError: the norm is infinite or NaN, and `error_if_nonfinite`.
        TypeError: something is not a parameter.
        ValueError: `max_norm` is negative or not a number, or `norm_type` is neither 2 nor infinite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0, 1.0])
        >>> w.grad = [3.0, 4.0]
        >>> gc.nn.utils.clip_grad_norm_([w], 10.0)
        tensor(5., dtype=float32, device='cpu')
    """
    if not isinstance(max_norm, Tensor) and not max_norm >= 0:
        raise ValueError(f"max_norm must be a number that is not negative, not {max_norm}")
    if norm_type not in (2, math.inf):
        raise ValueError(f"norm_type must be 2 or math.inf, not {norm_type}")
    grads = [cell for cell, _ in _gradients(parameters, "clip_grad_norm_")]
    if not grads:
        return Tensor(np.zeros((), np.float32))
    total = global_norm([cell.read() for cell in grads], norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(f"the norm of the gradients is {float(total)}; skip the step, or lower the learning rate")
    limit = (
        max_norm
        if isinstance(max_norm, Tensor)
        else Tensor(np.asarray(max_norm, np.result_type(max_norm, total.dtype)))
    )
    update(clip_to_norm_op, grads, [total, limit, *grads])
    return total


def clip_grad_value_(parameters: Iterable[Cell] | Cell, clip_value: float) -> None:
    """Bring every element of the gradients into [-clip_value, clip_value]; NaN stays NaN.

    Nothing is read back from the device, so it can be captured.

    Args:
        parameters: those without a gradient are skipped.
        clip_value: the largest absolute value.

    Raises:
        TypeError: something is not a parameter.
        ValueError: `clip_value` is negative or not a number.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0, 1.0])
        >>> w.grad = [3.0, -0.5]
        >>> gc.nn.utils.clip_grad_value_([w], 1.0)
        >>> w.grad
        tensor([ 1. , -0.5], dtype=float32, device='cpu')
    """
    if not isinstance(clip_value, Tensor) and not clip_value >= 0:
        raise ValueError(f"clip_value must be a number that is not negative, not {clip_value}")
    for cell, g in _gradients(parameters, "clip_grad_value_"):
        limit = ops.cast(clip_value, g.dtype) if isinstance(clip_value, Tensor) else float(clip_value)
        cell.assign(ops.minimum(ops.maximum(g, -limit), limit))


def _gradients(given: Any, name: str) -> list[tuple[Cell, Any]]:
    """The gradients that there are, with their cells."""
    single = isinstance(given, (Cell, Tensor)) or not isinstance(given, Iterable)
    cells = [given] if single else list(given)
    for cell in cells:
        if not isinstance(cell, Cell):
            raise TypeError(f"{name} takes parameters, not {type(cell).__name__}; pass model.parameters()")
    grads = [(c.leaf.grad, c.leaf.grad.read()) for c in cells if c.leaf is not None]
    return [(cell, g) for cell, g in grads if g is not None]
