"""Errors of CUDA in words that say what to do."""

from __future__ import annotations

from typing import Any

from gradcore.backend.cuda.memory import stats
from gradcore.backend.device import KernelError, OutOfMemoryError, largest_holders


def out_of_memory(name: str, index: int, error: Any) -> OutOfMemoryError:
    """What to raise in place of CuPy's error."""
    held, holders = stats(index), largest_holders(f"cuda:{index}")
    return OutOfMemoryError(
        f"cuda:{index} ran out of memory in '{name}': {error}; {_mebibytes(held.in_use)} are in use, "
        f"{_mebibytes(held.reserved)} are held, the limit is {_mebibytes(held.limit)}. Use a smaller batch, let go of "
        "tensors that are not needed (`del loss`), or compute in float16; gradcore.cuda.memory_stats() says what is in "
        "use, gradcore.cuda.set_memory_limit() changes a limit that was set" + (f"\n{holders}" if holders else "")
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def compiler_error(name: str, error: Any) -> KernelError:
    """What to raise where a kernel does not compile."""
    first = next((line for line in str(error).splitlines() if "error" in line), str(error).strip())
    return KernelError(
        f"the CUDA kernel of '{name}' does not compile: {first.strip()}; does CuPy fit the driver and are CUDA's "
        "headers installed? `gradcore doctor` says what it finds"
    )
