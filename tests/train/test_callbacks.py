"""Callbacks: checkpoints, early stopping, logs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gradcore as gc
from gradcore import io, nn, optim
from gradcore.train import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    JSONLines,
    Progress,
    ProgressBar,
    Run,
    TensorBoard,
    fit,
)

X, Y = gc.ones(4, 1), gc.ones(4, 1)


def train(
    callbacks: Sequence[Callback], epochs: int = 4, values: Sequence[float] = (), **options: Any
) -> tuple[list[Progress], nn.Linear]:
    """Two steps in an epoch; the measure "value" takes these values."""
    gc.random.seed(0)
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    given = iter(values)
    validation = (lambda model: {"value": next(given)}) if values else None
    data = [(X, Y), (X, Y)]
    options = {"callbacks": callbacks, "validation": validation, **options}
    return fit(model, nn.functional.mse_loss, optimizer, data, epochs, **options), model


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "epoch"), [("min", 2), ("max", 3)])
def test_the_best_state_is_kept(tmp_path: Path, mode: str, epoch: int) -> None:
    last, best = tmp_path / "last", tmp_path / "best"
    train([Checkpoint(last, best=best, monitor="value", mode=mode)], values=[3.0, 1.0, 4.0, 2.0])
    assert [int(io.read(path)[0]["run.epoch"]) for path in (last, best)] == [4, epoch]


def test_the_best_value_survives_a_restart(tmp_path: Path) -> None:
    last, best = tmp_path / "last", tmp_path / "best"
    train([Checkpoint(last, best=best, monitor="value")], epochs=2, values=[1.0, 2.0])
    train([Checkpoint(last, best=best, monitor="value")], epochs=4, values=[1.5, 3.0], resume=last)
    assert int(io.read(best)[0]["run.epoch"]) == 1


def test_metadata_is_stored(tmp_path: Path) -> None:
    train([Checkpoint(tmp_path / "run", metadata={"note": [1, "two"]})])
    assert io.read(tmp_path / "run")[1] == {"note": [1, "two"]}


def test_wrong_arguments() -> None:
    for every in (0, -1, "step", 1.5):
        with pytest.raises(ValueError, match="every must be 'epoch' or a number of steps"):
            Checkpoint("run", every=every)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', not 'least'"):
        Checkpoint("run", mode="least")
    with pytest.raises(ValueError, match="patience must be positive"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="positive number of steps"):
        JSONLines("log", every=0)


@pytest.mark.parametrize("callback", [EarlyStopping(), Checkpoint(best="best", monitor="validation_loss")])
def test_a_monitor_must_be_measured(callback: Callback) -> None:
    class Never(Callback):
        def after_step(self, run: Run) -> None:
            raise AssertionError("a step was taken")

    name = type(callback).__name__
    with pytest.raises(ValueError, match=f"{name} follows 'validation_loss', but there is loss; pass a validation"):
        train([callback, Checkpoint(), Never()])
    with pytest.raises(ValueError, match="follows 'auc', but there is loss and validation_loss"):
        train([EarlyStopping("auc"), Never()], validation=[(X, Y)])
    with pytest.raises(KeyError, match="nothing called 'auc' is measured; there is loss, value"):
        train([EarlyStopping("auc")], values=[1.0])


# --- early stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({"patience": 2}, [3.0, 2.0, 2.0, 2.5, 1.0], 4),
        ({"patience": 2, "mode": "max"}, [3.0, 2.0, 3.5, 2.5, 1.0, 9.0], 5),
        ({"patience": 1, "min_delta": 0.5}, [3.0, 2.0, 1.6, 0.0], 3),
        ({"patience": 9}, [1.0] * 6, 6),
    ],
)
def test_early_stopping(options: dict[str, Any], values: list[float], epochs: int) -> None:
    history, _ = train([EarlyStopping("value", **options)], epochs=6, values=values)
    assert len(history) == epochs


def test_the_best_parameters_come_back() -> None:
    weights: list[float] = []

    class Record(Callback):
        def after_epoch(self, run: Run, progress: Progress) -> None:
            weights.append(float(run.model.weight))

    _, model = train([Record(), EarlyStopping("value", patience=9, restore_best=True)], values=[3.0, 1.0, 4.0, 2.0])
    assert float(model.weight) == weights[1] != weights[-1]


def test_a_file_holds_the_last_and_the_best_parameters(tmp_path: Path) -> None:
    path = tmp_path / "run"
    callbacks = [EarlyStopping("value", patience=9, restore_best=True), Checkpoint(path)]
    _, best = train(callbacks, values=[3.0, 1.0, 4.0, 2.0])
    _, last = train([])
    for part, expected in (("model", last), ("run.EarlyStopping.best", best)):
        loaded = nn.Linear(1, 1)
        io.load(path, {part: loaded})
        assert float(loaded.weight) == float(expected.weight)
    assert float(best.weight) != float(last.weight)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_the_count_of_bad_epochs_survives_a_restart(tmp_path: Path, stop: int) -> None:
    values = [3.0, 2.0, 2.5, 2.6, 2.7, 2.8]
    path = tmp_path / "run"

    def callbacks() -> list[Callback]:
        return [EarlyStopping("value", patience=3, restore_best=True), Checkpoint(path)]

    expected, whole = train(callbacks(), 6, values)
    train(callbacks(), stop, values)
    history, model = train(callbacks(), 6, values[stop:], resume=path)
    assert len(history) == 5
    assert history == expected
    assert float(model.weight) == float(whole.weight)


def test_a_run_that_had_stopped_stays_stopped(tmp_path: Path) -> None:
    path, values = tmp_path / "run", [1.0, 2.0, 2.0, 0.0]
    train([EarlyStopping("value", patience=2), Checkpoint(path)], 9, values)
    history, _ = train([EarlyStopping("value", patience=2), Checkpoint(path)], 9, values, resume=path)
    assert len(history) == 3


# --- logs -------------------------------------------------------------------------------------------------------------


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    history, _ = train([JSONLines(path)], values=[3.0, 1.0, 4.0, 2.0])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["loss"] for row in rows] == [progress.loss for progress in history]
    assert rows[1] == {**history[1].numbers(), "lr": 0.1}
    assert set(rows[0]) == {"epoch", "step", "loss", "samples", "value", "lr"}


def test_json_lines_for_steps(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    train([JSONLines(path, every=1)], epochs=1)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [sorted(row) for row in rows[:2]] == [["epoch", "loss_so_far", "step"]] * 2
    assert rows[1]["loss_so_far"] == rows[2]["loss"]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    history, _ = train([CSVLog(path)], values=[3.0, 1.0, 4.0, 2.0])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [progress.loss for progress in history]
    assert [row["value"] for row in rows] == ["3.0", "1.0", "4.0", "2.0"]


@pytest.mark.parametrize("make", [JSONLines, lambda path: JSONLines(path, every=1), CSVLog])
def test_logs_of_a_resumed_run_are_those_of_an_uninterrupted_one(tmp_path: Path, make: Any) -> None:
    whole, parts, path = tmp_path / "whole", tmp_path / "parts", tmp_path / "run"
    train([make(whole)])
    train([make(parts), Checkpoint(path)], epochs=2)
    saved = path.read_bytes()
    train([make(parts), Checkpoint(path)], resume=path, epochs=3)
    parts.write_text(parts.read_text() + '{"epoch": 4, "st')  # killed while it wrote a line
    path.write_bytes(saved)
    train([make(parts), Checkpoint(path)], resume=path)
    assert parts.read_text() == whole.read_text()


def test_a_new_run_starts_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    train([CSVLog(path)], values=[3.0, 1.0, 4.0, 2.0])
    train([CSVLog(path)], epochs=1)
    header, row = path.read_text().splitlines()
    assert header == "epoch,step,loss,samples,lr"
    assert row.startswith("1,2,")


@pytest.mark.parametrize("start", ["", "{", '{"epoch": 1, "st'])
def test_a_log_may_end_within_its_first_line(tmp_path: Path, start: str) -> None:
    path = tmp_path / "log"
    path.write_text(start)
    train([JSONLines(path)], epochs=1)
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("text", ["hello\n", "[1]\n", '{"a": 1}\n', '"text"\n', "1,2.5\n", "unfinished", "\n", "\xff"])
@pytest.mark.parametrize("make", [JSONLines, CSVLog])
def test_something_else_is_not_taken_for_a_log(tmp_path: Path, make: Any, text: str) -> None:
    log, path = tmp_path / "log", tmp_path / "run"
    train([Checkpoint(path)], epochs=1)
    log.write_text(text)
    for resume in (path, None):
        with pytest.raises(io.FileError, match="is not a log of a run: it has the line"):
            train([make(log), Checkpoint(path)], resume=resume)
        assert log.read_text() == text


def test_tensorboard_needs_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="TensorBoard needs the package tensorboardX; run: pip install tensorboardX"):
        TensorBoard(tmp_path)


def test_tensorboard_gets_scalars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a writer that has tensorboardX's interface and remembers."""
    written: list[Any] = []

    class SummaryWriter:
        def __init__(self, logdir: str, purge_step: int | None = None) -> None:
            written.append((logdir, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            written.append("closed")

    package = ModuleType("tensorboardX")
    package.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", package)
    folder = str(tmp_path)
    history, _ = train([TensorBoard(folder, every=2)], epochs=1)
    loss = history[0].loss
    expected = [("loss_so_far", loss, 2), ("loss", loss, 2), ("lr", 0.1, 2)]
    assert written == [(folder, None), *expected, "closed"]
    train([Checkpoint(tmp_path / "run")], epochs=1)
    train([TensorBoard(folder), Checkpoint(tmp_path / "run")], epochs=2, resume=tmp_path / "run")
    assert (folder, 3) in written


def test_the_progress_bar_shows_epochs_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="the cli extra is not installed")
    history, _ = train([ProgressBar("title", mininterval=0, disable=False)])
    shown = capsys.readouterr().err
    assert "title: 100%" in shown
    assert f"loss={history[-1].loss:.4f}" in shown
