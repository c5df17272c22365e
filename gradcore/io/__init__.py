"""State in and out of cells, and in and out of files."""

import importlib as _importlib
import typing as _typing

from gradcore.io.errors import FileError
from gradcore.io.state_dict import KeyDifference, restore, snapshot

if _typing.TYPE_CHECKING:
    from gradcore.io.files import load, read, save

__all__ = ["FileError", "KeyDifference", "load", "read", "restore", "save", "snapshot"]


def __getattr__(name: str) -> _typing.Any:
    """Files are read and written by packages that `import gradcore` need not wait for."""
    if name in ("load", "read", "save"):
        return getattr(_importlib.import_module("gradcore.io.files"), name)
    raise AttributeError(f"module 'gradcore.io' has no attribute {name!r}")
