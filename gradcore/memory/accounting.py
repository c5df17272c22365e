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

import numpy as np

from gradcore.backend import NUMPY, Backend, Device, backend_on
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Op
from gradcore.memory.ledger import LATER, LAYOUTS, AnyHeld, Held, HeldArray, Ledger
from gradcore.memory.owners import Label, alive
from gradcore.memory.workspace import KIBI, workspace


class Account(Hook):
    """Exact bytes of one device while it is open, as far as this thread asks for them.

    Attributes:
        device: its name.
        resident: what was alive at the beginning: of all tensors, cells and records, and of all CuPy arrays.
        ledger: where all is noted.
    """

    sees_into_pulls = False

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.device = str(backend.device)
        self.resident = 0
        self.ledger = Ledger()
        self.note, self.later = self.ledger.note, self.ledger.later
        self._begin, self._result, self._end = self.ledger.begin, self.ledger.result, self.ledger.end
        self._blocks: dict[int, Any] = {}

    @property
    def live(self) -> int:
        """Bytes that were asked for and are alive now, resident state included."""
        return self.ledger.catch_up().live

    @property
    def peak(self) -> int:
        """The most that was live at once since the beginning, or `reset_peak()`; workspace inside ops included."""
        return self.ledger.catch_up().peak

    @property
    def op_peak(self) -> int:
        """Of the last op: the most that was live during it beyond what was live before it."""
        return self.ledger.catch_up().op_peak

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
        self.ledger.peak = self.live

    @contextmanager
    def opened(self, resident: bool) -> Iterator[None]:
        """Count while the block runs."""
        if resident:
            self._meet_residents()
        self.reset_peak()
        self.resident = self.live
        try:
            with self.backend.watched(self):
                yield
        finally:
            self.ledger.catch_up()
            self._blocks.clear()

    def _meet_residents(self) -> None:
        """Apart from `opened`, whose variables live as long as the block."""
        for array, label in alive(self.device):
            self.meet(array, label)

    def meet(self, array: Any, label: Label = LATER) -> AnyHeld | None:
        """The block that an array lives in; counted from now on, if it is new."""
        raise NotImplementedError

    def find(self, array: Any) -> AnyHeld | None:
        """The block that an array lives in, if it is counted."""
        raise NotImplementedError

    def operands(self, values: Sequence[Any]) -> None:
        """An op is about to run."""

    def results(
        self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> tuple[int, list[Any]]:
        """An op has run: bytes of workspace that are no blocks, and the blocks of its results."""
        raise NotImplementedError

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        self.operands(values)
        self.later((self._begin,))

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        workspace, results = self.results(op, values, params, outputs)
        for held in results:
            self.later((self._result, held))
        self.later((self._end, workspace))
        if self.ledger.is_long:
            self.ledger.catch_up()

    def made(self, array: Any) -> None:
        pass

    def allocated(self, key: int, size: int) -> None:
        pass

    def freed(self, key: int) -> None:
        pass

    def grown(self) -> None:
        pass


class CpuAccount(Account):
    """Counts arrays that own memory, from the op that makes them to their death."""

    _blocks: dict[int, HeldArray]
    _traced = 0  # the peak of somebody's `tracemalloc` before an op
    _operands: tuple[int, list[Any]] = 0, []  # the `id` of its operands, and their layouts

    def meet(self, array: Any, label: Label = LATER) -> AnyHeld | None:
        held = self._blocks.get(id(array))
        if held is not None and held() is array:
            return held.block or held
        if not isinstance(array, np.ndarray):
            return None
        held = self._new(array, label)
        if held.block is None:
            self.note(held)
        return held.block or held

    def _new(self, array: Any, label: Label) -> HeldArray:
        """An array that was not met before; it is for the caller to note it, but not what it is a view of."""
        owner = array if array.base is None else self.backend.block_of(array).owner  # type: ignore[union-attr]
        held = HeldArray(array, self.note) if owner is array else HeldArray(array)
        held.block = None if owner is array else self.meet(owner, label)  # type: ignore[assignment]
        held.size, held.layout = array.nbytes, LAYOUTS[array.shape, array.dtype, array.strides]
        held.label, held.there = label, False
        self._blocks[id(array)] = held  # stays when the array dies, until another one has its id
        return held

    def find(self, array: Any) -> AnyHeld | None:
        block = self.backend.block_of(array)
        held = None if block is None else self._blocks.get(block.key)
        return held if held is not None and held() is block.owner else None  # type: ignore[union-attr]

    def made(self, array: Any) -> None:
        self.later((self.ledger.at, perf_counter()))
        self.meet(array)

    def operands(self, values: Sequence[Any]) -> None:
        blocks = self._blocks
        layouts: list[Any] = []
        for value in values:
            if type(value) is np.ndarray:
                held = blocks.get(id(value))
                if held is None or held() is not value:
                    self.meet(value, INPUT)
                    held = blocks[id(value)]
                layouts.append(held.layout)
            else:
                layouts.append(type(value))
        self._operands = id(values), layouts
        if tracemalloc.is_tracing():
            self._traced = tracemalloc.get_traced_memory()[1]

    def results(
        self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> tuple[int, list[Any]]:
        if not outputs or type(outputs[0]) is not np.ndarray:
            return 0, []
        blocks, found = self._blocks, []
        if self._operands[0] != id(values):  # another op ran inside this one
            self.operands(values)
        first = blocks.get(id(outputs[0]))
        reused = first is not None and first() is outputs[0]
        extra = workspace(op, (params, reused, *self._operands[1]), values, outputs)
        if self._traced:
            extra = max(extra, self._seen())
        for y in outputs:
            if type(y) is np.ndarray:
                held = blocks.get(id(y))
                if held is None or held() is not y:
                    held = self._new(y, LATER)
                found.append(held.block or held)
        return extra, found

    def _seen(self) -> int:
        """The workspace of an op that set a new peak of somebody's `tracemalloc`; of another it does not matter."""
        now, most = tracemalloc.get_traced_memory()
        before, self._traced = self._traced, 0
        return (most - now) // KIBI * KIBI if most > before else 0

    def pulled(self, record: Any, parts: Sequence[Any]) -> None:
        for part in parts:
            self.meet(part)


INPUT = Label("input")


class CudaAccount(Account):
    """Counts what CuPy's pool gives out and takes back."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
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

    def meet(self, array: Any, label: Label = LATER) -> AnyHeld | None:
        block = self.backend.block_of(array)
        if block is None:
            return None
        if block.key not in self._blocks:
            self._add(block.key, Held(block.size, label, LAYOUTS[array.shape, array.dtype, array.strides]))
        return self._blocks[block.key]  # type: ignore[no-any-return]

    def find(self, array: Any) -> AnyHeld | None:
        block = self.backend.block_of(array)
        return None if block is None else self._blocks.get(block.key)

    def allocated(self, key: int, size: int) -> None:
        self.freed(key)  # what had this address before is gone, though nobody said so
        self._add(key, Held(size, LATER))

    def _add(self, key: int, held: Held) -> None:
        self._blocks[key] = held
        self._tell(held)

    def freed(self, key: int) -> None:
        held = self._blocks.pop(key, None)
        if held is not None:
            self._tell(held)

    def _tell(self, held: Held) -> None:
        self.later((self.ledger.at, perf_counter()))
        self.note(held)

    def results(
        self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> tuple[int, list[Any]]:
        found = [(held, y) for y in outputs if (held := self.find(y)) is not None]
        for held, y in found:
            held.layout = held.layout or LAYOUTS[y.shape, y.dtype, y.strides]
        return 0, [held for held, _ in found]


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
