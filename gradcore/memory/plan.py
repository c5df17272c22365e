"""The quickest plan of a chain that fits a budget of bytes."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from gradcore.backend.sizes import parse_size, size_text
from gradcore.core.errors import GradcoreError
from gradcore.memory.costs import Costs, check_costs
from gradcore.memory.fronts import Fronts
from gradcore.memory.peak import peak_event, peak_of, time_of
from gradcore.memory.schedule import Action, Plan, actions, saved_plan


class BudgetError(GradcoreError, ValueError):
    """No plan fits the budget; the message says the smallest that one fits, and what holds it.

    Attributes:
        smallest: the smallest feasible budget in bytes.
    """

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


class PricedPlan(NamedTuple):
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
        >>> stage = zero._replace(inner_first=8, inner_again=8, inner_last=8, input=1, output=1, time_forward=1.0)
        >>> costs = Costs((stage,) * 3)
        >>> print(*(f"{kind} {stage}" for kind, stage in plan_chain(costs, "12 B")), sep=", ")
        keep 0, forward 0, keep 1, forward 1, save 2, backward 2, restore 1, save 1, backward 1, free 1,
        restore 0, save 0, backward 0, free 0
    """
    return actions(best_plan(costs, budget))


def best_plan(costs: Costs, budget: int | str) -> Plan:
    """The quickest plan whose peak is within a budget; of several, the one with the smallest peak.

    A smaller budget never gives a plan with a greater peak or a shorter time, and the smallest feasible one is exact.
    The plan is optimal among those that keep the input of a stage, or everything in it, until its backward, in chains
    of up to about 40 stages. In longer ones the search remembers only so many of the best plans for each piece of the
    chain (52 with 80 stages, 8 with 150). Peaks are exact there too, and times within about 1 % of the best.

    Args:
        costs: what the stages cost.
        budget: bytes in forward and backward beyond what was live before; a number, or text such as "200 MiB".

    Raises:
        BudgetError: no plan fits.
        ValueError: the costs make no sense.

    Example:
        >>> from gradcore.memory.costs import Costs, StageCosts
        >>> zero = StageCosts(*[0] * len(StageCosts._fields))
        >>> stage = zero._replace(inner_first=8, inner_again=8, inner_last=8, input=1, output=1, time_forward=1.0)
        >>> costs = Costs((stage,) * 3)
        >>> best_plan(costs, 28), best_plan(costs, 27), best_plan(costs, 12)
        ((0, 1, 2), (0, (1,), 2), ((0,), (1,), 2))
    """
    limit = parse_size(budget)
    plans = front(costs)
    if limit < plans[0].peak:
        raise BudgetError(_too_small(costs, limit, plans[0]), plans[0].peak)
    return plans[bisect_right(plans, limit, key=itemgetter(0)) - 1].plan


def _too_small(costs: Costs, limit: int, least: PricedPlan) -> str:
    given = f"plan_chain: a budget of {limit} bytes ({size_text(limit)}) is too small"
    needed = f"the smallest feasible one is {least.peak} bytes ({size_text(least.peak)})"
    return f"{given}; {needed}. That is held in the {peak_event(least.plan, costs).describe(costs)}"


@lru_cache(maxsize=16)
def front(costs: Costs) -> tuple[PricedPlan, ...]:
    """All plans that `best_plan` chooses from, by rising peak and falling time. It depends on the costs only."""
    check_costs(costs)
    plans = {saved_plan(len(costs.stages)), *Fronts(costs).plans()}
    found = sorted(
        (PricedPlan(peak_of(plan, costs), time_of(plan, costs), plan) for plan in plans), key=itemgetter(0, 1)
    )
    least = accumulate((choice.time for choice in found), min, initial=math.inf)
    return tuple(choice for choice, before in zip(found, least, strict=False) if choice.time < before)
