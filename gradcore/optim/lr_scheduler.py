"""Learning rate schedules.

The state of a schedule is in cells, and a step computes the new rates with ops, in float64.  So a captured training
step may hold `schedule.step()`, and a rate that changes changes no graph and no kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.autodiff.tape import no_grad
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.io.state_dict import restore, snapshot
from gradcore.optim.hyper import assign, scalar
from gradcore.optim.optimizer import Optimizer


class Schedule:
    """Base class: it has the optimiser's parameter groups, and its own state in cells.

    Args:
        optimizer: its learning rates are assigned.
        cells: the state by name.
    """

    def __init__(self, optimizer: Optimizer, cells: Mapping[str, Cell]) -> None:
        self.optimizer = optimizer
        self.cells = cells
        self.groups = list(optimizer.param_groups)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group, as it is now."""
        return [group["lr"] for group in self.groups]

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors; later steps do not change them."""
        return snapshot(self.cells)

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Assign what `state_dict` gave, of a schedule of the same kind with as many parameter groups.

        Raises:
            KeyError: it comes from another kind of schedule, or from other groups.
            ValueError: a shape or dtype differs. Nothing has been assigned then.
        """
        restore(self.cells, values)


class LRScheduler(Schedule):
    """Base class of schedules that follow a formula: the rate at a step count, from the base rate of each group.

    Making one assigns the rates at count 0, each `step()` those at the next count, `load_state_dict` those at the count
    that it loads.  A rate that was assigned by hand in between is forgotten.

    Args:
        optimizer: its learning rates are assigned.
        base: the base rates; by default the learning rates that the groups have now.
    """

    def __init__(self, optimizer: Optimizer, base: Sequence[float] | None = None) -> None:
        base = [group["lr"] for group in optimizer.param_groups] if base is None else base
        _check_rates(optimizer, base)
        self.count = Cell(scalar(0, np.float64), "schedule.count")
        self.base = [Cell(scalar(rate, np.float64), f"schedule.base.{i}") for i, rate in enumerate(base)]
        super().__init__(optimizer, {"count": self.count, **{f"base.{i}": cell for i, cell in enumerate(self.base)}})
        self._assign(self.count.read())

    def _rate(self, count: Any, base: Any) -> Any:
        """The rate of a group, from 0-d float64 tensors."""
        raise NotImplementedError

    def step(self) -> None:
        """Go to the next count: call it after each optimiser step, or after each epoch, as the schedule is counted."""
        count = ops.add(self.count.read(), 1.0)
        self._assign(count)
        self.count.assign(count)

    def _assign(self, count: Any) -> None:
        rates = [self._rate(count, base.read()) for base in self.base]
        for group, rate in zip(self.groups, rates, strict=True):
            group["lr"] = rate

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        super().load_state_dict(values)
        self._assign(self.count.read())


class StepLR(LRScheduler):
    """Multiply the learning rate by `gamma` every `step_size` steps.

    Args:
        optimizer: its learning rates are assigned.
        step_size: how many steps one rate lasts.
        gamma: the factor.

    Raises:
        ValueError: `step_size` is not a positive integer, or `gamma` is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> optimizer = gc.optim.SGD(gc.nn.Linear(2, 1).parameters(), lr=0.1)
        >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
        >>> for _ in range(4):
        ...     schedule.step()
        >>> optimizer.lr
        0.025
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = _count("step_size", step_size), _number("gamma", gamma)
        super().__init__(optimizer)

    def _rate(self, count: Any, base: Any) -> Any:
        drops = ops.cast(ops.cast(count / self.step_size, np.int64), np.float64)
        return base * ops.power(self.gamma, drops)


class CosineAnnealingLR(LRScheduler):
    """Rise in a line for `warmup_steps` steps, then fall along half a cosine (Loshchilov and Hutter, 2017).

    From `base / (warmup_steps + 1)` at count 0 to `base` at `warmup_steps` to `final_lr` at `total_steps`, where the
    rate stays (arXiv:1608.03983, without restarts).

    Args:
        optimizer: its learning rates are assigned.
        total_steps: how many steps there are, those of the rise included.
        warmup_steps: how many steps it rises.
        final_lr: the last rate.

    Raises:
        ValueError: `total_steps` is not a positive integer, `warmup_steps` is not one from 0 to below `total_steps`, or
            `final_lr` is negative or not finite.

    Example:
        >>> import gradcore as gc
        >>> optimizer = gc.optim.SGD(gc.nn.Linear(2, 1).parameters(), lr=0.3)
        >>> schedule, rates = CosineAnnealingLR(optimizer, total_steps=4, warmup_steps=2), []
        >>> for _ in range(5):
        ...     rates.append(optimizer.lr)
        ...     schedule.step()
        >>> rates
        [0.1, 0.2, 0.3, 0.15, 0.0]
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final_lr: float = 0.0) -> None:
        self.total_steps, self.final_lr = _count("total_steps", total_steps), _number("final_lr", final_lr)
        self.warmup_steps = _count("warmup_steps", warmup_steps, least=0)
        if warmup_steps >= total_steps:
            raise ValueError(f"warmup_steps must be smaller than total_steps ({total_steps}), not {warmup_steps}")
        super().__init__(optimizer)

    def _rate(self, count: Any, base: Any) -> Any:
        share = (count - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        fall = _cosine(base, self.final_lr, share)
        rise = base * ((count + 1) / (self.warmup_steps + 1))
        return ops.where(ops.less(count, self.warmup_steps), rise, fall)


class OneCycleLR(LRScheduler):
    """Rise from `max_lr / div_factor` to `max_lr`, then fall to far below where it began (Smith and Topin, 2017).

    Both along half a cosine (arXiv:1708.07120).  After `total_steps - 1` steps the rate stays.

    Args:
        optimizer: its learning rates are assigned.
        max_lr: the highest rate; a list has one for each parameter group.
        total_steps: how many steps there are.
        pct_start: share of them in which the rate rises.
        div_factor: the first rate is `max_lr / div_factor`.
        final_div_factor: the last rate is the first divided by this.

    Raises:
        ValueError: `total_steps` is not a positive integer, `pct_start` is outside [0, 1], a rate or factor is negative
            or not finite, a factor is 0, or `max_lr` has another length than there are groups.

    Example:
        >>> import gradcore as gc
        >>> optimizer = gc.optim.SGD(gc.nn.Linear(2, 1).parameters())
        >>> schedule, rates = OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.6), []
        >>> for _ in range(5):
        ...     rates.append(round(optimizer.lr, 6))
        ...     schedule.step()
        >>> rates
        [0.04, 0.52, 1.0, 0.500002, 4e-06]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.total_steps = _count("total_steps", total_steps)
        self.div_factor = _number("div_factor", div_factor, positive=True)
        self.final_div_factor = _number("final_div_factor", final_div_factor, positive=True)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start must be in [0, 1], not {pct_start}")
        self.top = max(pct_start * total_steps - 1, 0.0)
        super().__init__(optimizer, _per_group("max_lr", max_lr, len(optimizer.param_groups)))

    def _rate(self, count: Any, base: Any) -> Any:
        first, count = base / self.div_factor, ops.minimum(count, self.total_steps - 1.0)
        rise = _cosine(first, base, _share(count, self.top))
        fall = _cosine(base, first / self.final_div_factor, _share(count - self.top, self.total_steps - 1 - self.top))
        return ops.where(ops.less(count, self.top), rise, fall)


class ReduceLROnPlateau(Schedule):
    """Multiply the learning rate by `factor` when a metric has stopped to improve.

    After more than `patience` steps in a row without improvement the rate falls, and counting begins again.

    Args:
        optimizer: its learning rates are assigned.
        mode: "min" where a smaller metric is better, "max" where a larger one is.
        factor: in (0, 1).
        patience: how many steps without improvement are borne.
        threshold: only changes above this share of the best metric count; for metrics that are not negative.
        cooldown: how many steps after a fall are not counted.
        min_lr: the rate stays above this; a list has one for each parameter group.
        eps: a rate that would change by no more than this stays.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import gradcore as gc
        >>> optimizer = gc.optim.SGD(gc.nn.Linear(2, 1).parameters(), lr=0.1)
        >>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        >>> for loss in [3.0, 2.0, 2.0, 2.0]:
        ...     schedule.step(loss)
        >>> optimizer.lr
        0.05
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
        if not 0 < factor < 1:
            raise ValueError(f"factor must be in (0, 1), not {factor}")
        self.mode, self.factor = mode, factor
        self.patience, self.cooldown = _count("patience", patience, least=0), _count("cooldown", cooldown, least=0)
        self.threshold, self.eps = _number("threshold", threshold), _number("eps", eps)
        self.min_lr = _per_group("min_lr", min_lr, len(optimizer.param_groups))
        _check_rates(optimizer, self.min_lr)
        self.best = Cell(scalar(math.inf if mode == "min" else -math.inf, np.float64), "schedule.best")
        self.bad = Cell(scalar(0, np.int64), "schedule.bad")
        self.rest = Cell(scalar(0, np.int64), "schedule.rest")
        super().__init__(optimizer, {"best": self.best, "bad": self.bad, "rest": self.rest})

    def step(self, metric: Any) -> None:
        """Take note of a metric, a number or a 0-d Tensor; NaN is no improvement.

        Raises:
            ValueError: it is not one number.
        """
        if getattr(metric, "shape", ()) != ():
            raise ValueError(f"the metric must be one number, not a tensor of shape {metric.shape}")
        with no_grad():
            self._note(scalar(metric, np.float64))

    def _note(self, metric: Any) -> None:
        better, rest = self._improves(metric), self.rest.read()
        resting = ops.greater(rest, 0)
        bad = ops.where(better, 0, ops.where(resting, 0, ops.add(self.bad.read(), 1)))
        falls = ops.greater(bad, self.patience)
        cells = [
            (cell, least) for group, least in zip(self.groups, self.min_lr, strict=True) for cell in group.cells("lr")
        ]
        rates = [(cell, self._rate(cell, least, falls)) for cell, least in cells]
        best = ops.where(better, metric, self.best.read())
        rest = ops.where(falls, self.cooldown, ops.maximum(rest - 1, 0))
        for cell, rate in rates:
            assign([cell], rate)
        for cell, value in ((self.best, best), (self.bad, ops.where(falls, 0, bad)), (self.rest, rest)):
            cell.assign(value)

    def _improves(self, metric: Any) -> Any:
        best = self.best.read()
        if self.mode == "min":
            return ops.less(metric, best * (1 - self.threshold))
        return ops.greater(metric, best * (1 + self.threshold))

    def _rate(self, cell: Cell, least: float, falls: Any) -> Any:
        old = ops.cast(cell.read(), np.float64)
        new = ops.maximum(old * self.factor, least)
        return ops.where(falls, ops.where(ops.greater(old - new, self.eps), new, old), old)


def _check_rates(optimizer: Optimizer, rates: Sequence[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group.check("lr", rate)


def _share(count: Any, whole: float) -> Any:
    return count / whole if whole > 0 else count


def _cosine(start: Any, end: Any, share: Any) -> Any:
    """From `start` where `share` is 0 to `end` where it is 1 or more, along half a cosine."""
    return end + (start - end) * ((1 + ops.cos(math.pi * ops.minimum(share, 1.0))) / 2)


def _count(name: str, value: Any, least: int = 1) -> int:
    if not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
    return int(value)


def _number(name: str, value: float, positive: bool = False) -> float:
    if not 0 <= value < math.inf or (positive and not value):
        raise ValueError(f"{name} must be a finite number {'above' if positive else 'of at least'} 0, not {value}")
    return float(value)


def _per_group(name: str, value: float | Sequence[float], count: int) -> list[float]:
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} rates for {count} parameter groups; give one for each")
    return [_number(name, each) for each in values]
