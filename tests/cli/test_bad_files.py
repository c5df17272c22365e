"""Bad files: one line, exit code 2, no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.bad_files import bad_files as bad_data
from saving.bad_files import bad_files as bad_models

from cli.common import COMMAND, Gradcore, command
from gradcore import io

pytest.importorskip("typer", reason="the cli extra is not installed")
pytest.importorskip("sklearn", reason="the demo extra is not installed")
pytest.importorskip("tqdm", reason="the cli extra is not installed")


def test_bad_data(gradcore: Gradcore, tmp_path: Path) -> None:
    files = bad_data(tmp_path)
    assert len(files) > 40
    for name, path in files:
        assert path.name in gradcore.refused("train", "--data", path, "--quiet"), name
    assert not (tmp_path / "trap-was-sprung").exists()


def test_bad_runs(gradcore: Gradcore, tmp_path: Path) -> None:
    files = bad_models(tmp_path)
    assert len(files) > 20
    for name, path in files:
        assert path.name in gradcore.refused("train", "--resume", path, "--quiet"), name
    assert not (tmp_path / "trap-was-sprung").exists()


def test_damaged_runs(gradcore: Gradcore, tmp_path: Path) -> None:
    """Cut anywhere, or with any bit flipped in what is not the content of a tensor."""
    path = tmp_path / "run"
    gradcore("train", "wine", "--epochs", 1, "--hidden", "2", "--save", path)
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    generator = np.random.Generator(np.random.Philox(key=5))
    for place in generator.integers(0, len(good), 15):
        path.write_bytes(good[:place])
        gradcore.refused("train", "--resume", path, "--quiet")
    for place in generator.integers(0, header, 40):
        path.write_bytes(good[:place] + bytes([good[place] ^ 2]) + good[place + 1 :])
        done = gradcore("train", "--resume", path, "--quiet")
        assert done.code in (0, 2)  # some letters of the metadata have no meaning
        assert len(done.err.splitlines()) == (done.code == 2)


class Part:
    """The part of a file that holds these tensors."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.state_dict = lambda: tensors
        self.load_state_dict = tensors.update


def changed(path: Path, change: Any) -> Path:
    """A copy of a saved run with other metadata."""
    tensors, metadata = io.read(path)
    change(metadata)
    parts: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        part, _, key = name.partition(".")
        parts.setdefault(part, {})[key] = value
    other = path.with_name("other")
    io.save(other, {name: Part(values) for name, values in parts.items()}, metadata)
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.clear(),
        lambda m: m.update(settings=[]),
        lambda m: m["settings"].pop("lr"),
        lambda m: m["settings"].update(unknown=1),
        lambda m: m["settings"].update(hidden="64"),
        lambda m: m["settings"].update(hidden=[0]),
        lambda m: m["settings"].update(epochs="many"),
        lambda m: m["settings"].update(batch_size=1.5),
        lambda m: m["settings"].update(batch_size=True),
        lambda m: m["settings"].update(activation="step"),
        lambda m: m["settings"].update(optimizer=["sgd"]),
        lambda m: m["settings"].update(dtype="int8"),
        lambda m: m["settings"].update(lr=None),
        lambda m: m["settings"].update(lr=-1.0),
        lambda m: m["settings"].update(lr=1e400),
        lambda m: m["settings"].update(lr=1e308),
        lambda m: m["settings"].update(weight_decay=1e308),
        lambda m: m["settings"].update(seed=2**64),
        lambda m: m["settings"].update(seed=0.5),
        lambda m: m["settings"].update(task="clustering"),
        lambda m: m["settings"].update(data=7),
        lambda m: m["settings"].update(data="\0"),
        lambda m: m["settings"].update(data=""),
    ],
)
def test_settings_that_nobody_chose(gradcore: Gradcore, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "run"
    gradcore("train", "wine", "--epochs", 1, "--hidden", "2", "--save", path, "--quiet")
    line = gradcore.refused("train", "--resume", changed(path, change), "--quiet")
    assert "does not hold a run of gradcore train" in line or "FILE.npz or FILE.csv" in line


def test_a_model_file_is_not_a_run(gradcore: Gradcore, tmp_path: Path) -> None:
    from gradcore import nn

    path = tmp_path / "model"
    io.save(path, {"model": nn.Linear(1, 1)})
    words = f"{path} does not hold a run of gradcore train; start a new one without --resume"
    assert words in gradcore.refused("train", "--resume", path)


def test_a_run_of_another_network(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "run"
    gradcore("train", "wine", "--epochs", 1, "--hidden", "2", "--save", path, "--quiet")
    line = gradcore.refused("train", "--resume", changed(path, lambda m: m["settings"].update(hidden=[3])), "--quiet")
    assert "does not fit: model." in line


@pytest.mark.parametrize("hidden", [[10**12], [2, 2], []])
def test_widths_are_compared_before_a_network_is_made(gradcore: Gradcore, tmp_path: Path, hidden: list[int]) -> None:
    path = tmp_path / "run"
    gradcore("train", "wine", "--epochs", 1, "--hidden", "2", "--save", path, "--quiet")
    line = gradcore.refused("train", "--resume", changed(path, lambda m: m["settings"].update(hidden=hidden)))
    assert "does not fit: model." in line


def test_too_little_to_hold_back(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("x,y\n1,0.5\n2,1.5\n3,2.5\n")
    assert "there are 2" in gradcore.refused("train", "--data", path, "--early-stop", 1, "--quiet")
    assert gradcore("train", "--data", path, "--epochs", 1, "--quiet", "--json", tmp_path / "out.json").code == 0
    assert json.loads((tmp_path / "out.json").read_text())["test_r2"] is None


def test_a_log_that_is_something_else(gradcore: Gradcore, tmp_path: Path) -> None:
    path, log = tmp_path / "run", tmp_path / "other.csv"
    gradcore("train", "wine", "--epochs", 1, "--save", path, "--quiet")
    log.write_text("important\n")
    for start in (["--resume", path], ["wine", "--epochs", 1]):
        line = gradcore.refused("train", *start, "--log", log, "--quiet")
        assert "other.csv is not a log of a run: it has the line 'important'; name another file" in line
        assert log.read_text() == "important\n"


@pytest.mark.skipif(not COMMAND.exists(), reason="the command is not installed beside this Python")
def test_with_the_installed_command(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    path.write_bytes(b"\x80\x04nothing good")
    done = command("train", "--resume", path)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"gradcore: {path}")
