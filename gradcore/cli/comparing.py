"""What gradcore profile --compare does: one training step under several ways to checkpoint, side by side."""

from __future__ import annotations

import statistics
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradcore import random
from gradcore.cli.output import CommandError
from gradcore.memory import account, checkpoint_chain, extra_steps, measured_costs, sqrt_plan
from gradcore.memory.chain import Chain
from gradcore.memory.sizes import size_text
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


def compared(work: Trial, choices: Sequence[str], repeats: int = 7) -> list[Row]:
    """Each choice measured on the same network and batch; steps are interleaved, for clocks change."""
    stages = list(work.model)
    costs = measured_costs(stages, work.x)
    ways = {choice: work.model if choice == "none" else _chain(choice, stages, costs) for choice in choices}
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
    if kind == "sqrt" and not value:
        return Chain(stages, sqrt_plan(len(stages)), costs, None, ())
    if kind == "revolve" and value.isdigit() and int(value) > 0:
        return checkpoint_chain(stages, slots=int(value), costs=costs)
    if kind == "budget" and value:
        return checkpoint_chain(stages, budget=value, costs=costs)
    raise CommandError(f"--compare takes none, sqrt, revolve:SLOTS, budget:SIZE and budget:SHARE%, not {choice!r}")


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
            f"{row.seconds / first.seconds:.2f}",
            str(row.extra),
            "yes" if row.same_bits else "NO",
        )
        for row in rows
    ]
    head = ("", "peak", f"of {first.choice}", "ms", f"times {first.choice}", "extra stage runs", "same bits")
    return "\n".join(_lines(head, cells))


def _lines(head: Sequence[str], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "Forward and backward; peak: bytes requested beyond what lives between steps"
    yield from table(head, cells)


def draw(rows: Sequence[Row], path: str | Path) -> None:
    """Memory against time, a point for each choice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    peaks, times = [row.peak / 2**20 for row in rows], [row.seconds * 1e3 for row in rows]
    axes.scatter(peaks, times, color="#3b75af", zorder=3)
    for row, peak, milliseconds in zip(rows, peaks, times, strict=True):
        label = f" {row.choice}\n {size_text(row.peak)}"
        axes.annotate(label, (peak, milliseconds), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set(xlabel="peak in MiB", ylabel="milliseconds of forward and backward", xlim=(0, max(peaks) * 1.25))
    axes.set_ylim(0, max(times) * 1.15)
    axes.set_title("Memory against time; the gradients have the same bits" if all(r.same_bits for r in rows) else "")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
