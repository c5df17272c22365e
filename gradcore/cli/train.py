"""gradcore train."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradcore.cli.output import CommandError, json_file

if TYPE_CHECKING:
    from gradcore import nn, optim
    from gradcore.train.loop import Progress

app = typer.Typer(help="Train a network on a small data set.", no_args_is_help=True, rich_markup_mode=None)


class Activation(StrEnum):
    """Activations by name."""

    RELU = "relu"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    GELU = "gelu"


class Algorithm(StrEnum):
    """Optimisers by name."""

    ADAMW = "adamw"
    SGD = "sgd"


LEARNING_RATES = {Algorithm.ADAMW: 0.005, Algorithm.SGD: 0.05}


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value} is not a positive number")
    return value


def _widths(text: str) -> list[int]:
    """Widths [64, 32] from the text "64,32"."""
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of layer widths such as 64,32")
    return [int(part) for part in parts]


@app.callback()
def commands() -> None:
    """Train a network on a small data set."""


@app.command(epilog="Example: gradcore train digits --hidden 128,64 --activation gelu --seed 1 --json result.json")
def digits(
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the training data.")] = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per step.")] = 64,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers; empty for none.")] = "64,32",
    activation: Annotated[Activation, typer.Option(help="Function after each hidden layer.")] = Activation.RELU,
    optimizer: Annotated[Algorithm, typer.Option(help="How parameters change.")] = Algorithm.ADAMW,
    lr: Annotated[
        float | None,
        typer.Option(callback=_positive, help="Learning rate.", show_default="0.005, sgd 0.05"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The same seed gives the same bits.")] = 0,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the result to this file.")] = None,
) -> None:
    """Train a network to recognise scikit-learn's handwritten digits and test it on a fifth of them."""
    try:
        widths = _widths(hidden)
    except typer.BadParameter as error:
        raise typer.BadParameter(str(error), param_hint="'--hidden'") from error
    rate = LEARNING_RATES[optimizer] if lr is None else lr
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "hidden": widths}
    settings |= {"activation": activation.value, "optimizer": optimizer.value, "lr": rate, "seed": seed}
    with json_file(json) as write:
        result = train_digits(settings)
        write(result)
    print(_summary(result))


def train_digits(settings: dict[str, Any]) -> dict[str, Any]:
    """Train with these settings: a dictionary that holds them and what came out."""
    import numpy as np
    from tqdm import tqdm

    from gradcore import nn, random
    from gradcore.train import accuracy, datasets, fit

    random.seed(settings["seed"])
    data = datasets.digits()
    model = _network([64, *settings["hidden"], 10], settings["activation"])
    optimizer = _optimizer(model, settings)
    batches = datasets.shuffled(data.train_x, data.train_y, settings["batch_size"])
    with tqdm(total=settings["epochs"], desc="digits", unit="epoch") as bar, np.errstate(all="ignore"):
        start = time.perf_counter()
        history = fit(model, nn.functional.cross_entropy, optimizer, batches, settings["epochs"], _reporter(bar))
        seconds = time.perf_counter() - start
        score = accuracy(model, data.test_x, data.test_y)
    return {
        **settings,
        "loss": history[-1].loss,
        "test_accuracy": score,
        "seconds": seconds,
        "samples_per_second": sum(progress.samples for progress in history) / seconds,
        "device": str(next(model.parameters()).device),
    }


def _network(widths: list[int], activation: str) -> nn.Sequential:
    from gradcore import nn

    kind = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU}[activation]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), kind()]
    return nn.Sequential(*layers[:-1])


def _optimizer(model: nn.Module, settings: dict[str, Any]) -> optim.Optimizer:
    from gradcore import optim

    if settings["optimizer"] == "adamw":
        return optim.AdamW(model.parameters(), lr=settings["lr"])
    return optim.SGD(model.parameters(), lr=settings["lr"], momentum=0.9)


def _reporter(bar: Any) -> Callable[[Progress], None]:
    """The function that `fit` reports to: it moves the bar, shows the loss of the epoch, and ends a lost cause."""

    def report(progress: Progress) -> None:
        if not math.isfinite(progress.loss):
            lost = f"loss is {progress.loss} in epoch {progress.epoch}"
            raise CommandError(f"training diverged: {lost}; try a smaller --lr")
        bar.set_postfix(loss=f"{progress.loss:.4f}", refresh=False)
        bar.update()

    return report


def _summary(result: dict[str, Any]) -> str:
    rows = [
        ("train loss", f"{result['loss']:.4f}"),
        ("test accuracy", f"{100 * result['test_accuracy']:.2f} %"),
        ("speed", f"{result['samples_per_second']:,.0f} samples/s"),
        ("time", f"{result['seconds']:.2f} s"),
        ("device", result["device"]),
    ]
    return "\n".join(f"{name:<14} {value}" for name, value in rows)
