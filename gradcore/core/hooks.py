"""Hooks: the one seam for timing, memory accounting, NaN checks and NVTX ranges.

A hook sees every op that Eval performs in its thread, those of backward passes and optimiser steps included.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from gradcore.core.op import Op
from gradcore.core.state import pushed, state


class Hook:
    """Override what you need; both methods run around every op, on raw arrays."""

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        """Called before `op` computes."""

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        """Called with the results."""


def hooked(hook: Hook) -> AbstractContextManager[None]:
    """While the block runs, `hook` is told of every op of this thread."""
    return pushed(state.hooks, hook)
