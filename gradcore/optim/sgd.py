"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradcore.core.op import Op
from gradcore.ops.optimizers import MOMENTUM_OPS, sgd_decay_op, sgd_op
from gradcore.optim.hyper import Hyper
from gradcore.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if it is not 0 (Sutskever et al., 2013).

    `v = momentum * v + g + weight_decay * p`, then `p = p - lr * v`.

    Args:
        params: parameters, as `model.parameters()` gives, or dictionaries of them (see `Optimizer`).
        lr: learning rate.
        momentum: share of the last step that is kept.
        weight_decay: factor of the parameter that is added to its gradient.
        nesterov: step by `g + momentum * v` instead of `v`, with the decay in `g` (Nesterov's momentum).
        decoupled_weight_decay: keep the decay out of `v`, and step by `v + weight_decay * p` (Loshchilov and Hutter,
            2019, arXiv:1711.05101).

    Raises:
        ValueError: no parameters, one twice, a hyperparameter that is negative or not finite, or `nesterov` without
            momentum.

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
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        nesterov: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        flags = {"nesterov": nesterov, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**defaults, **flags})

    def _op(self, options: Mapping[str, Any]) -> Op:
        if options["momentum"]:
            return MOMENTUM_OPS[bool(options["nesterov"]), bool(options["decoupled_weight_decay"])]
        if options["nesterov"]:
            raise ValueError("nesterov needs momentum; pass momentum=0.9 or the like")
        return sgd_decay_op if options["weight_decay"] else sgd_op
