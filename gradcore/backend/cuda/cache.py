"""CuPy's cache of compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Where compiled kernels are kept for the next process; None where CUPY_CACHE_IN_MEMORY is set."""
    if os.environ.get("CUPY_CACHE_IN_MEMORY", "0") == "1":
        return None
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")


def cached_kernels() -> int:
    """How many compiled kernels are kept there."""
    folder = cache_folder()
    return 0 if folder is None else len(list(folder.glob("*.cubin")))
