"""gradcore beside NumPy by hand, PyTorch, jax.jit and HIPS autograd, with the budgets of the design.

    python bench/compare.py [--steps N] [--json PATH] [--only PART]

Each part runs in a process of its own, so that every library finds the same number of threads when it is imported: one
for the small network (its arrays are too small to share, and a pool of waiting threads only adds noise), all cores for
the large one (what a user gets who sets nothing).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steps import FRAMEWORKS, PROBLEMS, agree
from timing import (
    clean_environment,
    interleave,
    machine,
    median,
    ratio,
    restart_without_slowing_variables,
    table,
)

ROUNDS = 60
PAUSE = 0.05
PARTS = (*PROBLEMS, "overhead", "startup")


@dataclass(frozen=True)
class Budget:
    """A bound on the ratio of two libraries' times per step: `top` / `bottom`."""

    top: str
    bottom: str
    bound: float
    at_most: bool

    def verdict(self, value: float) -> str:
        word = "at most" if self.at_most else "at least"
        return f"{word} {self.bound:g}: {_verdict(value <= self.bound if self.at_most else value >= self.bound)}"


BUDGETS = {
    "small": (
        Budget("gradcore", "NumPy by hand", 2.0, at_most=True),
        Budget("PyTorch eager", "gradcore", 2.5, at_most=False),
    ),
    "large": (
        Budget("gradcore", "NumPy by hand", 1.15, at_most=True),
        Budget("PyTorch eager", "gradcore", 1.0, at_most=False),
    ),
}


def _verdict(good: bool) -> str:
    return "pass" if good else "OVER"


# --- measuring: in the process of one part ----------------------------------------------------------------------------


def measure_steps(key: str, steps: int | None) -> dict[str, Any]:
    """Medians per step and ratios of all installed libraries on one problem, after checking that they agree."""
    problem = PROBLEMS[key]
    losses = agree(problem)
    runs = {f.name: f.make(problem) for f in FRAMEWORKS if f.installed}
    block = max((steps or problem.steps) // ROUNDS, 1)
    times = interleave(runs, block, ROUNDS, PAUSE if _threads(key) > 1 else 0.0)
    return {
        "problem": asdict(problem),
        "loss after 3 steps": losses,
        "steps": block * ROUNDS,
        "microseconds": {name: median(found) for name, found in times.items()},
        "ratios": {name: ratio(times, name, "gradcore") for name in times if name != "gradcore"},
        "to NumPy": {name: ratio(times, name, "NumPy by hand") for name in times},
    }


def measure_overhead() -> dict[str, Any]:
    """Microseconds per recorded op."""
    from overhead import CASES, measure

    return {name: measure(name)._asdict() for name in CASES}


def measure_startup() -> dict[str, Any]:
    """Import times and the size of the wheel."""
    from startup import imports, wheel_bytes

    try:
        wheel: int | str = wheel_bytes()
    except RuntimeError as error:
        wheel = f"not built: {error}"
    return {"import": imports(), "wheel": wheel}


def measure(part: str, steps: int | None) -> dict[str, Any]:
    if part in PROBLEMS:
        return measure_steps(part, steps)
    return measure_overhead() if part == "overhead" else measure_startup()


def measure_apart(part: str, steps: int | None) -> dict[str, Any]:
    """The same in a new process, with the part's number of threads; `found` comes back as JSON."""
    command = [sys.executable, __file__, "--measure", part]
    command += ["--steps", str(steps)] if steps else []
    done = subprocess.run(command, env=clean_environment(_threads(part)), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"measuring '{part}' failed; the reason is above")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _threads(part: str) -> int:
    threads = PROBLEMS[part].threads if part in PROBLEMS else 1
    return threads or len(os.sched_getaffinity(0))


# --- showing ----------------------------------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> Iterator[str]:
    """The figures as Markdown."""
    yield from _heading(results["machine"])
    for part, found in results["parts"].items():
        show = {"overhead": _show_overhead, "startup": _show_startup}.get(part)
        yield from show(found) if show else _show_steps(part, found)


def _heading(about: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    yield f"# {about['date']}, {about['processor']}\n"
    yield f"{about['cores']} cores, {about['system']}; Python {about['python']}, {versions}; "
    yield f"load average at the start {about['load']:.2f}.\n"
    yield from (f"{f.name}: not installed, left out.\n" for f in FRAMEWORKS if not f.installed)


def _show_steps(part: str, found: dict[str, Any]) -> Iterator[str]:
    problem = PROBLEMS[part]
    yield f"\n## Training step, {problem.name}, {problem.activation}, SGD, float32\n"
    yield f"{found['steps']} steps of each, interleaved; threads: {_threads(part)}. {_agreement(found)}\n"
    yield table(("", "µs per step", "to NumPy by hand", "to gradcore"), [*_step_rows(found)])
    yield ""
    yield table(("ratio", "measured", "budget"), [*_budget_rows(part, found)])


def _agreement(found: dict[str, Any]) -> str:
    return f"All losses agree after 3 steps ({found['loss after 3 steps']['gradcore']:.7g})."


def _step_rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    ratios = {"gradcore": 1.0, **found["ratios"]}
    for name, time in found["microseconds"].items():
        yield name, f"{time:.1f}", f"{found['to NumPy'][name]:.2f}", f"{ratios[name]:.2f}"


def _budget_rows(part: str, found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    measured = {("gradcore", "NumPy by hand"): found["to NumPy"]["gradcore"]}
    measured |= {(name, "gradcore"): value for name, value in found["ratios"].items()}
    for budget in BUDGETS[part]:
        value = measured.get((budget.top, budget.bottom))
        if value is not None:
            yield f"{budget.top} / {budget.bottom}", f"{value:.2f}", budget.verdict(value)


def _show_overhead(found: dict[str, Any]) -> Iterator[str]:
    from overhead import BUDGET

    yield "\n## One recorded op on (4, 8) float32, forward and backward, µs\n"
    columns = ("recorded", "bare", "extra", "add")
    rows = [
        (
            name,
            *[f"{times[column]:.2f}" for column in columns],
            f"{times['extra'] / times['add']:.1f}",
            _verdict(times["extra"] <= BUDGET),
        )
        for name, times in found.items()
    ]
    head = ("op", "recorded", "its NumPy calls", "difference", "`np.add`", "difference / `np.add`", f"at most {BUDGET}")
    yield table(head, rows)


def _show_startup(found: dict[str, Any]) -> Iterator[str]:
    from startup import IMPORT_BUDGET, WHEEL_BUDGET

    times, wheel = found["import"], found["wheel"]
    yield "\n## Import and wheel\n"
    yield f"`import numpy` {times['numpy']:.0f} ms, `import gradcore` {times['gradcore']:.0f} ms without cupy; "
    yield f"{times['extra']:.0f} ms more, at most {IMPORT_BUDGET:.0f}: {_verdict(times['extra'] <= IMPORT_BUDGET)}.\n"
    if isinstance(wheel, str):
        yield f"Wheel {wheel}."
    else:
        yield f"Wheel: {wheel / 1000:.0f} kB, below {WHEEL_BUDGET // 1000} kB: {_verdict(wheel < WHEEL_BUDGET)}."


# --- command line -----------------------------------------------------------------------------------------------------


def main() -> None:
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.steps)))
        return
    restart_without_slowing_variables()
    about = machine()
    parts = arguments.only or PARTS
    results = {"machine": about, "parts": {part: measure_apart(part, arguments.steps) for part in parts}}
    print("\n".join(report(results)))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="steps of each library (default: as many as the problem says)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part; may be given again")
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
