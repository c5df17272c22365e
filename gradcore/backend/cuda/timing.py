"""Time as the device counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy


def device_seconds(index: int, run: Callable[[], Any], count: int) -> float:
    """Seconds per call between two events around `count` calls."""
    with cupy.cuda.Device(index):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(count):
            run()
        stop.record()
        stop.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, stop)) / 1e3 / count
