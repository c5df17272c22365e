"""gradcore train: results, options, errors; most in this process, some with the installed command."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.common import COMMAND, Gradcore, command, python

pytest.importorskip("typer", reason="the cli extra is not installed")
pytest.importorskip("tqdm", reason="the cli extra is not installed")
pytest.importorskip("sklearn", reason="the demo extra is not installed")
installed = pytest.mark.skipif(not COMMAND.exists(), reason="the command is not installed beside this Python")


def test_digits_reach_97_percent(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    done = gradcore("train", "digits", "--seed", 0, "--device", "cpu", "--json", path)
    assert (done.code, done.err) == (0, "")  # no bar where there is no terminal
    result = json.loads(path.read_text())
    assert result["test_accuracy"] >= 0.97
    assert result["loss"] < 0.05
    assert (result["seed"], result["device"], result["hidden"]) == (0, "cpu", [64, 32])
    assert 0 < result["seconds"] < 60
    for word in ("train loss", "test accuracy", "samples/s", "cpu"):
        assert word in done.out
    assert list(tmp_path.iterdir()) == [path]


@installed
def test_the_installed_command_gives_the_same_bits(gradcore: Gradcore, tmp_path: Path) -> None:
    results = []
    for run in (gradcore, command):
        path = tmp_path / "result.json"
        assert run("train", "wine", "--epochs", 5, "--json", path, "--quiet") == (0, "", "")
        results.append(json.loads(path.read_text()))
    assert all(results[0][name] == results[1][name] for name in ("loss", "test_accuracy"))


def test_the_seed_decides_the_bits(gradcore: Gradcore, tmp_path: Path) -> None:
    def loss(seed: int) -> float:
        path = tmp_path / "result.json"
        assert gradcore("train", "wine", "--epochs", 2, "--seed", seed, "--json", path).code == 0
        return float(json.loads(path.read_text())["loss"])

    assert loss(5) == loss(5) != loss(6)


@pytest.mark.parametrize("name", ["wine", "breast-cancer", "diabetes"])
def test_the_baseline_stands_beside(gradcore: Gradcore, tmp_path: Path, name: str) -> None:
    done = gradcore("train", name, "--baseline", "--json", tmp_path / "result.json")
    assert done.code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    if name == "diabetes":
        assert "test R2" in done.out
        assert "baseline RMSE" in done.out
        assert result["test_r2"] > 0.35
        assert result["baseline_rmse"] == pytest.approx(result["test_rmse"], rel=0.1)
    else:
        assert "baseline accuracy" in done.out
        assert result["test_accuracy"] >= 0.88
        assert result["baseline_accuracy"] >= 0.88


@pytest.mark.parametrize(
    "options",
    [
        ["--activation", "sigmoid", "--hidden", "", "--schedule", "cosine"],
        ["--activation", "tanh", "--hidden", "16,8", "--schedule", "onecycle", "--optimizer", "sgd"],
        ["--activation", "gelu", "--hidden", "16", "--schedule", "step", "--optimizer", "adam", "--dtype", "float64"],
        ["--optimizer", "rmsprop", "--schedule", "plateau", "--early-stop", 3, "--dtype", "float16", "--epochs", 12],
        ["--optimizer", "adagrad", "--weight-decay", 0.01, "--lr", 0.02, "--batch-size", 20],
        ["--optimizer", "lion", "--device", "cpu", "--seed", 3],
    ],
)
def test_options_are_used(gradcore: Gradcore, tmp_path: Path, options: list[Any]) -> None:
    path = tmp_path / "result.json"
    done = gradcore("train", "wine", "--epochs", 8, *options, "--json", path, "--quiet")
    assert done == (0, "", "")
    result = json.loads(path.read_text())
    given = dict(zip([str(o).removeprefix("--").replace("-", "_") for o in options[::2]], options[1::2], strict=True))
    for name, value in given.items():
        shown = ",".join(map(str, result[name])) if name == "hidden" else result[name]
        assert shown == value
    assert result["test_accuracy"] > 0.6


@pytest.mark.parametrize("optimizer", ["adamw", "adagrad"])
def test_half_precision_learns(gradcore: Gradcore, tmp_path: Path, optimizer: str) -> None:
    path = tmp_path / "result.json"
    options = ["--dtype", "float16", "--optimizer", optimizer, "--epochs", 6, "--json", path, "--quiet"]
    assert gradcore("train", "digits", *options) == (0, "", "")
    assert json.loads(path.read_text())["test_accuracy"] > 0.9


def test_early_stopping_ends_the_run(gradcore: Gradcore, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    path = tmp_path / "result.json"
    options = ["--epochs", 200, "--early-stop", 2, "--lr", 0.01, "--log", log, "--json", path]
    done = gradcore("train", "diabetes", *options)
    assert done.code == 0
    with log.open(newline="") as file:
        losses = [float(row["validation_loss"]) for row in csv.DictReader(file)]
    best = losses.index(min(losses)) + 1
    assert 4 < len(losses) == best + 2 < 100
    assert f"{len(losses)}; stopped before 200; the network is that of epoch {best}" in done.out
    result = json.loads(path.read_text())
    assert (result["epochs_done"], result["epoch_kept"]) == (len(losses), best)
    assert result["validation_loss"] == min(losses)


def test_the_saved_network_in_python(gradcore: Gradcore, tmp_path: Path) -> None:
    """As the help of the command says, on the held-out part of the same seed."""
    import gradcore as gc
    from gradcore import data, io, nn
    from gradcore.train import predict

    path, result = tmp_path / "run", tmp_path / "result.json"
    options = ["--hidden", "8", "--lr", 0.05, "--early-stop", 2, "--seed", 3, "--quiet"]
    assert gradcore("train", "diabetes", *options, "--save", path, "--json", result) == (0, "", "")
    gc.random.seed(3)
    split = data.datasets.diabetes()
    model = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 1))
    io.load(path, {"run.EarlyStopping.best": model})
    scores = split.task.scores(predict(model, split.test_x), split.test_y)
    assert scores["r2"] == json.loads(result.read_text())["test_r2"]


def test_a_batch_may_be_larger_than_the_data(gradcore: Gradcore, tmp_path: Path) -> None:
    options = ["--epochs", 1, "--batch-size", 10**30, "--save", tmp_path / "run", "--quiet"]
    assert gradcore("train", "wine", *options) == (0, "", "")


def test_own_files_are_not_overwritten(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("x,y\n1,0.5\n2,1.5\n3,2.5\n")
    for option in ("--log", "--save", "--json"):
        line = gradcore.refused("train", "--data", path, "--epochs", 1, option, path, "--quiet")
        assert f"--data and {option} both name {path}; name two files" in line
    assert path.read_text() == "x,y\n1,0.5\n2,1.5\n3,2.5\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", 0], "--epochs"),
        (["--hidden", "64,x"], "'64,x' is not a list of layer widths such as 64,32"),
        (["--hidden", "0"], "is not a list of layer widths"),
        (["--lr", 0], "--lr"),
        (["--lr", "nan"], "not a positive number"),
        (["--lr", 1e300], "'--lr': 1e+300 is not a positive number up to 3e+38"),
        (["--weight-decay", -1], "not a number from 0 to 3e+38"),
        (["--weight-decay", 1e300], "'--weight-decay': 1e+300 is not a number from 0 to 3e+38"),
        (["--seed", -1], "--seed"),
        (["--activation", "step"], "'step' is not one of"),
        (["--optimizer", "newton"], "'newton' is not one of"),
        (["--rate", 1], "No such option: --rate"),
        (["--device", "tpu"], "no device is named 'tpu'; use auto, cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], "; or train with --device cpu"),
        (["--json", "missing/result.json"], "cannot write missing/result.json: No such file or directory"),
        (["--save", "missing/run"], "cannot write missing/run: No such file or directory"),
        (["--json", "."], "is a directory"),
        (["--json", ""], "the name of the file is empty"),
        (["--log", "log.txt"], "'log.txt' must end in .jsonl or .csv"),
        (["--data", "x.csv"], "digits and --data x.csv are two data sets; name one"),
        (["--task", "regression"], "--task is for --data FILE; leave it out with digits"),
        (["--log", "x.csv", "--json", "x.csv"], "--log and --json both name"),
    ],
)
def test_wrong_options_are_refused_before_training(gradcore: Gradcore, options: list[Any], words: str) -> None:
    assert words in gradcore.refused("train", "digits", *options)


def test_wrong_commands(gradcore: Gradcore) -> None:
    assert "No such command 'trane'" in gradcore.refused("trane")
    assert "name a data set (digits, wine, breast-cancer, diabetes), --data FILE" in gradcore.refused("train")
    assert "'iris' is not one of" in gradcore.refused("train", "iris")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_diverging_run_stops_with_one_line(gradcore: Gradcore, tmp_path: Path, optimizer: str) -> None:
    path = tmp_path / "result.json"
    options = ["--lr", 1e30, "--optimizer", optimizer, "--json", path, "--save", tmp_path / "run"]
    done = gradcore("train", "digits", *options)
    assert (done.code, done.out) == (1, "")
    (line,) = [line for line in done.err.splitlines() if line.strip() and not line.startswith("digits: ")]
    assert line.startswith("gradcore: training diverged: the loss is nan in epoch 1, step ")
    assert line.endswith("; try a smaller --lr")
    assert not list(tmp_path.iterdir())


def test_help_names_examples_and_imports_nothing_heavy(gradcore: Gradcore) -> None:
    for arguments in ([], ["train", "digits"]):
        done = gradcore(*arguments, "--help")
        assert done.code == 0
        assert "gradcore train digits --seed 0" in done.out
        assert max(map(len, done.out.splitlines())) <= 80
    program = (
        "import sys; sys.argv = ['gradcore', '--help']\n"
        "try: from gradcore.cli import main; main()\n"
        "finally: print([m for m in ('sklearn', 'tqdm', 'scipy', 'cupy', 'matplotlib') if m in sys.modules])"
    )
    assert python(program).out.splitlines()[-1] == "[]"


def test_version(gradcore: Gradcore) -> None:
    import gradcore as library

    assert gradcore("--version").out.strip() == library.__version__


@pytest.mark.parametrize(
    ("module", "package", "options"),
    [
        ("tqdm", "tqdm", []),
        ("sklearn.datasets", "scikit-learn", []),
        ("matplotlib.figure", "matplotlib", ["--plot", "x.png"]),
        ("tensorboardX", "tensorboardX", ["--tensorboard", "x"]),
    ],
)
def test_missing_packages_are_named(
    gradcore: Gradcore, monkeypatch: pytest.MonkeyPatch, module: str, package: str, options: list[str]
) -> None:
    for name in (module, "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    words = f"gradcore: {package} is not installed; run: pip install {package}"
    assert gradcore.refused("train", "digits", *options) == words


def test_without_typer() -> None:
    program = "import sys; sys.modules['typer'] = None\nfrom gradcore.cli import main; main()"
    words = "gradcore: typer is not installed; run: pip install typer\n"
    assert python(program) == (2, "", words)


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_pictures(gradcore: Gradcore, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"picture{suffix}"
        assert gradcore("train", name, "--epochs", 1, "--plot", path).code == 0
        assert path.read_bytes().startswith(start)
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".pdf", ".png", ".svg"]


def test_pictures_of_other_formats_are_refused(gradcore: Gradcore) -> None:
    words = "--plot picture.xyz: the name must end in one of .png, .svg, .pdf"
    assert words in gradcore.refused("train", "digits", "--plot", "picture.xyz")


def interrupted(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str, str]:
    """A long run that gets Ctrl-C; the process, its output, and its errors."""
    log = folder.parent / f"{folder.name}.csv"
    arguments = [COMMAND, "train", "wine", "--epochs", "1000000", "--log", log, *options]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and not (log.exists() and log.stat().st_size):  # until training has begun
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process, *process.communicate(timeout=60)


@installed
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("{}")
    process, out, err = interrupted(tmp_path, "--json", str(path))
    assert process.returncode == 130
    assert err.splitlines()[-1] == "gradcore: interrupted"
    assert "Traceback" not in err
    assert out == ""
    assert path.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [path]


@installed
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_interrupt_says_how_to_go_on(gradcore: Gradcore, tmp_path: Path) -> None:
    from gradcore import io

    path = tmp_path / "run.safetensors"
    process, out, err = interrupted(tmp_path, "--save", str(path))
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == f"gradcore: interrupted; saved to {path}; go on with --resume {path}"
    tensors, _ = io.read(path)
    epochs = int(tensors["run.epoch"]) + 2
    done = gradcore("train", "--resume", path, "--epochs", epochs)
    assert done.code == 0
    assert f"saved          {path}" in done.out
    assert int(io.read(path)[0]["run.epoch"]) == epochs
