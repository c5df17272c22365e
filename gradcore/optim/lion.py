"""Lion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradcore.core.op import Op
from gradcore.ops.optimizers import lion_op
from gradcore.optim.hyper import Hyper
from gradcore.optim.optimizer import Optimizer


class Lion(Optimizer):
    """Steps by the sign of a running mean of gradients (Chen et al., 2023, arXiv:2302.06675).

    `p = p - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)`, then `m = beta2 * m + (1 - beta2) * g`.

    Every element moves by `lr`, so rates are 3 to 10 times smaller than for `AdamW`, and decays as much larger.

    Args:
        params: parameters, as `model.parameters()` gives, or dictionaries of them (see `Optimizer`).
        lr: learning rate.
        betas: shares of the running mean that are kept: in the sign, and in the mean itself.
        weight_decay: each step also shrinks parameters by lr * weight_decay.

    Raises:
        ValueError: no parameters, one twice, a beta outside [0, 1), or a hyperparameter that is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0])
        >>> (w * w).sum().backward()
        >>> gc.optim.Lion([w], lr=0.25).step()
        >>> float(w)
        0.75
    """

    lr = Hyper()
    beta1 = Hyper(below=1.0)
    beta2 = Hyper(below=1.0)
    weight_decay = Hyper()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _op(self, options: Mapping[str, Any]) -> Op:
        return lion_op
