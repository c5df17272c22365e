"""Ctrl-C, with real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import gradcore as gc
from gradcore import io, nn, optim
from gradcore.train import Callback, Run, fit
from gradcore.train.interrupts import SIGNALS, Interrupts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")

PROGRAM = """
import sys, time
import gradcore as gc
from gradcore import nn, optim
from gradcore.train import Callback, Checkpoint, fit

path, pause = sys.argv[1], float(sys.argv[2])

class Tell(Callback):
    def after_step(self, run):
        self.step = run.step
        print("step", flush=True)

def loss(out, y):
    if tell.step >= 5:
        time.sleep(pause)
    return nn.functional.mse_loss(out, y)

tell = Tell()
tell.step = 0
model = nn.Linear(1, 1)
data = [(gc.ones(4, 1), gc.zeros(4, 1))] * 3
try:
    fit(model, loss, optim.SGD(model.parameters(), lr=1e-3), data, 10**9, callbacks=[tell, Checkpoint(path)])
except KeyboardInterrupt:
    print("interrupted after", tell.step, flush=True)
    sys.exit(130)
"""


def start(path: Path, pause: float) -> subprocess.Popen[str]:
    """The program, when it has done five steps."""
    command = [sys.executable, "-P", "-c", PROGRAM, str(path), str(pause)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(5)] == ["step\n"] * 5
    return process


@pytest.mark.parametrize("number", SIGNALS)
def test_the_running_step_is_finished_and_saved(tmp_path: Path, number: int) -> None:
    path = tmp_path / "run"
    process = start(path, pause=0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    last = int(out.splitlines()[-1].removeprefix("interrupted after "))
    tensors, _ = io.read(path)
    assert int(tensors["run.step"]) == last >= 5
    assert int(tensors["run.batches"]) == last % 3 or last % 3 == 0


def test_the_second_one_stops_at_once_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = start(path, pause=600)
    for _ in range(2):
        threading.Event().wait(0.3)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1] == "interrupted after 5"
    assert int(io.read(path)[0]["run.step"]) == 3  # the end of the first epoch
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


class Interrupt(Callback):
    def after_step(self, run: Run) -> None:
        signal.raise_signal(signal.SIGINT)


def train(*callbacks: Callback) -> list[object]:
    model = nn.Linear(1, 1)
    data = [(gc.ones(1, 1), gc.ones(1, 1))]
    return list(fit(model, nn.functional.mse_loss, optim.SGD(model.parameters()), data, 2, callbacks=callbacks))


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    train()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        train(Interrupt())
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None])
def test_a_signal_that_is_ignored_or_handled_stays_so(handler: Any) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert len(train(Interrupt())) == 2
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_train_without_a_handler() -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(len(train())))
    thread.start()
    thread.join()
    assert results == [2]


def test_the_second_raises() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        assert interrupts.noted
        signal.raise_signal(signal.SIGINT)
