"""A run that goes on from a file gives the bits of one that was never interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import io, nn, optim
from gradcore.data import ArrayDataset, DataLoader
from gradcore.optim import lr_scheduler
from gradcore.train import Callback, Checkpoint, DivergedError, EarlyStopping, Progress, Run, fit

EPOCHS, BATCHES = 4, 5
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "lion": lambda p: optim.Lion(p, lr=0.001),
}
SCHEDULES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "none": (lambda optimizer: None, "step"),
    "cosine": (lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * BATCHES, warmup_steps=3), "step"),
    "onecycle": (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, EPOCHS * BATCHES), "step"),
    "step": (lambda optimizer: lr_scheduler.StepLR(optimizer, 2), "epoch"),
    "plateau": (lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1), "validation_loss"),
}


class InterruptAfter(Callback):
    """Ctrl-C in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, run: Run) -> None:
        if run.step == self.step:
            signal.raise_signal(signal.SIGINT)


def examples(dtype: str) -> tuple[Any, Any]:
    x = np.random.Generator(np.random.Philox(key=1)).normal(size=(38, 3))
    return gc.tensor(x.astype(dtype)), gc.tensor((x @ [[1.0], [2.0], [-1.0]]).astype(dtype))


def train(
    path: Path,
    optimizer: str = "adamw",
    schedule: str = "none",
    dtype: str = "float32",
    epochs: int = EPOCHS,
    resume: Path | None = None,
    callbacks: Sequence[Callback] = (),
    prefetch: int = 0,
) -> list[Progress]:
    """Train a network with dropout on shuffled batches."""
    gc.random.seed(0 if resume is None else 99)  # what a resumed run draws comes from the file
    x, y = examples(dtype)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 1)).to(dtype)
    made = OPTIMIZERS[optimizer](model.parameters())
    make, schedule_on = SCHEDULES[schedule]
    loader = DataLoader(ArrayDataset(x, y), 8, shuffle=True, prefetch=prefetch)
    options = {"schedule": make(made), "schedule_on": schedule_on, "validation": [(x, y)], "resume": resume}
    stopping = EarlyStopping(patience=100, restore_best=True)
    return fit(
        model,
        nn.functional.mse_loss,
        made,
        loader,
        epochs,
        callbacks=[stopping, *callbacks, Checkpoint(path)],
        **options,
    )


def bits(path: Path) -> dict[str, Any]:
    tensors, metadata = io.read(path)
    assert metadata == {}
    return {name: (value.dtype, value.shape, value.numpy().tobytes()) for name, value in tensors.items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("step", [7, 10])
def test_interrupted_with_every_schedule(tmp_path: Path, schedule: str, step: int) -> None:
    check(tmp_path, step, schedule=schedule)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_interrupted_with_every_optimizer(tmp_path: Path, optimizer: str) -> None:
    check(tmp_path, 13, optimizer=optimizer)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_interrupted_in_every_dtype(tmp_path: Path, dtype: str) -> None:
    check(tmp_path, 3, optimizer="momentum", dtype=dtype)


def test_interrupted_while_a_thread_prepares_batches(tmp_path: Path) -> None:
    check(tmp_path, 8, prefetch=3)


def check(folder: Path, step: int, **options: Any) -> None:
    """Stop after `step`, go on twice, and compare everything with a run in one go."""
    whole, parts = folder / "whole", folder / "parts"
    history = train(whole, **options)
    with pytest.raises(KeyboardInterrupt):
        train(parts, callbacks=[InterruptAfter(step)], **options)
    assert int(io.read(parts)[0]["run.step"]) == step
    with pytest.raises(KeyboardInterrupt):
        train(parts, resume=parts, callbacks=[InterruptAfter(step + 4)], **options)
    assert train(parts, resume=parts, **options) == history
    assert bits(parts) == bits(whole)


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_more_epochs_from_a_finished_run(tmp_path: Path, optimizer: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, optimizer)
    train(parts, optimizer, epochs=2)
    train(parts, optimizer, resume=parts)
    assert bits(parts) == bits(whole)


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    path, copy = tmp_path / "run", tmp_path / "copy"
    history = train(path)
    assert train(copy, resume=path) == history
    assert copy.read_bytes() == path.read_bytes()


def test_steps_between_checkpoints_are_repeated(tmp_path: Path) -> None:
    """A run that was killed goes on from its last file, here in the middle of an epoch."""
    whole, killed, last = tmp_path / "whole", tmp_path / "killed", tmp_path / "last"

    class Killed(Callback):
        def after_step(self, run: Run) -> None:
            if run.step == 9:
                raise RuntimeError("power cut")

    train(whole)
    with pytest.raises(RuntimeError):
        train(last, callbacks=[Killed(), StepCheckpoint(killed, every=4)])
    tensors, _ = io.read(killed)
    assert int(tensors["run.step"]) == 8
    assert int(tensors["data.position"]) == int(tensors["run.batches"]) == 3
    train(last, resume=killed, callbacks=[StepCheckpoint(killed, every=4)])
    assert {k: v for k, v in bits(last).items() if "StepCheckpoint" not in k} == bits(whole)


class StepCheckpoint(Checkpoint):
    pass


def test_a_list_of_batches_can_be_continued_in_the_middle(tmp_path: Path) -> None:
    x, y = examples("float32")
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 38, 8)]

    def run(path: Path, data: Any, **options: Any) -> None:
        gc.random.seed(0)
        model = nn.Linear(3, 1)
        callbacks = [*options.pop("callbacks", []), Checkpoint(path)]
        fit(model, nn.functional.mse_loss, optim.SGD(model.parameters()), data, 2, callbacks=callbacks, **options)

    run(tmp_path / "whole", batches)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", batches, callbacks=[InterruptAfter(7)])
    with pytest.raises(ValueError, match="a run on a list_iterator cannot be continued in the middle of an epoch"):
        run(tmp_path / "other", iter(batches), resume=tmp_path / "parts")
    run(tmp_path / "parts", batches, resume=tmp_path / "parts")
    assert bits(tmp_path / "parts") == bits(tmp_path / "whole")


def test_other_callbacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(path)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 1))
    x, y = examples("float32")
    loader = DataLoader(ArrayDataset(x, y), 8, shuffle=True)
    optimizer = optim.AdamW(model.parameters())

    def resumed(*callbacks: Callback) -> None:
        before = model.state_dict()
        with pytest.raises(io.FileError, match=str(path)) as raised:
            fit(model, nn.functional.mse_loss, optimizer, loader, 9, callbacks=callbacks, resume=path)
        assert "EarlyStopping" in str(raised.value)
        assert all((model.state_dict()[name].numpy() == value.numpy()).all() for name, value in before.items())

    resumed(Checkpoint(path))
    resumed(EarlyStopping("loss"), Checkpoint(path))


def test_a_diverged_run_leaves_the_last_good_file(tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(path, epochs=2)
    before = path.read_bytes()

    class Spoil(Callback):
        def after_step(self, run: Run) -> None:
            if run.step == 12:
                run.model.items[0].bias.assign(gc.full((6,), float("nan")))

    with pytest.raises(DivergedError, match=r"the loss is nan in epoch 3, step 13"):
        train(path, resume=path, callbacks=[Spoil()])
    assert path.read_bytes() == before


def test_parameters_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "run"

    class Spoil(Callback):
        def after_epoch(self, run: Run, progress: Progress) -> None:
            if progress.epoch == 2:
                run.model.items[3].weight.assign(gc.full((1, 6), float("inf")))

    with pytest.raises(DivergedError, match=r"parameter 3\.weight is not finite after step 10"):
        train(path, callbacks=[Spoil()])
    assert int(io.read(path)[0]["run.epoch"]) == 1
