"""What a training step may cost on CUDA, from the simulator's counters: the steps that bench/cuda_step.py shows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, counters: Any) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    import cuda_step

    yield cuda_step
    for name in ("cuda_step", "cuda_steps", "cuda_kernels", "timing"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("key", "launches"), [("mlp", 14), ("normal", 20)])
def test_a_training_step(bench: Any, key: str, launches: int) -> None:
    """Nothing is copied, waited for or asked of the driver; and the losses are those of the step by hand."""
    found = bench.measure(bench.NETWORKS[key])
    ours, by_hand = (dict(found[who]["counters"]) for who in ("gradcore", "by hand"))
    assert ours.pop("launches besides GEMMs") <= launches
    assert ours.pop("GEMMs") <= 8
    assert by_hand["bytes read"] <= ours.pop("bytes read") <= 1.1 * by_hand["bytes read"]
    assert by_hand["bytes written"] * 0.95 <= ours.pop("bytes written") <= 1.1 * by_hand["bytes written"]
    assert ours == dict.fromkeys(ours, 0)
    assert len(ours) == 5


def test_the_report_says_that_it_has_no_times(bench: Any) -> None:
    found = {"date": "today", "networks": {"mlp": bench.measure(bench.NETWORKS["mlp"])}}
    text = "\n".join(bench.report(found))
    assert "Counts, not times: no GPU was used" in text
    assert "at most 14 launches besides 8 GEMMs: pass" in text


def test_estimates_are_called_estimates(bench: Any) -> None:
    import roofline

    calls = [{"name": "copy", "read": 3.35e6, "written": 3.35e6, "flops": 0}]
    assert roofline.bound(calls[0], roofline.CARDS["H100 SXM"]) == pytest.approx(2.0)
    text = "\n".join(roofline.report({"date": "today", "networks": {"mlp": calls}}, "H100 SXM"))
    assert "An estimate, not a measurement" in text
    assert "estimate: at least, µs" in text
