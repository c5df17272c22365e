"""Order between streams.

Work within one stream runs in order; work in two streams does not, unless one waits for an event of the other.  So we
cut the work of each thread into *segments*: what it gives to one stream before it turns to another.  A block of memory
remembers the segment in which it was last written and those that used it.  Before an op reads a block that another
stream wrote, its stream waits for the event at the end of that segment; before an op writes, it also waits for the
readers.  Memory that another stream used goes back to the pool only when that stream has come so far
(`memory.Storage`).  While a program has only one stream, `order.active` is False and none of this happens.

Blocks that are not Storage, because they are older or come from elsewhere, are taken as one: what writes into one of
them is waited for by all who use any.  They are kept until their users in other streams are done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cupy

from gradcore.backend.cuda import memory
from gradcore.backend.cuda.memory import Key, Storage
from gradcore.backend.device import StreamError


class Segment:
    """Work that one thread gave to one stream without turning to another.

    Attributes:
        stream: the CuPy stream.
        key: its device and its pointer.
        event: recorded when the segment ended; None while it is open.
        awaited: keys of the streams that wait for its end already.
    """

    def __init__(self, stream: Any, key: Key) -> None:
        self.stream = stream
        self.key = key
        self.event: Any = None
        self.awaited: set[Key] = set()

    def finished(self) -> Any:
        """An event after all of its work; a new one for each call while it is open."""
        return self.event or _record(self.stream, self.key[0])

    def close(self) -> None:
        """No more work follows."""
        self.event = self.finished()

    def wait(self, other: Segment) -> None:
        """What follows in this stream comes after `other`."""
        if other.key == self.key or self.key in other.awaited:
            return
        self.stream.wait_event(other.finished())
        if other.event is not None:
            other.awaited.add(self.key)


def _record(stream: Any, device: int) -> Any:
    with cupy.cuda.Device(device):
        return stream.record(cupy.cuda.Event(disable_timing=True))


class Order:
    """Is order between streams kept?  Is foreign work an error?"""

    active = False
    checking = False


order = Order()
_local = threading.local()


class Older:
    """All blocks of a device that are not Storage: who wrote one last, and who used any."""

    def __init__(self, made: Segment) -> None:
        self.made = made
        self.users: dict[Key, Segment] = {}


_older: dict[int, Older] = {}


def activate() -> None:
    """Keep order between streams from now on."""
    if not order.active:
        memory.track()
        order.active = True


def current(device: int) -> Segment:
    """The open segment of this thread; the old one ends where the thread has turned to another stream."""
    stream = cupy.cuda.get_current_stream()
    key = device, stream.ptr
    segment = getattr(_local, "segment", None)
    if segment is None or segment.key != key:
        leave()
        segment = _local.segment = Segment(stream, key)
    return segment


@contextmanager
def entered(stream: Any) -> Iterator[Any]:
    """What this thread does in the block goes to `stream`, or to a new one."""
    activate()
    leave()
    stream = cupy.cuda.Stream(non_blocking=True) if stream is None else stream
    with stream:
        try:
            yield stream
        finally:
            leave()


@contextmanager
def checking() -> Iterator[None]:
    """In the block, arrays that others made in another stream are an error."""
    activate()
    old, order.checking = order.checking, True
    try:
        yield
    finally:
        order.checking = old


def leave() -> None:
    """End this thread's segment."""
    segment = getattr(_local, "segment", None)
    if segment is not None:
        segment.close()
        _local.segment = None


def ordered(device: int, function: Any, args: Sequence[Any], reads: Sequence[Any], writes: Any = None) -> Any:
    """`function(*args)` after all that wrote `reads` and all that used `writes`; its results remember this segment."""
    segment = current(device)
    for array in reads:
        if type(array) is cupy.ndarray:
            _use(segment, array.data.mem, False)
    for array in _arrays(writes):
        _use(segment, array.data.mem, True)
    results = function(*args)
    for array in _arrays(results):
        block = array.data.mem
        if type(block) is Storage and block.made is None:
            block.made = segment
    return results


def _arrays(values: Any) -> list[Any]:
    return [x for x in (values if type(values) is tuple else (values,)) if type(x) is cupy.ndarray]


def _use(segment: Segment, block: Any, writes: bool) -> None:
    if type(block) is Storage:
        if block.made is None:
            block.made = _foreign(segment, block)
        _wait(segment, block, writes)
    else:
        _wait(segment, _others(segment), writes)
        if segment.key[1] != cupy.cuda.Stream.null.ptr:
            memory.keep(block, segment)


def _wait(segment: Segment, uses: Storage | Older, writes: bool) -> None:
    segment.wait(uses.made)
    if writes:
        for user in list(uses.users.values()):
            segment.wait(user)
        uses.made = segment
        uses.users = {}
    uses.users[segment.key] = segment


def _others(segment: Segment) -> Older:
    device = segment.key[0]
    if device not in _older:
        null = cupy.cuda.Stream.null
        made = Segment(null, (device, null.ptr))
        made.close()
        _older[device] = Older(made)
    return _older[device]


def _foreign(segment: Segment, block: Storage) -> Segment:
    """The writer of an array that was not made by us: its home stream, as far as that has come by now."""
    if block.home == segment.key:
        return segment
    if order.checking:
        raise StreamError(
            f"an array that was made in stream {block.home[1]:#x}, and not by gradcore, is used in stream "
            f"{segment.key[1]:#x}; nothing says that it is ready. Make it with gradcore's functions under `with "
            "gradcore.cuda.stream(s):`, or use it in its own stream"
        )
    made = Segment(block.stream, block.home)
    made.close()
    return made


def adopt(array: Any) -> None:
    """An array from elsewhere is ready for this thread's stream; other streams wait for it."""
    if order.active:
        segment = current(array.device.id)
        _others(segment).made = segment
