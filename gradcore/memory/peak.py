"""The exact peak and time of a plan, by going through everything that it does.

Bytes are counted beyond what was live when the chain was called. So the chain's own input is not counted. Its result
is, to the end, and so is the cotangent that the user's code gives to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple

from gradcore.backend.sizes import size_text
from gradcore.memory.costs import Costs, StageCosts
from gradcore.memory.schedule import Plan, check_plan, first_stage, last_stage, walk


class Event(NamedTuple):
    """A moment at which memory may be at its most.

    Attributes:
        bytes: live at this moment.
        what: "forward", "recomputation" or "backward" …
        stage: … of this stage.
        kept: bytes that earlier parts of the plan keep, the input of this one included.
        own: bytes that this stage has saved, or this region holds at this stage.
        work: bytes beyond, while the stage is at work.
        ending: the stage whose cotangent is live; None in the first forward.
    """

    bytes: int
    what: str
    stage: int
    kept: int
    own: int
    work: int
    ending: int | None

    def held(self, costs: Costs) -> dict[str, int]:
        """All that is live, by name; it adds up to `bytes`."""
        held = {"kept before it": self.kept, "its saved values": self.own, "workspace": self.work}
        return held if self.ending is None else held | _live_in_backward(costs, self.ending)

    def describe(self, costs: Costs) -> str:
        """What holds the memory, in words."""
        sizes = ", ".join(f"{name} {size_text(size)}" for name, size in self.held(costs).items() if size)
        return f"{self.what} of stage {self.stage}: {sizes or 'nothing'}"


def peak_of(plan: Plan, costs: Costs) -> int:
    """Most bytes live during forward and backward of a plan, beyond what was live before.

    Raises:
        ValueError: this is no plan of the chain.

    Example:
        >>> from gradcore.memory.costs import Costs, StageCosts
        >>> zero = StageCosts(*[0] * len(StageCosts._fields))
        >>> costs = Costs((zero._replace(inner_first=8, inner_again=8, inner_last=8, input=1, output=1),) * 3)
        >>> peak_of((0, 1, 2), costs), peak_of(((0,), (1,), 2), costs)
        (28, 12)
    """
    return max(event[0] for event in _events(plan, costs))


def time_of(plan: Plan, costs: Costs) -> float:
    """Seconds of forward, recomputation and backward of a plan.

    Example:
        >>> from gradcore.memory.costs import Costs, StageCosts
        >>> zero = StageCosts(*[0] * len(StageCosts._fields))
        >>> costs = Costs((zero._replace(time_forward=0.5, time_backward=1.0),) * 3)
        >>> time_of((0, 1, 2), costs), time_of(((0, 1), 2), costs)
        (4.5, 5.5)
    """
    check_plan(plan, len(costs.stages))
    times = [stage.time_backward for stage in costs.stages]
    for number, depth in walk(plan):
        times += repeat(costs.stages[number].time_forward, depth + 1)
    return math.fsum(times)  # rounded once: plans that take as long are equal


def peak_event(plan: Plan, costs: Costs) -> Event:
    """The first moment at which a plan needs most memory."""
    return Event(*max(_events(plan, costs), key=itemgetter(0)))


@lru_cache(maxsize=8)
def base_bytes(costs: Costs) -> tuple[int, ...]:
    """For each stage, what is live in its backward with any plan: cotangents, gradients and the chain's result."""
    return tuple(sum(_live_in_backward(costs, stage).values()) for stage in range(len(costs.stages)))


def _live_in_backward(costs: Costs, stage: int) -> dict[str, int]:
    later = costs.stages[stage + 1 :]
    result = costs.stages[-1].output
    return {
        "cotangent": costs.stages[stage].output,
        "gradients": sum(other.gradients for other in later),
        "the chain's result": result,
        "the result's cotangent": result if later else 0,
    }


_Raw = tuple[int, str, int, int, int, int, int | None]  # an Event, quicker to make


def _events(plan: Plan, costs: Costs) -> Iterator[_Raw]:
    """All moments that matter, in any order; regions wait in a list, with what is kept beside their recomputation."""
    check_plan(plan, len(costs.stages))
    base = base_bytes(costs)
    regions: list[tuple[Plan, int]] = []
    yield from _forward(plan, costs, base, regions)
    while regions:
        inner, kept = regions.pop()
        yield from _recomputation(inner, kept, costs, base, regions)


def _forward(plan: Plan, costs: Costs, base: tuple[int, ...], regions: list[tuple[Plan, int]]) -> Iterator[_Raw]:
    kept = 0
    for part in plan:
        if isinstance(part, tuple):
            held = 0
            first = first_stage(part)
            for number, stage in enumerate(costs.stages[first : last_stage(part) + 1], first):
                own = held + (stage.input if number > first else 0)
                yield kept + own + stage.peak_forward, "forward", number, kept, own, stage.peak_forward, None
                held += stage.captured
            regions.append((part, kept + held))
            kept += held + costs.stages[last_stage(part)].output
        else:
            stage = costs.stages[part]
            yield kept + stage.peak_saved, "forward", part, kept, 0, stage.peak_saved, None
            own = stage.inner_first + (stage.output if stage.keeps_output and part != plan[-1] else 0)
            yield _backward(part, kept, own, stage.peak_backward, base)
            kept += stage.inner_first + stage.output


def _recomputation(
    plan: Plan, kept: int, costs: Costs, base: tuple[int, ...], regions: list[tuple[Plan, int]]
) -> Iterator[_Raw]:
    last = last_stage(plan)
    live = base[last]
    for part in plan:
        if isinstance(part, tuple):
            first = first_stage(part)
            for number, stage in enumerate(costs.stages[first : last_stage(part) + 1], first):
                own, work = (stage.input, stage.again_dropped) if number > first else (0, stage.again_held)
                yield live + kept + own + work, "recomputation", number, kept, own, work, last
            regions.append((part, kept))
            kept += costs.stages[last_stage(part)].output
        else:
            stage = costs.stages[part]
            work, inner, keeps_output = _saved_again(stage, part == last)
            yield live + kept + work, "recomputation", part, kept, 0, work, last
            own = inner + (stage.output if keeps_output else 0)
            yield _backward(part, kept, own, stage.peak_backward_again, base)
            kept += inner + stage.output


def _saved_again(stage: StageCosts, is_last: bool) -> tuple[int, int, bool]:
    if is_last:
        return stage.again_last, stage.inner_last, False
    return stage.again_saved, stage.inner_again, stage.keeps_output


def _backward(number: int, kept: int, own: int, work: int, base: tuple[int, ...]) -> _Raw:
    return base[number] + kept + own + work, "backward", number, kept, own, work, number
