"""gradcore train."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradcore.cli import options as o
from gradcore.cli import report
from gradcore.cli.output import check_output, json_file, output_file

if TYPE_CHECKING:
    from gradcore.cli.settings import Settings
    from gradcore.cli.training import Outcome

EXAMPLES = """\b
Examples:
  gradcore train digits --seed 0
  gradcore train diabetes --baseline --plot result.png
  gradcore train --data table.csv --hidden 32 --save run.safetensors
  gradcore train --resume run.safetensors --epochs 60

\b
The saved network in Python; model is an nn.Sequential of the same layers:
  gradcore.io.load("run.safetensors", {"model": model})
With --early-stop this is the last network; the best one is
  gradcore.io.load("run.safetensors", {"run.EarlyStopping.best": model})"""


def train(
    context: typer.Context,
    dataset: o.DatasetArgument = None,
    data: o.Data = None,
    task: o.Task = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    hidden: o.Hidden = None,
    activation: o.ActivationOption = None,
    optimizer: o.Optimizer = None,
    lr: o.LearningRate = None,
    weight_decay: o.WeightDecay = None,
    schedule: o.ScheduleOption = None,
    early_stop: o.EarlyStop = None,
    seed: o.Seed = None,
    dtype: o.Dtype = None,
    device: o.Device = "auto",
    save: o.Save = None,
    resume: o.Resume = None,
    baseline: o.Baseline = False,
    json: o.Json = None,
    plot: o.Plot = None,
    log: o.Log = None,
    tensorboard: o.TensorBoard = None,
    quiet: o.Quiet = False,
) -> None:
    """Train a network on a data set or a file of examples, and test it on a held-out fifth.

    What is not given takes a value that suits the data set.
    """
    if dataset is None and data is None and resume is None:
        raise typer.BadParameter(f"name a data set ({', '.join(o.Dataset)}), --data FILE or --resume FILE")
    if dataset is not None and data is not None:
        raise typer.BadParameter(f"{dataset} and --data {data} are two data sets; name one")
    options = {**context.params, "save": save or resume}
    with ExitStack() as files:
        for name in ("save", "log"):
            check_output(options[name], f"--{name}")
        write = files.enter_context(json_file(json))
        finish = files.enter_context(output_file(plot, "--plot"))
        outcome = _train(options)
        finish(partial(report.draw, outcome))
        write(outcome.result())
    if not quiet:
        print(report.table(outcome))


def _train(options: dict[str, Any]) -> Outcome:
    from gradcore.cli import training

    if options["plot"] is not None:
        report.check_picture(options["plot"])
    settings = _settings(options)
    _check_files({**options, "data": settings.data if settings.is_file else None})
    return training.train(settings, options)


def _check_files(options: dict[str, Any]) -> None:
    """Refuse to write a file that is also read, or written as something else."""
    names = ("data", "resume", "save", "log", "json", "plot")
    paths = [(name, Path(options[name]).resolve()) for name in names if options[name] is not None]
    for (name, path), (other, same) in combinations(paths, 2):
        if path == same and (name, other) != ("resume", "save"):
            raise typer.BadParameter(f"--{name} and --{other} both name {path}; name two files")


def _settings(options: dict[str, Any]) -> Settings:
    from gradcore.cli.settings import FIELDS, chosen, data_name, remembered
    from gradcore.io import read

    options = {**options, "data": data_name(options["dataset"], options["data"])}
    given = {name: value for name, value in options.items() if name in FIELDS and value is not None}
    if options["resume"] is None:
        return chosen(given)
    return remembered(options["resume"], read(options["resume"])[1], given)
