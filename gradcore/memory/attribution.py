"""Whose each block is, worked out from what a profile has noted."""

from __future__ import annotations

from types import CodeType
from typing import Any

from gradcore.memory.accounting import Account
from gradcore.memory.ledger import LATER, AnyHeld
from gradcore.memory.owners import OTHER, Label, alive
from gradcore.memory.report import Site, Top

MADE = {"backward": "gradient", "optimiser": "optimiser state"}  # what the results of these phases are
NEW = Label("other")  # of arrays that are met in records and backward passes
LASTING = ("parameter", "gradient", "optimiser state", "buffer")


class Attribution:
    """Labels the blocks of an account, and collects ops; a `Recorder` notes these methods, the ledger calls them.

    Attributes:
        spans: ops in the order in which they ran, as the fields of a Span.
        sites: where they ran.
        top: the last moment at which the peak rose, inside an op.
    """

    def __init__(self, account: Account) -> None:
        self.account, self.ledger = account, account.ledger
        self.spans: list[tuple[Any, ...]] = []
        self.sites: dict[Any, Site] = {}
        self.top: Top | None = None
        self._module_of: dict[int, str] = {}  # of records by serial
        self._pulled: list[tuple[str, CodeType, int, str]] = []  # records that a backward pass is in
        self._now: Any = None  # the site of the op that runs
        self._saving: Any = None  # the site of the record whose values follow
        self._live = self._peak = 0  # before the op

    def begin(self, start: float, op: str, phase: str, code: CodeType, offset: int, module: str) -> None:
        """An op begins, at this time and place."""
        self._begin(start, self._site(op, phase, code, offset, module))

    def begin_in_pull(self, start: float, op: str) -> None:
        """Likewise, inside a step of a backward pass; its place is that of the record."""
        self._begin(start, self._of_pull(op, "backward"))

    def _begin(self, start: float, site: Site) -> None:
        ledger, self._now = self.ledger, site
        ledger.at(start)
        ledger.label = site.working
        ledger.begin()
        self._live, self._peak = ledger.live, ledger.peak

    def result(self, held: AnyHeld) -> None:
        """It has this result."""
        site = self._now
        if held.label is LATER or held.label is site.working:  # asked for inside the op, but no workspace
            held.label = site.result
        self.ledger.result(held)

    def end(self, start: float, end: float, workspace: int) -> None:
        """It has ended; `workspace` is what it needed besides blocks."""
        ledger, site = self.ledger, self._now
        ledger.end(workspace)
        ledger.label = OTHER
        allocated = ledger.live - self._live
        extra = ledger.op_peak - allocated
        if ledger.peak > self._peak and ledger.events is not None:
            self.top = Top(ledger.peak, len(ledger.events), ledger.peak - ledger.live, site.working)
        self.spans.append((site, start, end - start, allocated, extra, ledger.live + extra))

    def record(self, serial: int, op: str, code: CodeType, offset: int) -> None:
        """It was recorded; what was saved follows."""
        module = self._module_of[serial] = self._now.module if self._now is not None else ""
        self._saving = self._site(op, "forward", code, offset, module)

    def enter(self, serial: int, op: str, code: CodeType, offset: int) -> None:
        """A backward pass comes to a record; what was computed again for it follows."""
        module = self._module_of.get(serial, "")
        self._pulled.append((op, code, offset, module))
        self._saving = self._of_pull(op, "forward")

    def saved(self, held: AnyHeld) -> None:
        """The record has saved this, so it belongs to it from now on."""
        site = self._saving
        if _is_free(held.label):
            held.label = site.saved
            site.count += 1
            site.bytes += held.size

    def cotangent(self, held: AnyHeld, name: str | None) -> None:
        """A cotangent that comes from the record; that of a parameter has a name."""
        site = self._of_pull(self._pulled[-1][0], "backward")
        if held.label is NEW:
            held.label = site.result
        if name is not None and _is_free(held.label):
            held.label = site.named(name)

    def leave(self) -> None:
        """The backward pass leaves the record."""
        self._pulled.pop()

    def _of_pull(self, op: str, phase: str) -> Site:
        return self._site(op, phase, *self._pulled[-1][1:])

    def _site(self, op: str, phase: str, code: CodeType, offset: int, module: str) -> Site:
        key = op, phase, id(code), offset, module
        site = self.sites.get(key)
        if site is None:
            site = self.sites[key] = Site(op, phase, code, offset, module, MADE.get(phase, "other"))
        return site

    def settle(self) -> None:
        """Name what lasts: parameters, gradients and slots that were assigned meanwhile."""
        self.ledger.catch_up()
        for array, label in alive(self.account.device):
            if label.kind in LASTING:
                held = self.account.find(array)
                if held is not None and held.label.kind not in LASTING:
                    held.label = held.label._replace(kind=label.kind, name=label.name)


def _is_free(label: Label) -> bool:
    """May a block with this label get a better one?"""
    return label.kind in ("other", "gradient") and not label.name
