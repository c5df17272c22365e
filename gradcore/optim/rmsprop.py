"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradcore.core.op import Op
from gradcore.ops.optimizers import RMSPROP_OPS
from gradcore.optim.hyper import Hyper
from gradcore.optim.optimizer import Optimizer


class RMSprop(Optimizer):
    """Gradients divided by the root of their running mean square (Tieleman and Hinton, 2012, lecture 6.5).

    `s = alpha * s + (1 - alpha) * g**2`, then `p = p - lr * g / (sqrt(s) + eps)`.

    Args:
        params: parameters, as `model.parameters()` gives, or dictionaries of them (see `Optimizer`).
        lr: learning rate.
        alpha: share of the running mean that is kept.
        eps: added to the root.
        weight_decay: factor of the parameter that is added to its gradient.
        momentum: share of the last step that is kept.
        centered: divide by the running standard deviation instead (Graves, 2013, arXiv:1308.0850).

    Raises:
        ValueError: no parameters, one twice, alpha outside [0, 1), or a hyperparameter that is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0])
        >>> (w * w).sum().backward()
        >>> gc.optim.RMSprop([w], lr=0.25, alpha=0.75).step()
        >>> float(w)
        0.5
    """

    lr = Hyper()
    alpha = Hyper(below=1.0)
    eps = Hyper()
    weight_decay = Hyper()
    momentum = Hyper()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**defaults, "centered": centered})

    def _op(self, options: Mapping[str, Any]) -> Op:
        return RMSPROP_OPS[bool(options["centered"]), bool(options["momentum"])]
