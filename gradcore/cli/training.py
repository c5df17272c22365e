"""What gradcore train does."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcore.cli.job import Job, job
from gradcore.cli.output import CommandError
from gradcore.cli.settings import Settings, digest, saved

if TYPE_CHECKING:
    from gradcore.data import Split
    from gradcore.train import Callback, Checkpoint, Progress, Run

INTERRUPTED = 130


@dataclass
class Outcome:
    """A finished run: what the table, the picture and the JSON file show.

    Attributes:
        history: of the whole run, what a resumed run did before included.
        before: how many epochs of it a resumed run had behind it.
        outputs: of the network for the test part.
        scores: how good they are.
        baseline: those of a linear model, if it was asked for.
        seconds: of training, since the command was started.
    """

    settings: Settings
    job: Job
    history: list[Progress]
    before: int
    outputs: Any
    scores: dict[str, float]
    baseline: dict[str, float] | None
    seconds: float
    saved: str | None

    @property
    def kept(self) -> Progress:
        """The epoch whose network is tested: the last, or the best with early stopping."""
        if self.settings.early_stop is None:
            return self.history[-1]
        return min(self.history, key=lambda progress: progress.measures["validation_loss"])

    @property
    def device(self) -> str:
        """Where it was trained, with the name of a GPU."""
        from gradcore import cuda

        device = next(self.job.model.parameters()).device
        return str(device) if device == "cpu" else f"{device} ({cuda.get_device_name(device)})"

    def result(self) -> dict[str, Any]:
        """As JSON can hold it; a score that is not defined is None."""
        samples = sum(progress.samples for progress in self.history[self.before :])
        return {
            **saved(self.settings),
            "epochs_done": len(self.history),
            "epoch_kept": self.kept.epoch,
            "loss": self.kept.loss,
            **self.kept.measures,
            **{f"test_{name}": _number(value) for name, value in self.scores.items()},
            **{f"baseline_{name}": _number(value) for name, value in (self.baseline or {}).items()},
            "seconds": self.seconds,
            "samples_per_second": samples / self.seconds,
            "device": self.device,
            "saved": self.saved,
        }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def train(settings: Settings, files: dict[str, Any]) -> Outcome:
    """Train with these settings.

    Args:
        settings: what decides the bits.
        files: options by name that say what is read, written and shown.
    """
    import numpy as np

    from gradcore.train import predict

    made = job(settings, files["resume"], files["device"])
    with np.errstate(all="ignore"):
        start = time.perf_counter()
        history, before = _fit(made, settings, files)
        seconds = time.perf_counter() - start
        outputs = predict(made.model, made.split.test_x)
    scores = made.split.task.scores(outputs, made.split.test_y)
    reference = baseline(made.split) if files["baseline"] else None
    return Outcome(settings, made, history, before, outputs, scores, reference, seconds, files["save"])


def _fit(made: Job, settings: Settings, files: dict[str, Any]) -> tuple[list[Progress], int]:
    """The history of the run, and how many epochs of it a saved run had behind it."""
    from gradcore.train import Callback, DivergedError, fit

    class Start(Callback):
        def begin(self, run: Run) -> None:
            self.epoch = run.epoch
            if run.epoch > run.epochs:
                raise CommandError(f"{files['resume']} has {run.epoch} epochs behind it; give more --epochs", 2)

    first, last = Start(), _checkpoint(made, settings, files)
    callbacks = [first, *_callbacks(settings, files), last]
    schedule = {"schedule": made.schedule, "schedule_on": made.schedule_on, "validation": made.validation}
    options = {**schedule, "callbacks": callbacks, "resume": files["resume"]}
    try:
        history = fit(made.model, made.loss, made.optimizer, made.loader, settings.epochs, **options)
    except KeyboardInterrupt:
        raise CommandError(f"interrupted{_saved(last)}", INTERRUPTED) from None
    except DivergedError as error:
        what, _, _ = str(error).partition(";")
        raise CommandError(f"{what}; try a smaller --lr{_saved(last)}") from None
    except OSError as error:
        raise CommandError(f"{error}{_saved(last)}") from None
    return history, first.epoch


def _saved(checkpoint: Checkpoint) -> str:
    """What to do with the file that was written, if any."""
    return f"; saved to {checkpoint.path}; go on with --resume {checkpoint.path}" if checkpoint.saved else ""


def _checkpoint(made: Job, settings: Settings, files: dict[str, Any]) -> Checkpoint:
    from gradcore.train import Checkpoint

    metadata = {"settings": saved(settings), "digest": digest(settings), "task": made.split.task.metadata()}
    return Checkpoint(files["save"], metadata=metadata)


def _callbacks(settings: Settings, files: dict[str, Any]) -> list[Callback]:
    from gradcore.train import CSVLog, EarlyStopping, JSONLines, ProgressBar, TensorBoard

    callbacks: list[Callback] = []
    if settings.early_stop is not None:
        callbacks.append(EarlyStopping(patience=settings.early_stop, restore_best=True))
    if files["log"] is not None:
        callbacks.append((CSVLog if files["log"].endswith(".csv") else JSONLines)(files["log"]))
    if files["tensorboard"] is not None:
        callbacks.append(TensorBoard(files["tensorboard"]))
    return callbacks if files["quiet"] else [*callbacks, ProgressBar(Path(settings.data).stem)]


def baseline(split: Split) -> dict[str, float]:
    """Scores of scikit-learn's linear model on the same split."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    from gradcore.factories import tensor

    x, test_x = (part.numpy().astype("float64") for part in (split.train_x, split.test_x))
    y = split.train_y.numpy()
    if split.task.classes:
        outputs = LogisticRegression(max_iter=10_000).fit(x, y).predict_proba(test_x)
    else:
        outputs = LinearRegression().fit(x, y).predict(test_x)
    return split.task.scores(tensor(outputs), split.test_y)
