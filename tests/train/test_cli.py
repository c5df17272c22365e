"""The installed command, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the cli extra is not installed")
COMMAND = Path(sys.executable).with_name("gradcore")
if not COMMAND.exists():
    pytest.skip("the gradcore command is not installed beside this Python", allow_module_level=True)
needs_digits = pytest.mark.skipif(
    subprocess.run([sys.executable, "-P", "-c", "import sklearn, tqdm"], capture_output=True).returncode != 0,
    reason="the demo extra is not installed",
)


def gradcore(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def refused(*arguments: Any) -> str:
    """The one line that a wrong call prints."""
    done = gradcore(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gradcore: ")
    return line


@needs_digits
def test_digits_reach_97_percent(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    done = gradcore("train", "digits", "--seed", 0, "--json", path)
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert result["test_accuracy"] >= 0.97
    assert result["loss"] < 0.05
    assert {"epochs", "batch_size", "hidden", "activation", "optimizer", "lr", "seed"} <= result.keys()
    assert (result["seed"], result["device"], result["hidden"]) == (0, "cpu", [64, 32])
    assert 0 < result["seconds"] < 60
    for word in ("train loss", "test accuracy", "samples/s", "cpu"):
        assert word in done.stdout
    assert "loss=" in done.stderr
    assert list(tmp_path.iterdir()) == [path]


@needs_digits
@pytest.mark.parametrize(
    ("options", "seeds"),
    [([], (5, 5, 6)), (["--optimizer", "sgd", "--activation", "gelu", "--hidden", "32"], (5, 5))],
)
def test_the_same_seed_gives_the_same_bits(tmp_path: Path, options: list[str], seeds: tuple[int, ...]) -> None:
    paths = [tmp_path / f"{number}.json" for number in range(len(seeds))]
    processes = [
        subprocess.Popen(
            [COMMAND, "train", "digits", "--epochs", "3", "--seed", str(seed), "--json", path, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for path, seed in zip(paths, seeds, strict=True)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * len(seeds)
    first, second, *others = [(r["loss"], r["test_accuracy"]) for r in (json.loads(p.read_text()) for p in paths)]
    assert first == second
    assert all(other != first for other in others)


@needs_digits
@pytest.mark.parametrize(("activation", "hidden"), [("sigmoid", ""), ("tanh", "16,8")])
def test_options_are_used(tmp_path: Path, activation: str, hidden: str) -> None:
    path = tmp_path / "result.json"
    options = ["--activation", activation, "--hidden", hidden, "--lr", 0.01, "--batch-size", 100, "--epochs", 2]
    assert gradcore("train", "digits", *options, "--json", path).returncode == 0
    result = json.loads(path.read_text())
    assert (result["activation"], result["lr"], result["batch_size"], result["epochs"]) == (activation, 0.01, 100, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", 0], "--epochs"),
        (["--hidden", "64,x"], "'64,x' is not a list of layer widths such as 64,32"),
        (["--lr", 0], "--lr"),
        (["--lr", "nan"], "not a positive number"),
        (["--seed", -1], "--seed"),
        (["--activation", "step"], "'step' is not one of"),
        (["--rate", 1], "No such option: --rate"),
        (["--json", "missing/result.json"], "cannot write missing/result.json: No such file or directory"),
        (["--json", "."], "is a directory"),
        (["--json", ""], "the name of the file is empty"),
    ],
)
def test_wrong_options_are_refused_before_training(options: list[Any], words: str) -> None:
    assert words in refused("train", "digits", *options)


@needs_digits
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_diverging_run_stops_with_one_line(tmp_path: Path, optimizer: str) -> None:
    path = tmp_path / "result.json"
    done = gradcore("train", "digits", "--lr", 1e30, "--optimizer", optimizer, "--json", path)
    assert done.returncode == 1
    assert done.stdout == ""
    found = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("digits: ")]
    assert found == ["gradcore: training diverged: loss is nan in epoch 1; try a smaller --lr"]
    assert not list(tmp_path.iterdir())


def test_wrong_commands() -> None:
    assert "No such command 'trane'" in refused("trane")
    done = gradcore("train")
    assert done.returncode == 2
    assert "digits" in done.stderr


def test_help_names_examples_and_imports_nothing_heavy() -> None:
    for arguments in ([], ["train", "digits"]):
        done = gradcore(*arguments, "--help")
        assert done.returncode == 0
        assert "Example: gradcore train digits" in done.stdout
    program = (
        "import sys; sys.argv = ['gradcore', '--help']\n"
        "try: from gradcore.cli import main; main()\n"
        "finally: print([m for m in ('sklearn', 'tqdm', 'scipy', 'cupy') if m in sys.modules])"
    )
    done = python(program)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version() -> None:
    import gradcore as library

    assert gradcore("--version").stdout.strip() == library.__version__


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("package", "extra"), [("typer", "cli"), ("tqdm", "cli"), ("sklearn", "demo")])
def test_missing_packages_name_the_extra(package: str, extra: str) -> None:
    done = python(
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['gradcore', 'train', 'digits']\n"
        "from gradcore.cli import main; main()"
    )
    assert done.returncode == 2
    assert done.stderr == f'gradcore: {package} is not installed; run: pip install "gradcore[{extra}]"\n'


@needs_digits
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("{}")
    options = ["train", "digits", "--epochs", "1000000", "--json", str(path)]
    process = subprocess.Popen([COMMAND, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in iter(lambda: process.stderr.read(40), ""):  # the bar shows that training has begun
        if "loss=" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "gradcore: interrupted"
    assert "Traceback" not in err
    assert out == ""
    assert path.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [path]
