"""gradcore profile."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from gradcore.cli import options as o
from gradcore.cli.output import json_file, output_file
from gradcore.cli.report import check_picture

DEEP_BATCH = 512  # with --depth: so large that activations, not gradients, are most of the memory

if TYPE_CHECKING:
    from gradcore.cli.settings import Settings

EXAMPLES = """\b
Examples:
  gradcore profile digits
  gradcore profile digits --depth 50 --plot memory.png
  gradcore profile wine --device cuda --trace step.json
  gradcore profile digits --depth 50 --compare none,sqrt,revolve:4,budget:50%

\b
The trace opens in chrome://tracing and in https://ui.perfetto.dev."""


def profile(
    context: typer.Context,
    dataset: o.Profiled = o.Dataset.DIGITS,
    depth: o.Depth = None,
    batch_size: o.BatchSize = None,
    hidden: o.Hidden = None,
    activation: o.ActivationOption = None,
    optimizer: o.Optimizer = None,
    dtype: o.Dtype = None,
    device: o.Device = "auto",
    seed: o.Seed = None,
    compare: o.Compare = None,
    steps: o.Steps = 3,
    json: o.Json = None,
    trace: o.Trace = None,
    plot: o.MemoryPlot = None,
    quiet: o.Quiet = False,
) -> None:
    """Profile the memory of one training step: its peak, who held it, what is saved for the backward pass."""
    if plot is not None:
        check_picture(plot)
    settings = _settings(context.params)
    choices = _choices(compare)
    with ExitStack() as files:
        write = files.enter_context(json_file(json))
        finish_trace = files.enter_context(output_file(trace, "--trace"))
        finish_plot = files.enter_context(output_file(plot, "--plot"))
        from gradcore.cli.profiling import profiled, trial

        work = trial(settings, device, depth)
        if choices:
            from gradcore.cli import comparing

            rows = comparing.compared(work, choices)
            finish_plot(partial(comparing.draw, rows))
            write([row._asdict() for row in rows])
            shown = comparing.text(rows)
        else:
            found = profiled(work, steps)
            finish_trace(found.chrome_trace)
            finish_plot(found.plot)
            write(found.json())
            shown = str(found)
    if not quiet:
        print(shown)


def _choices(compare: str | None) -> list[str]:
    """What --compare names, looked at before anything costly is done."""
    if compare is None:
        return []
    from gradcore.cli.comparing import choices_in

    return choices_in(compare)


def _settings(options: dict[str, Any]) -> Settings:
    """Settings of the network; options that contradict each other are refused."""
    from gradcore.cli.settings import FIELDS, chosen

    given = {name: value for name, value in options.items() if name in FIELDS and value is not None}
    deep = {"batch_size": DEEP_BATCH} if options["depth"] is not None else {}
    settings = chosen({"data": options["dataset"].value, **deep, **given})
    if options["depth"] is not None and not settings.hidden:
        raise typer.BadParameter("--depth needs the width of a hidden layer; name one with --hidden")
    if options["compare"] is not None and options["trace"] is not None:
        raise typer.BadParameter("--trace is of one step, and --compare runs several; give one of them")
    return settings
