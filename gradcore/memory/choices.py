"""What a plan can begin with, as arrays: the recurrence that the searches go through.

A plan of the stages first..end - 1 begins with `first` saved, or with a region first..next - 1, and goes on with a
plan of the rest. All that comes later costs the same bytes beyond what is kept, whatever is kept. So the peak of a plan
is the greatest of

- what its first part needs (`event`): while it runs, and if it is a saved stage in its backward;
- the peak of a region's inner plan, beyond what stays with it (`inner`);
- the peak of the rest, beyond what the first part keeps until then (`rest`).

Plans that end with the chain's last stage are those of the first forward; all others are recomputations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradcore.memory.costs import Costs
from gradcore.memory.peak import base_bytes

Array = Any


class Parts(NamedTuple):
    """Bytes for each part that may come first: number 0 is the first stage saved, number n is a region of n stages."""

    event: Array
    inner: Array
    rest: Array


class Choices:
    """The recurrence of one chain."""

    def __init__(self, costs: Costs) -> None:
        self.stages = costs.stages
        self.length = len(costs.stages)
        self.base = base_bytes(costs)
        self.size = _column(costs, "input")
        self.captured = np.append(0, np.cumsum(_column(costs, "captured")))  # of all stages before
        alone, dropped = _column(costs, "peak_forward") + self.captured[:-1], _column(costs, "again_dropped")
        self.forward = [self._first_forward(i, alone + self.size) for i in range(self.length)]
        self.again = [self._recomputation(i, dropped + self.size) for i in range(self.length)]

    def parts(self, first: int, end: int) -> Parts:
        """Bytes for the first part of a plan of the stages first..end - 1, which are at least two."""
        count = end - first
        if end == self.length:
            return Parts(*(column[:count] for column in self.forward[first]))
        run, inner, rest = (column[:count] for column in self.again[first])
        event = run + self.base[end - 1]
        stage = self.stages[first]
        event[0] = max(event[0], self._backward(first, stage.inner_again, stage.peak_backward_again))
        return Parts(event, inner, rest)

    def single(self, first: int) -> int:
        """Peak of the plan of one stage."""
        stage = self.stages[first]
        if first == self.length - 1:
            return max(stage.peak_saved, self.base[first] + stage.inner_first + stage.peak_backward)
        return self.base[first] + max(stage.again_last, stage.inner_last + stage.peak_backward_again)

    def _first_forward(self, first: int, run: Array) -> Parts:
        stage = self.stages[first]
        saved = max(stage.peak_saved, self._backward(first, stage.inner_first, stage.peak_backward))
        regions = _greatest(stage.peak_forward, run[first + 1 :] - self.captured[first])
        captured = self.captured[first + 1 :] - self.captured[first]
        rest = captured[:-1] + self.size[first + 1 :]
        return Parts(
            np.append(saved, regions), np.append(0, captured), np.append(stage.inner_first + stage.output, rest)
        )

    def _recomputation(self, first: int, run: Array) -> Parts:
        """As `_first_forward`, with `event` beyond the live cotangent and gradients, and without the backward."""
        stage = self.stages[first]
        regions = _greatest(stage.again_held, run[first + 1 :])
        rest = np.append(stage.inner_again + stage.output, self.size[first + 1 :])
        return Parts(np.append(stage.again_saved, regions), np.zeros_like(rest), rest)

    def _backward(self, number: int, inner: int, work: int) -> int:
        stage = self.stages[number]
        return self.base[number] + inner + (stage.output if stage.keeps_output else 0) + work


def _column(costs: Costs, name: str) -> Array:
    return np.array([getattr(stage, name) for stage in costs.stages], dtype=np.int64)


def _greatest(first: int, others: Array) -> Array:
    return np.maximum.accumulate(np.append(first, others))
