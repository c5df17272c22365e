"""What happened to memory, in order: noted at once, added up later.

A block is noted when it comes and when it goes, and anything else as a method with its arguments.  While a step runs
that is all: a weak reference whose callback is the `append` of a list is as cheap as Python can be.  `catch_up` then
goes through the list and calls what it finds, as if it were happening now.  So whoever profiles adds little to the
step, and works out owners and peaks when somebody asks.

The list is flat, with a method followed by its arguments: with a tuple for each, a fifth of a profile's time went to
Python's collector of garbage, which runs the more often the more objects stay.
"""

from __future__ import annotations

from itertools import islice
from types import MethodType
from typing import Any
from weakref import ref

from gradcore.memory.owners import OTHER, Label


class Layout:
    """Shape, dtype and strides of an array; equal ones are one object, so they are quick to compare and to hash."""

    __slots__ = ("dtype", "shape", "strides")

    def __init__(self, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.strides = shape, dtype, strides


class _Layouts(dict[Any, Layout]):
    def __missing__(self, key: Any) -> Layout:
        return self.setdefault(key, Layout(*key))


LAYOUTS = _Layouts()


class Held:
    """A block of memory that is alive, or was.

    Slots:
        size: bytes that were asked for.
        label: whose it is.
        there: is it alive, as far as the ledger has come?
        layout: of the array in it; None where that is not known.
    """

    __slots__ = ("label", "layout", "size", "there")

    def __init__(self, size: int, label: Label, layout: Layout | None = None) -> None:
        self.size, self.label, self.layout = size, label, layout
        self.there = False


class HeldArray(ref[Any]):
    """The same of a NumPy array, with a weak reference to it.

    It is no plain `ref`: those keep an optimiser step from writing in place (`Cell.destination`), this must not.

    Slots:
        block: where the array is a view, of what it is a view of; else None.
    """

    __slots__ = ("block", "label", "layout", "size", "there")

    size: int
    label: Label
    layout: Layout
    there: bool
    block: HeldArray | None


AnyHeld = Held | HeldArray
Event = tuple[float, AnyHeld, bool]  # when, which block, and was it asked for (or did it die)?
LATER = Label("other")  # the label that the ledger has when it comes to the block
MANY = 500_000  # items of the list; no more wait


class Ledger:
    """Bytes that are live, and the most that were.

    Attributes:
        note: takes a block: it came, or it went.
        later: takes methods, each with its arguments after it, in one tuple or list.
        live: bytes that were asked for and are alive.
        peak: the most that was live at once.
        op_peak: of the last op: the most that was live during it beyond what was live before it.
        label: whose the next blocks are.
        now: when that was, in seconds of `perf_counter`.
        events: what was asked for and what died, if somebody sets it to a list.
    """

    def __init__(self) -> None:
        self._noted: list[Any] = []
        self.note, self.later = self._noted.append, self._noted.extend
        self.live = self.peak = self.op_peak = 0
        self.label = OTHER
        self.now = 0.0
        self.events: list[Event] | None = None
        self._before = self._most = 0  # live before an op, and the most during it

    def catch_up(self) -> Ledger:
        """Add up what was noted; the ledger itself."""
        noted = self._noted[:]
        del self._noted[: len(noted)]  # blocks that go meanwhile come after these
        items = iter(noted)
        for item in items:
            if type(item) is MethodType:
                item(*islice(items, item.__code__.co_argcount - 1))
            else:
                self.count(item)
        return self

    @property
    def is_long(self) -> bool:
        """Do so many notes wait that they take memory?"""
        return len(self._noted) > MANY

    def at(self, now: float) -> None:
        """What follows was at this time."""
        self.now = now

    def count(self, held: AnyHeld) -> None:
        """A block has come, or gone."""
        held.there = not held.there
        if held.there:
            if held.label is LATER:
                held.label = self.label
            self.live += held.size
            self._rise(self.live)
        else:
            self.live -= held.size
        if self.events is not None:
            self.events.append((self.now, held, held.there))

    def _rise(self, live: int) -> None:
        self._most = max(self._most, live)
        self.peak = max(self.peak, live)

    def begin(self) -> None:
        """An op begins."""
        self._before = self._most = self.live

    def result(self, held: AnyHeld) -> None:
        """The op has a result, which may be new."""
        if not held.there:
            self.count(held)

    def end(self, workspace: int) -> None:
        """The op has ended; what it needed besides is no block."""
        self._rise(self.live + workspace)
        self.op_peak = self._most - self._before
