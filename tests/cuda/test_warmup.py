"""Kernels compiled ahead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gradcore as gc
from gradcore.train import warming

PROGRAM = """
import json
from gradcore.train import warming
every = warming.tasks
warming.tasks = lambda *args: [task for task in every(*args) if task[0] in {names!r}]
done = warming.warmup()
print(json.dumps(done._asdict()))
import gradcore as gc
model = gc.nn.Sequential(gc.nn.Linear(5, 7), gc.nn.ReLU(), gc.nn.Linear(7, 3)).to("cuda")
optimizer = gc.optim.AdamW(model.parameters())
x, labels = gc.ones(2, 5, device="cuda"), gc.tensor([0, 2], device="cuda")
gc.nn.functional.cross_entropy(model(x), labels).backward()
gc.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
from gradcore.backend.cuda.cache import cached_kernels
print(cached_kernels())
"""
NAMES = ["exp, float32", "sum, float32", "ReLU, float32"]


def run(folder: Path) -> tuple[dict[str, Any], int]:
    """A warm-up of a few tasks in a process of its own, and how many kernels there are after a step."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM.format(names=NAMES)],
        env={**os.environ, "CUPY_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    first, second = done.stdout.splitlines()
    return json.loads(first), int(second)


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    first, after_step = run(tmp_path)
    assert first["failed"] == {}
    assert first["kernels"] == len(list(tmp_path.glob("*.cubin"))) == after_step > 5
    assert first["folder"] == str(tmp_path)
    second, _ = run(tmp_path)
    assert (second["kernels"], second["failed"]) == (0, {})


def test_random_numbers_are_as_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "tasks", lambda *args: [("draw", lambda: gc.random.uniform((2,)))])
    gc.random.seed(7)
    expected = gc.random.uniform((3,)).numpy().tolist()
    gc.random.seed(7)
    assert warming.warmup().failed == {}
    assert gc.random.uniform((3,)).numpy().tolist() == expected


def test_what_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(warming, "tasks", lambda *args: [("one", broken), ("two", lambda: None)])
    assert warming.warmup().failed == {"one": "NotImplementedError: no such kernel"}


def test_it_covers_every_optimiser_and_loss() -> None:
    names = {name.partition(",")[0] for name, _ in warming.tasks("float32", gc.Device("cuda"))}
    assert {name for name in gc.optim.__all__ if isinstance(getattr(gc.optim, name), type)} - names <= {"Optimizer"}
    assert {name for name in gc.nn.__all__ if name.endswith("Loss")} <= names | {"CrossEntropyLoss"}
