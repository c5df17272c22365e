"""The table and the picture of a finished run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcore.cli.output import CommandError

if TYPE_CHECKING:
    from gradcore.cli.training import Outcome


def table(outcome: Outcome) -> str:
    """Names and values in two columns."""
    result = outcome.result()
    rows = [*_epochs(outcome), ("train loss", f"{outcome.kept.loss:.4f}"), *_scores("test", outcome.scores)]
    rows += _scores("baseline", outcome.baseline or {})
    rows += [
        ("speed", f"{result['samples_per_second']:,.0f} samples/s"),
        ("time", f"{outcome.seconds:.2f} s"),
        ("device", result["device"]),
    ]
    rows += [("saved", outcome.saved)] if outcome.saved else []
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _epochs(outcome: Outcome) -> list[tuple[str, str]]:
    """A row where it is not plain how many epochs were trained, or whose network is tested."""
    done, notes = len(outcome.history), []
    if done < outcome.settings.epochs:
        notes.append(f"stopped before {outcome.settings.epochs}")
    if outcome.kept.epoch < done:
        notes.append(f"the network is that of epoch {outcome.kept.epoch}")
    if outcome.before == done:
        notes.append("all trained before")
    return [("epochs", "; ".join([str(done), *notes]))] if notes else []


def _scores(part: str, scores: dict[str, float]) -> list[tuple[str, str]]:
    shown = {"accuracy": lambda value: f"{100 * value:.2f} %", "r2": "{:.4f}".format, "rmse": "{:.4g}".format}
    names = {"accuracy": "accuracy", "r2": "R2", "rmse": "RMSE"}
    return [(f"{part} {names[name]}", shown[name](value)) for name, value in scores.items()]


def check_picture(name: str) -> None:
    """Can a picture of this name be drawn?

    Raises:
        CommandError: its format is not one of ours.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if Path(name).suffix not in FORMATS:
        raise CommandError(f"--plot {name}: the name must end in one of {', '.join(FORMATS)}", 2)
    importlib.import_module("matplotlib.figure")


FORMATS = (".png", ".svg", ".pdf")


def draw(outcome: Outcome, path: Path) -> None:
    """The loss of each epoch, and what the network says about the test part beside what is true."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    losses, test = figure.subplots(1, 2)
    _draw_losses(losses, outcome)
    task, split = outcome.job.split.task, outcome.job.split
    actual, predicted = task.actual(split.test_y), task.predicted(outcome.outputs)
    if task.classes:
        _draw_confusion(figure, test, actual, predicted, task.classes)
    else:
        _draw_agreement(test, actual, predicted)
    figure.savefig(path, dpi=120)


def _draw_losses(axes: Any, outcome: Outcome) -> None:
    epochs = [progress.epoch for progress in outcome.history]
    for name in ("loss", *outcome.history[-1].measures):
        axes.plot(epochs, [progress.number(name) for progress in outcome.history], label=name.replace("_", " "))
    axes.set(title="training", xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend()


def _draw_confusion(figure: Any, axes: Any, actual: Any, predicted: Any, classes: tuple[int, ...]) -> None:
    import numpy as np

    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (np.searchsorted(classes, actual), np.searchsorted(classes, predicted)), 1)
    picture = axes.imshow(counts, cmap="Blues")
    figure.colorbar(picture, ax=axes, label="examples")
    axes.set(title="test part", xlabel="predicted class", ylabel="true class")
    if len(classes) > MANY:
        return
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > counts.max() / 2 else "black"
        axes.text(column, row, count, ha="center", va="center", color=color)


MANY = 20  # classes; more have no room for numbers


def _draw_agreement(axes: Any, actual: Any, predicted: Any) -> None:
    low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
    axes.plot([low, high], [low, high], color="gray", linewidth=1)
    axes.scatter(actual, predicted, s=16)
    axes.set(title="test part", xlabel="true", ylabel="predicted", aspect="equal")
