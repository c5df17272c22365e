"""Held-out scores of `gradcore train`, beside those of scikit-learn's logistic or linear regression.

    python bench/held_out.py > held-out.md

Each seed splits the examples in another way.  Both models get the same four fifths, standardised alike, and are scored
on the same fifth, which neither of them has seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import NamedTuple

from timing import machine, table
from tqdm import tqdm

from gradcore.cli import main

DATA_SETS = ("digits", "wine", "breast-cancer", "diabetes")
HEAD = ("data set", "score", "gradcore", "baseline", "difference", "better / same / worse")


class Pair(NamedTuple):
    """Our score and that of the baseline, in percent."""

    ours: float
    baseline: float


def pair(name: str, seed: int, folder: str) -> Pair:
    """What `gradcore train` finds for a seed."""
    path = Path(folder, "result.json")
    sys.argv = ["gradcore", "train", name, "--seed", str(seed), "--baseline", "--quiet", "--json", str(path)]
    try:
        main()
    except SystemExit as done:
        if done.code:
            raise
    result = json.loads(path.read_text("utf-8"))
    kind = score(name)
    return Pair(100 * result[f"test_{kind}"], 100 * result[f"baseline_{kind}"])


def score(name: str) -> str:
    """What is compared."""
    return "r2" if name == "diabetes" else "accuracy"


def row(name: str, pairs: list[Pair]) -> list[str]:
    """A line of the table."""
    differences = [pair.ours - pair.baseline for pair in pairs]
    cells = [spread([pair.ours for pair in pairs]), spread([pair.baseline for pair in pairs]), spread(differences, "+")]
    counts = [sum(found) for found in zip(*((d > 0, d == 0, d < 0) for d in differences), strict=True)]
    return [name, f"{score(name)}, %", *cells, " / ".join(map(str, counts))]


def spread(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation of a sample."""
    return f"{mean(values):{sign}.2f} ± {stdev(values):.2f}"


def report(seeds: int) -> str:
    """The table, in Markdown."""
    bar = tqdm([(name, seed) for name in DATA_SETS for seed in range(seeds)], unit="run")
    with TemporaryDirectory() as folder:
        pairs = {case: pair(*case, folder) for case in bar}
    rows = [row(name, [pairs[name, seed] for seed in range(seeds)]) for name in DATA_SETS]
    return table(HEAD, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0 on (2 or more)")
    seeds, about, command = parser.parse_args().seeds, machine(), " ".join(sys.argv)
    rows = report(seeds)
    print(
        f"# Held-out scores, {about['date']}\n\n`python {command}`, on {about['cores']} cores of {about['processor']};"
    )
    print(f"Python {about['python']}, gradcore {version('gradcore')}, scikit-learn {version('scikit-learn')}.")
    print(f"Seeds 0 to {seeds - 1}; mean ± standard deviation over them.\n\n{rows}")
