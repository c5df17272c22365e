"""What gradcore costs before it does anything: seconds to import it, bytes to install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from timing import Times, difference, median

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("gradcore", "kernels", "pyproject.toml", "README.md", "LICENSE")
IMPORT_BUDGET = 100.0
WHEEL_BUDGET = 1_000_000
PROGRAM = """
import sys, time
start = time.perf_counter()
import {name}
print((time.perf_counter() - start) * 1e3)
assert "cupy" not in sys.modules, "importing {name} imported cupy"
"""


def import_milliseconds(name: str, cache: str) -> float:
    """Milliseconds that `import name` takes in a new process, which must not import cupy; `cache` keeps bytecode."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    command = [sys.executable, "-c", PROGRAM.format(name=name)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(done.stdout)


def imports(rounds: int = 15) -> dict[str, float]:
    """Median milliseconds of `import numpy`, `import gradcore` and the difference, in turn, with bytecode compiled."""
    times: Times = {"numpy": [], "gradcore": []}
    with TemporaryDirectory() as cache:
        for name in times:
            import_milliseconds(name, cache)
        for _ in range(rounds):
            for name, found in times.items():
                found.append(import_milliseconds(name, cache))
    return {name: median(found) for name, found in times.items()} | {"extra": difference(times, "gradcore", "numpy")}


def wheel_bytes() -> int:
    """Size of the wheel, built from a copy of the sources.

    Raises:
        RuntimeError: the wheel could not be built; the message says why.
    """
    with TemporaryDirectory() as folder:
        source = Path(folder, "source")
        for name in BUILT_FROM:
            _copy(ROOT / name, source / name)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr or done.stdout).strip().splitlines()[-1])
        return next(Path(folder).glob("*.whl")).stat().st_size


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
