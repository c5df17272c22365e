"""Plans of a chain of stages, and the schedule of actions that each of them stands for.

Stage i takes activation i to activation i + 1. A plan says what the forward pass keeps. It is a tuple, in order:

- a number is a stage that is *saved*: it runs and everything that its backward needs is kept;
- a tuple is a *region*: its stages run, and only the input of the first is kept. Before the backward of the region they
  run again, following the plan that the tuple is.

So `((0, 1), (2,), 3)` runs stages 0, 1 and 2 in two regions and saves stage 3. A plan ends in a saved stage, since the
backward of its last stage comes at once. Any number of regions may lie in each other: nothing here is recursive.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import isqrt
from typing import NamedTuple, TypeAlias

Plan: TypeAlias = "tuple[int | Plan, ...]"


class Action(NamedTuple):
    """One step of a schedule.

    Attributes:
        kind: "forward" (run the stage, keep only its output), "keep" (the input of the stage is kept from now on),
            "save" (run the stage, keeping everything), "restore" (go back to the kept input of the stage), "backward"
            (of a saved stage) or "free" (the kept input of the stage goes).
        stage: its number.
    """

    kind: str
    stage: int


def walk(plan: Plan) -> Iterator[tuple[int, int]]:
    """The stages of a plan in order, each with the number of regions around it: how often it runs again.

    Example:
        >>> list(walk(((0, (1,), 2), 3)))
        [(0, 1), (1, 2), (2, 1), (3, 0)]
    """
    inside = [iter(plan)]
    while inside:
        part = next(inside[-1], None)
        if part is None:
            inside.pop()
        elif isinstance(part, tuple):
            inside.append(iter(part))
        else:
            yield part, len(inside) - 1


def first_stage(plan: Plan) -> int:
    """The first stage of a plan, however deep it lies."""
    part: int | Plan = plan
    while isinstance(part, tuple):
        part = part[0]
    return part


def last_stage(plan: Plan) -> int:
    """The last stage of a plan, which is saved."""
    part = plan[-1]
    if isinstance(part, tuple):
        raise ValueError(f"a plan must end in a saved stage, got a region: {text(part)}")
    return part


def check_plan(plan: Plan, length: int | None = None) -> None:
    """Raise ValueError unless the stages are 0, 1, … (to length - 1) and every plan in the plan ends in a number."""
    pending = [plan]
    while pending:
        part = pending.pop()
        if not part:
            raise ValueError("a plan must not be empty, nor have an empty region in it")
        last_stage(part)
        pending.extend(inner for inner in part if isinstance(inner, tuple))
    stages = [stage for stage, _ in walk(plan)]
    if stages != list(range(len(stages) if length is None else length)):
        count = "0, 1, …" if length is None else f"0 to {length - 1}"
        raise ValueError(f"a plan must have stages {count} in order, each once, got {text(plan)}")


def actions(plan: Plan) -> list[Action]:
    """The schedule of a plan: what happens in forward and backward, in order.

    Raises:
        ValueError: the stages are not 0, 1, … in order, or a plan does not end in a saved stage.

    Example:
        >>> print(*(f"{kind} {stage}" for kind, stage in actions(((0,), 1))), sep=", ")
        keep 0, forward 0, save 1, backward 1, restore 0, save 0, backward 0, free 0
    """
    check_plan(plan)
    result: list[Action] = []
    kept: set[int] = set()
    pending: list[int | Plan] = [plan]  # a number waits for its backward, a tuple to be run (again)
    while pending:
        part = pending.pop()
        if isinstance(part, tuple):
            result += [Action("restore", first_stage(part))] if result else []
            for inner in part:
                result += _run(inner, kept)
            pending.extend(part)
        else:
            result.append(Action("backward", part))
            if part in kept:
                kept.remove(part)
                result.append(Action("free", part))
    return result


def _run(part: int | Plan, kept: set[int]) -> list[Action]:
    if not isinstance(part, tuple):
        return [Action("save", part)]
    first = first_stage(part)
    keep = [] if first in kept else [Action("keep", first)]
    kept.add(first)
    return keep + [Action("forward", stage) for stage in range(first, last_stage(part) + 1)]


def extra_steps(plan: Plan) -> int:
    """How often stages run beyond once each.

    Example:
        >>> extra_steps(((0, (1,), 2), 3))
        4
    """
    return sum(depth for _, depth in walk(plan))


def text(plan: Plan) -> str:
    """A plan on one line: regions in parentheses, stages in a row that are saved as first..last.

    Example:
        >>> text(((0, 1, 2), ((3, 4), 5), 6, 7, 8))
        '(0..2) ((3 4) 5) 6..8'
    """
    words: list[str] = []
    for is_stage, group in groupby(_tokens(plan), key=lambda token: isinstance(token, int)):
        tokens = list(group)
        short = is_stage and len(tokens) > 2
        words += [f"{tokens[0]}..{tokens[-1]}"] if short else map(str, tokens)
    return " ".join(words).replace("( ", "(").replace(" )", ")")


def _tokens(plan: Plan) -> Iterator[int | str]:
    pending: list[int | str | Plan] = [*reversed(plan)]
    while pending:
        token = pending.pop()
        if isinstance(token, tuple):
            yield "("
            pending += [")", *reversed(token)]
        else:
            yield token


def saved_plan(length: int) -> Plan:
    """The plan without checkpoints: every stage saved.

    Example:
        >>> saved_plan(3)
        (0, 1, 2)
    """
    check_count("saved_plan", "length", length)
    return tuple(range(length))


def sqrt_plan(length: int) -> Plan:
    """Regions of about sqrt(length) stages, the last stages saved.

    After Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost" (2016).

    Example:
        >>> sqrt_plan(7)
        ((0, 1), (2, 3), (4, 5), 6)
    """
    check_count("sqrt_plan", "length", length)
    size = isqrt(length)
    starts = range(0, length, size)
    regions = [tuple(range(start, start + size)) for start in starts[:-1]]
    return (*regions, *range(starts[-1], length))


def check_count(name: str, argument: str, value: object) -> None:
    """Raise unless the value is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: {argument} must be an int, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: {argument} must be at least 1, got {value}")
