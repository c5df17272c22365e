"""Elementwise specs through `cupy.ElementwiseKernel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy

from gradcore.kernels.emit_cuda import emit_cuda
from gradcore.kernels.spec import ElementwiseSpec

OPTIONS = ("--fmad=false",)
"""A product and a sum are rounded one by one, as NumPy does it; such kernels wait for memory anyway."""

_kernels: dict[int, tuple[ElementwiseSpec, Any]] = {}


def elementwise_kernel(spec: ElementwiseSpec) -> Any:
    """The kernel of a spec, made once (the spec is kept, so its id stays its own); CuPy compiles it for each dtype."""
    found = _kernels.get(id(spec))
    if found is None:
        cuda = emit_cuda(spec)
        kernel = cupy.ElementwiseKernel(
            cuda.in_params, cuda.out_params, cuda.operation, cuda.name, preamble=cuda.preamble, options=OPTIONS
        )
        found = _kernels[id(spec)] = (spec, kernel)
    return found[1]


def launch(spec: ElementwiseSpec, out: Any, arrays: Sequence[Any]) -> Any:
    """One launch for all outputs: into `out` where given, else into new C-contiguous arrays."""
    made = elementwise_kernel(spec)(*arrays, *(out or ()))
    return made if out is None else out
