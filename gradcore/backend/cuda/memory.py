"""Who holds the memory of a device: blocks that know their streams, the most that was in use, and limits.

CuPy's pool hands memory out, and does so without us until somebody asks for the peak or enters a second stream.  From
then on `allocate` stands before the pool and gives out blocks of type `Storage`.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import cupy

from gradcore.backend.sizes import parse_size

OutOfMemory = cupy.cuda.memory.OutOfMemoryError
Key = tuple[int, int]  # a stream: number of its device, and its pointer


class Storage(cupy.cuda.memory.UnownedMemory):  # type: ignore[misc]
    """A block of the pool, and the streams that use it.

    Attributes:
        block: the pool's own object; the memory goes back when that dies.
        stream, home: the stream that was current when it was allocated; the pool gives the memory to no other.
        made: the Segment in which it was last written; None where that was not done by us.
        users: the last Segment of each stream that used it.
    """

    def __init__(self, block: Any) -> None:
        super().__init__(block.ptr, block.size, None, block.device_id)
        self.block = block
        self.stream = cupy.cuda.get_current_stream()
        self.home: Key = block.device_id, self.stream.ptr
        self.made: Any = None
        self.users: dict[Key, Any] = {}

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        """Where other streams still use it, the block goes back when they have come to the events recorded here."""
        if ending():  # Python has emptied this module
            return
        late = [user.finished() for key, user in self.users.items() if key != self.home]
        if late:
            _deferred.append((self.block, late))
        else:
            _count(self.device_id, -self.size)


_deferred: deque[tuple[Any, list[Any]]] = deque()
_kept: dict[tuple[int, Key], tuple[Any, Any]] = {}
_below: Any = None  # the allocator that was there before ours


def track() -> None:
    """From now on blocks are Storage, unless the user puts another allocator in the place of ours."""
    global _below
    if _below is None:
        _below = cupy.cuda.get_allocator()
        cupy.cuda.set_allocator(allocate)


def allocate(size: int) -> Any:
    """What CuPy calls for each array."""
    if _deferred or _kept:
        _release()
    try:
        block = _below(size).mem
    except OutOfMemory:
        if not reclaim():
            raise
        block = _below(size).mem
    storage = Storage(block)
    _count(block.device_id, storage.size)
    return cupy.cuda.MemoryPointer(storage, 0)


def keep(block: Any, segment: Any) -> None:
    """Memory that is not Storage stays until a segment that used it is done."""
    _kept[id(block), segment.key] = block, segment


def _release() -> None:
    while _deferred and all([event.done for event in _deferred[0][1]]):  # noqa: C419
        _deferred.popleft()
    for key, (_, segment) in list(_kept.items()):
        if segment.event is not None and segment.event.done:
            _kept.pop(key, None)


def reclaim() -> bool:
    """Wait for the streams that keep memory from being used again; were there any?"""
    found = bool(_deferred or _kept)
    while _deferred:
        for event in _deferred.popleft()[1]:
            event.synchronize()
    for _, segment in list(_kept.values()):
        segment.finished().synchronize()
    _kept.clear()
    return found


# --- what is in use ---------------------------------------------------------------------------------------------------


class MemoryStats(NamedTuple):
    """Bytes of one device's memory, those of the user's own CuPy arrays included.

    Attributes:
        in_use: held by arrays.
        peak: the most that was in use since `reset_peak_memory_stats`; None before its first call.
        reserved: held by CuPy's pool: what is in use, and what is kept for the next arrays.
        limit: what the pool may hold: the limit that was set, or else all that the device has.
    """

    in_use: int
    peak: int | None
    reserved: int
    limit: int


class _Peak:
    """Live bytes as we count them, never less than what is in use, and the most that was in use."""

    def __init__(self, live: int) -> None:
        self.live = self.most = live


_peaks: dict[int, _Peak] = {}
_lock = threading.RLock()  # a finaliser may count while its thread counts


def _count(device: int, size: int) -> None:
    """More or fewer bytes.  We do not see older blocks go, so the pool is asked before we believe in a new peak."""
    peak = _peaks.get(device)
    if peak is None:
        return
    with _lock:
        peak.live += size
        if peak.live > peak.most:
            peak.live = _pool().used_bytes()
            peak.most = max(peak.most, peak.live)


def _pool() -> Any:
    return cupy.get_default_memory_pool()


def stats(device: int) -> MemoryStats:
    """What is in use on a device."""
    with cupy.cuda.Device(device) as where:
        pool, peak = _pool(), _peaks.get(device)
        limit = pool.get_limit() or where.mem_info[1]
        return MemoryStats(pool.used_bytes(), peak.most if peak else None, pool.total_bytes(), limit)


def reset_peak(device: int) -> None:
    """Count the peak from what is in use now."""
    track()
    with cupy.cuda.Device(device):
        _peaks[device] = _Peak(_pool().used_bytes())


def set_limit(device: int, size: int | float | str | None) -> None:
    """Let the pool hold no more than this."""
    with cupy.cuda.Device(device) as where:
        _pool().set_limit(_limit(size, where.mem_info[1]))


def _limit(size: int | float | str | None, total: int) -> int:
    """A number of bytes, from a size or a share of all; 0 for no limit."""
    if size is None:
        return 0
    if isinstance(size, float):
        found = int(size * total) if size <= 1 else 0
    else:
        found = parse_size(size)
    if found <= 0:
        raise ValueError(f"a memory limit is a size such as '4 GiB', or a share above 0 and up to 1.0, not {size!r}")
    return found


def empty_cache(device: int) -> None:
    """Give what no array holds back to the device."""
    reclaim()
    with cupy.cuda.Device(device):
        _pool().free_all_blocks()
