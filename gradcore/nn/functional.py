"""Layers as functions.  Most are ops under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gradcore import ops, random
from gradcore.ops import cross_entropy, gelu, linear, log_softmax, relu, sigmoid, softmax, softplus, tanh
from gradcore.ops import mse as mse_loss
from gradcore.tensor import ones, zeros

__all__ = [
    "cross_entropy",
    "dropout",
    "gelu",
    "layer_norm",
    "linear",
    "log_softmax",
    "mse_loss",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "tanh",
]


def layer_norm(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Normalise over the last axes to mean 0 and variance 1, then scale and shift.

    Args:
        x: tensor of shape (..., *normalized_shape).
        normalized_shape: sizes of the last axes.
        weight: tensor of that shape; ones if None.
        bias: tensor of that shape; zeros if None.
        eps: added to the variance.

    Raises:
        ValueError: the last axes of x have other sizes.
    """
    wanted = shape_of(normalized_shape)
    x = x.read() if hasattr(x, "read") else x
    if tuple(x.shape[-len(wanted) :]) != wanted:
        raise ValueError(f"layer_norm over {wanted} needs these as the last axes of x, which has shape {x.shape}")
    size = math.prod(wanted)
    weight = ones(size, dtype=x.dtype) if weight is None else _flat(weight, size)
    bias = zeros(size, dtype=x.dtype) if bias is None else _flat(bias, size)
    if len(wanted) == 1:
        return ops.layer_norm(x, weight, bias, eps)
    rows = ops.reshape(x, (*x.shape[: -len(wanted)], size))
    return ops.reshape(ops.layer_norm(rows, weight, bias, eps), x.shape)


def shape_of(sizes: int | Sequence[int]) -> tuple[int, ...]:
    """One size or several, as a shape."""
    return (sizes,) if isinstance(sizes, int) else tuple(map(int, sizes))


def _flat(x: Any, size: int) -> Any:
    return x if len(x.shape) == 1 else ops.reshape(x, (size,))


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """Set elements to zero with probability p and scale the others by 1 / (1 - p), with a key from `gradcore.random`.

    Args:
        x: floating tensor of any shape.
        p: probability of a zero, in [0, 1).
        training: if False, x is returned as it is.
    """
    return ops.dropout(x, random.key(), p) if training and p > 0 else x
