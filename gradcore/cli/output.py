"""Results in files that are either complete or not there, and failures in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

Write = Callable[[Any], None]
Finish = Callable[[Callable[[Path], None]], None]


class CommandError(Exception):
    """What was asked for could not be done; shown as one line.

    Args:
        message: the line.
        code: exit code; 1 means failed, 2 that something was wrong with what was asked for.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def json_file(name: str | None) -> Iterator[Write]:
    """A function that writes one object to the file `name` atomically; with None it does nothing.

    The place is tried on entering, before anything costly is done.

    Raises:
        typer.BadParameter: nothing can be written there.
    """
    with output_file(name, "--json") as finish:
        yield lambda result: finish(lambda part: _write_json(part, result))


def _write_json(path: Path, result: Any) -> None:
    path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def output_file(name: str | None, option: str) -> Iterator[Finish]:
    """A function that takes one that writes to a path, and puts what it wrote to the file `name`; nothing for None.

    Args:
        name: of the file.
        option: that named it, for messages.

    Raises:
        typer.BadParameter: nothing can be written there.
    """
    if name is None:
        yield lambda write: None
        return
    path = Path(name)
    part = _claim(name, path, f"'{option}'")

    def finish(write: Callable[[Path], None]) -> None:
        write(part)
        part.replace(path)

    try:
        yield finish
    finally:
        part.unlink(missing_ok=True)


def check_output(name: str | None, option: str) -> None:
    """Refuse the name of a file that cannot be written; arguments and errors as for `output_file`."""
    with output_file(name, option):
        pass


def _claim(name: str, path: Path, option: str) -> Path:
    """An empty file beside `path`, which proves that one can be made there."""
    if not name.strip():
        raise typer.BadParameter("the name of the file is empty", param_hint=option)
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a directory; name a file", param_hint=option)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        part.touch()
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}", param_hint=option) from error
    return part
