"""The plain loop in `examples/` does what `fit` does."""

from __future__ import annotations

import json
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import gradcore as gc
from gradcore import data, io, nn, optim
from gradcore.train import Checkpoint, fit

pytest.importorskip("sklearn", reason="the demo extra is not installed")
PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "train_plain.py"


@pytest.fixture(scope="module")
def train() -> Any:
    return runpy.run_path(str(PROGRAM))["train"]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_gives_the_bits_of_fit(train: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = train(6, best=tmp_path / "best")
    gc.random.seed(0)
    split = data.datasets.digits()
    held = len(split.train_x) // 5
    kept = data.ArrayDataset(split.train_x[held:], split.train_y[held:])
    loader = data.DataLoader(kept, batch_size=64, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = optim.AdamW(model.parameters(), lr=0.005)
    history = fit(
        model,
        nn.functional.cross_entropy,
        optimizer,
        loader,
        6,
        schedule=optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5),
        schedule_on="epoch",
        validation=[(split.train_x[:held], split.train_y[:held])],
        callbacks=[Checkpoint(best=tmp_path / "fit", monitor="validation_loss")],
    )
    for name, value in plain.state_dict().items():
        assert (model.state_dict()[name].numpy() == value.numpy()).all(), name
    best, expected = (io.read(tmp_path / name)[0] for name in ("best", "fit"))
    assert all((expected[name].numpy() == value.numpy()).all() for name, value in best.items())
    *rows, test = lines(capsys.readouterr().out)
    assert [row["loss"] for row in rows] == [progress.loss for progress in history]
    held_losses = [progress.measures["validation_loss"] for progress in history]
    assert [row["validation_loss"] for row in rows] == pytest.approx(held_losses, rel=1e-12)
    assert test["test"]["accuracy"] > 0.9


def test_it_goes_on_with_the_same_bits(train: Any, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(6, whole)
    train(3, parts)
    train(6, parts, resume=parts)
    assert parts.read_bytes() == whole.read_bytes()
    assert len(io.read(parts)[1]["held_losses"]) == 6


def test_it_stops_early(train: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    losses = iter([3.0, 2.0, 2.0, 2.5, 1.0])
    cross_entropy = nn.functional.cross_entropy

    def given(out: Any, y: Any) -> Any:
        return cross_entropy(out, y) if out.requires_grad else gc.tensor(next(losses))

    monkeypatch.setattr(nn.functional, "cross_entropy", given)
    train(9, patience=2)
    assert len(lines(capsys.readouterr().out)) == 4 + 1


def test_ctrl_c_saves_and_exits(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(3, whole)
    save = io.save

    def save_and_interrupt(*arguments: Any) -> None:
        save(*arguments)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(io, "save", save_and_interrupt)
    monkeypatch.setattr(sys, "argv", ["train_plain.py", "--save", str(parts)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    monkeypatch.undo()
    assert stopped.value.code == 130
    assert len(io.read(parts)[1]["held_losses"]) == 1
    train(3, parts, resume=parts)
    assert parts.read_bytes() == whole.read_bytes()


def test_a_bad_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_plain.py", "--resume", str(tmp_path / "missing")])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "missing" in line
