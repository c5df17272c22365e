"""What changes while the library runs: the level stack of this thread, and one switch for all threads.

The eager path of every op asks one question, `switch.busy`: is anything unusual going on in *any* thread (a
transform, a capture, `no_grad`, a hook)?  If not, values are raw arrays and the op may take its short cut.  If so, it
looks at this thread's own state, and takes its general path where it must.  One attribute of one object is the cheapest
question that Python can ask (15 ns; a thread-local costs 40).
"""

from __future__ import annotations

import itertools
import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any


class Switch:
    """`busy` counts what is open in any thread: transforms, captures, `no_grad` blocks, hooks."""

    __slots__ = ("busy", "lock")

    def __init__(self) -> None:
        self.busy = 0
        self.lock = threading.Lock()

    def add(self, amount: int) -> None:
        with self.lock:
            self.busy += amount


class ThreadState(threading.local):
    """This thread's interpreters and modes; every entry is undone in a `finally`."""

    def __init__(self) -> None:
        self.levels: list[Any] = []  # open transforms, outermost first
        self.base: Any = None  # a Stage while one captures, else None: Eval
        self.recording = True  # False inside no_grad
        self.overlays: list[dict[Any, Any]] = []  # values of cells inside functional_call
        self.hooks: list[Any] = []  # told of every op that Eval performs
        self.regions: list[Any] = []  # open checkpoint regions, of each nest the innermost
        self.watch: Any = None  # told of the gradients of every backward pass, which stays fast


switch = Switch()
state = ThreadState()
next_serial: Callable[[], int] = itertools.count(1).__next__


def diverted() -> bool:
    """Is anything open in this thread that cells and ops must ask?  Hooks are only told; `no_grad` records less."""
    return bool(state.levels or state.overlays or state.regions or state.base is not None)


@contextmanager
def pushed(stack: list[Any], item: Any) -> Iterator[None]:
    """`item` on `stack` (one of this thread's) while the block runs."""
    switch.add(1)
    stack.append(item)
    try:
        yield
    finally:
        stack.remove(item) if stack[-1] is not item else stack.pop()
        switch.add(-1)


@contextmanager
def replaced(name: str, value: Any) -> Iterator[None]:
    """Field `name` of this thread's state is `value` while the block runs."""
    before = getattr(state, name)
    switch.add(1)
    setattr(state, name, value)
    try:
        yield
    finally:
        setattr(state, name, before)
        switch.add(-1)


class _InternalFiles(dict[str, bool]):
    """file name -> does it belong to gradcore?  A look-up costs 40 ns, so the tape can skip our own frames."""

    def __missing__(self, filename: str) -> bool:
        internal = filename.startswith((PACKAGE, KERNELS, "<gradcore")) or filename == contextmanager_file
        self[filename] = internal
        return internal


PACKAGE = str(Path(__file__).resolve().parents[1]) + "/"
KERNELS = str(Path(__file__).resolve().parents[2] / "kernels") + "/"
contextmanager_file = contextmanager.__code__.co_filename
INTERNAL = _InternalFiles()


def user_frame(depth: int = 1) -> FrameType:
    """The innermost frame outside gradcore (the outermost of ours where there is no other)."""
    frame = sys._getframe(depth + 1)
    while INTERNAL[frame.f_code.co_filename] and frame.f_back is not None:
        frame = frame.f_back
    return frame


def line_of(code: CodeType | None, offset: int) -> int:
    """Line number of the instruction at byte `offset` in `code`."""
    if code is None:
        return 0
    line = code.co_firstlineno
    for start, end, at in code.co_lines():
        if start <= offset < end and at is not None:
            line = at
    return line


def describe_site(code: CodeType | None, offset: int) -> str:
    """`file.py:12, in train: loss = model(x)`, for messages."""
    if code is None:
        return "an unknown line"
    number = line_of(code, offset)
    text = linecache.getline(code.co_filename, number).strip()
    where = f"{code.co_filename}:{number}, in {code.co_name}"
    return f"{where}: {text}" if text else where
