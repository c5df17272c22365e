"""A profile as JSON, and as a trace for Chrome and Perfetto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcore.memory.owners import Holder

if TYPE_CHECKING:
    from gradcore.memory.report import Profile


def as_json(p: Profile) -> dict[str, Any]:
    """Everything but the single ops, in values that JSON has."""
    figures = ("device", "peak", "peak_reserved", "resident", "live", "seconds")
    tables = ("ops", "modules", "saved", "timeline")
    return {
        **{name: getattr(p, name) for name in figures},
        "held_at_peak": p.by_kind(),
        "holders_at_peak": [_holder(holder) for holder in p.holders_at_peak],
        **{name: [row._asdict() for row in getattr(p, name)] for name in tables},
    }


def _holder(holder: Holder) -> dict[str, Any]:
    known = {} if holder.shape is None else {"shape": list(holder.shape), "dtype": str(holder.dtype)}
    return {**holder._asdict(), **known}


def write(path: str | Path, value: Any) -> None:
    """Write JSON to a file."""
    Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def trace(p: Profile) -> dict[str, Any]:
    """Ops as complete events and live bytes as a counter, in microseconds since the beginning."""
    return {"traceEvents": [*_ops(p), *_memory(p)], "displayTimeUnit": "ms"}


def _ops(p: Profile) -> Iterator[dict[str, Any]]:
    for span in p.spans:
        yield {
            "name": span.site.op,
            "cat": span.site.phase,
            "ph": "X",
            "ts": (span.start - p.start) * 1e6,
            "dur": span.seconds * 1e6,
            "pid": 0,
            "tid": 0,
            "args": {"module": span.site.module, "results": span.allocated, "workspace": span.workspace},
        }


def _memory(p: Profile) -> Iterator[dict[str, Any]]:
    for moment in p.timeline:
        yield {
            "name": f"memory on {p.device}",
            "ph": "C",
            "ts": moment.seconds * 1e6,
            "pid": 0,
            "args": {"bytes": moment.live},
        }
