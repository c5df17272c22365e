"""gradcore train --device cuda."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.common import Gradcore

pytest.importorskip("typer", reason="the cli extra is not installed")
pytest.importorskip("tqdm", reason="the cli extra is not installed")
pytest.importorskip("sklearn", reason="the demo extra is not installed")


@pytest.fixture
def gradcore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gradcore:
    return Gradcore(monkeypatch, capsys)


def results(gradcore: Gradcore, folder: Path, *options: Any) -> list[dict[str, Any]]:
    """What a call writes to its JSON file, on the CPU and on CUDA."""
    found = []
    for device in ("cpu", "cuda"):
        path = folder / f"{device}.json"
        assert gradcore("train", *options, "--device", device, "--json", path, "--quiet") == (0, "", "")
        found.append(json.loads(path.read_text()))
    assert found[0]["device"] == "cpu"
    assert found[1]["device"].startswith("cuda:0 (")
    return found


def assert_alike(cpu: dict[str, Any], cuda: dict[str, Any], tolerance: float = 1e-3) -> None:
    assert cuda["loss"] == pytest.approx(cpu["loss"], rel=tolerance)
    assert cuda["epochs_done"] == cpu["epochs_done"]
    for name in ("test_accuracy", "test_r2"):
        if name in cpu:
            assert cuda[name] == pytest.approx(cpu[name], abs=max(0.005, tolerance))


def test_digits_ends_as_on_the_cpu(gradcore: Gradcore, tmp_path: Path) -> None:
    cpu, cuda = results(gradcore, tmp_path, "digits", "--seed", 0)
    assert cuda["epochs_done"] == cpu["epochs_done"] > 10
    assert cpu["test_accuracy"] > 0.97
    assert cuda["test_accuracy"] == pytest.approx(cpu["test_accuracy"], abs=0.005)


@pytest.mark.parametrize("name", ["digits", "wine", "breast-cancer", "diabetes"])
def test_every_data_set_trains_as_on_the_cpu(gradcore: Gradcore, tmp_path: Path, name: str) -> None:
    assert_alike(*results(gradcore, tmp_path, name, "--epochs", 2, "--seed", 0))


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (["--activation", "sigmoid", "--hidden", "", "--schedule", "cosine"], 1e-3),
        (["--activation", "tanh", "--hidden", "16,8", "--schedule", "onecycle", "--optimizer", "sgd"], 1e-3),
        (["--activation", "gelu", "--schedule", "step", "--optimizer", "adam", "--dtype", "float64"], 1e-9),
        (["--optimizer", "rmsprop", "--schedule", "plateau", "--early-stop", 3, "--dtype", "float16"], 2e-2),
        (["--optimizer", "adagrad", "--baseline"], 1e-3),
        (["--optimizer", "lion"], 1e-3),
    ],
)
def test_options(gradcore: Gradcore, tmp_path: Path, options: list[Any], tolerance: float) -> None:
    assert_alike(*results(gradcore, tmp_path, "wine", "--epochs", 4, *options), tolerance)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_own_examples(gradcore: Gradcore, tmp_path: Path, suffix: str) -> None:
    x = np.random.default_rng(0).standard_normal((60, 3))
    y = x @ [1.0, 2.0, 3.0]
    path = tmp_path / f"table{suffix}"
    if suffix == ".npz":
        np.savez(path, X=x, y=y)
    else:
        np.savetxt(path, np.column_stack([x, y]), delimiter=",", header="a,b,c,y", comments="")
    assert_alike(*results(gradcore, tmp_path, "--data", path, "--epochs", 3))


def test_the_table_the_log_and_the_picture(gradcore: Gradcore, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    log, picture = tmp_path / "log.csv", tmp_path / "result.png"
    done = gradcore("train", "wine", "--epochs", 2, "--device", "cuda:0", "--log", log, "--plot", picture)
    assert (done.code, done.err) == (0, "")
    assert "cuda:0 (" in done.out
    assert len(log.read_text().splitlines()) == 3
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_a_run_goes_on_on_any_device(gradcore: Gradcore, tmp_path: Path, first: str, then: str) -> None:
    path, whole, parts = (tmp_path / name for name in ("run.safetensors", "whole.json", "parts.json"))
    common = ["--schedule", "step", "--quiet"]
    assert gradcore("train", "wine", *common, "--device", first, "--epochs", 4, "--json", whole).code == 0
    assert gradcore("train", "wine", *common, "--device", first, "--epochs", 2, "--save", path).code == 0
    done = gradcore("train", "--resume", path, "--epochs", 4, "--device", then, "--json", parts, "--quiet")
    assert done == (0, "", "")
    expected, found = (json.loads(name.read_text()) for name in (whole, parts))
    assert_alike(expected, found)
    if first == then:
        assert found["loss"] == expected["loss"]


def test_auto_takes_the_device_that_is_there(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert gradcore("train", "wine", "--epochs", 1, "--json", path, "--quiet").code == 0
    assert json.loads(path.read_text())["device"].startswith("cuda:0 (")


def test_a_device_that_is_not_there(gradcore: Gradcore) -> None:
    line = gradcore.refused("train", "wine", "--device", "cuda:99")
    assert "device cuda:99 is not there; this machine has cuda:0" in line
    assert "; or train with --device cpu" in line


def test_running_out_of_memory_is_one_line(gradcore: Gradcore) -> None:
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.set_limit(pool.used_bytes() + 2**20)
    try:
        done = gradcore("train", "wine", "--device", "cuda", "--hidden", "4096,4096", "--epochs", 1, "--quiet")
    finally:
        pool.set_limit(0)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert "ran out of memory" in line
    assert gradcore("train", "wine", "--device", "cuda", "--epochs", 1, "--quiet") == (0, "", "")


def test_profile(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    assert gradcore("profile", "digits", "--device", "cuda", "--depth", 2, "--json", path, "--quiet") == (0, "", "")
    found = json.loads(path.read_text())
    assert found["device"] == "cuda:0"
    assert found["peak"] == sum(holder["bytes"] for holder in found["holders_at_peak"]) <= found["peak_reserved"]
