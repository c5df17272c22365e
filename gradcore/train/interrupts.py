"""Ctrl-C and its like, in time for the running step to be finished."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


class Interrupts:
    """While the block runs, the first Ctrl-C is only noted; the second raises KeyboardInterrupt at once.

    The same holds for SIGTERM (`kill`, a scheduler that takes the machine back) and SIGHUP (a terminal that is closed).
    Only the main thread of Python gets signals; in another one, and where a signal is ignored or somebody else handles
    it, nothing changes.

    Attributes:
        noted: has there been one?

    Example:
        >>> import signal
        >>> with Interrupts() as interrupts:
        ...     signal.raise_signal(signal.SIGINT)
        ...     interrupts.noted
        True
    """

    def __init__(self) -> None:
        self.noted = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            ours = [number for number in SIGNALS if signal.getsignal(number) in DEFAULT]
            self.before = {number: signal.signal(number, self._note) for number in ours}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
