"""The options of gradcore train and gradcore profile."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Dataset(StrEnum):
    """Data sets by name."""

    DIGITS = "digits"
    WINE = "wine"
    BREAST_CANCER = "breast-cancer"
    DIABETES = "diabetes"


class Kind(StrEnum):
    """What there is to learn."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class Activation(StrEnum):
    """Activations by name."""

    RELU = "relu"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    GELU = "gelu"


class Algorithm(StrEnum):
    """Optimisers by name."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"
    RMSPROP = "rmsprop"
    ADAGRAD = "adagrad"
    LION = "lion"


class Schedule(StrEnum):
    """Learning rate schedules by name."""

    NONE = "none"
    COSINE = "cosine"
    ONECYCLE = "onecycle"
    STEP = "step"
    PLATEAU = "plateau"


class Precision(StrEnum):
    """Floating dtypes by name."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    FLOAT16 = "float16"


LARGEST = 3e38  # what float32 can hold


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value <= LARGEST:
        raise typer.BadParameter(f"{value} is not a positive number up to {LARGEST:g}")
    return value


def _not_negative(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= LARGEST:
        raise typer.BadParameter(f"{value} is not a number from 0 to {LARGEST:g}")
    return value


def _widths(text: str | None) -> list[int] | None:
    """Widths [64, 32] from the text "64,32"."""
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of layer widths such as 64,32")
    return None if text is None else [int(part) for part in parts]


def _named(name: str | None) -> str | None:
    if name is not None and not name.strip():
        raise typer.BadParameter("the name of the file is empty")
    return name


def _log(name: str | None) -> str | None:
    if name is not None and not name.endswith((".jsonl", ".csv")):
        raise typer.BadParameter(f"{name!r} must end in .jsonl or .csv")
    return _named(name)


def _device(name: str) -> str:
    """The full name of a device that is there; "auto" is left as it is."""
    from gradcore.backend import backend_on
    from gradcore.core.errors import DeviceError

    try:
        return name if name == "auto" else str(backend_on(name).device)
    except ValueError:
        raise typer.BadParameter(f"no device is named {name!r}; use auto, cpu, cuda or cuda:N") from None
    except DeviceError as error:
        raise typer.BadParameter(f"{error}; or train with --device cpu") from None


DatasetArgument = Annotated[Dataset | None, typer.Argument(help="Data of scikit-learn.", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", callback=_named, help="Own examples: .npz with X and y, or .csv with the target last."
    ),
]
Task = Annotated[Kind | None, typer.Option(help="Of --data; else floats in y mean regression.")]
Epochs = Annotated[int | None, typer.Option(metavar="N", min=1, help="Passes through the training data.")]
BatchSize = Annotated[int | None, typer.Option(metavar="N", min=1, help="Examples per step.")]
Hidden = Annotated[
    str | None,
    typer.Option(metavar="WIDTHS", callback=_widths, help="Hidden layers, such as 64,32; '' for none."),
]
ActivationOption = Annotated[Activation | None, typer.Option(help="Function after each hidden layer.")]
Optimizer = Annotated[Algorithm | None, typer.Option(help="How parameters change; adamw if not given.")]
LearningRate = Annotated[
    float | None,
    typer.Option(metavar="RATE", callback=_positive, help="Learning rate."),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        metavar="FACTOR",
        callback=_not_negative,
        help="Shrinks parameters (0 but for adamw, lion).",
    ),
]
ScheduleOption = Annotated[Schedule | None, typer.Option(help="How the learning rate changes.")]
EarlyStop = Annotated[
    int | None,
    typer.Option(
        metavar="PATIENCE",
        min=1,
        help="Hold back an eighth of the training data; stop when its loss has not become lower for so many "
        "epochs; keep the best network.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=2**64 - 1, help="The same seed gives the same bits; 0 if not given."),
]
Dtype = Annotated[Precision | None, typer.Option(help="Of data and parameters; float32 if not given.")]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE", callback=_device, help="cpu, cuda, cuda:1; auto is cuda where CuPy finds a GPU, else cpu."
    ),
]
Save = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        callback=_named,
        help="Save the run here after each epoch and at Ctrl-C; how to load it in Python: see below.",
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", callback=_named, help="Go on with a saved run, with its settings; saves there unless --save."
    ),
]
Baseline = Annotated[bool, typer.Option("--baseline", help="Also score scikit-learn's logistic or linear regression.")]
Json = Annotated[str | None, typer.Option(metavar="FILE", callback=_named, help="Write the result here.")]
Plot = Annotated[str | None, typer.Option(metavar="FILE", callback=_named, help="Draw losses and results here.")]
Log = Annotated[str | None, typer.Option(metavar="FILE", callback=_log, help="A line per epoch: .jsonl or .csv.")]
TensorBoard = Annotated[str | None, typer.Option(metavar="DIR", callback=_named, help="Write for TensorBoard here.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]

# --- of gradcore profile ----------------------------------------------------------------------------------------------

Profiled = Annotated[Dataset, typer.Argument(help="Data of scikit-learn.")]
Depth = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="A residual network of so many blocks, as wide as --hidden; 512 examples if not told otherwise.",
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Run the step under several ways to checkpoint and compare memory with time: none, sqrt, revolve:SLOTS, "
        "budget:SIZE, budget:SHARE%, with commas between.",
    ),
]
Steps = Annotated[int, typer.Option(metavar="N", min=1, help="Steps before the one that is profiled.")]
Trace = Annotated[
    str | None, typer.Option(metavar="FILE", callback=_named, help="Write a trace for Chrome and Perfetto.")
]
MemoryPlot = Annotated[str | None, typer.Option(metavar="FILE", callback=_named, help="Draw memory over time here.")]
