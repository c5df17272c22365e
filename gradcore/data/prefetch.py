"""Items prepared ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any


def prefetched(items: Iterator[Any], ahead: int) -> Generator[Any]:
    """The same items; while one is in use, a thread prepares up to `ahead` more.

    An exception of the thread is raised here, in its turn.  The thread ends when the generator is closed or dropped.

    Args:
        items: used by the thread only.
        ahead: 0 for no thread.

    Example:
        >>> list(prefetched(iter("abc"), 2))
        ['a', 'b', 'c']
    """
    if not ahead:
        yield from items
        return
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    room, stopped = threading.Semaphore(ahead), threading.Event()
    try:
        threading.Thread(target=_fill, args=(items, ready, room, stopped), name="prefetch", daemon=True).start()
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item
    finally:
        stopped.set()
        room.release()


def _fill(items: Iterator[Any], ready: Any, room: threading.Semaphore, stopped: threading.Event) -> None:
    try:
        while room.acquire() and not stopped.is_set():
            ready.put((next(items), None))
    except BaseException as error:
        ready.put((None, error))
