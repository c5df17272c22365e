"""What `fit` calls while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.io.state_dict import restore
from gradcore.train.run import Progress, Run


class Callback:
    """Base class; each method may be overridden.

    At the end of an epoch `fit` calls `after_epoch` of every callback and then `save` of every callback, so what is
    saved holds the state of all of them.

    Attributes:
        stop: if True, `fit` begins no further epoch.
        monitor: the number that it needs after each epoch: "loss", the name of a measure, or None.

    Example:
        >>> import gradcore as gc
        >>> class Show(Callback):
        ...     def after_epoch(self, run, progress):
        ...         print(progress.epoch, progress.loss)
        >>> model = gc.nn.Linear(1, 1, bias=False)
        >>> optimizer = gc.optim.SGD(gc.nn.init.zeros_(model.weight), lr=0.25)
        >>> data = [(gc.ones(1, 1), gc.ones(1, 1))]
        >>> history = gc.train.fit(model, gc.nn.functional.mse_loss, optimizer, data, 2, callbacks=[Show()])
        1 1.0
        2 0.25
    """

    stop: bool = False
    monitor: str | None = None

    def begin(self, run: Run) -> None:
        """Before the first step, after the state of a saved run has been loaded."""

    def after_step(self, run: Run) -> None:
        """After each step."""

    def after_epoch(self, run: Run, progress: Progress) -> None:
        """After each epoch."""

    def save(self, run: Run) -> None:
        """After each epoch, when the run is interrupted, and when a resumed run turns out to be finished."""

    def end(self, run: Run) -> None:
        """After the last epoch, unless an error or Ctrl-C ended the run."""

    def close(self) -> None:
        """However the run ended."""

    def state_dict(self) -> dict[str, Tensor]:
        """What the callback must know when a saved run goes on."""
        return {}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        restore({}, values)


class Best:
    """The best value so far of a number.

    Args:
        monitor: "loss" or the name of a measure.
        mode: "min" or "max".
        min_delta: by how much a value must be better to count.

    Example:
        >>> best = Best("loss", "min", 0.0)
        >>> [best.improved(Progress(1, 1, loss, 1, {})) for loss in (3.0, 2.0, 2.5)]
        [True, True, False]
    """

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
        self.monitor, self.min_delta = monitor, min_delta
        self.sign = 1.0 if mode == "min" else -1.0
        self.value = math.inf

    def improved(self, progress: Progress) -> bool:
        """Is this better than all before?"""
        value = self.sign * progress.number(self.monitor)
        better = value < self.value - self.min_delta
        self.value = value if better else self.value
        return better


class Checkpoint(Callback):
    """Saves the run, so that `fit(..., resume=path)` can go on with the same bits.

    Every file is either complete or as it was before (`gradcore.io.save`); a run that has diverged is not saved.

    Args:
        path: file for the last state, or None. It is written after each epoch and when the run is interrupted.
        every: "epoch", or a number of steps after which it is written besides.
        best: file for the best state, or None.
        monitor: what makes a state better: "loss" or the name of a measure.
        mode: "min" or "max".
        metadata: stored with the state; anything that JSON can hold.

    Raises:
        ValueError: `every` or `mode` is something else.

    Example:
        >>> import pathlib, tempfile, gradcore as gc
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "run.safetensors"
        >>> model = gc.nn.Linear(1, 1)
        >>> optimizer = gc.optim.SGD(model.parameters(), lr=0.1)
        >>> data, loss = [(gc.ones(1, 1), gc.ones(1, 1))], gc.nn.functional.mse_loss
        >>> _ = gc.train.fit(model, loss, optimizer, data, 2, callbacks=[Checkpoint(path)])
        >>> history = gc.train.fit(model, loss, optimizer, data, 4, callbacks=[Checkpoint(path)], resume=path)
        >>> [progress.epoch for progress in history]
        [1, 2, 3, 4]

        The file is also that of the trained model:

        >>> trained = gc.nn.Linear(1, 1)
        >>> metadata = gc.io.load(path, {"model": trained})
        >>> float(trained.weight) == float(model.weight)
        True
        >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | Path | None = None,
        every: str | int = "epoch",
        best: str | Path | None = None,
        monitor: str = "loss",
        mode: str = "min",
        metadata: Any = None,
    ) -> None:
        if every != "epoch" and not (isinstance(every, int) and every > 0):
            raise ValueError(f"every must be 'epoch' or a number of steps, not {every!r}")
        self.path, self.every, self.best_path, self.metadata = path, every, best, metadata
        self.best = Best(monitor, mode, 0.0)
        self.monitor = None if best is None else monitor
        self.improved = False
        self.saved = False

    def after_step(self, run: Run) -> None:
        if self.every != "epoch" and run.step % int(self.every) == 0:
            self._save(run)

    def after_epoch(self, run: Run, progress: Progress) -> None:
        self.improved = self.best_path is not None and self.best.improved(progress)

    def save(self, run: Run) -> None:
        if self.improved and self.best_path is not None:
            run.save(self.best_path, self.metadata)
        self.improved = False
        self._save(run)

    def _save(self, run: Run) -> None:
        if self.path is not None:
            run.save(self.path, self.metadata)
            self.saved = True

    def state_dict(self) -> dict[str, Tensor]:
        return {"best": _number(self.best.value)}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        (self.best.value,) = _restored(self.state_dict(), values)


class EarlyStopping(Callback):
    """Ends the run when a number has not become better for some epochs.

    Args:
        monitor: "loss" or the name of a measure.
        patience: how many epochs without a better value end the run.
        min_delta: by how much a value must be better to count.
        mode: "min" or "max".
        restore_best: at the end the model gets back what it held after the best epoch. The files of `Checkpoint` hold
            the last model as "model", with which a run goes on, and the best as "run.EarlyStopping.best":
            `gradcore.io.load(path, {"run.EarlyStopping.best": model})` gives it to a model.

    Raises:
        ValueError: patience is not positive, or `mode` is something else.

    Example:
        >>> import gradcore as gc
        >>> model = gc.nn.Linear(1, 1, bias=False)
        >>> optimizer = gc.optim.SGD(gc.nn.init.zeros_(model.weight), lr=0.5)
        >>> data, loss = [(gc.ones(1, 1), gc.ones(1, 1))], gc.nn.functional.mse_loss
        >>> history = gc.train.fit(model, loss, optimizer, data, 100, callbacks=[EarlyStopping("loss", patience=3)])
        >>> len(history)
        5
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "min",
        restore_best: bool = False,
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience must be positive, not {patience}")
        self.best, self.monitor = Best(monitor, mode, min_delta), monitor
        self.patience, self.bad, self.restore_best = patience, 0, restore_best
        self.cells: dict[str, Tensor] = {}

    @property
    def stop(self) -> bool:  # type: ignore[override]
        """Has there been no better value for so long?"""
        return self.bad >= self.patience

    def after_epoch(self, run: Run, progress: Progress) -> None:
        improved = self.best.improved(progress)
        self.bad = 0 if improved else self.bad + 1
        if improved and self.restore_best:
            self.cells = run.model.state_dict()

    def end(self, run: Run) -> None:
        if self.cells:
            run.model.load_state_dict(self.cells)

    def state_dict(self) -> dict[str, Tensor]:
        numbers = {"best": _number(self.best.value), "bad": _number(self.bad)}
        return numbers | {f"best.{name}": value for name, value in self.cells.items()}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        cells = {name.removeprefix("best."): value for name, value in values.items() if name.startswith("best.")}
        numbers = {name: value for name, value in values.items() if not name.startswith("best.")}
        best, bad = _restored({"best": _number(0), "bad": _number(0)}, numbers)
        if bool(cells) != (self.restore_best and math.isfinite(best)):
            raise KeyError(f"the saved run had EarlyStopping(restore_best={bool(cells)}); pass the same")
        self.best.value, self.bad, self.cells = best, int(bad), cells


def _number(value: float) -> Tensor:
    return Tensor(np.array(value, np.float64))


def _restored(old: Mapping[str, Tensor], values: Mapping[str, Any]) -> list[float]:
    """The values as floats, in the order of `old`, if their names, shapes and dtypes fit."""
    cells = {name: Cell(value) for name, value in old.items()}
    restore(cells, values)
    return [float(cell.read()) for cell in cells.values()]
