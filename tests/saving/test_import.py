"""`import gradcore` does not wait for what only files need."""

from __future__ import annotations

import subprocess
import sys

import pytest

FOR_FILES = ["json", "safetensors", "csv", "zipfile", "tempfile", "shutil", "queue", "concurrent", "multiprocessing"]
CODE = """
import sys, numpy
before = set(sys.modules)
import gradcore
print(*set(sys.modules) - before)
from gradcore.io import FileError, load, read, restore, save, snapshot
from gradcore.data import DataLoader
print(*set(sys.modules) - before)
"""


@pytest.fixture(scope="module")
def imported() -> list[set[str]]:
    """Names of modules that numpy does not import: before and after the packages for files are asked for."""
    done = subprocess.run([sys.executable, "-P", "-c", CODE], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_import_leaves_files_and_data_for_later(imported: list[set[str]]) -> None:
    first, later = imported
    assert {name for name in first if name.startswith("gradcore.io")} == {
        "gradcore.io",
        "gradcore.io.errors",
        "gradcore.io.state_dict",
    }
    assert not first & {*FOR_FILES, "gradcore.data"}
    assert {"json", "gradcore.io.files", "gradcore.data"} <= later


def test_names_that_are_not_there() -> None:
    import gradcore.io

    with pytest.raises(AttributeError, match=r"gradcore\.io.*'store'"):
        gradcore.io.store  # noqa: B018
