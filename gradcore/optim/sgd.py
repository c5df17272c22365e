"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradcore.ops.optimizers import momentum_op, sgd_decay_op, sgd_op
from gradcore.optim.optimizer import Hyper, Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if it is not 0 (Sutskever et al., 2013).

    `v = momentum * v + g + weight_decay * p`, then `p = p - lr * v`.

    Args:
        params: parameters, as `model.parameters()` gives.
        lr: learning rate.
        momentum: share of the last step that is kept.
        weight_decay: factor of the parameter that is added to its gradient.

    Raises:
        ValueError: no parameters, one twice, or a hyperparameter that is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0])
        >>> (w * w).sum().backward()
        >>> gc.optim.SGD([w], lr=0.25).step()
        >>> float(w)
        0.5
    """

    lr = Hyper()
    momentum = Hyper()
    weight_decay = Hyper()

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        if momentum:
            hyper = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
            super().__init__(params, momentum_op, ("momentum_buffer",), hyper)
        elif weight_decay:
            super().__init__(params, sgd_decay_op, (), {"lr": lr, "weight_decay": weight_decay})
        else:
            super().__init__(params, sgd_op, (), {"lr": lr})
