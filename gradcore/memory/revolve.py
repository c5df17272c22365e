"""The optimal schedule for a chain of equal stages when a given number of activations may be kept."""

from __future__ import annotations

from math import comb

from gradcore.memory.schedule import Action, Plan, actions, check_count


def revolve(length: int, slots: int) -> list[Action]:
    """Schedule of the fewest forward steps for equal stages, with one stage saved at any time.

    This is the binomial schedule of Griewank and Walther, "Algorithm 799: revolve" (2000). Of all schedules that keep
    at most `slots` inputs of stages it has the fewest steps: `revolve_extra(length, slots)` beyond one forward pass.

    Args:
        length: number of stages.
        slots: how many activations may be kept, the input of the chain included.

    Raises:
        ValueError: `length` or `slots` is below 1.

    Example:
        >>> print(*(f"{kind} {stage}" for kind, stage in revolve(3, 1)), sep=", ")
        keep 0, forward 0, forward 1, save 2, backward 2, restore 0, forward 0, save 1, backward 1,
        restore 0, save 0, backward 0, free 0
    """
    return actions(revolve_plan(length, slots))


def revolve_plan(length: int, slots: int) -> Plan:
    """The plan of `revolve`: a region, whose stages run again with the same slots, then the rest with a slot less.

    Example:
        >>> revolve_plan(6, 2)
        (((0,), (1,), 2), ((3,), 4), 5)
    """
    _check("revolve_plan", length, slots)
    unfinished: list[tuple[list[int | Plan], int, int, int]] = [([], 0, length, slots)]
    while True:
        parts, first, left, free = unfinished.pop()
        if left > 1:
            cut = _stages_of_region(left, free)
            unfinished += [(parts, first + cut, left - cut, free - 1), ([], first, cut, free)]
            continue
        parts.append(first)
        if not unfinished:
            return tuple(parts)
        unfinished[-1][0].append(tuple(parts))


def revolve_extra(length: int, slots: int) -> int:
    """Steps of `revolve(length, slots)` beyond one forward pass.

    Let `reach(s, r) = C(s + r, s)`: the most stages that s slots can go back through when no stage runs more than r
    extra times. A region and the rest of the chain give `reach(s, r) = reach(s, r - 1) + reach(s - 1, r)`. Let r be the
    smallest with `l <= reach(s, r)`. For every k < r, `reach(s, k)` of the l stages run at most k extra times. So the
    sum of all is `r * l - sum(reach(s, k) for k < r) = r * l - C(s + r, r - 1)` (Griewank and Walther).

    Example:
        >>> revolve_extra(24, 3), revolve_extra(1000, 1)
        (61, 499500)
    """
    _check("revolve_extra", length, slots)
    repeats = _repeats(length, slots)
    return repeats * length - (comb(slots + repeats, repeats - 1) if repeats else 0)


def _repeats(length: int, slots: int) -> int:
    """The smallest r with `length <= C(slots + r, slots)`: how often the stage that runs most often runs again."""
    reach, repeats = 1, 0
    while reach < length:
        repeats += 1
        reach = reach * (slots + repeats) // repeats
    return repeats


def _stages_of_region(length: int, slots: int) -> int:
    """Shortest first region of an optimal plan: the rest must be within reach of one slot less and as many repeats."""
    repeats = _repeats(length, slots)
    shortest = comb(slots + repeats - 2, slots) if repeats > 1 else 1
    return max(shortest, length - comb(slots - 1 + repeats, repeats))


def _check(name: str, length: int, slots: int) -> None:
    check_count(name, "length", length)
    check_count(name, "slots", slots)
