"""--save and --resume: the same bits as a run in one go; settings are remembered."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.common import COMMAND, Gradcore, command
from gradcore import io
from gradcore.train import JSONLines, Run

pytest.importorskip("typer", reason="the cli extra is not installed")
pytest.importorskip("sklearn", reason="the demo extra is not installed")
DATASETS = ("digits", "wine", "breast-cancer", "diabetes")
OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "adagrad", "lion")


def table(path: Path) -> Path:
    """A file of examples."""
    x = np.random.Generator(np.random.Philox(key=0)).normal(size=(60, 3))
    np.savez(path, X=x, y=x.sum(1))
    return path


def tensors(path: Path) -> dict[str, Any]:
    """Every tensor of a saved run, bit for bit."""
    return {name: (value.dtype, value.numpy().tobytes()) for name, value in io.read(path)[0].items()}


def check(gradcore: Any, folder: Path, *options: Any) -> None:
    """Four epochs, and two and two more."""
    whole, parts = folder / "whole", folder / "parts"
    assert gradcore("train", *options, "--epochs", 4, "--save", whole, "--quiet") == (0, "", "")
    assert gradcore("train", *options, "--epochs", 2, "--save", parts, "--quiet") == (0, "", "")
    assert gradcore("train", "--resume", parts, "--epochs", 4, "--quiet") == (0, "", "")
    assert tensors(parts) == tensors(whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_and_optimizer(gradcore: Gradcore, tmp_path: Path, name: str, optimizer: str) -> None:
    check(gradcore, tmp_path, name, "--optimizer", optimizer, "--hidden", "8", "--batch-size", 100)


@pytest.mark.parametrize(
    "options",
    [
        ("--schedule", "step"),
        ("--schedule", "plateau"),
        ("--early-stop", 4, "--schedule", "plateau"),
        ("--dtype", "float64", "--seed", 3),
        ("--dtype", "float16", "--hidden", "8", "--activation", "gelu"),
    ],
)
def test_other_settings(gradcore: Gradcore, tmp_path: Path, options: tuple[Any, ...]) -> None:
    check(gradcore, tmp_path, "diabetes", *options)


def test_own_data(gradcore: Gradcore, tmp_path: Path) -> None:
    check(gradcore, tmp_path, "--data", table(tmp_path / "table.npz"))


@pytest.mark.skipif(not COMMAND.exists(), reason="the command is not installed beside this Python")
def test_with_the_installed_command(gradcore: Gradcore, tmp_path: Path) -> None:
    """One start; the rest of the test in this process, so that bits are compared between processes as well."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["train", "wine", "--optimizer", "sgd", "--quiet"]
    assert gradcore(*options, "--epochs", 6, "--save", whole) == (0, "", "")
    assert gradcore(*options, "--epochs", 3, "--save", parts) == (0, "", "")
    assert command("train", "--resume", parts, "--epochs", 6, "--quiet") == (0, "", "")
    assert tensors(parts) == tensors(whole)


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_an_interrupted_run(gradcore: Gradcore, tmp_path: Path, schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the third epoch; the log becomes that of a run in one go, too."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    logs = [tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"]
    options = ["train", "wine", "--schedule", schedule, "--epochs", 6, "--quiet"]
    assert gradcore(*options, "--save", whole, "--log", logs[0]).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(JSONLines, "after_step", interrupt)
        done = gradcore(*options, "--save", parts, "--log", logs[1])
    assert done == (130, "", f"gradcore: interrupted; saved to {parts}; go on with --resume {parts}\n")
    assert gradcore("train", "--resume", parts, "--log", logs[1], "--quiet") == (0, "", "")
    assert tensors(parts) == tensors(whole)
    assert logs[1].read_text() == logs[0].read_text()
    words = f"{parts} was saved with --epochs 6, not 9; leave --epochs out"
    assert words in gradcore.refused("train", "--resume", parts, "--epochs", 9)


def interrupt(log: JSONLines, run: Run) -> None:
    if run.step == 13:
        signal.raise_signal(signal.SIGINT)


def test_a_resumed_run_keeps_its_settings(gradcore: Gradcore, tmp_path: Path) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    gradcore("train", "wine", "--epochs", 2, "--hidden", "8", "--seed", 4, "--save", path)
    before = path.read_bytes()
    given = ["wine", "--hidden", "8", "--seed", 4, "--optimizer", "adamw"]
    assert gradcore("train", *given, "--resume", path, "--save", other, "--quiet").code == 0
    assert path.read_bytes() == before == other.read_bytes()
    for options, words in [
        (["digits"], "the data wine, not digits"),
        (["--hidden", "8,8"], "--hidden 8, not 8,8"),
        (["--lr", 0.5], "--lr 0.01, not 0.5"),
        (["--optimizer", "sgd"], "--optimizer adamw, not sgd"),
        (["--early-stop", 3], "no --early-stop"),
        (["--seed", 5, "--epochs", 9], "--seed 4, not 5"),
    ]:
        assert f"{path} was saved with {words}; leave" in gradcore.refused("train", *options, "--resume", path)
    assert path.read_bytes() == before


def test_changed_data_is_refused(gradcore: Gradcore, tmp_path: Path) -> None:
    path, examples = tmp_path / "run", table(tmp_path / "table.npz")
    gradcore("train", "--data", examples, "--epochs", 1, "--save", path)
    np.savez(examples, X=np.ones((4, 1)), y=np.arange(4.0))
    assert f"table.npz has changed since {path} was saved" in gradcore.refused("train", "--resume", path)
    examples.unlink()
    words = f"there is no {examples}; if it has moved, add --data FILE.npz or FILE.csv"
    assert words in gradcore.refused("train", "--resume", path)


def test_data_may_move(gradcore: Gradcore, tmp_path: Path) -> None:
    path, examples = tmp_path / "run", table(tmp_path / "table.npz")
    gradcore("train", "--data", examples, "--epochs", 1, "--save", path)
    moved = examples.rename(tmp_path / "moved.npz")
    assert gradcore("train", "--resume", path, "--data", moved, "--epochs", 2, "--quiet") == (0, "", "")
    assert gradcore("train", "--resume", path, "--epochs", 3, "--quiet") == (0, "", "")
    words = f"{path} has 3 epochs behind it; give more --epochs"
    assert words in gradcore.refused("train", "--resume", path, "--epochs", 2)


@pytest.mark.parametrize("text", [True, False])
def test_a_saved_network_predicts_raw_rows(
    gradcore: Gradcore, tmp_path: Path, text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command itself did."""
    from gradcore import nn
    from gradcore.cli import training
    from gradcore.data import Task, read_file
    from gradcore.train import predict

    outcomes: list[training.Outcome] = []
    train = training.train

    def noted(*options: Any) -> training.Outcome:
        outcomes.append(train(*options))
        return outcomes[-1]

    monkeypatch.setattr(training, "train", noted)
    path, examples = tmp_path / "run", tmp_path / "examples.csv"
    x = np.random.Generator(np.random.Philox(key=0)).normal(7, 3, (40, 2))
    y = np.where(x[:, 0] > 7, "big", "small") if text else x.sum(1)
    examples.write_text("".join(f"{a!r},{b!r},{c}\n" for (a, b), c in zip(x.tolist(), y.tolist(), strict=True)))
    done = gradcore("train", "--data", examples, "--hidden", "4", "--epochs", 3, "--save", path, "--quiet")
    assert done == (0, "", "")

    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2 if text else 1))
    task = Task.from_metadata(io.load(path, {"model": model})["task"])
    raw = read_file(examples)[0]
    places = {row.tobytes(): place for place, row in enumerate(task.inputs(raw).numpy())}
    split = outcomes[0].job.split
    tested = raw[[places[row.tobytes()] for row in split.test_x.numpy()]]
    outputs = predict(model, task.inputs(tested))
    assert outputs.numpy().tobytes() == outcomes[0].outputs.numpy().tobytes()
    assert task.predicted(outputs).tolist() == split.task.predicted(outcomes[0].outputs).tolist()
