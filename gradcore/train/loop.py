"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from gradcore import io
from gradcore.autodiff.tape import no_grad
from gradcore.nn.module import Module
from gradcore.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from gradcore.optim.optimizer import Optimizer
from gradcore.train.callbacks import Callback
from gradcore.train.interrupts import Interrupts
from gradcore.train.measures import count_examples, evaluate, home, mode, sent
from gradcore.train.run import Progress, Run

Batches = Iterable[tuple[Any, Any]]
Validate = Callable[[Module], Mapping[str, float]]


def train_step(model: Module, loss: Callable[..., Any], optimizer: Optimizer, x: Any, y: Any) -> Any:
    """One step on one batch: forward, backward, update.  Returns the loss, a 0-d Tensor without a record.

    >>> import gradcore as gc
    >>> model = gc.nn.Linear(1, 1, bias=False)
    >>> optimizer = gc.optim.SGD(gc.nn.init.zeros_(model.weight), lr=0.25)
    >>> train_step(model, gc.nn.functional.mse_loss, optimizer, gc.ones(1, 1), gc.ones(1, 1))
    tensor(1., dtype=float32, device='cpu')
    >>> float(model.weight)
    0.5
    """
    value = loss(model(x), y)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.detach()


def fit(
    model: Module,
    loss: Callable[..., Any],
    optimizer: Optimizer,
    data: Batches,
    epochs: int,
    *,
    schedule: Any = None,
    schedule_on: str = "step",
    validation: Batches | Validate | None = None,
    callbacks: Sequence[Callback] = (),
    resume: str | Path | None = None,
) -> list[Progress]:
    """Train a model.  Losses are summed where they are computed; one number is read back per epoch.

    Args:
        model: called with the x of a batch, in training mode; it is in its old mode afterwards.
        loss: called with the model's output and the y of a batch; the mean over the examples of the batch.
        optimizer: of the model's parameters.
        data: pairs (x, y) of arrays, or trees of them, whose first axes are the examples, gone through once per epoch.
            Where the model is on a GPU, batches are sent there, and nothing waits for it.
            With a `gradcore.data.DataLoader` or a list a run can go on in the middle of an epoch.
        epochs: how many the finished run has, those before it was resumed included.
        schedule: of the learning rate, from `gradcore.optim.lr_scheduler`.
        schedule_on: it takes a step after each "step", after each "epoch", or after each epoch with the number of this
            name, such as "loss" (for `ReduceLROnPlateau`).
        validation: batches whose mean loss after each epoch is the measure "validation_loss" (in the same order each
            time: its state is not saved), or a function of the model that gives measures by name.
        callbacks: see `Callback`.
        resume: a file that `Checkpoint` wrote. The run goes on with the same bits if all but `epochs` is as it was.

    Returns:
        A `Progress` for each epoch, those before the run was resumed included.

    Raises:
        DivergedError: the loss, also that of the validation, or a parameter that is to be saved is not finite.
        FileError: the file cannot be used.
        KeyboardInterrupt: after Ctrl-C (or when the process is told to end, or its terminal is closed), when the
            running step is finished and callbacks have saved; after a second one, at once.
        ValueError: an epoch had no batches, a measure is not finite, or the schedule or a callback follows a number
            that is not there.

    Example:
        >>> import gradcore as gc
        >>> model = gc.nn.Linear(1, 1)
        >>> optimizer = gc.optim.SGD(model.parameters(), lr=0.1)
        >>> x = gc.tensor([[0.0], [1.0], [2.0]])
        >>> history = fit(model, gc.nn.functional.mse_loss, optimizer, [(x, 2 * x + 1)], 300)
        >>> history[-1].loss < 1e-4
        True
    """
    run = Run(model, loss, optimizer, data, epochs, schedule, callbacks)
    _check(run, schedule_on, validation)
    if resume is not None:
        io.load(resume, run.parts())
    with Interrupts() as interrupts, mode(model, training=True), ExitStack() as closing:
        for callback in reversed(run.callbacks):
            closing.callback(callback.close)
        _go(run, schedule_on, validation, interrupts)
    return run.history


def _check(run: Run, schedule_on: str, validation: Any) -> None:
    """Refuse what would fail after the first epoch; what a function measures is not known before."""
    kind, on_count = type(run.schedule).__name__, schedule_on in ("step", "epoch")
    if isinstance(run.schedule, ReduceLROnPlateau) and on_count:
        raise ValueError(f"{kind} follows a number; pass schedule_on='loss' or the name of a measure")
    if isinstance(run.schedule, LRScheduler) and not on_count:
        raise ValueError(f"{kind} follows no number {schedule_on!r}; pass schedule_on='step' or 'epoch'")
    needed = [(type(callback).__name__, callback.monitor) for callback in run.callbacks]
    if run.schedule is not None and not on_count:
        needed.append((kind, schedule_on))
    known = ["loss"] if validation is None else ["loss", "validation_loss"]
    for name, number in needed:
        if number is not None and number not in known and not callable(validation):
            raise ValueError(
                f"{name} follows {number!r}, but there is {' and '.join(known)}; pass a validation that gives it"
            )


def _go(run: Run, schedule_on: str, validation: Any, interrupts: Interrupts) -> None:
    for callback in run.callbacks:
        callback.begin(run)
    if _finished(run):
        _save(run)
    while not _finished(run):
        _steps(run, schedule_on, interrupts)
        _finish_epoch(run, schedule_on, validation)
        _stop_if(interrupts)
    for callback in run.callbacks:
        callback.end(run)
    _stop_if(interrupts)


def _finished(run: Run) -> bool:
    return run.epoch >= run.epochs or any(callback.stop for callback in run.callbacks)


def _steps(run: Run, schedule_on: str, interrupts: Interrupts) -> None:
    device = home(run.model)
    for batch in _remaining(run):
        x, y = sent(batch, device)
        run.count(train_step(run.model, run.loss, run.optimizer, x, y), count_examples(x, y))
        if run.schedule is not None and schedule_on == "step":
            run.schedule.step()
        for callback in run.callbacks:
            callback.after_step(run)
        if interrupts.noted:
            _save(run)
            _stop_if(interrupts)


def _remaining(run: Run) -> Batches:
    """The batches that the epoch still has; a DataLoader knows them itself."""
    if not run.batches or hasattr(run.data, "state_dict"):
        return run.data  # type: ignore[no-any-return]
    if not isinstance(run.data, Sequence):
        raise ValueError(
            f"a run on a {type(run.data).__name__} cannot be continued in the middle of an epoch; use a "
            "gradcore.data.DataLoader or a list of batches"
        )
    return islice(run.data, run.batches, None)


def _finish_epoch(run: Run, schedule_on: str, validation: Any) -> None:
    progress = run.progress()._replace(measures=_measures(run, validation))
    run.finish_epoch(progress)
    if run.schedule is not None and schedule_on != "step":
        run.schedule.step(*([] if schedule_on == "epoch" else [progress.number(schedule_on)]))
    for callback in run.callbacks:
        callback.after_epoch(run, progress)
    _save(run)


def _measures(run: Run, validation: Any) -> Mapping[str, float]:
    if validation is None:
        return {}
    if not callable(validation):
        return {"validation_loss": _finite(run, evaluate(run.model, run.loss, validation))}
    with mode(run.model, training=False), no_grad():
        return dict(validation(run.model))


def _finite(run: Run, loss: float) -> float:
    if not math.isfinite(loss):
        raise run.diverged(f"validation_loss is {loss:g} after epoch {run.epoch + 1}")
    return loss


def _save(run: Run) -> None:
    for callback in run.callbacks:
        callback.save(run)


def _stop_if(interrupts: Interrupts) -> None:
    if interrupts.noted:
        raise KeyboardInterrupt
