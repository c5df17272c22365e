"""Interleaved timing: a short block of each contestant in turn, many rounds, medians of what each round says.

On a shared machine the clock speed and the neighbours change within milliseconds, and blocks that lie side by side see
the same.  So ratios and differences are taken within a round, and then their median over all rounds.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat
from pathlib import Path
from statistics import median as median
from time import perf_counter, sleep
from typing import Any

Times = dict[str, list[float]]
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
SLOWING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PACKAGES = ("gradcore", "numpy", "torch", "jax", "autograd")


def interleave(runs: Mapping[str, Callable[[], Any]], block: int, rounds: int, pause: float = 0.0) -> Times:
    """Microseconds per call of each of `runs`, one figure per round; the order turns from round to round.

    `pause` is how many seconds to wait before each block.  The threads of OpenBLAS, OpenMP and XLA spin for a while
    when their work is done, and would take the cores from the library that comes next.
    """
    names = list(runs)
    times: Times = {name: [] for name in names}
    for name in names:
        timed_block(runs[name], block)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sleep(pause)
            times[name].append(timed_block(runs[name], block))
    return times


def timed_block(run: Callable[[], Any], block: int) -> float:
    """Microseconds per call after an untimed one; the last result is read, which waits for asynchronous work."""
    _finish(run())
    start = perf_counter()
    for _ in repeat(None, block - 1):
        run()
    _finish(run())
    return (perf_counter() - start) / block * 1e6


def _finish(result: Any) -> None:
    if hasattr(result, "__float__") and getattr(result, "shape", None) == ():
        float(result)


def ratio(times: Times, top: str, bottom: str) -> float:
    """Median over rounds of how many times longer `top` took than `bottom`."""
    return median(a / b for a, b in zip(times[top], times[bottom], strict=True))


def difference(times: Times, more: str, less: str) -> float:
    """Median over rounds of how much longer `more` took than `less`."""
    return median(a - b for a, b in zip(times[more], times[less], strict=True))


def clean_environment(threads: int | None = None) -> dict[str, str]:
    """The environment of a part's process: without what slows NumPy down, with one number of threads for all."""
    environment = {name: value for name, value in os.environ.items() if name not in SLOWING_VARIABLES}
    if threads is not None:
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    return environment


def restart_without_slowing_variables() -> None:
    """Run this script again without the variables that make OpenBLAS slow, if any is set."""
    found = [name for name in SLOWING_VARIABLES if name in os.environ]
    if found:
        print(f"{' and '.join(found)} set: they slow NumPy down, so this runs again without", flush=True)
        os.execve(sys.executable, [sys.executable, *sys.argv], clean_environment())


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, system, versions, date."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "load": os.getloadavg()[0],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split("\t: ", 1) for line in (line.replace("\t\t:", "\t:") for line in lines) if "\t: " in line)
    named = fields.get("model name", platform.processor())
    return f"{named} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?').strip()})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns aligned: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(_pad(row, widths)) + " |" for row in (head, rule, *rows))


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
