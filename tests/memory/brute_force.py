"""What the planners are held against: all plans, all schedules, and a memory in which things live and die."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import cache
from typing import Any

from gradcore.memory.costs import Costs, StageCosts

Plan = Any


def all_plans(first: int, end: int) -> Iterator[Plan]:
    """Every plan of the stages first..end - 1."""
    if end - first == 1:
        yield (first,)
        return
    for rest in all_plans(first + 1, end):
        yield (first, *rest)
    for following in range(first + 1, end):
        for inner in all_plans(first, following):
            for rest in all_plans(following, end):
                yield (inner, *rest)


@cache
def fewest_extra_steps(length: int, slots: int) -> int:
    """Bellman's equation of equal stages: advance to a second snapshot, do the rest with a slot less, come back."""
    if length == 1:
        return 0
    if slots == 1:
        return length - 1 + fewest_extra_steps(length - 1, 1)
    splits = range(1, length)
    return min(k + fewest_extra_steps(length - k, slots - 1) + fewest_extra_steps(k, slots) for k in splits)


def fewest_advances(length: int, slots: int) -> int:
    """Dijkstra over all states: kept activations, the current one, stages left. Any may be kept and forgotten."""
    start = (frozenset({0}), 0, length)
    best, queue = {start: 0}, [(0, 0, start)]
    while queue:
        steps, _, state = heapq.heappop(queue)
        if state[2] == 0:
            return steps
        if steps > best[state]:
            continue
        for cost, following in _moves(state, slots):
            if steps + cost < best.get(following, steps + cost + 1):
                best[following] = steps + cost
                heapq.heappush(queue, (steps + cost, len(best), following))
    raise AssertionError("there is always a schedule")


def _moves(state: Any, slots: int) -> Iterator[tuple[int, Any]]:
    kept, current, left = state
    if current == left - 1:
        yield 0, (kept, -1, left - 1)  # run saved, then backward
    if 0 <= current < left - 1:
        yield 1, (kept, current + 1, left)
        if len(kept) < slots:
            yield 0, (kept | {current}, current, left)
    for place in kept:
        yield 0, (kept - {place}, current, left)
        yield 0, (kept, place, left)


class SimulatedMemory:
    """Executes a plan with a table of what is live."""

    def __init__(self, costs: Costs) -> None:
        self.stages = costs.stages
        self.length = len(costs.stages)
        self.live: dict[str, int] = {}
        self.peak = 0

    def run(self, plan: Plan) -> int:
        for part in plan:
            self._first_forward(part)
        self._moment(0)
        self.live["cotangent of the result"] = self.stages[-1].output  # the user's, to the end
        for part in reversed(plan):
            if isinstance(part, int):
                self._backward_saved(part, is_last=part == plan[-1], again=False)
            else:
                self._again(part)
                for number in flat(part):
                    del self.live[f"captured {number}"]
        left = {"result", "cotangent of the result", "gradients", "cotangent"}
        assert {name for name, size in self.live.items() if size} <= left
        return self.peak

    def _moment(self, beyond: int) -> None:
        self.peak = max(self.peak, sum(self.live.values()) + beyond)

    def _returns(self, number: int) -> None:
        name = "result" if number == self.length - 1 else f"activation {number + 1}"
        self.live[name] = self.stages[number].output

    def _drop(self, number: int) -> None:
        self.live.pop(f"activation {number}", None)

    def _first_forward(self, part: Any) -> None:
        if isinstance(part, int):
            self._moment(self.stages[part].peak_saved)
            self.live[f"inner {part}"] = self.stages[part].inner_first
            self._returns(part)
            return
        first, *_ = flat(part)
        for number in flat(part):
            self._moment(self.stages[number].peak_forward)
            self.live[f"captured {number}"] = self.stages[number].captured
            self._returns(number)
            if number > first:
                self._drop(number)

    def _again(self, plan: Plan) -> None:
        """Run a region again following its plan, and go back through it."""
        last = plan[-1]
        self._drop(last + 1)
        for part in plan:
            if isinstance(part, int):
                self._save_again(part, part == last)
            else:
                self._advance_again(flat(part))
        for part in reversed(plan):
            if isinstance(part, int):
                self._backward_saved(part, is_last=part == last, again=True)
            else:
                self._again(part)

    def _save_again(self, number: int, is_last: bool) -> None:
        stage = self.stages[number]
        self._moment(stage.again_last if is_last else stage.again_saved)
        self.live[f"inner {number}"] = stage.inner_last if is_last else stage.inner_again
        self._returns(number)
        if is_last:
            self._drop(number + 1)

    def _advance_again(self, numbers: list[int]) -> None:
        for number in numbers:
            stage = self.stages[number]
            self._moment(stage.again_held if number == numbers[0] else stage.again_dropped)
            self._returns(number)
            if number > numbers[0]:
                self._drop(number)

    def _backward_saved(self, number: int, is_last: bool, again: bool) -> None:
        stage: StageCosts = self.stages[number]
        if (is_last and again) or not stage.keeps_output:
            self._drop(number + 1)
        self._moment(stage.peak_backward_again if again else stage.peak_backward)
        del self.live[f"inner {number}"]
        self._drop(number + 1)
        self.live["gradients"] = self.live.get("gradients", 0) + stage.gradients
        self.live["cotangent"] = stage.input


def flat(plan: Plan) -> list[int]:
    """The stages of a plan."""
    return [plan] if isinstance(plan, int) else [stage for part in plan for stage in flat(part)]
