"""The search for plans: least peaks in exact bytes, least times on a grid of budgets, and the plan for a budget.

Two dynamic programmes over the stages first..end - 1 of a chain, after Beaumont, Eyraud-Dubois, Herrmann, Joly and Shilova,
"Optimal checkpointing for heterogeneous chains: how to train deep neural networks with limited memory" (2019). The grid only
guides the choice between parts. What a choice leaves to its parts is counted in exact bytes, and it is allowed only where the
least peaks of the parts fit, so a plan exists for every budget from the least peak on and never exceeds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gradcore.memory.choices import Choices
from gradcore.memory.costs import Costs
from gradcore.memory.schedule import Plan

Array = Any
NEVER = 2**29  # a time that no plan takes; two of these and the time of a chain are below 2**31


class Firsts(NamedTuple):
    """For each part that may come first (0: the first stage saved, n: a region of n stages): what is kept, and the least peaks.

    Attributes:
        inner: bytes kept during the inner plan of a region, beyond those at the beginning.
        rest: bytes kept while the rest goes on.
        following: the stage after the part.
        peak: the least peak in bytes of a plan that begins with this part.
        binding: is it that of the part itself, before its inner plan and the rest?
        inner_time: the time of the part's run and its inner plan, where they have their least peaks.
        rest_time: the time of the rest, likewise.
    """

    inner: Array
    rest: Array
    following: Array
    peak: Array
    binding: Array
    inner_time: Array
    rest_time: Array


class LeastPeaks:
    """For all first and end: the least peak of any plan, and the time of the quickest such plan that was met.

    The empty plan, first = end, stands for what a saved stage runs again: nothing.
    """

    def __init__(self, costs: Costs) -> None:
        self.choices = Choices(costs)
        self.length = len(costs.stages)
        self.time = _whole_times([stage.time_forward for stage in costs.stages])
        self.before = np.append(0, np.cumsum(self.time))  # time of all stages before
        self.peak = np.zeros((self.length, self.length + 1), dtype=np.int64)
        self.total = np.zeros_like(self.peak)
        self.firsts: dict[tuple[int, int], Firsts] = {}
        for first, end in self.intervals():
            if end - first == 1:
                self.peak[first, end], self.total[first, end] = self.choices.single(first), self.time[first]
            else:
                self.firsts[first, end] = firsts = self._firsts(first, end)
                total = firsts.inner_time + firsts.rest_time
                best = _first_least(firsts.peak, total)
                self.peak[first, end], self.total[first, end] = firsts.peak[best], total[best]

    def intervals(self) -> Iterator[tuple[int, int]]:
        """All (first, end), each after those that it is made of."""
        return ((first, end) for end in range(1, self.length + 1) for first in range(end - 1, -1, -1))

    def run(self, first: int, end: int) -> int:
        """The time of one run of these stages."""
        return int(self.before[end] - self.before[first])

    def _firsts(self, first: int, end: int) -> Firsts:
        event, inner, rest = self.choices.parts(first, end)
        following = np.arange(first, end)
        following[0] += 1
        parts = np.maximum(inner + self.peak[first, first:end], rest + self.peak[following, end])
        inner_time = self.total[first, first:end] + self.before[following] - self.before[first]
        rest_time = self.total[following, end]
        return Firsts(inner, rest, following, np.maximum(parts, event), event > parts, inner_time, rest_time)


class LeastTimes:
    """For all first and end and each level of a grid of budgets: the least time of any plan, where kept bytes are rounded."""

    def __init__(self, least: LeastPeaks, levels: Array) -> None:
        self.least, self.levels, self.length = least, levels, least.length
        self.middles = (levels[1:] + levels[:-1]) // 2
        self.middles[0] = levels[1] - 1
        self.shifts: dict[int, Array] = {}
        self.known: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        shape = (self.length + 1, self.length + 1, len(levels))
        self.region = np.zeros(shape, dtype=np.int32)  # [first, end]: of a plan and of one run before it
        self.beside = np.zeros(shape, dtype=np.int32)  # [end, first]: of a plan where the input of `first` is kept besides
        self.region[range(self.length), range(self.length)] = least.time[:, None]  # a saved stage runs again nothing
        for first, end in least.intervals():
            row = self._row(first, end) if end - first > 1 else np.full(len(levels), NEVER, dtype=np.int32)
            row = self._bounded(row, first, end, 0)
            np.add(row, least.run(first, end), out=self.region[first, end])
            kept = int(least.choices.size[first])
            self.beside[end, first] = self._bounded(row.take(self._shift(kept)), first, end, kept)

    def plan(self, first: int, end: int, budget: int) -> Plan:
        """A quick plan that does not exceed the budget, which must not be below the least peak."""
        parts: list[int | Plan] = []
        while end - first > 1:
            count, inner, rest = self._best(first, end, budget)
            parts.append(self.plan(first, first + count, budget - inner) if count else first)
            first += max(count, 1)
            budget -= rest
        return (*parts, first)

    def _best(self, first: int, end: int, budget: int) -> tuple[int, int, int]:
        """The best first part: its stages if it is a region, else 0; the bytes kept during its inner plan and the rest."""
        if (first, end, budget) not in self.known:
            self.known[first, end, budget] = self._find_best(first, end, budget)
        return self.known[first, end, budget]

    def _find_best(self, first: int, end: int, budget: int) -> tuple[int, int, int]:
        firsts = self.least.firsts[first, end]
        inner = self.region[first, np.arange(first, end), self._index(budget - firsts.inner)]
        rest = self.region[firsts.following, end, self._index(budget - firsts.rest)]
        rest = rest + self.least.before[firsts.following] - self.least.before[end]
        times = np.minimum(inner, firsts.inner_time) + np.minimum(rest, firsts.rest_time)
        times[firsts.peak > budget] = NEVER
        best = _first_least(times, firsts.peak)
        return best, int(firsts.inner[best]), int(firsts.rest[best])

    def _index(self, budget: Array) -> Array:
        """The level nearest to a budget; 0 below all, where no plan fits."""
        return self.middles.searchsorted(budget)

    def _shift(self, kept: int) -> Array:
        """For each level, the level that is left when so many bytes are kept."""
        if kept not in self.shifts:
            self.shifts[kept] = self._index(self.levels - kept)
        return self.shifts[kept]

    def _bounded(self, row: Array, first: int, end: int, kept: int) -> Array:
        """Where the least peak fits, a plan is known; elsewhere there is none."""
        fits = self.levels.searchsorted(self.least.peak[first, end] + kept)
        row[:fits] = NEVER
        np.minimum(row[fits:], self.least.total[first, end], out=row[fits:], casting="same_kind")
        return row

    def _row(self, first: int, end: int) -> Array:
        firsts = self.least.firsts[first, end]
        fits = self.levels.searchsorted(firsts.peak)
        times = self._of_regions(first, end, firsts)
        bounded = firsts.binding | (end == self.length)  # elsewhere the inner plan or the rest does not fit either
        for count in np.flatnonzero(bounded[1:]):
            times[count, : fits[1 + count]] = NEVER
        row = np.minimum.reduce(times, axis=0)
        saved = self.region[first + 1, end].take(self._shift(int(firsts.rest[0]))[fits[0] :])
        saved += int(self.least.time[first]) - self.least.run(first + 1, end)
        np.minimum(row[fits[0] :], saved, out=row[fits[0] :])
        return row

    def _of_regions(self, first: int, end: int, firsts: Firsts) -> Array:
        """The times of plans that begin with a region, [stages in it - 1, level]."""
        if end < self.length:
            return self.region[first, first + 1 : end] + self.beside[end, first + 1 : end]
        times = np.take_along_axis(self.region[first, first + 1 : end], self._left(firsts.inner), axis=1)
        times += np.take_along_axis(self.region[first + 1 : end, end], self._left(firsts.rest), axis=1)
        times -= (self.least.before[end] - self.least.before[first + 1 : end, None]).astype(np.int32)
        return times

    def _left(self, kept: Array) -> Array:
        return self._index(self.levels - kept[1:, None])


def _first_least(values: Array, ties: Array) -> int:
    """Where the values are least, and of these places the ties."""
    return int(np.where(values == values.min(), ties, ties.max() + 1).argmin())


def _whole_times(times: list[float]) -> Array:
    """Times as whole numbers, times a power of two, so small that no plan reaches NEVER.  Few whole numbers stay exact."""
    longest = len(times) * math.fsum(times)  # no stage runs more often than there are stages
    power = math.floor(math.log2((NEVER - len(times) ** 2) / longest)) if longest else 0
    return np.array([round(math.ldexp(time, power)) for time in times], dtype=np.int64)
