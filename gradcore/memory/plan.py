"""The quickest plan of a chain that fits a budget of bytes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradcore.core.errors import GradcoreError
from gradcore.memory.costs import BYTES, Costs, check_costs
from gradcore.memory.peak import peak_event, peak_of, time_of
from gradcore.memory.plan_search import LeastPeaks, LeastTimes
from gradcore.memory.schedule import Action, Plan, actions, saved_plan
from gradcore.memory.sizes import parse_size, size_text

MOST_LEVELS = 4000
MOST_STEPS = 5 * 10**8  # of the innermost loop of the search
MOST_PARTS = 20_000  # of all plans that are tried where the grid is not exact


class BudgetError(GradcoreError, ValueError):
    """No plan fits the budget; the message says the smallest that one fits, and what holds it.

    Attributes:
        smallest: the smallest feasible budget in bytes.
    """

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


class Choice(NamedTuple):
    """A plan that no other beats in both its peak and its time.

    Attributes:
        peak: bytes, as `peak_of` counts them.
        time: seconds, as `time_of` counts them.
        plan: the plan.
    """

    peak: int
    time: float
    plan: Plan


def plan_chain(costs: Costs, budget: int | str) -> list[Action]:
    """The schedule of `best_plan(costs, budget)`: what happens in forward and backward, in order.

    Example:
        >>> from gradcore.memory.costs import Costs, StageCosts
        >>> zero = StageCosts(*[0] * len(StageCosts._fields))
        >>> costs = Costs((zero._replace(inner_first=8, inner_last=8, input=1, output=1, time_forward=1.0),) * 3)
        >>> print(*(f"{kind} {stage}" for kind, stage in plan_chain(costs, "21 B")), sep=", ")
    """
    return actions(best_plan(costs, budget))


def best_plan(costs: Costs, budget: int | str) -> Plan:
    """The quickest plan whose peak is within a budget; of several, the one with the smallest peak.

    A smaller budget never gives a plan with a greater peak or a shorter time. The plan is optimal among those that save the
    input of a stage or everything in it until its backward, if the grid of budgets is exact: if all bytes are multiples of a
    unit that fits about 2000 times (fewer above 100 stages) between the least peak and that of saving everything. Otherwise
    the bytes that parts keep are rounded while parts are compared, never where a plan is held against the budget; and times
    are compared to about 1 part in 2**29 / stages.

    Args:
        costs: what the stages cost.
        budget: bytes in forward and backward beyond what was live before; a number, or text such as "200 MiB".

    Raises:
        BudgetError: no plan fits.
        ValueError: the costs make no sense.

    Example:
        >>> from gradcore.memory.costs import Costs, StageCosts
        >>> zero = StageCosts(*[0] * len(StageCosts._fields))
        >>> costs = Costs((zero._replace(inner_first=8, inner_last=8, input=1, output=1, time_forward=1.0),) * 3)
        >>> best_plan(costs, 28), best_plan(costs, 27)
    """
    limit = parse_size(budget)
    choices = front(costs)
    if limit < choices[0].peak:
        raise BudgetError(_too_small(costs, limit, choices[0]), choices[0].peak)
    return max(choice for choice in choices if choice.peak <= limit).plan


def _too_small(costs: Costs, limit: int, least: Choice) -> str:
    needed = f"the smallest feasible budget is {least.peak} bytes ({size_text(least.peak)})"
    holders = peak_event(least.plan, costs).describe(costs)
    return f"plan_chain: a budget of {limit} bytes ({size_text(limit)}) is too small; {needed}, held in the {holders}"


@lru_cache(maxsize=16)
def front(costs: Costs) -> tuple[Choice, ...]:
    """All plans that `best_plan` chooses from, by rising peak and falling time. It depends on the costs only."""
    check_costs(costs)
    everything = saved_plan(len(costs.stages))
    least = LeastPeaks(costs)
    lowest, highest = int(least.peak[0, -1]), peak_of(everything, costs)
    levels, exact = _levels(costs, least, highest)
    search = LeastTimes(least, levels)
    plans = {everything} | {search.plan(0, least.length, budget) for budget in _budgets(search, lowest, exact)}
    found = sorted((Choice(peak_of(plan, costs), time_of(plan, costs), plan) for plan in plans), key=lambda c: c[:2])
    best: list[Choice] = []
    for choice in found:
        if not best or choice.time < best[-1].time:
            best.append(choice)
    return tuple(best)


def _levels(costs: Costs, least: LeastPeaks, highest: int) -> tuple[Any, bool]:
    """The grid of budgets: every multiple of a unit where these are few; level 0 is below every plan."""
    length = len(costs.stages)
    count = max(64, min(MOST_LEVELS, MOST_STEPS * 6 // length**3))
    unit = math.gcd(*(getattr(stage, name) for stage in costs.stages for name in BYTES)) or 1
    lowest = int(least.peak[np.triu_indices(length, 1, length + 1)].min())
    exact = (highest - lowest) // unit < count
    if exact:
        levels = np.arange(lowest, highest + 1, unit)
    else:
        even, growing = np.linspace(lowest, highest, count // 2), np.geomspace(max(lowest, 1), highest, count // 2)
        levels = np.unique(np.append(even, growing).astype(np.int64))
    return np.append(-1, levels), exact


def _budgets(search: LeastTimes, lowest: int, exact: bool) -> list[int]:
    """The budgets to plan for: all at which the least time changes, or some of them where the grid is not exact."""
    times = search.region[0, search.length]
    levels = search.levels[1:][(np.diff(times) < 0) & (search.levels[1:] >= lowest)]
    step = 1 if exact else -(-len(levels) * search.length // MOST_PARTS)
    return [lowest, *levels[::step].tolist()]
