"""From settings to a network, its data and its optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gradcore.cli.output import CommandError
from gradcore.cli.settings import Settings

if TYPE_CHECKING:
    from gradcore import nn, optim
    from gradcore.data import DataLoader, Split

VALIDATION_SHARE = 8  # one example in so many
STEP_EPOCHS = 10
HALF_EPS = 1e-3  # squares of smaller gradients are 0 in float16


@dataclass
class Job:
    """A network, and what it is trained with."""

    split: Split
    model: nn.Sequential
    loss: Callable[..., Any]
    optimizer: optim.Optimizer
    loader: DataLoader
    validation: DataLoader | None
    schedule: Any
    schedule_on: str


Network = Callable[[list[int], Settings], "nn.Sequential"]


def job(settings: Settings, resume: str | None = None, device: str = "cpu", network: Network | None = None) -> Job:
    """Make it, with random numbers from the settings' seed.

    Args:
        settings: what decides the bits.
        resume: file of the saved run with these settings, if there is one.
        device: of the network; "auto" for a GPU if there is one. It gets the same initial values everywhere.
        network: makes one from its widths and the settings; if not given, layers with activations between them.

    Raises:
        CommandError: they contradict the data, or the network in that file.
    """
    from gradcore import cuda, nn, random

    random.seed(settings.seed)
    split = _split(settings)
    widths = [split.features, *settings.hidden, split.task.outputs]
    if resume is not None:
        _check_network(resume, widths)
    if device == "auto":
        device = "cuda" if cuda.is_available() else "cpu"
    model = (network or _network)(widths, settings).to(device)
    loss = nn.functional.cross_entropy if split.task.classes else nn.functional.mse_loss
    optimizer = _optimizer(model, settings)
    loader, validation = _loaders(split, settings)
    schedule, schedule_on = _schedule(optimizer, len(loader), settings)
    return Job(split, model, loss, optimizer, loader, validation, schedule, schedule_on)


def _split(settings: Settings) -> Split:
    from gradcore import data

    if settings.is_file:
        x, y = data.read_file(settings.data, settings.task)
        return data.prepare(x, y, settings.task, dtype=settings.dtype, source=settings.data)
    load = getattr(data.datasets, settings.data.replace("-", "_"))
    split: Split = load(dtype=settings.dtype)
    return split


def _check_network(path: str, widths: list[int]) -> None:
    """Before memory is taken for a network of these widths: is it the one in the file?"""
    from gradcore.io import read

    tensors = read(path)[0]
    for number, (before, after) in enumerate(pairwise(widths)):
        name = f"model.{2 * number}.weight"
        if name not in tensors or tensors[name].shape != (after, before):
            found = list(tensors[name].shape) if name in tensors else "missing"
            raise CommandError(f"{path} does not fit: {name} is {found} there and {[after, before]} in its settings", 2)


def _network(widths: list[int], settings: Settings) -> nn.Sequential:
    from gradcore import nn

    kind = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU}[settings.activation]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), kind()]
    return nn.Sequential(*layers[:-1]).to(settings.dtype)


def _optimizer(model: nn.Module, settings: Settings) -> optim.Optimizer:
    from gradcore import optim

    kinds: dict[str, Callable[..., optim.Optimizer]] = {
        "adamw": optim.AdamW,
        "adam": optim.Adam,
        "sgd": optim.SGD,
        "rmsprop": optim.RMSprop,
        "adagrad": optim.Adagrad,
        "lion": optim.Lion,
    }
    options: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    options |= {"momentum": 0.9} if settings.optimizer == "sgd" else {}
    if settings.dtype == "float16" and settings.optimizer not in ("sgd", "lion"):
        options["eps"] = HALF_EPS
    return kinds[settings.optimizer](model.parameters(), **options)


def _loaders(split: Split, settings: Settings) -> tuple[DataLoader, DataLoader | None]:
    """Batches to train on, and those that are held back of the training data for early stopping."""
    from gradcore import random
    from gradcore.data import ArrayDataset, DataLoader

    x, y = split.train_x, split.train_y
    size, held_back = min(settings.batch_size, len(x)), len(x) // VALIDATION_SHARE
    if settings.early_stop is None:
        return DataLoader(ArrayDataset(x, y), size, shuffle=True), None
    if not held_back:
        raise CommandError(f"--early-stop holds back one training example in {VALIDATION_SHARE}; there are {len(x)}", 2)
    order = random.generator().permutation(len(x))
    kept, held = (ArrayDataset(x.take(part, 0), y.take(part, 0)) for part in (order[held_back:], order[:held_back]))
    return DataLoader(kept, size, shuffle=True), DataLoader(held, len(held))


def _schedule(optimizer: optim.Optimizer, steps: int, settings: Settings) -> tuple[Any, str]:
    """The schedule, and when it takes a step; an epoch has so many steps."""
    from gradcore.optim import lr_scheduler

    total = steps * settings.epochs
    if settings.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, total), "step"
    if settings.schedule == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, settings.lr, total), "step"
    if settings.schedule == "step":
        return lr_scheduler.StepLR(optimizer, STEP_EPOCHS), "epoch"
    if settings.schedule == "plateau":
        monitor = "loss" if settings.early_stop is None else "validation_loss"
        return lr_scheduler.ReduceLROnPlateau(optimizer, patience=5), monitor
    return None, "step"
