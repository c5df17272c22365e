"""Layers as functions.  Most are ops under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

from gradcore import ops, random
from gradcore.factories import ones, zeros
from gradcore.ops import (
    cross_entropy,
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    linear,
    log_softmax,
    mish,
    one_hot,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    softsign,
    tanh,
)
from gradcore.ops import log_sigmoid as logsigmoid
from gradcore.ops import mse as mse_loss
from gradcore.ops.losses import nll_loss
from gradcore.ops.operands import named_tensor
from gradcore.ops.pointwise_losses import binary_cross_entropy_with_logits, huber_loss, kl_div, l1_loss

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
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
        TypeError: x is not a floating tensor or array.
        ValueError: the last axes of x, or the weight or bias, have other sizes.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.functional.layer_norm(gc.tensor([[1.0, 3.0]]), 2, eps=0.0)
        tensor([[-1.,  1.]], dtype=float32, device='cpu')
    """
    wanted = shape_of(normalized_shape)
    x = named_tensor(x, "layer_norm")
    if x.dtype.kind != "f":
        raise TypeError(f"layer_norm needs a floating x, not {x.dtype}; cast it with .astype('float32')")
    if tuple(x.shape[-len(wanted) :]) != wanted:
        raise ValueError(f"layer_norm over {wanted} needs these as the last axes of x, which has shape {x.shape}")
    size = math.prod(wanted)
    weight = ones(size, dtype=x.dtype, device=x.aval.device) if weight is None else _flat(weight, wanted, "weight")
    bias = zeros(size, dtype=x.dtype, device=x.aval.device) if bias is None else _flat(bias, wanted, "bias")
    if len(wanted) == 1:
        return ops.layer_norm(x, weight, bias, eps)
    rows = ops.reshape(x, (*x.shape[: -len(wanted)], size))
    return ops.reshape(ops.layer_norm(rows, weight, bias, eps), x.shape)


def shape_of(sizes: int | Sequence[int]) -> tuple[int, ...]:
    """One size or several, as a shape.

    >>> shape_of(3), shape_of([4, 3])
    ((3,), (4, 3))
    """
    return tuple(map(index, sizes)) if isinstance(sizes, Sequence) else (index(sizes),)


def _flat(x: Any, wanted: tuple[int, ...], what: str) -> Any:
    x = named_tensor(x, "layer_norm")
    if x.shape != wanted:
        raise ValueError(f"layer_norm over {wanted} needs a {what} of that shape, not of {x.shape}")
    return x if len(wanted) == 1 else ops.reshape(x, (math.prod(wanted),))


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Any:
    """Set elements to zero with probability p and scale the others by 1 / (1 - p), with a key from `gradcore.random`.

    Args:
        x: floating tensor of any shape.
        p: probability of a zero, in [0, 1).
        training: if False, x is returned as it is.

    Raises:
        TypeError: x is not floating.
        ValueError: p lies outside, in training or not.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(1)
        >>> gc.nn.functional.dropout(gc.ones(6), 0.5)
        tensor([0., 0., 2., 2., 0., 0.], dtype=float32, device='cpu')
        >>> gc.nn.functional.dropout(gc.ones(2), 0.5, training=False)
        tensor([1., 1.], dtype=float32, device='cpu')
    """
    if not 0 <= p < 1:
        raise ValueError(f"the probability of dropout must lie in [0, 1), not {p}")
    return ops.dropout(x, random.key(), p) if training and p > 0 else x
