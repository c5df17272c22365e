"""Copies to a device: from the host, and from other devices."""

from __future__ import annotations

from collections import deque
from typing import Any

import cupy
import cupyx
import numpy as np

_HOST = 1  # cudaMemoryTypeHost
_copying: deque[tuple[Any, Any]] = deque()


def pin(array: Any) -> Any:
    """A copy of a NumPy array in pinned memory, from which the device copies while Python goes on."""
    out = cupyx.empty_pinned(array.shape, array.dtype)
    np.copyto(out, array)
    return out


def is_pinned(array: Any) -> bool:
    """Does a NumPy array lie in pinned memory, made by us or by another library?"""
    return bool(array.size) and cupy.cuda.runtime.pointerGetAttributes(array.ctypes.data).type == _HOST


def receive(array: Any, non_blocking: bool) -> Any:
    """An array of the host or of another device, on the current one: one copy, for which nobody waits."""
    if type(array) is cupy.ndarray:
        return _from_peer(array)
    if non_blocking and array.flags.c_contiguous and is_pinned(array):
        return _from_pinned(array)
    return cupy.array(array, order="C")  # through a pinned buffer of CuPy's, so `array` may change at once


def _from_pinned(array: Any) -> Any:
    """The device reads the array itself, which stays alive until then."""
    while _copying and _copying[0][0].done:
        _copying.popleft()
    out = cupy.empty(array.shape, array.dtype)
    out.data.copy_from_host_async(array.ctypes.data, array.nbytes)
    _copying.append((_event(), array))
    return out


def _from_peer(array: Any) -> Any:
    """The streams of both devices wait for each other, so that the memory is ready, and is not used again too early."""
    with array.device:
        array = cupy.ascontiguousarray(array)
        there, ready = cupy.cuda.get_current_stream(), _event()
    cupy.cuda.get_current_stream().wait_event(ready)
    out = cupy.empty(array.shape, array.dtype)
    out.data.copy_from_device_async(array.data, array.nbytes)
    there.wait_event(_event())
    return out


def _event() -> Any:
    """Where the current stream is now."""
    return cupy.cuda.get_current_stream().record(cupy.cuda.Event(disable_timing=True))
