"""Bytes in use, counted at our own allocation points: exact on both devices.

On CUDA every block that CuPy's pool gives out in this thread is seen, those inside ops included.  NumPy allocates by
itself, so on the CPU the results of ops are counted by the array that owns their memory, until that array dies; what an
op needs besides its results is measured once (`workspace`).

Outside by definition: the CUDA context, loaded kernels, memory inside BLAS, Python's own objects, and on the CPU arrays
that no op of gradcore has met.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from weakref import ref

import numpy as np

from gradcore.backend import NUMPY, Backend, Device, backend_on
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Op
from gradcore.memory.owners import OTHER, Label, alive
from gradcore.memory.workspace import KIBI, workspace


class Held:
    """A block of memory that is alive, or was.

    Slots:
        size: bytes that were asked for.
        label: whose it is.
        shape, dtype: of the array in it, where that is known.
    """

    __slots__ = ("dtype", "label", "shape", "size")

    def __init__(self, size: int, label: Label) -> None:
        self.size, self.label = size, label
        self.shape: Any = None
        self.dtype: Any = None


class HeldArray(ref[Any]):
    """The same of a NumPy array, with a weak reference to it.

    It is no plain `ref`: those keep an optimiser step from writing in place (`Cell.destination`), this must not.
    """

    __slots__ = ("dtype", "key", "label", "shape", "size")

    key: int
    size: int
    label: Label
    shape: Any
    dtype: Any


AnyHeld = Held | HeldArray
Event = tuple[float, AnyHeld, bool]  # when, which block, and was it asked for (or did it die)?


class Account(Hook):
    """Exact bytes of one device while it is open, as far as this thread asks for them.

    Attributes:
        device: its name.
        live: bytes that were asked for and are alive now, resident state included.
        resident: what was alive at the beginning: of all tensors, cells and records, and of all CuPy arrays.
        peak: the most that was live at once since then, or since `reset_peak()`; workspace inside ops included.
        op_peak: of the last op: the most that was live during it beyond what was live before it.
        label: whose the next blocks are.
        events: what was asked for and what died, if somebody sets it to a list.
    """

    sees_into_pulls = False

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.device = str(backend.device)
        self.live = self.resident = self.peak = self.op_peak = 0
        self.label = OTHER
        self.events: list[Event] | None = None
        self._blocks: dict[int, Any] = {}

    @property
    def reserved(self) -> int:
        """Bytes that CuPy's pool holds; on the CPU, where there is no pool, what is live."""
        return self.live

    @property
    def peak_reserved(self) -> int:
        """The most that CuPy's pool held; on the CPU, where there is no pool, the peak."""
        return self.peak

    def reset_peak(self) -> None:
        """Count the peak from what is live now."""
        self.peak = self.live

    @contextmanager
    def opened(self, resident: bool) -> Iterator[None]:
        """Count while the block runs."""
        if resident:
            self._meet_residents()
        self.resident = self.peak = self.live
        try:
            with self.backend.watched(self):
                yield
        finally:
            self._blocks.clear()

    def _meet_residents(self) -> None:
        for array, label in alive(self.device):
            self.meet(array, label)

    def meet(self, array: Any, label: Label) -> AnyHeld | None:
        """Count the memory of an array, if that is new; the block that it lives in."""
        raise NotImplementedError

    def find(self, array: Any) -> AnyHeld | None:
        """The block that an array lives in, if it is counted."""
        block = self.backend.block_of(array)
        return None if block is None else self._blocks.get(block.key)

    def made(self, array: Any) -> None:
        self.meet(array, self.label)

    def allocated(self, key: int, size: int) -> None:
        self._add(key, Held(size, self.label))

    def _add(self, key: int, held: AnyHeld) -> None:
        """A block is there; what had its number before is gone, though nobody said so."""
        if key in self._blocks:
            self.freed(key)
        self._blocks[key] = held
        self.live += held.size
        if self.events is not None:
            self.events.append((perf_counter(), held, True))

    def freed(self, key: int) -> None:
        held = self._blocks.pop(key, None)
        if held is not None:
            self.live -= held.size
            if self.events is not None:
                self.events.append((perf_counter(), held, False))

    def grown(self) -> None:
        pass


class CpuAccount(Account):
    """Counts arrays that own memory, from the op that makes them to their death."""

    _traced = 0  # the peak of somebody's `tracemalloc` before an op

    def meet(self, array: Any, label: Label) -> AnyHeld | None:
        known = self.find(array)
        if known is not None:
            return known
        return self._count(array if array.base is None else self.backend.block_of(array).owner, label)  # type: ignore[union-attr]

    def _count(self, array: Any, label: Label) -> HeldArray:
        """Count an array that owns its memory.  (As `_add`, without calls: it happens several times an op.)"""
        held = HeldArray(array, self._died)
        held.size, held.shape, held.dtype, held.label = array.nbytes, array.shape, array.dtype, label
        key = held.key = id(array)
        if key in self._blocks:
            self.freed(key)
        self._blocks[key] = held
        self.live += held.size
        if self.live > self.peak:
            self.peak = self.live
        if self.events is not None:
            self.events.append((perf_counter(), held, True))
        return held

    def find(self, array: Any) -> AnyHeld | None:
        known = self._blocks.get(id(array))
        return known if known is not None or getattr(array, "base", None) is None else super().find(array)

    def _died(self, held: Any) -> None:
        key = held.key
        if key in self._blocks and self._blocks[key] is held:
            del self._blocks[key]
            self.live -= held.size
            if self.events is not None:
                self.events.append((perf_counter(), held, False))

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        self._meet_all(values, INPUT)
        if tracemalloc.is_tracing():
            self._traced = tracemalloc.get_traced_memory()[1]

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        self.op_peak = 0
        if not outputs or type(outputs[0]) is not np.ndarray:
            return
        before = self.live
        extra = workspace(op, values, params, outputs, id(outputs[0]) in self._blocks)
        if self._traced:
            extra = max(extra, self._seen())
        self._meet_all(outputs, self.label)
        most = self.live + extra
        self.op_peak = most - before
        if most > self.peak:
            self.peak = most

    def _seen(self) -> int:
        """The workspace of an op that set a new peak of somebody's `tracemalloc`; of another it does not matter."""
        now, most = tracemalloc.get_traced_memory()
        before, self._traced = self._traced, 0
        return (most - now) // KIBI * KIBI if most > before else 0

    def pulled(self, record: Any, parts: Sequence[Any]) -> None:
        self._meet_all(parts, self.label)

    def _meet_all(self, values: Sequence[Any], label: Label) -> None:
        blocks = self._blocks
        for value in values:
            if type(value) is np.ndarray and id(value) not in blocks:
                if value.base is None:
                    self._count(value, label)
                else:
                    self.meet(value, label)


INPUT = Label("input")


class CudaAccount(Account):
    """Counts what CuPy's pool gives out and takes back."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._start = self._most = 0
        self._peak_reserved = self.reserved

    @property
    def reserved(self) -> int:
        return self.backend.reserved() or 0

    @property
    def peak_reserved(self) -> int:
        return self._peak_reserved

    def reset_peak(self) -> None:
        super().reset_peak()
        self._peak_reserved = self.reserved

    def grown(self) -> None:
        self._peak_reserved = max(self._peak_reserved, self.reserved)

    def meet(self, array: Any, label: Label) -> AnyHeld | None:
        block = self.backend.block_of(array)
        if block is None:
            return None
        if block.key not in self._blocks:
            held = Held(block.size, label)
            held.shape, held.dtype = array.shape, array.dtype
            self._add(block.key, held)
        return self._blocks[block.key]  # type: ignore[no-any-return]

    def allocated(self, key: int, size: int) -> None:
        super().allocated(key, size)
        self._most = max(self._most, self.live)
        self.peak = max(self.peak, self.live)

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        self._start = self._most = self.live

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        self.op_peak = self._most - self._start


def new_account(device: Device | str) -> Account:
    """An account of a device, not open yet.

    Raises:
        DeviceError: the device is not there.
    """
    backend = backend_on(device)
    return CpuAccount(backend) if backend is NUMPY else CudaAccount(backend)


@contextmanager
def account(device: Device | str = "cpu", resident: bool = True) -> Iterator[Account]:
    """Count the bytes in use on a device while the block runs, in this thread.

    On the CPU an op of a kind that was never counted before runs twice, the
    second time to measure its workspace; a `tracemalloc` that runs already is left alone, and then only the workspace
    of ops that set a new peak there is known.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        resident: look for what is alive already (all objects of the process are looked at, some milliseconds); else it
            is counted on the CPU when an op first meets it, and on CUDA not at all.

    Yields:
        An `Account`; its figures stay after the block.

    Raises:
        DeviceError: the device is not there.

    Example:
        >>> import gradcore as gc
        >>> x = gc.ones(256, 1024)
        >>> with gc.memory.account() as counted:
        ...     before = counted.live
        ...     y = gc.exp(x) + gc.sin(x)
        >>> (counted.peak - before) / x.data.nbytes, (counted.live - before) / x.data.nbytes
        (3.0, 1.0)
    """
    found = new_account(device)
    with found.opened(resident), hooked(found):
        yield found
