"""What an op needs besides its results while NumPy computes it: measured once for each kind of call, then known."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.op import Op
from gradcore.core.state import replaced

KIBI = 1024


def workspace(op: Op, kind: tuple[Any, ...], values: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Bytes beyond the results that are in use at the worst moment of an op on the CPU.

    NumPy allocates by itself, so the op runs a second time, alone, with `tracemalloc` watching.  The figure is in whole
    KiB, since what lies below that is Python's own objects, and it is kept for calls of the same kind.  Where somebody
    else traces already nothing is measured (it would change their figures), and what is not known yet is 0; so it is
    where the second run fails, for it may be that there is no memory left for it.

    Args:
        op: what ran.
        kind: all that it depends on: static parameters, did it write into arrays that were there before, and of each
            operand the layout of the array, or the type of what is none.
        values: its operands.
        outputs: its results.
    """
    known: dict[Any, int] = op.cache.get("workspace") or op.cache.setdefault("workspace", {})
    found = known.get(kind)
    if found is None:
        if tracemalloc.is_tracing():
            return 0
        params, reused, *_ = kind
        try:
            found = _measured(op, values, params, outputs, reused)
            if found and threading.active_count() > 1:  # what other threads ask for meanwhile is seen as well
                found = min(found, *[_measured(op, values, params, outputs, reused) for _ in range(2)])
        except Exception:
            return 0
        known[kind] = found
    return found


def _measured(op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: Sequence[Any], reused: bool) -> int:
    room = tuple([np.empty_like(output) for output in outputs]) if reused else None
    room = room if op.multiple or room is None else room[0]
    with replaced("hooks", []):  # ops inside this one were told when it ran
        tracemalloc.start(1)
        try:
            results = NUMPY.run(op, room, values, params)
            now, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    del results
    return (most - now) // KIBI * KIBI
