"""What a profile found: figures, tables, text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gradcore.core.state import describe_site
from gradcore.memory.owners import KINDS, Holder, Label, holder_of

if TYPE_CHECKING:
    from types import CodeType

    from gradcore.memory.accounting import Account
    from gradcore.memory.attribution import Attribution
    from gradcore.memory.ledger import AnyHeld, Event


class Site:
    """An op at a place of the program: its phase, the user's instruction, the module.

    Attributes:
        working, result, saved: labels of its workspace, of its results, and of what it saves for the backward pass.
        count, bytes: how often it saved something, and how much.
    """

    __slots__ = ("_named", "bytes", "code", "count", "module", "offset", "op", "phase", "result", "saved", "working")

    def __init__(self, op: str, phase: str, code: CodeType, offset: int, module: str, made: str) -> None:
        self.op, self.phase, self.code, self.offset, self.module = op, phase, code, offset, module
        self.working, self.result, self.saved = [
            Label(kind, "", op, code, offset, module) for kind in ("workspace", made, "saved activation")
        ]
        self.count = self.bytes = 0
        self._named: dict[str, Label] = {}

    def named(self, name: str) -> Label:
        """The label of a result that has a name, as the gradient of a parameter has."""
        if name not in self._named:
            self._named[name] = self.result._replace(name=name)
        return self._named[name]

    @property
    def line(self) -> str:
        """The user's line."""
        return describe_site(self.code, self.offset)


class Span(NamedTuple):
    """One op as it ran: bytes of its results, workspace beyond them, and the most that was live while it ran."""

    site: Site
    start: float
    seconds: float
    allocated: int
    workspace: int
    most: int


class Top(NamedTuple):
    """A moment inside an op: bytes live, how many events came before, and whose workspace there was."""

    live: int
    events: int
    workspace: int
    label: Label


class Moment(NamedTuple):
    """Bytes live at a time.

    Attributes:
        seconds: since the beginning.
        live: bytes, workspace included.
        op: that ran last.
        phase: forward, backward, recomputation (of a checkpoint) or optimiser.
    """

    seconds: float
    live: int
    op: str
    phase: str


class OpRow(NamedTuple):
    """All calls of an op in one phase: seconds, bytes of results, and the largest workspace."""

    op: str
    phase: str
    calls: int
    seconds: float
    allocated: int
    workspace: int


class ModuleRow(NamedTuple):
    """All ops of one module, backward passes included: seconds, bytes of results, bytes saved for the backward pass."""

    module: str
    calls: int
    seconds: float
    allocated: int
    saved: int


class SavedRow(NamedTuple):
    """What one line has saved for the backward pass: how often and how many bytes; each block counts once."""

    op: str
    line: str
    times: int
    bytes: int


class Profile:
    """What happened in a `with gradcore.profile()` block; printing it gives tables.

    Attributes:
        device: its name.
        peak: the most bytes that were live at once, resident state and workspace included.
        peak_reserved: the most that CuPy's pool held; on the CPU the same as `peak`.
        resident: bytes that were live at the beginning.
        live: bytes that were live at the end.
        seconds: how long the block took.
        holders_at_peak: who held the peak, the largest first; their bytes add up to it.
        timeline: bytes live over time: a `Moment` for the beginning and for each change, in order. On the CPU, what
            dies between two ops has the time at which the first ended.
        ops: a row for each op and phase, those that took longest first.
        modules: a row for each module, in the order in which they came.
        saved: what is kept for the backward pass, by op and the user's line, the largest first.
        spans: every op as it ran.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.peak = self.peak_reserved = self.resident = self.live = 0
        self.seconds = self.start = 0.0
        self.holders_at_peak: list[Holder] = []
        self.timeline: list[Moment] = []
        self.ops: list[OpRow] = []
        self.modules: list[ModuleRow] = []
        self.saved: list[SavedRow] = []
        self.spans: list[Span] = []

    def fill(self, account: Account, found: Attribution, start: float) -> None:
        """Take the figures of an account, and what was found beside it; `start` is when the block began."""
        events = account.ledger.events or []
        self.start = start
        self.peak, self.peak_reserved = account.peak, account.peak_reserved
        self.resident, self.live = account.resident, account.live
        self.spans = [Span(*fields) for fields in found.spans]
        self.holders_at_peak = _holders(events, found.top, self.peak)
        self.timeline = _timeline(events, self.spans, start, self.resident, self.device == "cpu")
        self.ops = _op_rows(self.spans)
        self.saved = _saved_rows(found.sites.values())
        self.modules = _module_rows(self.spans, found.sites.values())

    def __str__(self) -> str:
        from gradcore.memory.tables import text

        return text(self)

    def json(self) -> dict[str, Any]:
        """Everything as dictionaries, lists, numbers and text."""
        from gradcore.memory.export import as_json

        return as_json(self)

    def save(self, path: str | Path) -> None:
        """Write `json()` to a file."""
        from gradcore.memory.export import write

        write(path, self.json())

    def chrome_trace(self, path: str | Path) -> None:
        """Write a trace for chrome://tracing or https://ui.perfetto.dev: ops, and memory as a counter."""
        from gradcore.memory.export import trace, write

        write(path, trace(self))

    def plot(self, path: str | Path) -> None:
        """Draw bytes over time, by phase, and who held the peak.

        Args:
            path: of a .png, .svg or .pdf file.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from gradcore.memory.picture import draw

        draw(self, path)

    def by_kind(self) -> dict[str, int]:
        """Bytes of each kind of holder at the peak, the most first."""
        sums = {kind: sum([h.bytes for h in self.holders_at_peak if h.kind == kind]) for kind in KINDS}
        return {kind: size for kind, size in sorted(sums.items(), key=lambda item: -item[1]) if size}


# --- from events to figures -------------------------------------------------------------------------------------------


def _holders(events: list[Event], top: Top | None, peak: int) -> list[Holder]:
    """Who was there at the peak: what was asked for before it and had not died."""
    count, workspace = _moment_of_peak(events, top, peak)
    alive = {}
    for _, held, born in events[:count]:
        if born:
            alive[id(held)] = held
        else:
            del alive[id(held)]
    found = [holder_of(held.size, held.label, *_array_in(held)) for held in alive.values() if held.size]
    return sorted([*found, *workspace], key=lambda holder: -holder.bytes)


def _array_in(held: AnyHeld) -> tuple[Any, Any]:
    """Shape and dtype, where they are known."""
    layout = held.layout
    return (None, None) if layout is None else (layout.shape, layout.dtype)


def _moment_of_peak(events: list[Event], top: Top | None, peak: int) -> tuple[int, list[Holder]]:
    """How many events came before the peak, and the workspace that belongs to it and is no block."""
    if top is not None and top.live == peak and top.workspace:
        return top.events, [holder_of(top.workspace, top.label)]
    live = 0
    for count, (_, held, born) in enumerate(events, 1):
        live += held.size if born else -held.size
        if live == peak:
            return count, []
    return len(events), []


def _timeline(events: list[Event], spans: list[Span], start: float, resident: int, cpu: bool) -> list[Moment]:
    """Blocks that come and go, in order; on the CPU also the most that each op needed, for there that is no block."""
    moments = [Moment(0.0, resident, "", "forward")]
    coming = deque(spans)
    place, live = ("", "forward"), 0
    for event in (*events, None):
        while coming and (event is None or coming[0].start <= event[0]):
            span = coming.popleft()
            place = span.site.op, span.site.phase
            if cpu and span.workspace:
                begin = span.start - start
                moments += [Moment(begin, span.most, *place), Moment(begin + span.seconds, live, *place)]
        if event is not None:
            time, held, born = event
            live += held.size if born else -held.size
            if time >= start:
                moments.append(Moment(time - start, live, *place))
    return moments


def _op_rows(spans: list[Span]) -> list[OpRow]:
    rows: dict[tuple[str, str], OpRow] = {}
    for span in spans:
        key = span.site.op, span.site.phase
        old = rows.get(key) or OpRow(*key, 0, 0.0, 0, 0)
        rows[key] = OpRow(
            *key,
            old.calls + 1,
            old.seconds + span.seconds,
            old.allocated + span.allocated,
            max(old.workspace, span.workspace),
        )
    return sorted(rows.values(), key=lambda row: -row.seconds)


def _saved_rows(sites: Iterable[Site]) -> list[SavedRow]:
    rows: dict[tuple[str, str], SavedRow] = {}
    for site in sites:
        if site.count:
            key = site.op, site.line
            old = rows.get(key) or SavedRow(*key, 0, 0)
            rows[key] = SavedRow(*key, old.times + site.count, old.bytes + site.bytes)
    return sorted(rows.values(), key=lambda row: -row.bytes)


def _module_rows(spans: list[Span], sites: Iterable[Site]) -> list[ModuleRow]:
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span.site.module, []).append(span)
    saved = dict.fromkeys(groups, 0)
    for site in sites:
        saved[site.module] = saved.get(site.module, 0) + site.bytes
    return [_module_row(module, group, saved[module]) for module, group in groups.items()]


def _module_row(module: str, spans: list[Span], saved: int) -> ModuleRow:
    return ModuleRow(module, len(spans), sum([s.seconds for s in spans]), sum([s.allocated for s in spans]), saved)
