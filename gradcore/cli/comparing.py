"""What gradcore profile --compare does: one training step under several ways to checkpoint, side by side."""

from __future__ import annotations

import math
import re
import statistics
from importlib import import_module
from itertools import cycle
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradcore import random
from gradcore.backend.sizes import parse_size, size_text
from gradcore.cli.output import CommandError
from gradcore.memory import (
    BudgetError,
    account,
    checkpoint_chain,
    extra_steps,
    measured_costs,
    peak_of,
    saved_plan,
    sqrt_plan,
)
from gradcore.memory.chain import Chain
from gradcore.memory.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gradcore.cli.profiling import Trial
    from gradcore.memory import Costs


class Row(NamedTuple):
    """One way to run a step.

    Attributes:
        choice: as it was asked for.
        peak: most bytes requested in forward and backward beyond what lives between steps.
        seconds: of a step, the median of several.
        extra: runs of stages beyond one each.
        same_bits: are all gradients those of the plain run?
    """

    choice: str
    peak: int
    seconds: float
    extra: int
    same_bits: bool


def choices_in(text: str) -> list[str]:
    """The choices that a list with commas names, each once.

    Raises:
        CommandError: one of them is none.
    """
    choices = [choice.strip() for choice in text.split(",")]
    for choice in choices:
        if not _is_choice(choice):
            kinds = "none, sqrt, revolve:SLOTS (revolve:4), budget:SIZE (budget:20MiB) and budget:SHARE% (budget:50%)"
            raise CommandError(f"--compare takes {kinds}, with commas between, not {choice!r}", 2)
    return list(dict.fromkeys(choices))


def _is_choice(choice: str) -> bool:
    if re.fullmatch(r"none|sqrt|revolve:0*[1-9]\d*|budget:\d+(\.\d+)?%", choice):
        return True
    try:
        return choice.startswith("budget:") and parse_size(choice.removeprefix("budget:")) > 0
    except ValueError:
        return False


def compared(work: Trial, choices: Sequence[str], repeats: int = 7) -> list[Row]:
    """Each choice measured on the same network and batch; steps are interleaved, for clocks change.

    Raises:
        CommandError: a budget is smaller than what every schedule needs.
    """
    stages = list(work.model)
    costs = measured_costs(stages, work.x)
    ways: dict[str, Any] = {
        choice: work.model if choice == "none" else _chain(choice, stages, costs) for choice in choices
    }
    peaks = {choice: _peak(work, way) for choice, way in ways.items()}
    reference = _gradients(work, work.model)
    same = {choice: _gradients(work, way) == reference for choice, way in ways.items()}
    times: dict[str, list[float]] = {choice: [] for choice in ways}
    for _ in range(repeats):
        for choice, way in ways.items():
            times[choice].append(_seconds(work, way))
    return [
        Row(c, peaks[c], statistics.median(times[c]), 0 if c == "none" else extra_steps(ways[c].plan), same[c])
        for c in ways
    ]


def _chain(choice: str, stages: list[Any], costs: Costs) -> Chain:
    kind, _, value = choice.partition(":")
    if kind == "sqrt":
        return Chain(stages, sqrt_plan(len(stages)), costs, None, ())
    if kind == "revolve":
        return checkpoint_chain(stages, slots=int(value), costs=costs)
    try:
        return checkpoint_chain(stages, budget=value, costs=costs)
    except BudgetError as error:
        why = str(error).removeprefix("plan_chain: ")
        share = error.smallest / peak_of(saved_plan(len(stages)), costs)
        least = f"--compare: {choice} is too little for this network; the least is {math.ceil(100 * share)}%"
        raise CommandError(f"{least} of what saving all takes. {why}", 2) from error


def _backward(work: Trial, way: Any) -> None:
    work.apply = way
    work.loss(work.apply(work.x), work.y).backward()


def _peak(work: Trial, way: Any) -> int:
    work.model.zero_grad()
    with account(work.device) as counted:
        start = counted.live
        _backward(work, way)
        peak = counted.peak - start
    work.model.zero_grad()
    return peak


def _gradients(work: Trial, way: Any) -> list[bytes]:
    random.seed(0)
    _backward(work, way)
    found = [np.asarray(p.grad.to("cpu")).tobytes() for p in work.model.parameters()]
    work.model.zero_grad()
    return found


def _seconds(work: Trial, way: Any) -> float:
    start = perf_counter()
    _backward(work, way)
    if work.device != "cpu":
        import_module("gradcore.cuda").synchronize(work.device)
    seconds = perf_counter() - start
    work.model.zero_grad()
    return seconds


def text(rows: Sequence[Row]) -> str:
    """A table, with the first row as what the others are compared with."""
    first = rows[0]
    cells = [
        (
            row.choice,
            size_text(row.peak),
            f"{row.peak / first.peak:.0%}",
            f"{row.seconds * 1e3:.1f}",
            f"{row.seconds / first.seconds:.0%}",
            str(row.extra),
            "yes" if row.same_bits else "NO",
        )
        for row in rows
    ]
    share = f"of {first.choice}"
    head = ("", "peak", share, "ms", share, "stages run again", "same gradients")
    return "\n".join(_lines(head, cells))


def _lines(head: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "Forward and backward of one step; peak: the most memory beyond what is there between steps"
    yield from table(head, cells)


def draw(rows: Sequence[Row], path: str | Path) -> None:
    """Memory against time, a point for each choice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for row, marker in zip(rows, cycle("osD^vP*X"), strict=False):
        label = f"{row.choice}: {size_text(row.peak)}, {row.seconds * 1e3:.0f} ms"
        axes.scatter(row.peak / 2**20, row.seconds * 1e3, marker=marker, s=60, label=label, zorder=3)
    axes.set(xlabel="peak in MiB", ylabel="ms of forward and backward", xlim=(0, None), ylim=(0, None))
    axes.set_title("Memory against time; same gradients to the bit" if all(r.same_bits for r in rows) else "")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=120)
