"""gradcore profile."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Annotated

import typer

from gradcore.cli import options as o
from gradcore.cli.output import json_file, output_file
from gradcore.cli.report import check_picture

EXAMPLES = """\b
Examples:
  gradcore profile digits
  gradcore profile digits --depth 50 --batch-size 1000 --plot memory.png
  gradcore profile wine --device cuda --trace step.json
  gradcore profile digits --depth 50 --compare none,sqrt,revolve:4,budget:50%

\b
The trace opens in chrome://tracing and in https://ui.perfetto.dev."""


def profile(
    dataset: Annotated[o.Dataset, typer.Argument(help="Data of scikit-learn.")] = o.Dataset.DIGITS,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="A residual network of so many blocks; --hidden is their width."),
    ] = None,
    batch_size: o.BatchSize = None,
    hidden: o.Hidden = None,
    activation: o.ActivationOption = None,
    optimizer: o.Optimizer = None,
    dtype: o.Dtype = None,
    device: o.Device = "auto",
    seed: o.Seed = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Run the step under several ways to checkpoint and compare memory with time: none, sqrt, "
            "revolve:SLOTS, budget:SIZE, budget:SHARE%, with commas between.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps before the one that is profiled.")] = 3,
    json: o.Json = None,
    trace: Annotated[
        str | None,
        typer.Option(metavar="FILE", callback=o._named, help="Write a trace for Chrome and Perfetto."),
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", callback=o._named, help="Draw memory over time here.")
    ] = None,
    quiet: o.Quiet = False,
) -> None:
    """Profile the memory of one training step: its peak, who held it, what is saved for the backward pass."""
    from gradcore.cli.settings import chosen

    given = {
        "data": dataset.value,
        "batch_size": batch_size,
        "hidden": hidden,
        "activation": activation,
        "optimizer": optimizer,
        "dtype": dtype,
        "seed": seed,
    }
    settings = chosen({name: value for name, value in given.items() if value is not None})
    if depth is not None and not settings.hidden:
        raise typer.BadParameter("--depth needs the width of a hidden layer; name one with --hidden")
    if compare is not None and trace is not None:
        raise typer.BadParameter("--trace is of one step, and --compare runs several; give one of them")
    if plot is not None:
        check_picture(plot)
    with ExitStack() as files:
        write = files.enter_context(json_file(json))
        finish_trace = files.enter_context(output_file(trace, "--trace"))
        finish_plot = files.enter_context(output_file(plot, "--plot"))
        from gradcore.cli.profiling import profiled, trial

        work = trial(settings, device, depth)
        if compare is not None:
            from gradcore.cli import comparing

            rows = comparing.compared(work, compare.split(","))
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
