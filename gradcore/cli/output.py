"""Results for programs: one JSON object in a file that is either complete or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

Write = Callable[[dict[str, Any]], None]


class CommandError(Exception):
    """What was asked for could not be done; shown as one line, exit code 1."""


@contextmanager
def json_file(name: str | None) -> Iterator[Write]:
    """A function that writes one object to the file `name` atomically; with None it does nothing.

    The place is tried on entering, before anything costly is done.

    Raises:
        typer.BadParameter: nothing can be written there.
    """
    if name is None:
        yield lambda result: None
        return
    path = _named(name)
    part = _claim(path)

    def write(result: dict[str, Any]) -> None:
        part.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(path)

    try:
        yield write
    finally:
        part.unlink(missing_ok=True)


def _named(name: str) -> Path:
    if not name.strip():
        raise typer.BadParameter("the name of the file is empty", param_hint="'--json'")
    return Path(name)


def _claim(path: Path) -> Path:
    """An empty file beside `path`, which proves that one can be made there."""
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a directory; name a file", param_hint="'--json'")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch()
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}", param_hint="'--json'") from error
    return part
