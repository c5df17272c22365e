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


@contextmanager
def json_file(path: Path | None) -> Iterator[Write]:
    """A function that writes one object to `path` atomically; with None it does nothing.

    The place is tried on entering, before anything costly is done.

    Raises:
        typer.BadParameter: nothing can be written there.
    """
    if path is None:
        yield lambda result: None
        return
    part = _claim(path)

    def write(result: dict[str, Any]) -> None:
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        part.replace(path)

    try:
        yield write
    finally:
        part.unlink(missing_ok=True)


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
