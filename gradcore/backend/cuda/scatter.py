"""Sums of updates at positions, by a sort; no floating-point atomics, so the same call gives the same bits."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from gradcore.backend.cuda.plans import run_plan
from gradcore.kernels.indexing import POSITIONS, SCATTER_ADD


def add_at(backend: Any, out: Any, indices: Any, updates: Any, axis: int) -> None:
    """Add updates to `out` at positions along an axis, those of equal positions in order."""
    places = cupy.empty(indices.size, np.int64)
    run_plan(backend, POSITIONS, None, places, (indices,), (out.shape[axis], axis))
    order = cupy.argsort(places)  # stable
    run_plan(backend, SCATTER_ADD, None, out, (places, order, updates), (out.shape, axis))
