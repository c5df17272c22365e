"""What a run did, written down while it goes: files of lines, TensorBoard, a progress bar."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from gradcore.io import FileError
from gradcore.train.callbacks import Callback
from gradcore.train.run import Progress, Run


class Lines(Callback):
    """A file with one line for each epoch; a subclass says what a line looks like.

    A new run starts the file anew; a run that is resumed keeps the complete lines up to where it goes on, so the file
    becomes that of an uninterrupted run.

    Args:
        path: the file.

    Raises:
        FileError: the file holds something else, which is left as it is.
    """

    opening: bytes

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def begin(self, run: Run) -> None:
        with self.path.open("ab") as file:
            kept = self._length(run)
            file.truncate(kept if run.step else 0)

    def _length(self, run: Run) -> int:
        """How many bytes the complete lines take up to where the run goes on."""
        content = self.path.read_bytes()
        if not (content.startswith(self.opening) or self.opening.startswith(content)):
            raise self._refused(content.splitlines()[0])
        lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        marked = [(self._done(line, run), len(line)) for line in lines]
        return sum(length for _, length in takewhile(lambda mark: mark[0], marked))

    def _done(self, line: bytes, run: Run) -> bool:
        try:
            return self.done(line.decode("utf-8"), run)
        except (ValueError, LookupError, TypeError):
            raise self._refused(line) from None

    def _refused(self, line: bytes) -> FileError:
        start = line.decode("utf-8", "replace").strip()[:60]
        return FileError(f"{self.path} is not a log of a run: it has the line {start!r}; name another file")

    def after_epoch(self, run: Run, progress: Progress) -> None:
        self.write(_row(run, progress))

    def write(self, row: Mapping[str, float]) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self.line(row))

    def line(self, row: Mapping[str, float]) -> str:
        """The text of a line."""
        raise NotImplementedError

    def done(self, line: str, run: Run) -> bool:
        """Does a line of the file tell what the run has behind it?"""
        raise NotImplementedError


class JSONLines(Lines):
    r"""A JSON object in a line for each epoch: epoch, step, loss, samples, lr and the measures.

    Args:
        path: the file. A new run starts it anew; a run that is resumed goes on with it.
        every: also a line after each so many steps, whose "loss_so_far" is the mean of the epoch until then, or None.

    Raises:
        FileError: when the run begins, the file holds something else.
        ValueError: `every` is not positive.

    Example:
        >>> import gradcore as gc
        >>> log = JSONLines("log.jsonl")
        >>> log.line({"epoch": 1, "loss": 0.5})
        '{"epoch": 1, "loss": 0.5}\n'
    """

    opening = b'{"epoch": '

    def __init__(self, path: str | Path, every: int | None = None) -> None:
        super().__init__(path)
        self.every = _checked(every)

    def after_step(self, run: Run) -> None:
        if self.every and run.step % self.every == 0:
            progress = run.progress()
            self.write({"epoch": progress.epoch, "step": progress.step, "loss_so_far": progress.loss})

    def line(self, row: Mapping[str, float]) -> str:
        return json.dumps(row) + "\n"

    def done(self, line: str, run: Run) -> bool:
        row = json.loads(line)
        return bool(row["epoch"] <= run.epoch or ("loss_so_far" in row and row["step"] <= run.step))


class CSVLog(Lines):
    r"""A line of numbers separated by commas for each epoch, under a line of names.

    Args:
        path: the file. A new run starts it anew; a run that is resumed goes on with it.

    Raises:
        FileError: when the run begins, the file holds something else.

    Example:
        >>> import os
        >>> CSVLog(os.devnull).line({"epoch": 1, "loss": 0.5})
        'epoch,loss\n1,0.5\n'
    """

    opening = b"epoch,step,loss,samples"

    def line(self, row: Mapping[str, float]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, row, lineterminator="\n")
        if not self.path.stat().st_size:
            writer.writeheader()
        writer.writerow(row)
        return text.getvalue()

    def done(self, line: str, run: Run) -> bool:
        epoch, *_ = next(csv.reader([line]))
        return epoch == "epoch" or int(epoch) <= run.epoch


class TensorBoard(Callback):
    """Scalars for TensorBoard; needs the package `tensorboardX`, or `tensorboard` with PyTorch.

    Args:
        folder: where event files are written.
        every: also the mean loss of the epoch so far after each so many steps, or None.

    Raises:
        ImportError: none of the packages is installed.
        ValueError: `every` is not positive.
    """

    def __init__(self, folder: str | Path, every: int | None = None) -> None:
        self.folder, self.every = str(folder), _checked(every)
        self.make = _summary_writer()
        self.writer: Any = None

    def begin(self, run: Run) -> None:
        self.writer = self.make(self.folder, purge_step=run.step + 1 if run.step else None)

    def after_step(self, run: Run) -> None:
        if self.every and run.step % self.every == 0:
            self.writer.add_scalar("loss_so_far", run.progress().loss, run.step)

    def after_epoch(self, run: Run, progress: Progress) -> None:
        for name, value in _row(run, progress).items():
            if name not in ("epoch", "step", "samples"):
                self.writer.add_scalar(name, value, progress.step)
        self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class ProgressBar(Callback):
    """A bar on a terminal that shows how many epochs are done and the last loss; needs the package `tqdm`.

    Args:
        title: shown before it.
        options: passed to `tqdm.tqdm`; disable=False shows it where there is no terminal, too.

    Raises:
        ImportError: tqdm is not installed.

    Example:
        >>> bar = ProgressBar("digits", disable=True)
    """

    def __init__(self, title: str = "training", **options: Any) -> None:
        self.make = importlib.import_module("tqdm").tqdm
        self.options = {"desc": title, "unit": "epoch", "disable": None, **options}
        self.bar: Any = None

    def begin(self, run: Run) -> None:
        self.bar = self.make(total=run.epochs, initial=run.epoch, **self.options)

    def after_epoch(self, run: Run, progress: Progress) -> None:
        self.bar.set_postfix(loss=f"{progress.loss:.4f}", refresh=False)
        self.bar.update()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _row(run: Run, progress: Progress) -> dict[str, float]:
    """Numbers of a line: the learning rate is that of the first parameter group."""
    return {**progress.numbers(), "lr": float(run.optimizer.param_groups[0]["lr"])}


def _checked(every: int | None) -> int | None:
    if every is not None and every < 1:
        raise ValueError(f"every must be a positive number of steps, or None, not {every}")
    return every


def _summary_writer() -> Any:
    for name in ("tensorboardX", "torch.utils.tensorboard"):
        try:
            return importlib.import_module(name).SummaryWriter
        except ImportError:
            continue
    raise ImportError("TensorBoard needs the package tensorboardX; run: pip install tensorboardX", name="tensorboardX")
