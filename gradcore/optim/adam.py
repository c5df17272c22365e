"""Adam, with weight decay in the gradient or apart from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradcore.core.op import Op
from gradcore.ops.optimizers import adam_op, adamw_op
from gradcore.optim.hyper import Hyper
from gradcore.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980).

    Parameters of one dtype and group share one step count; it advances whenever one of them has a gradient.

    Args:
        params: parameters, as `model.parameters()` gives, or dictionaries of them (see `Optimizer`).
        lr: learning rate.
        betas: shares of the running mean of gradients, and of their squares, that are kept.
        eps: added to the root of the mean square.
        weight_decay: factor of the parameter that is added to its gradient.
        decoupled_weight_decay: shrink parameters by lr * weight_decay instead, as `AdamW` does.

    Raises:
        ValueError: no parameters, one twice, a beta outside [0, 1), or a hyperparameter that is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0])
        >>> optimizer = gc.optim.Adam([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> float(w)
        0.5
    """

    lr = Hyper()
    beta1 = Hyper(below=1.0)
    beta2 = Hyper(below=1.0)
    eps = Hyper()
    weight_decay = Hyper()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "decoupled_weight_decay": decoupled_weight_decay})

    def _op(self, options: Mapping[str, Any]) -> Op:
        return adamw_op if options["decoupled_weight_decay"] else adam_op


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).

    Args:
        params: parameters, as `model.parameters()` gives, or dictionaries of them (see `Optimizer`).
        lr: learning rate.
        betas: shares of the running mean of gradients, and of their squares, that are kept.
        eps: added to the root of the mean square.
        weight_decay: each step also shrinks parameters by lr * weight_decay.

    Raises:
        ValueError: no parameters, one twice, a beta outside [0, 1), or a hyperparameter that is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0])
        >>> optimizer = gc.optim.AdamW([w], lr=0.5, weight_decay=0.0)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> float(w)
        0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=True)
