"""What a run of gradcore train is made with: defaults, options, and what a saved run remembers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gradcore.cli import options
from gradcore.cli.output import CommandError


@dataclass(frozen=True)
class Settings:
    """All that decides the bits of a run; `data` is the name of a data set, or the path of a file."""

    data: str
    epochs: int
    batch_size: int
    hidden: list[int]
    activation: str
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    task: str | None = None
    early_stop: int | None = None
    seed: int = 0
    dtype: str = "float32"

    @property
    def is_file(self) -> bool:
        """Does the data come from the user?"""
        return self.data not in DEFAULTS


FIELDS = {field.name for field in fields(Settings)}
GENERAL: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 32,
    "hidden": [64],
    "activation": "tanh",
    "optimizer": "adamw",
    "lr": 0.005,
    "weight_decay": 0.01,
    "schedule": "none",
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"batch_size": 64, "hidden": [64, 32], "activation": "relu"},
    "wine": {"epochs": 25, "activation": "sigmoid", "lr": 0.01, "weight_decay": 1.0},
    "breast-cancer": {"hidden": [16], "lr": 0.002, "weight_decay": 1.0},
    "diabetes": {"lr": 0.001, "weight_decay": 1.0},
}
RATES = {"sgd": 10.0, "rmsprop": 0.2, "adagrad": 4.0, "lion": 0.1}  # what suits an optimiser, to what suits AdamW
DECOUPLED = ("adamw", "lion")  # for the others weight decay means something else
PLANNED = ("cosine", "onecycle")  # schedules that end with the last epoch


def chosen(given: Mapping[str, Any]) -> Settings:
    """Settings for a new run: what is given, and defaults.

    Raises:
        CommandError: the options contradict each other.
    """
    if "task" in given and given["data"] in DEFAULTS:
        raise CommandError(f"--task is for --data FILE; leave it out with {given['data']}", 2)
    settings = {**GENERAL, **DEFAULTS.get(given["data"], {}), **given}
    if "lr" not in given:
        settings["lr"] *= RATES.get(settings["optimizer"], 1.0)
    if "weight_decay" not in given and settings["optimizer"] not in DECOUPLED:
        settings["weight_decay"] = 0.0
    return Settings(**settings)


def remembered(path: str, metadata: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """Settings of a saved run; only the number of epochs may be another, and the place of a file of examples.

    Raises:
        CommandError: the file has none, an option contradicts them, or the examples have changed.
    """
    stored = metadata.get("settings")
    if not isinstance(stored, dict) or not _plausible(stored):
        raise CommandError(f"{path} does not hold a run of gradcore train; start a new one without --resume", 2)
    for name, value in given.items():
        if value != stored[name] and not _changeable(name, stored, given):
            raise CommandError(f"{path} was saved with {_difference(name, stored[name], value)}", 2)
    settings = Settings(**{**stored, **given})
    found = digest(settings)
    if settings.is_file and found is None:
        raise CommandError(f"there is no {settings.data}; if it has moved, add --data FILE.npz or FILE.csv", 2)
    if metadata.get("digest") != found:
        raise CommandError(f"{settings.data} has changed since {path} was saved; start a new run without --resume", 2)
    return settings


def _changeable(name: str, stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """May a run go on with another value of this?"""
    if name == "data":  # the content of a file must be the same, which the digest tells
        return not {stored["data"], given["data"]} & DEFAULTS.keys()
    return name == "epochs" and stored["schedule"] not in PLANNED


def digest(settings: Settings) -> str | None:
    """What tells whether a file of examples has changed; None where there is none."""
    path = Path(settings.data)
    if not (settings.is_file and path.is_file()):
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _difference(name: str, old: Any, new: Any) -> str:
    option = "the data" if name == "data" else "--" + name.replace("_", "-")
    old, new = (",".join(map(str, value)) if isinstance(value, list) else value for value in (old, new))
    found = f"no {option}" if old is None else f"{option} {old}, not {new}"
    return f"{found}; leave {option} out"


def _plausible(stored: Mapping[str, Any]) -> bool:
    """Is it what `saved` gave, as far as one can tell?"""
    if stored.keys() != FIELDS:
        return False
    choices = {"activation": options.Activation, "optimizer": options.Algorithm, "schedule": options.Schedule}
    choices |= {"dtype": options.Precision}
    hidden, early_stop = stored["hidden"], stored["early_stop"]
    return (
        all(isinstance(stored[name], str) and stored[name] in list(kind) for name, kind in choices.items())
        and all(_counts(stored[name]) for name in ("epochs", "batch_size"))
        and all(type(stored[n]) in (int, float) and 0 <= stored[n] <= options.LARGEST for n in ("lr", "weight_decay"))
        and type(stored["seed"]) is int
        and 0 <= stored["seed"] < 2**64
        and isinstance(hidden, list)
        and all(map(_counts, hidden))
        and (early_stop is None or _counts(early_stop))
        and isinstance(stored["data"], str)
        and stored["task"] in (None, *options.Kind)
    )


def _counts(value: Any) -> bool:
    return type(value) is int and value > 0


def saved(settings: Settings) -> dict[str, Any]:
    """Settings as JSON can hold them."""
    return asdict(settings)


def data_name(dataset: str | None, file: str | None) -> str | None:
    """The `data` of the settings."""
    return str(Path(file).resolve()) if file is not None else dataset
