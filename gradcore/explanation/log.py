"""What was computed: a hook that keeps the operands and results of every op.

Records keep only what their rules read.  An explanation shows every value, so it needs a log of the forward pass.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, NamedTuple

from gradcore.autodiff.record import Record
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Op
from gradcore.core.state import next_serial, user_frame

COMPREHENSIONS = (
    "<listcomp>",
    "<setcomp>",
    "<dictcomp>",
    "<genexpr>",
)  # functions of their own, some before Python 3.12


class Call(NamedTuple):
    """An instruction that called something which performed ops; a loop comes to it several times, so calls count."""

    code: CodeType
    offset: int
    number: int


@dataclass(eq=False, frozen=True)
class Application:
    """One op that was performed: raw operands and results, and what asked for it.

    `site` is the user's instruction, as records keep it; `call` is the same, or lies in the function that is explained.
    """

    op: Op
    operands: tuple[Any, ...]
    params: tuple[Any, ...]
    results: tuple[Any, ...]
    serial: int
    site: tuple[CodeType, int]
    call: Call


class Log(Hook):
    """The applications of one block, or of one call of a function with this code, in order."""

    def __init__(self, code: CodeType | None = None) -> None:
        self.code = code
        self.applications: list[Application] = []
        self.makers: dict[int, list[Application]] = {}  # id of a result -> who made it; results stay alive in here
        self.closed = 0
        self.count = 0
        self.called: FrameType | None = None  # what the latest call called

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        user = user_frame()
        site = user.f_code, user.f_lasti
        made = Application(op, tuple(values), params, outputs, next_serial(), site, self._call(user))
        self.applications.append(made)
        for output in outputs:
            self.makers.setdefault(id(output), []).append(made)

    def of(self, record: Record) -> Application | None:
        """The application that `record` remembers: a record is made, and numbered, right after its op is performed."""
        at = bisect_left(self.applications, record.serial, key=lambda a: a.serial) - 1
        if at < 0 or (self.closed and record.serial > self.closed):
            return None
        found = self.applications[at]
        return found if (found.op, found.site) == (record.pull.op, (record.code, record.offset)) else None

    def _call(self, user: FrameType) -> Call:
        """What the explained function, or else the user's, called; a comprehension counts as a function of its own."""
        called = sys._getframe(2)
        frame = self._own_frame(called) or user
        while called.f_back is not None and called.f_back is not frame:
            called = called.f_back
        if called is not self.called:
            self.called, self.count = called, self.count + 1
        if called.f_code.co_name in COMPREHENSIONS:
            frame = called
        return Call(frame.f_code, frame.f_lasti, self.count)

    def _own_frame(self, frame: FrameType | None) -> FrameType | None:
        while frame is not None and frame.f_code is not self.code:
            frame = frame.f_back
        return frame

    def maker(self, array: Any, before: float) -> Application | None:
        """The last application before a serial that made this array."""
        earlier = [a for a in self.makers.get(id(array), ()) if a.serial < before]
        return earlier[-1] if earlier else None


class _Latest(threading.local):
    """This thread's latest log."""

    log: Log | None = None


latest = _Latest()


@contextmanager
def told(log: Log) -> Iterator[None]:
    """While the block runs, the log is told of every op."""
    try:
        with hooked(log):
            yield
    finally:
        log.closed = next_serial()
        log.called = None  # a frame would keep its variables alive


@contextmanager
def keep_values() -> Iterator[None]:
    """Keep the values of all ops while the block runs, for `gradcore.explain`.

    Ops are slower inside, and nothing that they compute is freed until the next such block of this thread begins.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor(3.0, requires_grad=True)
        >>> with gc.keep_values():
        ...     y = x * x
        >>> gc.explain(y).gradients["x"]
        tensor(6., dtype=float32, device='cpu')
    """
    latest.log = Log()
    with told(latest.log):
        yield
