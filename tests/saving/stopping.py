"""A program that stops processes while they save.  It forks, so it needs a process of its own, without threads.

python stopping.py FILE SIGNAL TIMES prints the counts that were found, and how often a file had been left aside.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import gradcore as gc
from gradcore.io import atomic, read, save

SIZE = 20_000  # numbers in a state


class State:
    """Every number is the count: a state that is not complete shows."""

    def __init__(self, count: int) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {name: gc.tensor(np.full(SIZE, self.count, np.float32)) for name in ("a", "b")}

    def load_state_dict(self, values: Any) -> None:
        raise NotImplementedError


def save_count(path: Path, count: int) -> None:
    save(path, {"state": State(count)}, {"count": count})


def count_in(path: Path) -> int:
    """The count of the state in a file, which must be complete."""
    tensors, metadata = read(path)
    counts = {float(n) for tensor in tensors.values() for n in (tensor.numpy().min(), tensor.numpy().max())}
    assert counts == {metadata["count"]}
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"state.a": (SIZE,), "state.b": (SIZE,)}
    return int(metadata["count"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def saving(path: Path, start: int) -> int:
    """The id of a new process that saves counts from `start` on until it is stopped."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return child
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        for count in range(start, 10**9):
            save_count(path, count)
    finally:
        os._exit(1)


def main(path: Path, number: int, times: int) -> None:
    save_count(path, 0)
    rng = np.random.default_rng(0)
    found, aside = [0], 0
    for _ in range(times):
        child = saving(path, found[-1] + 1)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, number)
        assert os.waitpid(child, 0)[1] == (signal.SIGKILL if number == signal.SIGKILL else 1 << 8)
        found.append(count_in(path))
        if atomic.previous(path).exists():
            assert count_in(atomic.previous(path)) in (found[-1] - 1, found[-1])
        others = set(names(path.parent)) - {path.name, atomic.previous(path).name}
        assert len(others) <= 1
        aside += bool(others)
    sys.stdout.write(json.dumps([found, aside]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
