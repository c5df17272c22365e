"""Tells a watcher of each block of memory that CuPy's pool gives out and takes back."""

from __future__ import annotations

from typing import Any

import cupy

from gradcore.backend.base import Block, MemoryWatcher
from gradcore.backend.cuda.memory import Storage

UNIT = 512  # the pool rounds sizes up to this
OWN = (cupy.cuda.memory.PooledMemory, Storage)


class Watch(cupy.cuda.MemoryHook):  # type: ignore[misc]
    """While it is entered, the watcher is told of what this thread asks for on one device."""

    def __init__(self, device: int, watcher: MemoryWatcher) -> None:
        self.name = f"gradcore {id(self)}"  # CuPy keeps hooks by name
        self.device, self.watcher = device, watcher

    def malloc_postprocess(self, *, device_id: int, size: int, mem_ptr: int, **others: Any) -> None:
        """A block was asked for; its address is 0 where there is none."""
        if mem_ptr and device_id == self.device:
            self.watcher.allocated(mem_ptr, size)

    def free_postprocess(self, *, device_id: int, mem_ptr: int, **others: Any) -> None:
        """A block went back to the pool."""
        if device_id == self.device:
            self.watcher.freed(mem_ptr)

    def alloc_postprocess(self, *, device_id: int, mem_ptr: int, **others: Any) -> None:
        """The pool got memory from the device."""
        if mem_ptr and device_id == self.device:
            self.watcher.grown()


def block_of(device: int, array: Any) -> Block | None:
    """The pool's block under an array.  Its size is what was asked for, as far as the array that owns it tells."""
    if type(array) is not cupy.ndarray or array.device.id != device:
        return None
    while array.base is not None:
        array = array.base
    memory = array.data.mem
    if not isinstance(memory, OWN) or not memory.ptr:
        return None
    whole = -(-array.nbytes // UNIT) * UNIT == memory.size
    return Block(memory.ptr, array.nbytes if whole else memory.size, array)


def reserved(device: int) -> int:
    """Bytes that the pool holds."""
    with cupy.cuda.Device(device):
        return int(cupy.get_default_memory_pool().total_bytes())
