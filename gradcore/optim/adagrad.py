"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradcore.core.op import Op
from gradcore.ops.optimizers import adagrad_op
from gradcore.optim.hyper import Hyper
from gradcore.optim.optimizer import Optimizer


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of all their squares (Duchi, Hazan and Singer, 2011).

    `s = s + g**2`, then `p = p - lr / (1 + (step - 1) * lr_decay) * g / (sqrt(s) + eps)`.

    Parameters of one dtype and group share one step count; it advances whenever one of them has a gradient.

    Args:
        params: parameters, as `model.parameters()` gives, or dictionaries of them (see `Optimizer`).
        lr: learning rate.
        lr_decay: how fast the learning rate falls.
        weight_decay: factor of the parameter that is added to its gradient.
        initial_accumulator_value: what the sums start from.
        eps: added to the root.

    Raises:
        ValueError: no parameters, one twice, or a hyperparameter that is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0])
        >>> (w * w).sum().backward()
        >>> gc.optim.Adagrad([w], lr=0.5).step()
        >>> float(w)
        0.5
    """

    lr = Hyper()
    lr_decay = Hyper()
    weight_decay = Hyper()
    eps = Hyper()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        defaults = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, {**defaults, "initial_accumulator_value": initial_accumulator_value})

    def _op(self, options: Mapping[str, Any]) -> Op:
        return adagrad_op
