"""What a user sees before the first computation: import, types, entry points."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import gradcore


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_touches_no_cuda_and_nothing_slow() -> None:
    slow = ("cupy", "scipy", "torch", "typer", "sklearn", "tqdm")
    assert run(f"import sys, gradcore; print([m for m in {slow} if m in sys.modules])") == "[]"


def test_there_is_no_top_level_package_called_kernels() -> None:
    assert run("import importlib.util as u; print(u.find_spec('kernels'))") == "None"
    assert run("import gradcore.kernels as k; print(k.__name__)") == "gradcore.kernels"


def test_version() -> None:
    assert importlib.metadata.version("gradcore") == gradcore.__version__


def test_errstate_is_the_users() -> None:
    code = "import numpy as np; a = np.geterr(); import gradcore as gc; gc.exp(gc.tensor(1.0)); print(a == np.geterr())"
    assert run(code) == "True"


def test_importing_the_source_folder_says_what_to_do() -> None:
    """As Python does in a clone's root after an install that is not editable."""
    root = str(Path(__file__).resolve().parents[1])
    code = (
        "import sys\n"
        "editable = lambda finder: '__editable__' in getattr(finder, '__module__', '')\n"
        "sys.meta_path[:] = [finder for finder in sys.meta_path if not editable(finder)]\n"
        f"sys.path.insert(0, {root!r})\n"
        "try: import gradcore\n"
        "except ImportError as error: print(error)"
    )
    assert "run Python from another folder, or install with `pip install -e .`" in run(code)
