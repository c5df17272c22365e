"""The search for plans: a dynamic programme over the stages first..end - 1 of a chain, which finds all the best plans.

The recurrence is that of Beaumont, Eyraud-Dubois, Herrmann, Joly and Shilova, "Optimal checkpointing for heterogeneous
chains: how to train deep neural networks with limited memory" (2019). They tabulate times over a grid of budgets, with
bytes rounded. Here an entry is a front: the plans that no other beats in both peak and time, with peaks in exact bytes.
Fronts are short, a few hundred plans, since most plans of a chain are beaten. In long chains they are thinned.
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
NEVER = 2**62  # a time that no plan takes
PEAK, TIME, PART = range(3)  # rows of a front, which has a column for each plan, by rising peak and falling time
MOST_POINTS = 9 * 10**6  # that the whole search looks at, when all fronts are as long as they may be
MOST_PLANS = 150  # of the first forward, for the rest of a chain that has many stages


class Row(NamedTuple):
    """Fronts side by side, and for each column a number that says which front it is of."""

    points: Array
    number: Array

    def followed_by(self, other: Row) -> Row:
        """Both rows in one."""
        return Row(*(np.concatenate(pair, axis=-1) for pair in zip(self, other, strict=True)))


class Fronts:
    """For all first and end the best plans: peak, time (of all runs) and the part that comes first."""

    def __init__(self, costs: Costs) -> None:
        self.choices = Choices(costs)
        self.length = len(costs.stages)
        times = _whole_times([stage.time_forward for stage in costs.stages])
        self.before = np.append(0, np.cumsum(times))  # of all stages before
        self.most = max(8, 3 * MOST_POINTS // self.length**3)
        self.most_of_forward = max(MOST_PLANS, self.most)
        self.fronts: dict[tuple[int, int], Array] = {}
        nothing = np.zeros((3, 1), dtype=np.int64)  # what a saved stage runs again
        inner = [_row(nothing, 0) for _ in costs.stages]  # for each first, the fronts of its regions by their stages
        for end in range(1, self.length + 1):
            self.fronts[end - 1, end] = front = self._single(end - 1)
            rest = _row(front, end - 1)  # the fronts of all that end here, by first stage
            inner[end - 1] = inner[end - 1].followed_by(_row(front, 1))
            for first in range(end - 2, -1, -1):
                self.fronts[first, end] = front = self._join(first, end, inner[first], rest)
                rest = _row(front, first).followed_by(rest)
                inner[first] = inner[first].followed_by(_row(front, end - first))

    def plans(self) -> Iterator[Plan]:
        """The best plans of the chain."""
        return (self._plan(0, self.length, int(peak)) for peak in self.fronts[0, self.length][PEAK])

    def _plan(self, first: int, end: int, budget: int) -> Plan:
        parts: list[int | Plan] = []
        while end - first > 1:
            front = self.fronts[first, end]
            budget, _, count = map(int, front[:, front[PEAK].searchsorted(budget, "right") - 1])
            _, inner, rest = self.choices.parts(first, end)
            parts.append(self._plan(first, first + count, budget - int(inner[count])) if count else first)
            first += max(count, 1)
            budget -= int(rest[count])
        return (*parts, first)

    def _single(self, first: int) -> Array:
        time = self.before[first + 1] - self.before[first]
        return np.array([[self.choices.single(first)], [time], [0]])

    def _join(self, first: int, end: int, inner: Row, rest: Row) -> Array:
        """The front of the plans that begin with any part: each part has a front of inner plans and one of the rest."""
        event, kept_inner, kept_rest = self.choices.parts(first, end)
        run = self.before[first:end] - self.before[first]
        run[0] = self.before[first + 1] - self.before[first]
        (inners, of_inner), (rests, of_rest) = inner, _row(self.fronts[first + 1, end], first).followed_by(rest)
        of_rest = of_rest - first
        inner_peak = np.maximum(inners[PEAK] + kept_inner[of_inner], event[of_inner])
        rest_peak = np.maximum(rests[PEAK] + kept_rest[of_rest], event[of_rest])
        span = int(max(inner_peak.max(), rest_peak.max())) + 1
        place = np.concatenate((of_inner * span + inner_peak, of_rest * span + rest_peak))  # all parts on one line
        order = place.argsort(kind="stable")
        at_inner = (order < len(of_inner)).cumsum() - 1  # the last inner plan up to each place
        at_rest = np.arange(-1, len(place) - 1) - at_inner
        part = np.concatenate((of_inner, of_rest))[order]
        peak = place[order] - part * span
        fits = (of_inner[at_inner] == part) & (of_rest[at_rest] == part)  # else one of another part is the last
        time = inners[TIME, at_inner] + rests[TIME, at_rest] + run[part]
        most = self.most_of_forward if end == self.length else self.most
        return _thinned(_front(peak, np.where(fits, time, NEVER), part), most)


def _row(front: Array, number: int) -> Row:
    return Row(front, np.full(front.shape[1], number))


def _front(peak: Array, time: Array, part: Array) -> Array:
    """The points that no other beats in both peak and time; of equal ones that with the first part."""
    order = (peak * (part[-1] + 1) + part).argsort()
    least = np.minimum.accumulate(time[order])
    better = (least < np.concatenate(([NEVER], least[:-1]))).nonzero()[0]
    points = order[better]
    alone = peak[points[1:]] > peak[points[:-1]]  # of equal peaks the last has the least time
    points = points[np.concatenate((alone, [True])).nonzero()[0]]
    return np.stack((peak[points], time[points], part[points]))


def _thinned(front: Array, most: int) -> Array:
    """A front of at most so many points, with both ends."""
    count = front.shape[1]
    return front if count <= most else front[:, np.arange(most) * (count - 1) // (most - 1)]


def _whole_times(times: list[float]) -> Array:
    """Times as whole numbers: times a power of two, such that no sum overflows.  Small ones stay exact."""
    longest = len(times) * math.fsum(times)  # no stage runs more often than there are stages
    power = 61 - math.ceil(math.log2(longest)) if longest else 0
    return np.array([round(math.ldexp(time, power)) for time in times], dtype=np.int64)
