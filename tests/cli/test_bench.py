"""gradcore bench and gradcore warmup, as far as they go without a GPU; no test looks at a time."""

from __future__ import annotations

import importlib.util
import json

import pytest

from cli.common import Gradcore

pytest.importorskip("typer", reason="the cli extra is not installed")
from gradcore.backend import Device
from gradcore.cli import bench, measuring

TINY = ("--size", 0.01, "--product", 8, "--count", 1)
without_cupy = pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block of calls, and small networks."""
    monkeypatch.setattr(measuring, "BLOCKS", 1)
    monkeypatch.setattr(measuring, "SIZES", (6, 5, 4, 3))


def test_json(gradcore: Gradcore) -> None:
    done = gradcore("bench", *TINY, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert (found["device"], found["name"], found["simulated"]) == ("cpu", "NumPy", False)
    assert {"relu", "gelu, gradient", "layer_norm, gradient", "AdamW", "dropout"} <= found["kernels"].keys()
    positive = [found["copy"], *found["products"].values(), *found["steps"].values()]
    positive += [kernel["seconds"] for kernel in found["kernels"].values()]
    assert min(positive) > 0
    assert len(found["steps"]) == 2


def test_bytes_are_those_of_operands_and_results() -> None:
    sizes = measuring.Sizes(0.0625, 8, 1)
    size = 2**16
    found = measuring._kernels(Device("cpu"), sizes)
    assert {name: found[name]["bytes"] for name in ("relu", "relu, gradient", "sum", "AdamW")} == {
        "relu": 2 * size,
        "relu, gradient": 3 * size,
        "sum": size + 4,
        "AdamW": pytest.approx(7 * size, abs=64),
    }


def test_the_table(gradcore: Gradcore) -> None:
    out = gradcore("bench", *TINY).out
    for text in ("cpu: NumPy", "GB/s, read and written", "of the copy", "TFLOP/s", "steps/s"):
        assert text in out
    assert "say nothing about a GPU" not in out


def test_a_simulated_device_is_named_as_such() -> None:
    found = {"device": "cuda:0", "name": "a CPU", "simulated": True, "MiB": 1, "copy": 1e9}
    lines = list(bench._lines({**found, "kernels": {}, "products": {}, "steps": {}}))
    assert "A CPU plays this device: the times below say nothing about a GPU." in lines


def test_devices_that_are_not_there(gradcore: Gradcore) -> None:
    assert "no device is named 'tpu'" in gradcore.refused("bench", "--device", "tpu")
    assert "only CUDA kernels are compiled ahead" in gradcore.refused("warmup", "--device", "cpu")


@without_cupy
@pytest.mark.parametrize("arguments", [("bench", "--device", "cuda"), ("warmup",)])
def test_without_cupy(gradcore: Gradcore, arguments: tuple[str, ...]) -> None:
    assert "CuPy is not installed; pip install 'gradcore[cuda13]'" in gradcore.refused(*arguments)
