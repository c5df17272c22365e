"""Many random programs, one after another."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import HealthCheck, given, seed, settings

from .drawing import NAMES, programs
from .programs import Program

BATCH = 10  # after ten examples Hypothesis begins to draw copies of earlier parts, which meet few instructions
SETTINGS = settings(
    max_examples=BATCH, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck)
)


def fuzz(
    check: Callable[[Program], None],
    count: int,
    dtypes: Sequence[str] = ("float64", "float32"),
    names: Sequence[str] = NAMES,
) -> None:
    """Check `count` programs, the same in every run; GRADCORE_FUZZ=5000 asks for 5,000 new ones."""
    asked = os.environ.get("GRADCORE_FUZZ")
    first = secrets.randbelow(2**32) if asked else 0
    for k in range(first, first + int(asked or count) // BATCH):
        order = np.random.default_rng(k).permutation(names).tolist()  # Hypothesis prefers the first
        seed(k)(SETTINGS(given(program=programs(dtypes, order))(check)))()
