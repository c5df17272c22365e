"""Checkpoint regions: what a backward pass needs is computed again instead of kept.

The one hard idea is *where* a region stands: at the bottom, below all interpreters, where there are only raw arrays.
While it is open it writes down each op that Eval performs (a `Step`) and holds no result.  A record that is made
meanwhile, by whichever tape, keeps everything that it would keep (nodes, tangents, mapped axes), only with a `Slot` in
place of each array that was made inside: a `Kept`.  When the walk backward comes to the first such record, the region
performs the steps again that lead to the slots, each once and in the first order, and puts the arrays back.

Nothing above the arrays is made twice: not the user's Python, not a record, not a node.  So the graph that the walk
goes through is the one of the plain run, sums are formed in the same order, and gradients of every order have the same
bits; and `grad`, `jvp`, `vmap` and Stage need no further code.  Cells are not read or assigned again: what a cell gave
or took is a constant of the region.

A region that opens inside another belongs to it (`parent`): its inputs are slots of the parent, which the parent fills
when it is computed again itself.  A region that opens inside a transform that opened inside a region stands alone, for
that transform walks backward while the outer one is still open.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import Any, TypeVar
from weakref import ref

from gradcore.core.aval import aval_of
from gradcore.core.bind import as_tuple
from gradcore.core.errors import ChangedError, KernelError
from gradcore.core.evaluate import SCALARS, evaluate
from gradcore.core.op import Op
from gradcore.core.state import describe_site, state, switch, user_frame
from gradcore.core.tensor import Tensor, Traced

Saves = Callable[[Op, str | None, Any], bool]  # (op, name that the user gave, result) -> is the result kept?
Watch = Callable[[Any], Any]  # array -> what the array that takes its place must give as well
Item = TypeVar("Item")
_numbers = itertools.count()


class Slot:
    """A value that was made in a region: where it comes from, not what it is.

    Slots:
        array: a weak reference to the array that was last made; a caller may hold it still.
        number: grows with time, so a region knows what was made before it opened.
        op: what made it.
        base: the slot that it is a view of.
    """

    __slots__ = ("array", "base", "number", "op")

    def __init__(self, array: Any, op: Op, base: Slot | None) -> None:
        self.array, self.op, self.base = ref(array), op, base
        self.number = next(_numbers)


class Step:
    """One op of a region; operands are Slots, arrays from outside, and numbers."""

    __slots__ = ("code", "found", "offset", "op", "operands", "params", "results")

    def __init__(self, op: Op, params: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Slot, ...]) -> None:
        self.op, self.params, self.operands, self.results = op, params, operands, results
        frame = user_frame()
        self.code, self.offset = frame.f_code, frame.f_lasti
        self.found: Any = None  # what the watch of its region saw

    def site(self) -> str:
        return describe_site(self.code, self.offset)


class Kept:
    """In place of the saved values of a record: the same values with Slots for arrays."""

    __slots__ = ("__weakref__", "depth", "hollow", "region", "slots", "values")

    def __init__(self, region: Region, depth: int, hollow: tuple[Any, ...], slots: list[Slot]) -> None:
        self.region, self.depth, self.hollow, self.slots = region, depth, hollow, slots
        self.values: tuple[Any, ...] | None = None

    def take(self) -> tuple[Any, ...]:
        """The values; they are computed again where the region has not done so yet."""
        with self.region.lock:
            if self.values is None:
                self.region.recompute(self.depth)
            values, self.values = self.values, None
        assert values is not None
        return values


class Region:
    """What happened while a checkpointed function ran, and how to get its values back.

    Args:
        saves: which results are kept; None for no result.
        watch: looks at each result, and again at what recomputation gives in its place.
    """

    def __init__(self, saves: Saves | None = None, watch: Watch | None = None) -> None:
        top = state.regions[-1] if state.regions else None
        self.depth = len(state.levels)
        self.parent: Region | None = top if top is not None and top.depth == self.depth else None
        self.lock: RLock = self.parent.lock if self.parent else RLock()  # threads may share what `vjp` returns
        self.saves, self.watch = saves, watch or (top.watch if top is not None else None)
        self.first = next(_numbers)
        self.steps: list[Step] = []
        self.held: dict[Slot, Any] = {}  # arrays that are at hand: what is kept, and inputs that the parent has filled
        self.wanted: set[Slot] = set()  # what the parent has to fill
        self.table: dict[int, Slot] = self.parent.table if self.parent else {}
        self.kept: list[ref[Kept]] = []
        self.children: list[ref[Region]] = []
        self.open = True
        if self.parent is not None:
            self.parent.children.append(ref(self))

    # --- the first run ------------------------------------------------------------------------------------------------

    def find(self, value: Any) -> Slot | None:
        """The slot of an array that was made since the outermost region opened."""
        slot = self.table.get(id(value))
        return slot if slot is not None and slot.array() is value else None

    def ran(self, op: Op, params: tuple[Any, ...], values: Sequence[Any], outs: tuple[Any, ...]) -> None:
        """Write down that an op was performed."""
        operands = tuple([value if isinstance(value, SCALARS) else self.find(value) or value for value in values])
        viewed = None if op.alias is None else op.alias(*map(aval_of, values), *params)
        base: Any = None if viewed is None or not isinstance(operands[viewed], Slot) else operands[viewed]
        results = tuple([Slot(out, op, base) for out in outs])
        self.table.update(zip(map(id, outs), results, strict=True))
        step = Step(op, params, operands, results)
        if self.watch is not None:
            step.found = [self.watch(out) for out in outs]
        for region in self.chain():
            region.steps.append(step)
        if self.saves is not None:
            for slot, out in zip(results, outs, strict=True):
                self._choose(slot, out, params[0] if op.name == "name" else None)

    def _choose(self, slot: Slot, array: Any, name: str | None) -> None:
        """Ask whether a result is kept, and once more when it gets a name."""
        assert self.saves is not None
        if name is not None and slot.base is not None:
            slot = slot.base
        if self.saves(slot.op, name, array):
            self._keep(slot)
        else:
            self.held.pop(slot, None)
            self.wanted.discard(slot)

    def chain(self) -> Iterator[Region]:
        """This region and those that it is part of."""
        region: Region | None = self
        while region is not None:
            yield region
            region = region.parent

    def root(self) -> Region:
        *_, outermost = self.chain()
        return outermost

    def _keep(self, slot: Slot | None) -> None:
        """Hold a result, and with a view what it is a view of; inside a parent only once that was computed again."""
        while slot is not None and slot.number >= self.first:
            if self.parent is not None:
                self.wanted.add(slot)
            elif slot.array() is not None:
                self.held[slot] = slot.array()
            slot = slot.base

    def assigned(self, value: Any) -> None:
        """A cell took this value: from now on it is a constant, as what cells held before."""
        _changed(value, self._forgotten)

    def _forgotten(self, array: Any) -> Any:
        if self.find(array) is not None:
            del self.table[id(array)]
        return array

    def hollow(self, depth: int, saved: tuple[Any, ...]) -> Any:
        """What a record of the tape at this depth keeps in place of `saved`.

        It is a Kept even where `saved` has nothing from inside, so that a region is computed again when the walk comes
        to it, and not in the middle: then what a stage needs does not depend on the stages beside it.
        """
        slots: list[Slot] = []

        def emptied(value: Any) -> Any:
            slot = None if isinstance(value, SCALARS) else self.find(value)
            if slot is None or slot in self.held:
                return value
            slots.append(slot)
            return slot

        values = tuple([_changed(value, emptied) for value in saved])
        kept = Kept(self, depth, values, slots)
        self.kept.append(ref(kept))
        return kept

    def close(self) -> None:
        """Find out what the parent has to fill, and hold of the rest only what leads to something."""
        sources = self._sources()
        self.open, self.wanted = False, sources - self.held.keys()
        self.held = {slot: array for slot, array in self.held.items() if slot in sources}
        if self.parent is None:
            self.table.clear()

    def _sources(self) -> set[Slot]:
        """What a backward pass starts from: kept results, and inputs."""
        targets = {slot for kept in _alive(self.kept) for slot in kept.slots}
        targets |= {slot for child in _alive(self.children) for slot in child.wanted}
        return self._leading_to(targets, self._is_input)[1]

    def _is_input(self, slot: Slot) -> bool:
        return slot.number < self.first or slot in self.held or slot in self.wanted

    # --- again --------------------------------------------------------------------------------------------------------

    def recompute(self, depth: int) -> None:
        """Give the records of the tape at this depth their values again, and the regions inside their inputs."""
        self._fetch(depth)
        every = [kept for kept in _alive(self.kept) if kept.depth == depth and kept.values is None]
        children = _alive(self.children)
        targets = {slot for kept in every for slot in kept.slots}
        targets |= {slot for child in children for slot in child.wanted if slot not in child.held}
        arrays: dict[Slot, Any] = {}  # held from the first look on: a collector may run at any moment

        def given(slot: Slot) -> bool:
            array = self._at_hand(slot)
            if array is not None:
                arrays[slot] = array
            return array is not None

        steps, _ = self._leading_to(targets, given)
        for step, done in _last_uses(steps, targets):
            _again(step, arrays, self.watch)
            for slot in done:
                arrays.pop(slot, None)
        for kept in every:
            kept.values = tuple(
                [_changed(value, lambda v: arrays[v] if type(v) is Slot else v) for value in kept.hollow]
            )
        for child in children:
            child.held.update({slot: arrays[slot] for slot in child.wanted if slot in arrays})
        self._release()

    def _fetch(self, depth: int) -> None:
        """Hold the inputs: those that are alive, and the others once the parent has computed them again."""
        if self.open:  # the function calls backward()
            self.wanted |= self._sources() - self.held.keys()
        self.held |= {slot: array for slot in self.wanted if (array := self._at_hand(slot)) is not None}
        if self.parent is not None and not self.wanted <= self.held.keys():
            self.parent.recompute(depth)

    def _release(self) -> None:
        for slot in self.wanted:
            self.held.pop(slot, None)

    def _at_hand(self, slot: Slot) -> Any:
        """The array of a slot, if it is there.  (A graph keeps its variables, which says nothing about memory.)"""
        held = self.held.get(slot)
        return slot.array() if held is None and state.base is None else held

    def _leading_to(self, targets: Iterable[Slot], given: Callable[[Slot], bool]) -> tuple[list[Step], set[Slot]]:
        """The steps that lead to `targets`, in order, and the slots that they start from."""
        wanted, sources = set[Slot](), set[Slot]()

        def want(slots: Iterable[Any]) -> None:
            for slot in slots:
                if type(slot) is Slot:
                    (sources if given(slot) else wanted).add(slot)

        want(targets)
        steps: list[Step] = []
        for step in reversed(self.steps):
            if not wanted.isdisjoint(step.results):
                steps.append(step)
                want(step.operands)
        return steps[::-1], sources

    def forget(self) -> None:
        """A walk is over: let go of what it has left, here and in the regions inside."""
        with self.lock:
            for kept in _alive(self.kept):
                kept.values = None
            self._release()
            for child in _alive(self.children):
                child.forget()


def _alive(references: Sequence[ref[Item]]) -> list[Item]:
    return [item for reference in references if (item := reference()) is not None]


def _last_uses(steps: Sequence[Step], targets: set[Slot]) -> list[tuple[Step, list[Slot]]]:
    """Each step with the slots that are of no use after it."""
    seen = set(targets)
    turns: list[tuple[Step, list[Slot]]] = []
    for step in reversed(steps):
        done = {slot for slot in (*step.operands, *step.results) if type(slot) is Slot and slot not in seen}
        seen |= done
        turns.append((step, list(done)))
    return turns[::-1]


def _again(step: Step, arrays: dict[Slot, Any], watch: Watch | None) -> None:
    """Perform a step again and put its results into `arrays`."""
    values = [arrays[value] if type(value) is Slot else value for value in step.operands]
    try:
        outs = perform(step.op, values, step.params)
    except (MemoryError, KernelError) as error:
        error.add_note(
            f"while backward() computed '{step.op.name}' of a checkpoint again; it ran first at {step.site()}"
        )
        raise
    if state.base is not None:
        state.base.recomputed(outs)
    if watch is not None and step.found is not None and [watch(out) for out in outs] != step.found:
        raise ChangedError(
            f"'{step.op.name}' gave other numbers when a checkpoint computed it again: the op is not deterministic, or "
            f"an array that it read was changed through an alias\n  forward: {step.site()}"
        )
    for slot, out in zip(step.results, outs, strict=True):
        slot.array = ref(out)
        arrays[slot] = out


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value of any level with `change` of the raw values in it.  (A closure that calls itself would be a cycle.)"""
    if isinstance(value, Traced):
        return value.rebuilt(partial(_changed, change=change))
    return Tensor(change(value.data), value.node) if type(value) is Tensor else change(value)


def perform(op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> tuple[Any, ...]:
    """Evaluate an op on raw arrays, or write it into the graph that is being captured; open regions write it down."""
    base = state.base
    outs = as_tuple(evaluate(op, values, params) if base is None else base.process(op, values, params))
    for region in state.regions:
        region.ran(op, params, values, outs)
    return outs


def kept_by(depth: int, saved: tuple[Any, ...]) -> Any:
    """What a record of the tape at this depth holds: `saved`, or in a region that opened inside that tape a Kept."""
    region = state.regions[-1]
    return region.hollow(depth, saved) if region.depth > depth else saved


@contextmanager
def opened(region: Region) -> Iterator[None]:
    """Ops belong to the region while the block runs.  `state.regions` has the innermost of each chain."""
    regions = state.regions
    switch.add(1)
    if region.parent is not None:
        regions.pop()
    regions.append(region)
    try:
        yield
    finally:
        regions.pop()
        if region.parent is not None:
            regions.append(region.parent)
        switch.add(-1)
        region.close()
