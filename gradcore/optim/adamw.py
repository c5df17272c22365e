"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradcore import ops
from gradcore.core.cell import update
from gradcore.ops.optimizers import adamw_op
from gradcore.optim.optimizer import Group, Hyper, Optimizer

STEP = 5  # place of the step count among the operands of the op


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101).

    Parameters of one dtype share one step count; it advances whenever one of them has a gradient.

    Args:
        params: parameters, as `model.parameters()` gives.
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
        weight_decay: float = 1e-2,
    ) -> None:
        beta1, beta2 = _two(betas)
        hyper = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "weight_decay": weight_decay,
            "step": 0.0,
        }
        super().__init__(params, adamw_op, ("exp_avg", "exp_avg_sq"), hyper)

    def _step_group(self, group: Group) -> None:
        """The new step count is an operand now and is assigned last, when all memory has been found."""
        cell = group.hyper["step"]
        group.operands[STEP] = count = ops.add(cell.read(), 1.0)
        update(self.op, group.written, group.operands)
        group.operands[STEP] = cell
        cell.assign(count)


def _two(betas: Any) -> tuple[float, float]:
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise ValueError(f"betas must be two numbers in [0, 1), such as (0.9, 0.999), not {betas}") from None
    return beta1, beta2
