"""gradcore doctor and gradcore bench on a CUDA device."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("typer", reason="the cli extra is not installed")
import gradcore as gc
from gradcore.cli import bench, doctor, measuring


def test_doctor_uses_the_device() -> None:
    report = doctor.examine()
    assert (report["device"], report["works"], report["problem"]) == ("cuda:0", True, None)
    assert report["cuda_devices"]["cuda:0"]["name"] == gc.cuda.get_device_name()
    assert report["cupy"] is not None
    assert "right on cpu, cuda:0" in doctor._table(report)


def test_doctor_finds_wrong_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc.Tensor, "__matmul__", lambda a, b: a)
    assert doctor.examine()["problem"] == "on cpu: a matrix product in float32 has 1.000244140625, not 32.0078125"


def test_bench_runs_everything_on_the_device(monkeypatch: pytest.MonkeyPatch, counters: Any) -> None:
    monkeypatch.setattr(measuring, "BLOCKS", 1)
    monkeypatch.setattr(measuring, "SIZES", (6, 5, 4, 3))
    found = measuring.measure(gc.Device("cuda"), measuring.Sizes(0.01, 8, 1))
    assert found["kernels"].keys() == measuring._kernels(gc.Device("cpu"), measuring.Sizes(0.01, 8, 1)).keys()
    assert set(found["products"]) == {"float32", "float16", "float64"}
    assert found["simulated"]
    assert "say nothing about a GPU" in "\n".join(bench._lines(found))
    assert counters()["d2h"] == 0


@pytest.mark.gpu
def test_timings(capsys: pytest.CaptureFixture[str]) -> None:
    """What `gradcore bench --device cuda` prints, to be read; no time is asserted."""
    found = measuring.measure(gc.Device("cuda"), measuring.Sizes(256, 4096, 10))
    with capsys.disabled():
        print("\n" + "\n".join(bench._lines(found)))  # noqa: T201 - it is there to be read
