"""A training run: its parts, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradcore import io, ops, random
from gradcore.core.cell import Cell
from gradcore.core.errors import GradcoreError
from gradcore.core.tensor import Tensor
from gradcore.io.state_dict import restore
from gradcore.nn.module import Module
from gradcore.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from gradcore.train.callbacks import Callback

COUNTS = ("epoch", "step", "batches", "samples")
SUMS = ("total", "finite")


class DivergedError(GradcoreError, ArithmeticError):
    """The loss or a parameter is not finite any more."""


class Progress(NamedTuple):
    """How far a run has come and how well it does.

    Attributes:
        epoch: number of the epoch, from 1.
        step: steps since the beginning of the run.
        loss: mean loss of the epoch's examples, each as it was when its batch was used.
        samples: how many examples that were.
        measures: what the validation gave, by name.

    Example:
        >>> progress = Progress(epoch=1, step=4, loss=0.5, samples=64, measures={"accuracy": 0.75})
        >>> progress.number("accuracy")
        0.75
    """

    epoch: int
    step: int
    loss: float
    samples: int
    measures: Mapping[str, float]

    def numbers(self) -> dict[str, float]:
        """All of it by name."""
        return {"epoch": self.epoch, "step": self.step, "loss": self.loss, "samples": self.samples, **self.measures}

    def number(self, name: str) -> float:
        """The loss or a measure.

        Raises:
            KeyError: there is none of this name.
        """
        found = {"loss": self.loss, **self.measures}
        if name not in found:
            raise KeyError(f"nothing called {name!r} is measured; there is {', '.join(found)}")
        return found[name]


class Run:
    """What `fit` trains and how far it has come: callbacks get it, and files hold its state.

    Attributes:
        model, loss, optimizer, data, schedule, callbacks: as `fit` got them.
        epochs: how many are wanted.
        epoch: how many are finished.
        step: steps since the beginning.
        batches, samples: what has been used of the epoch that is under way.
        history: a `Progress` for each finished epoch.

    Example:
        >>> import gradcore as gc
        >>> model = gc.nn.Linear(1, 1)
        >>> run = Run(model, gc.nn.functional.mse_loss, gc.optim.SGD(model.parameters()), [], epochs=3)
        >>> run.epoch, run.step, run.history
        (0, 0, [])
        >>> sorted(run.parts())
        ['model', 'optimizer', 'random', 'run']
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        data: Any,
        epochs: int,
        schedule: Any = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model, self.loss, self.optimizer, self.data = model, loss, optimizer, data
        self.epochs, self.schedule, self.callbacks = epochs, schedule, list(callbacks)
        self.epoch = self.step = self.batches = self.samples = 0
        self.total: Any = 0.0  # losses of this epoch, summed where they are computed
        self.finite: Any = 0.0  # how many batches this sum was finite for
        self.history: list[Progress] = []

    # --- counting -----------------------------------------------------------------------------------------------------

    def count(self, loss: Any, samples: int) -> None:
        """Add a step and its mean loss over so many examples."""
        self.step, self.batches, self.samples = self.step + 1, self.batches + 1, self.samples + samples
        self.total = ops.add(ops.mul(ops.cast(loss, np.float64), samples), self.total)
        self.finite = ops.where(ops.less(ops.abs(self.total), math.inf), float(self.batches), self.finite)

    def progress(self) -> Progress:
        """How the epoch that is under way goes; reads the sum of the losses back.

        Raises:
            DivergedError: it is not finite.
            ValueError: the epoch has no batch yet.
        """
        if not self.samples:
            raise ValueError(f"epoch {self.epoch + 1} had no batches; give data that can be gone through in each epoch")
        total = float(self.total)
        if not math.isfinite(total):
            step = self.step - self.batches + int(self.finite) + 1
            raise self.diverged(f"the loss is {total:g} in epoch {self.epoch + 1}, step {step}")
        return Progress(self.epoch + 1, self.step, total / self.samples, self.samples, {})

    def diverged(self, what: str) -> DivergedError:
        """The error to raise."""
        return DivergedError(f"training diverged: {what}; try a smaller learning rate, or clip the gradients")

    def finish_epoch(self, progress: Progress) -> None:
        """The epoch is over.

        Raises:
            ValueError: a measure is not finite, or the validation gave other measures than in the epoch before.
        """
        for name, value in progress.measures.items():
            if not math.isfinite(value):
                what = f"the validation gave {name} = {value:g} after epoch {progress.epoch}"
                raise ValueError(f"{what}; a measure must be finite")
        if self.history and self.history[-1].measures.keys() != progress.measures.keys():
            before, now = (sorted(p.measures) for p in (self.history[-1], progress))
            raise ValueError(f"the validation gave {before} in the epoch before and {now} now; it must give the same")
        self.history.append(progress)
        self.epoch += 1
        self.batches = self.samples = 0
        self.total = self.finite = 0.0

    # --- state --------------------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, Any]:
        """Everything that a later step depends on, by name: what `gradcore.io.save` takes."""
        parts = {"model": self.model, "optimizer": self.optimizer, "random": random, "run": self}
        parts |= {} if self.schedule is None else {"schedule": self.schedule}
        return parts | ({"data": self.data} if hasattr(self.data, "state_dict") else {})

    def save(self, path: str | Path, metadata: Any = None) -> None:
        """Write all parts to a file, from which `fit(..., resume=path)` goes on.

        Raises:
            DivergedError: the loss or a parameter is not finite. The file is left as it was.
        """
        if self.samples:
            self.progress()
        for name, parameter in self.model.named_parameters():
            if not ops.all(ops.isfinite(parameter)):
                raise self.diverged(f"parameter {name} is not finite after step {self.step}")
        io.save(path, self.parts(), metadata)

    def state_dict(self) -> dict[str, Tensor]:
        """Counts, the sum of the losses, the history, and the state of the callbacks."""
        state = {**self._own(), **_columns(self.history)}
        for name, callback in self._named_callbacks().items():
            state |= {f"{name}.{key}": value for key, value in callback.state_dict().items()}
        return state

    def _own(self) -> dict[str, Tensor]:
        counts = {name: Tensor(np.array(int(getattr(self, name)), np.int64)) for name in COUNTS}
        sums = {name: Tensor(np.array(float(getattr(self, name)), np.float64)) for name in SUMS}
        return counts | sums

    def _named_callbacks(self) -> dict[str, Callback]:
        """Callbacks by kind; the second of a kind is `Kind2`."""
        named: dict[str, Callback] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            number = sum(type(other).__name__ == kind for other in named.values()) + 1
            named[kind if number == 1 else f"{kind}{number}"] = callback
        return named

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave, of a run with callbacks of the same kinds.

        Raises:
            KeyError: it belongs to other callbacks.
            ValueError: a shape or dtype differs.
        """
        own = {name: Cell(value) for name, value in self._own().items()}
        groups = _grouped(values)
        named = self._named_callbacks()
        unknown = [name for name in groups if name not in ("", "history", *named)]
        if unknown:
            raise KeyError(f"the saved run had callbacks that this one lacks: {', '.join(unknown)}; pass them to fit")
        restore(own, groups.get("", {}))
        for name, callback in named.items():
            callback.load_state_dict(groups.get(name, {}))
        for name in COUNTS:
            setattr(self, name, int(own[name].read()))
        for name in SUMS:
            setattr(self, name, float(own[name].read()))
        self.history = _rows(groups.get("history", {}))


def _grouped(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"a.b": 1, "c": 2} as {"a": {"b": 1}, "": {"c": 2}}."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, dot, key = name.partition(".")
        groups.setdefault(group if dot else "", {})[key if dot else name] = value
    return groups


def _columns(history: Sequence[Progress]) -> dict[str, Tensor]:
    rows = [progress.numbers() for progress in history]
    names = rows[0] if rows else {}
    return {f"history.{name}": Tensor(np.array([row[name] for row in rows], np.float64)) for name in names}


def _rows(columns: Mapping[str, Any]) -> list[Progress]:
    names = list(columns)
    rows = zip(*(np.asarray(column.numpy()).tolist() for column in columns.values()), strict=True)
    return [_progress(dict(zip(names, row, strict=True))) for row in rows]


def _progress(numbers: dict[str, float]) -> Progress:
    epoch, step, samples = (int(numbers.pop(name)) for name in ("epoch", "step", "samples"))
    return Progress(epoch, step, numbers.pop("loss"), samples, numbers)
