"""The CUDA backend: CuPy arrays, our kernels, cuBLAS through CuPy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from threading import get_ident
from typing import Any

import cupy
import numpy as np

from gradcore.backend.base import Block, MemoryWatcher, backend_number, register_arrays
from gradcore.backend.cuda import accounting, elementwise, gemm, multi_tensor, reduction, scatter, transfers
from gradcore.backend.cuda.errors import compiler_error, out_of_memory
from gradcore.backend.cuda.loader import device_count
from gradcore.backend.cuda.plans import TICKETS, run_plan
from gradcore.backend.cuda.streams import adopt, order, ordered
from gradcore.backend.device import Device, OutOfMemoryError
from gradcore.backend.half import HALF, run_half
from gradcore.kernels.philox import RANDOM_BITS
from gradcore.kernels.spec import ElementwiseSpec, ReductionSpec, RowSpec

SEVERAL = device_count() > 1
OutOfMemory = cupy.cuda.memory.OutOfMemoryError
CompileError = cupy.cuda.compiler.CompileException


class CudaBackend:
    """One CUDA device.  Memory comes from CuPy's pool, which keeps what is freed for the next step."""

    np: Any = cupy
    checks_values = False

    def __init__(self, index: int) -> None:
        self.index = index
        self.device = Device(f"cuda:{index}")
        self.name = str(self.device)
        self._tickets: dict[tuple[int, int], Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.make("empty", shape, dtype)

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return cupy.empty(shape, dtype)

    def launch(self, spec: ElementwiseSpec, out: Any, arrays: Sequence[Any]) -> Any:
        return elementwise.launch(spec, out, arrays)

    def launch_groups(self, spec: ElementwiseSpec, out: Any, operands: Sequence[Any], shared: int) -> Any:
        return multi_tensor.launch_groups(self, spec, out, operands, shared)

    def affine(self, out: Any, x: Any, w: Any, b: Any) -> Any:
        return gemm.affine(self, out, x, w, b)

    def global_norm(self, out: Any, grads: Sequence[Any], norm_type: float) -> Any:
        """The norm of all arrays together, in one launch."""
        return multi_tensor.global_norm(self, out, grads, norm_type)

    def clip_to_norm(self, out: Any, total: Any, max_norm: Any, grads: Sequence[Any]) -> Any:
        """All arrays times min(max_norm / (total + 1e-6), 1), in one launch."""
        return multi_tensor.clip_to_norm(self, out, total, max_norm, grads)

    def reduce(self, kind: str, x: Any, axes: Any, out: Any = None, keepdims: bool = False) -> Any:
        return reduction.reduce(self, kind, x, axes, out, keepdims)

    def reduce_terms(self, spec: ReductionSpec, arrays: Sequence[Any], axes: Any, out: Any, keepdims: bool) -> Any:
        """The terms of a spec, combined over axes (None: all) of the first array."""
        return reduction.reduce_terms(self, spec, arrays, axes, out, keepdims)

    def run(self, op: Any, out: Any, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
        return self._guarded(op.name, self._run, (op, out, values, params), values, out)

    def _guarded(
        self, name: str, function: Any, args: tuple[Any, ...], reads: Sequence[Any], writes: Any = None
    ) -> Any:
        """`function(*args)` on this device, in order with other streams, with CuPy's errors in our words."""
        try:
            if not SEVERAL and not order.active:
                return function(*args)
            with cupy.cuda.Device(self.index):
                return ordered(self.index, function, args, reads, writes) if order.active else function(*args)
        except (OutOfMemory, OutOfMemoryError) as error:  # the second of an array that an op asks for: the op is named
            raise out_of_memory(name, self.index, error.__cause__ or error) from error
        except CompileError as error:
            raise compiler_error(name, error) from error

    def _run(self, op: Any, out: Any, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
        kernel = op.kernels.get("cuda")
        if type(kernel) is RowSpec:
            outs = run_plan(self, kernel, op.shapes_and_dtypes, out, values, params)
            return outs if op.multiple else outs[0]
        if type(kernel) is ReductionSpec:
            return reduction.reduce_op(self, op, kernel, out, values, params)
        if op.half and not op.cuda_half and any(getattr(value, "dtype", None) is HALF for value in values):
            return run_half(self, op, out, values, params)
        results = (kernel or op.impl)(self, out, *values, *params)
        if out is not None or op.alias is not None:
            return results
        return tuple(map(self.contiguous, results)) if type(results) is tuple else self.contiguous(results)

    def make(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self._guarded(function, partial(getattr(cupy, function), **kwargs), args, args)

    def add_at(self, out: Any, indices: Any, updates: Any, axis: int) -> None:
        scatter.add_at(self, out, indices, updates, axis)

    def copy(self, out: Any, array: Any) -> None:
        self._guarded("copy", cupy.copyto, (out, array), (array,), out)

    def contiguous(self, array: Any) -> Any:
        return array if array.flags.c_contiguous else self.make("ascontiguousarray", array)

    def receive(self, array: Any, non_blocking: bool = False) -> Any:
        if type(array) is cupy.ndarray and array.device.id == self.index:
            return array
        return self._guarded("to_device", transfers.receive, (array, non_blocking), (array,))

    def adopt(self, x: Any) -> Any:
        """An array of another library as a CuPy array, without a copy."""
        array = self.make("from_dlpack", x)
        adopt(array)
        return array

    def lend(self, array: Any, **asked: Any) -> Any:
        """An array as a DLPack capsule, ready for the stream that is asked for."""
        return self._guarded("__dlpack__", partial(array.__dlpack__, **asked), (), (array,))

    def fetch(self, array: Any) -> Any:
        return self._guarded("numpy", cupy.asnumpy, (array,), (array,))

    def block_of(self, array: Any) -> Block | None:
        return accounting.block_of(self.index, array)

    def watched(self, watcher: MemoryWatcher) -> AbstractContextManager[Any]:
        return accounting.Watch(self.index, watcher)

    def reserved(self) -> int | None:
        return accounting.reserved(self.index)

    def philox(self, key: Any, count: int) -> Any:
        words = cupy.empty(count, np.uint64)
        run_plan(self, RANDOM_BITS, None, words, (key,), ((count,),))
        return words

    def tickets(self) -> Any:
        """Counters for kernels whose last block finishes the work: zero between launches, one set for each stream."""
        stream = cupy.cuda.get_current_stream().ptr, get_ident()  # threads may share a pointer and not the stream
        if stream not in self._tickets:
            self._tickets[stream] = cupy.zeros(TICKETS, np.uint32)
        return self._tickets[stream]


register_arrays(cupy.ndarray, lambda array: backend_number("cuda", array.device.id if SEVERAL else 0))
