"""What a profile looks at while a step runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import perf_counter
from types import CodeType
from typing import Any

from gradcore.core.cell import Leaf
from gradcore.core.hooks import Hook
from gradcore.core.op import Op
from gradcore.core.state import INTERNAL
from gradcore.memory.accounting import Account
from gradcore.memory.attribution import NEW, Attribution
from gradcore.memory.owners import raw

PHASES = {  # our functions
    "walk": "backward",
    "accumulate": "backward",
    "Region.recompute": "recomputation",
    "Optimizer.step": "optimiser",
    "SingleSteps.step": "optimiser",
}


class Recorder(Hook):
    """Notes of each op what is gone later: the time, the instruction, the module, the blocks.

    All else waits until the ledger catches up: see `Attribution`.

    Attributes:
        modules: paths of those that are at work, the innermost last.
    """

    sees_into_pulls = False

    def __init__(self, account: Account, attribution: Attribution) -> None:
        self.account, self.ledger, self.later = account, account.ledger, account.later
        self.modules: list[str] = []
        self._known: dict[int, tuple[CodeType, bool, str, str]] = {}  # code by id: is it ours? its phase, its module
        self._hollow: set[int] = set()  # serials of records whose values a checkpoint computes again
        self._pulls = 0  # how many records a backward pass is in
        self._start = 0.0  # of the op that runs
        # A method is a new object whenever one asks for it, and these are to stay.
        self._at, self._begin, self._begin_in_pull = account.ledger.at, attribution.begin, attribution.begin_in_pull
        self._result, self._end, self._record = attribution.result, attribution.end, attribution.record
        self._saved, self._enter, self._leave = attribution.saved, attribution.enter, attribution.leave
        self._cotangent = attribution.cotangent

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        self.account.operands(values)
        if self._pulls:
            self._start = start = perf_counter()
            self.later((self._begin_in_pull, start, op.name))
        else:
            where = self._here()
            self._start = start = perf_counter()
            self.later((self._begin, start, op.name, *where))

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        now = perf_counter()
        workspace, results = self.account.results(op, values, params, outputs)
        notes = [self._at, now]
        for held in results:
            notes += self._result, held
        notes += self._end, self._start, now, workspace
        self.later(notes)
        if self.ledger.is_long:
            self.ledger.catch_up()

    def recorded(self, record: Any, outputs: Sequence[Any]) -> None:
        self.later((self._record, record.serial, record.pull.op.name, record.code, record.offset))
        if type(record.saved) is tuple:
            self._keep(record.saved)
        else:
            self._hollow.add(record.serial)

    def pulling(self, record: Any, g: Any) -> None:
        self._pulls += 1
        self.later((self._enter, record.serial, record.pull.op.name, record.code, record.offset))
        if record.serial in self._hollow:
            self._keep(record.saved)

    def pulled(self, record: Any, parts: Sequence[Any]) -> None:
        self._pulls -= 1
        for parent, part in zip(record.parents, parts, strict=False):
            name = parent.grad.name if type(parent) is Leaf else None
            for array in raw((part,)):
                held = self.account.meet(array, NEW)
                if held is not None and (name is not None or held.label is NEW):
                    self.later((self._cotangent, held, name))
        self.later((self._leave,))

    def _keep(self, saved: Sequence[Any]) -> None:
        for array in raw(saved):
            held = self.account.meet(array, NEW)
            if held is not None:
                self.later((self._saved, held))

    def _here(self) -> tuple[str, CodeType, int, str]:
        """The phase, the user's instruction and the module, from the frames between the op and the user's line."""
        frame, phase, module = sys._getframe(2), "", ""
        while True:
            code, internal, at, inside = self._known.get(id(frame.f_code)) or self._look_at(frame.f_code)
            module = module or inside
            if not internal or frame.f_back is None:
                break
            phase = phase or at
            frame = frame.f_back
        return phase or "forward", code, frame.f_lasti, self.modules[-1] if self.modules else module

    def _look_at(self, code: CodeType) -> tuple[CodeType, bool, str, str]:
        module = code.co_qualname.rpartition(".")[0] if code.co_name == "forward" else ""
        found = code, INTERNAL[code.co_filename], PHASES.get(code.co_qualname, ""), module
        self._known[id(code)] = found
        return found
