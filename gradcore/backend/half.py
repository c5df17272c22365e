"""Sixteen-bit floats: operands and results of 16 bits, everything between of 32, rounded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

HALF = np.dtype(np.float16)
SINGLE = np.dtype(np.float32)


def run_half(xp: Any, op: Any, out: Any, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
    """Perform `op` on operands of which some are float16."""
    wide = [_widened(xp, value) for value in values]
    if out is None:
        results = op.impl(xp, None, *wide, *params)
        return _narrowed(xp.np, results, op.visible if op.visible >= 0 else None)
    outs = out if isinstance(out, tuple) else (out,)
    room = tuple([xp.scratch(o.shape, SINGLE) if o.dtype == HALF else o for o in outs])
    op.impl(xp, room if isinstance(out, tuple) else room[0], *wide, *params)
    for narrow, result in zip(outs, room, strict=True):
        if narrow is not result:
            xp.np.copyto(narrow, result, casting="same_kind")
    return out


def _widened(xp: Any, value: Any) -> Any:
    if type(value) is float or type(value) is int:  # weak: it takes the dtype of the arrays
        return float(HALF.type(value))
    if getattr(value, "dtype", None) is not HALF:
        return value
    room = xp.scratch(value.shape, SINGLE)
    xp.np.copyto(room, value)
    return room


def _narrowed(np: Any, results: Any, visible: int | None) -> Any:
    """Visible float32 results rounded to float16; auxiliary ones stay as they are."""
    if type(results) is not tuple:
        return np.asarray(results, HALF) if results.dtype == SINGLE else np.asarray(results)
    narrow = [r.astype(HALF) if r.dtype == SINGLE else r for r in results[:visible]]
    return tuple([np.asarray(r) for r in (*narrow, *(results[visible:] if visible is not None else ()))])
