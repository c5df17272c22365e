"""A profile as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradcore.backend.sizes import size_text
from gradcore.memory.owners import Holder

if TYPE_CHECKING:
    from gradcore.memory.report import Profile

ROWS = 10  # of each table; the rest is in `json()`


def text(profile: Profile) -> str:
    """All tables, below the figures in one line."""
    return "\n".join(_lines(profile))


def _lines(p: Profile) -> Iterator[str]:
    yield f"peak {size_text(p.peak)} on {p.device}, of which {size_text(p.resident)} were there before"
    yield f"{_ms(p.seconds)} ms, the profile's own time included"
    if p.peak_reserved != p.peak:
        yield f"CuPy's pool held {size_text(p.peak_reserved)}"
    kinds = [(kind, size_text(size), f"{size / max(p.peak, 1):.0%}") for kind, size in p.by_kind().items()]
    yield from table(("held at the peak", "bytes", "share"), kinds)
    several = len({r.line for r in p.saved}) > 1  # one line for all tells nothing
    holders = [(_holder(h), size_text(h.bytes), _short(h.line) if several else "") for h in p.holders_at_peak]
    yield from table(("the largest holders", "bytes", "line" if several else ""), holders, left=(0, 2))
    saved = [(r.op, str(r.times), size_text(r.bytes), _short(r.line) if several else "") for r in p.saved]
    yield from table(("saved for backward", "times", "bytes", "line" if several else ""), saved, left=(0, 3))
    ops = [(r.op, r.phase, str(r.calls), _ms(r.seconds), size_text(r.allocated), size_text(r.workspace)) for r in p.ops]
    yield from table(("op", "phase", "calls", "ms", "results", "workspace"), ops, left=(0, 1))
    rows = sorted(p.modules, key=lambda r: -r.saved)
    modules = [
        (r.module or "(in no module)", str(r.calls), _ms(r.seconds), size_text(r.allocated), size_text(r.saved))
        for r in rows
    ]
    yield from table(("module", "ops", "ms", "results", "saved"), modules)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: tuple[int, ...] = (0,)) -> Iterator[str]:
    """Aligned columns under a head, after an empty line; columns go to the right, but those in `left`."""
    if not rows:
        return
    shown = rows[:ROWS]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    yield ""
    for row in (head, *shown):
        cells = [
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    if len(rows) > ROWS:
        yield f"… and {len(rows) - ROWS} more"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}"


def _named(op: str, module: str) -> str:
    return f"{op} in {module}" if module else op


def _holder(h: Holder) -> str:
    """The kind of a holder, and what is known of it."""
    array = "" if h.shape is None else f"{h.dtype}{list(h.shape)}"
    return " ".join(word for word in (h.kind, h.name or _named(h.op, h.module), array) if word)


def _short(line: str) -> str:
    """A user's line without the folders of its file and without its text."""
    where = line.partition(", in ")[0]
    return Path(where).name if where else ""
