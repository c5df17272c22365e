"""Files of networks and runs on CUDA: they hold what is on the device, and go on there or elsewhere."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import io, nn, optim
from gradcore.data import ArrayDataset, DataLoader
from gradcore.optim import lr_scheduler
from gradcore.train import Callback, Checkpoint, EarlyStopping, Progress, Run, fit

EPOCHS, BATCHES = 4, 5
OPTIMIZERS: dict[str, Any] = {
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "lion": lambda p: optim.Lion(p, lr=0.001),
}


class InterruptAfter(Callback):
    """Ctrl-C in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, run: Run) -> None:
        if run.step == self.step:
            signal.raise_signal(signal.SIGINT)


def train(
    path: Path,
    device: str = "cuda",
    optimizer: str = "adamw",
    dtype: str = "float32",
    epochs: int = EPOCHS,
    resume: Path | None = None,
    interrupt: int = 0,
) -> list[Progress]:
    """Train a network with dropout on shuffled batches, and save it."""
    gc.random.seed(0 if resume is None else 99)  # what a resumed run draws comes from the file
    x = np.random.Generator(np.random.Philox(key=1)).normal(size=(38, 3))
    x, y = x.astype(dtype), (x @ [[1.0], [2.0], [-1.0]]).astype(dtype)
    layers = nn.Linear(3, 6), nn.LayerNorm(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 1)
    model = nn.Sequential(*layers).to(dtype).to(device)
    made = OPTIMIZERS[optimizer](model.parameters())
    schedule = lr_scheduler.CosineAnnealingLR(made, EPOCHS * BATCHES, warmup_steps=3)
    loader = DataLoader(ArrayDataset(x, y), 8, shuffle=True, prefetch=2)
    options: dict[str, Any] = {"schedule": schedule, "validation": [(x, y)], "resume": resume}
    callbacks = [EarlyStopping(patience=100, restore_best=True), InterruptAfter(interrupt), Checkpoint(path)]
    return fit(model, nn.functional.mse_loss, made, loader, epochs, callbacks=callbacks, **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_in_two_parts_gives_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train(whole, optimizer=optimizer)
    with pytest.raises(KeyboardInterrupt):
        train(parts, optimizer=optimizer, interrupt=7)  # in the middle of the second epoch
    assert train(parts, optimizer=optimizer, resume=parts) == expected
    assert parts.read_bytes() == whole.read_bytes()


def test_a_float16_run_in_two_parts_gives_the_same_bits(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train(whole, optimizer="momentum", dtype="float16")
    train(parts, optimizer="momentum", dtype="float16", epochs=2)
    assert train(parts, optimizer="momentum", dtype="float16", resume=parts) == expected
    assert parts.read_bytes() == whole.read_bytes()


def test_the_same_run_twice_gives_the_same_file(tmp_path: Path) -> None:
    assert train(tmp_path / "a") == train(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_on_another_device(first: str, then: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    expected = train(tmp_path / "whole", first)
    train(path, first, epochs=2)
    history = train(path, then, resume=path)
    assert history[:2] == expected[:2]
    for a, b in zip(history, expected, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
    (old, _), (new, _) = io.read(tmp_path / "whole"), io.read(path)
    assert list(new) == list(old)
    for name, value in old.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(new[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(new[name].numpy(), value.numpy(), err_msg=name)


def test_a_file_does_not_tell_the_device(tmp_path: Path) -> None:
    gc.random.seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).to("float16")
    for device in ("cpu", "cuda"):
        io.save(tmp_path / device, {"model": model.to(device)})
    assert (tmp_path / "cpu").read_bytes() == (tmp_path / "cuda").read_bytes()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64"])
def test_dtypes_and_shapes_survive(dtype: str, tmp_path: Path) -> None:
    arrays = [np.arange(6).reshape(2, 3), np.array(1), np.zeros((0, 3)), np.arange(24).reshape(2, 3, 4).T]
    cells = [nn.Buffer(gc.tensor(array.astype(dtype), device="cuda")) for array in arrays]

    class Holder(nn.Module):
        def __init__(self) -> None:
            self.a, self.b, self.c, self.d = cells

    io.save(tmp_path / "file", {"model": Holder()})
    before = [cell.numpy() for cell in cells]
    for cell in cells:
        cell.assign(gc.zeros_like(cell))
    io.load(tmp_path / "file", {"model": Holder()})
    for cell, value in zip(cells, before, strict=True):
        assert (cell.device, cell.dtype) == ("cuda:0", np.dtype(dtype))
        np.testing.assert_array_equal(cell.numpy(), value)


def test_a_file_that_does_not_fit_leaves_everything_as_it_was(tmp_path: Path) -> None:
    io.save(tmp_path / "file", {"model": nn.Linear(3, 2)})
    model = nn.Linear(4, 2, device="cuda")
    before = model.weight.numpy()
    with pytest.raises(io.FileError, match=r"model.weight is float32\[2, 3\] there and float32\[2, 4\] here"):
        io.load(tmp_path / "file", {"model": model})
    assert model.weight.device == "cuda:0"
    np.testing.assert_array_equal(model.weight.numpy(), before)
