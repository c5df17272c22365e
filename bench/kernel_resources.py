"""What every CUDA kernel needs of a multiprocessor, as NVIDIA's compiler reports it; no GPU is needed.

    pip install -e ".[test,nvrtc]"
    python bench/kernel_resources.py [--arch 75 90 ...] [--only GROUP] [--folder bench/results]

Writes a table in Markdown and the same figures in JSON, named by date: registers of a thread, bytes of registers
spilled to memory, bytes of shared memory, and bytes of stack, for each kernel, its types, and each architecture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from itertools import product
from pathlib import Path
from typing import NamedTuple

from timing import table
from tqdm import tqdm

from gradcore.testing import nvrtc
from gradcore.testing.kernel_texts import GROUPS, kernel_texts, source_of, units
from gradcore.testing.nvrtc import Resources

ARCHITECTURES = (75, 90)


class Row(NamedTuple):
    """A function of a kernel for one set of types, and what it needs on each architecture."""

    group: str
    function: str
    types: str
    needs: dict[int, Resources]


def measure(groups: Sequence[str], architectures: Sequence[int]) -> Iterator[Row]:
    """Compile all kernels for all architectures."""
    found = [(group, unit) for group in groups for unit in units(kernel_texts(group))]
    results = {}
    for (place, (_, unit)), arch in tqdm(list(product(enumerate(found), architectures)), unit="compilation"):
        results[place, arch] = nvrtc.compile(source_of(unit), arch).resources
    for place, (group, unit) in enumerate(found):
        for kernel, entry in [(text, entry) for text in unit for entry in text.entries]:
            yield Row(group, entry, kernel.types, {arch: results[place, arch][entry] for arch in architectures})


def report(rows: Sequence[Row], architectures: Sequence[int], about: str) -> Iterator[str]:
    """The figures as Markdown."""
    yield f"# Kernels' needs, {about}\n"
    yield "Registers / bytes spilled / bytes of static shared memory / bytes of stack, as `ptxas -v` reports them.\n"
    yield _summary(rows)
    for group in dict.fromkeys(row.group for row in rows):
        head = ("function", "types", *[f"sm_{arch}" for arch in architectures])
        yield f"\n## {group}\n"
        members = [row for row in rows if row.group == group]
        yield table(head, [(row.function, row.types, *map(_cell, row.needs.values())) for row in members])


def _summary(rows: Sequence[Row]) -> str:
    needs = [need for row in rows for need in row.needs.values()]
    spilling = sorted({row.function for row in rows if any(need.spill_stores for need in row.needs.values())})
    return (
        f"{len(rows)} functions; at most {max(need.registers for need in needs)} registers and "
        f"{max(need.shared for need in needs)} bytes of static shared memory; "
        f"spilling registers: {', '.join(spilling) or 'none'}."
    )


def _cell(need: Resources) -> str:
    return f"{need.registers} / {need.spill_stores + need.spill_loads} / {need.shared} / {need.stack}"


def _figures(row: Row) -> dict[str, object]:
    return {**row._asdict(), "needs": {f"sm_{arch}": asdict(need) for arch, need in row.needs.items()}}


def main() -> None:
    arguments = _arguments()
    if reason := nvrtc.missing():
        raise SystemExit(reason)
    about = f"{date.today().isoformat()}, NVRTC {nvrtc.version()}, options {' '.join(nvrtc.OPTIONS)}"
    rows = list(measure(arguments.only or list(GROUPS), arguments.arch))
    path = arguments.folder / f"{date.today().isoformat()}-kernel-resources"
    figures = {"about": about, "rows": [_figures(row) for row in rows]}
    path.with_suffix(".md").write_text("\n".join(report(rows, arguments.arch, about)) + "\n")
    path.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{_summary(rows)}\nwrote {path}.md and .json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="such as 75 90")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="this group; may be given again")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "results", help="where to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
