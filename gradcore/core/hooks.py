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
    """Override what you need; `before` and `after` run around every op, on raw arrays, the others around records.

    A record whose backward has a generated short cut takes it where every hook has `sees_into_pulls = False`, and is
    told as one op, with the cotangent and the saved values as operands; else hooks see each op of its rule.
    """

    sees_into_pulls = True

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        """Called before `op` computes; no `after` follows where it fails, or where a short cut gives way."""

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        """Called with the results."""

    def inside(self, node: Any, values: Sequence[Any], outputs: tuple[Any, ...]) -> None:
        """Called with a node of the body of a `scan`, `cond` or `call` that was performed, on raw arrays."""

    def recorded(self, record: Any, outputs: Sequence[Any]) -> None:
        """Called when an op was recorded, with its outputs (of the level below: raw arrays at the bottom)."""

    def pulling(self, record: Any, g: Any) -> None:
        """Called before a backward pass takes the cotangent `g` through a record."""

    def pulled(self, record: Any, parts: Sequence[Any]) -> None:
        """Called with the cotangents of its operands (None where there is none); with nothing where that failed."""


def hooked(hook: Hook) -> AbstractContextManager[None]:
    """While the block runs, `hook` is told of every op of this thread."""
    return pushed(state.hooks, hook)
