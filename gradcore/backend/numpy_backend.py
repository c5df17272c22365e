"""The CPU: NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import repeat
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy
import numpy as np

from gradcore.backend.base import Block, MemoryWatcher, backend_of, is_cupy, register_arrays, register_backend
from gradcore.backend.device import Device, name_holders
from gradcore.backend.half import HALF, run_half
from gradcore.kernels.emit_numpy import NumpyKernel, compile_numpy

if TYPE_CHECKING:
    from gradcore.kernels.spec import ElementwiseSpec


def native(array: Any) -> Any:
    """The array with NumPy's own dtype object, in the machine's byte order.

    Unpickled arrays have a dtype that is equal to it but another object, and the eager path compares by identity.
    """
    own = np.dtype(array.dtype.type)
    return array if array.dtype is own else array.astype(own)


class NumpyBackend:
    """NumPy computes, and allocates what it returns."""

    device = Device("cpu")
    name = "cpu"
    np: Any = numpy
    checks_values = True

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def launch(self, spec: ElementwiseSpec, out: Any, arrays: Sequence[Any]) -> Any:
        kernel = numpy_kernel(spec)
        if out is None:
            return kernel.call(*(arrays if kernel.weak_ok else typed_scalars(arrays)))
        kernel.into(out, self.scratch, *arrays)
        return out

    def launch_groups(self, spec: ElementwiseSpec, out: Any, operands: Sequence[Any], shared: int) -> Any:
        size, hyper = len(spec.inputs) - shared, operands[:shared]
        count = len(spec.outputs)
        if out is None:
            columns = [operands[shared + k :: size] for k in range(size)]
            made = map(_small_kernel(spec, operands[-1].dtype), *map(repeat, hyper), *columns)
            arrays = made if count == 1 else [array for outs in made for array in outs]
            return tuple([a if a.flags.c_contiguous else np.asarray(a, order="C") for a in arrays])
        flat = [np.asarray(x, order="C").reshape(-1) for x in operands[shared:]]
        flat_outs = [x.reshape(-1) for x in out]
        room = _Room(self, spec, flat[0].dtype, max(x.size for x in flat))  # nothing is allocated after the first write
        into = numpy_kernel(spec).into
        for i, j in zip(range(0, len(flat), size), range(0, len(out), count), strict=True):
            for start in range(0, flat_outs[j].size, CHUNK):
                part = slice(start, start + CHUNK)
                outs = tuple([x[part] for x in flat_outs[j : j + count]])
                into(outs, room.taken_again, *hyper, *[x[part] for x in flat[i : i + size]])
                room.at = 0
        return out

    def run(self, op: Any, out: Any, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
        try:
            if op.half:
                for value in values:
                    if type(value) is np.ndarray and value.dtype is HALF:
                        return run_half(self, op, out, values, params)
            if out is not None:
                return op.impl(self, out, *values, *params)
            return _as_arrays(op.impl(self, out, *values, *params))
        except MemoryError as error:
            name_holders(error, self.name)
            raise

    def reduce(self, kind: str, x: Any, axes: Any, out: Any = None, keepdims: bool = False) -> Any:
        return getattr(np, kind).reduce(x, axes, None, out, keepdims)

    def affine(self, out: Any, x: Any, w: Any, b: Any) -> Any:
        y = x.dot(w.T) if out is None else x.dot(w.T, out)
        return np.add(y, b, y)

    def add_at(self, out: Any, indices: Any, updates: Any, axis: int) -> None:
        indices = np.asarray(indices, order="C")  # in another layout, ufunc.at would go in the order of memory
        np.add.at(out, (*[slice(None)] * axis, indices), updates)

    def make(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(np, function)(*args, **kwargs)

    def copy(self, out: Any, array: Any) -> None:
        np.copyto(out, array)

    def contiguous(self, array: Any) -> Any:
        return np.asarray(array, order="C")

    def receive(self, array: Any, non_blocking: bool = False) -> Any:
        return array if type(array) is np.ndarray else backend_of(array).fetch(array)

    def fetch(self, array: Any) -> Any:
        return array

    def block_of(self, array: Any) -> Block | None:
        if not isinstance(array, np.ndarray):
            return None
        while (below := _below(array)) is not None:
            array = below
        return Block(id(array), array.nbytes, array)

    @contextmanager
    def watched(self, watcher: MemoryWatcher) -> Iterator[None]:
        """`make` is replaced meanwhile, so it costs nothing otherwise."""
        item = get_ident(), watcher
        _watchers.append(item)
        self.make = self._told  # type: ignore[method-assign]
        try:
            yield
        finally:
            _watchers.remove(item)
            if not _watchers:
                del self.make

    def _told(self, function: str, *args: Any, **kwargs: Any) -> Any:
        array = getattr(np, function)(*args, **kwargs)
        for thread, watcher in _watchers:
            if thread == get_ident():
                watcher.made(array)
        return array

    def reserved(self) -> int | None:
        return None

    def philox(self, key: Any, count: int) -> Any:
        return np.random.Philox(key=key).random_raw(count)


_watchers: list[tuple[int, MemoryWatcher]] = []  # with their threads


def _below(view: Any) -> Any:
    """The array that this one is a view of, if any; `as_strided` puts an object between them."""
    base = view.base
    if base is not None and not isinstance(base, np.ndarray):
        base = getattr(base, "base", None)
    return base if isinstance(base, np.ndarray) else None


CHUNK = 2**16  # elements; the operands and temporaries of a chunk stay in the cache


class _Room:
    """Scratch memory for one kernel, allocated at once and used again for every piece of its operands."""

    def __init__(self, xp: NumpyBackend, spec: ElementwiseSpec, dtype: Any, size: int) -> None:
        shape = (min(size, CHUNK),)
        asked = _scratch_of(spec)
        self.arrays = [xp.scratch(shape if full else (), np.bool_ if boolean else dtype) for full, boolean in asked]
        self.at = 0

    def taken_again(self, shape: tuple[int, ...], dtype: Any) -> Any:
        array = self.arrays[self.at]
        self.at += 1
        return array[: shape[0]] if shape else array


def typed_scalars(values: Sequence[Any]) -> Sequence[Any]:
    """Python scalars as 0-d arrays of the dtype that the arrays have."""
    if not any(isinstance(value, (bool, int, float)) for value in values):
        return values
    dtype = np.result_type(*values)
    return [np.asarray(v, dtype) if isinstance(v, (bool, int, float)) else v for v in values]


def _as_arrays(results: Any) -> Any:
    if type(results) is tuple:
        return tuple(map(_as_array, results))
    return results if type(results) is np.ndarray else _as_array(results)


def _as_array(result: Any) -> Any:
    """NumPy's functions return 0-d results as scalars; what went to another device is an array already."""
    return result if is_cupy(result) else np.asarray(result)


class Arena(NumpyBackend):
    """NumPy with scratch memory from one block, for programs that run again and again.

    The block grows to what the first run asks for; after that nothing is allocated.
    """

    def __init__(self) -> None:
        self.block = np.empty(0, np.uint8)
        self.used = self.wanted = 0

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> Any:
        start = self.used
        self.used = (start + math.prod(shape) * np.dtype(dtype).itemsize + 63) & ~63
        if self.used <= self.block.nbytes:
            return np.ndarray(shape, dtype, self.block, start)
        self.wanted = max(self.wanted, self.used)
        return np.empty(shape, dtype)

    def reset(self) -> None:
        """The op is done: its scratch may be used again."""
        self.used = 0
        if self.wanted > self.block.nbytes:
            self.block = np.empty(self.wanted, np.uint8)


_kernels: dict[int, tuple[ElementwiseSpec, NumpyKernel]] = {}


def numpy_kernel(spec: ElementwiseSpec) -> NumpyKernel:
    """The compiled form of a spec; compiled once (the spec is kept, so its id stays its own)."""
    found = _kernels.get(id(spec))
    if found is None:
        found = _kernels[id(spec)] = (spec, compile_numpy(spec))
    return found[1]


@cache
def _scratch_of(spec: ElementwiseSpec) -> list[tuple[bool, bool]]:
    """What a kernel asks for as scratch, found by running it on one element: is it an array? is it boolean?"""
    asked: list[tuple[bool, bool]] = []

    def scratch(shape: tuple[int, ...], dtype: Any) -> Any:
        asked.append((bool(shape), np.dtype(dtype) == np.bool_))
        return np.empty(shape, dtype)

    arrays = [np.ones(() if name in spec.scalar_inputs else (1,)) for name in spec.inputs]
    with np.errstate(all="ignore"):
        numpy_kernel(spec).into(tuple([np.empty(1) for _ in spec.outputs]), scratch, *arrays)
    return asked


_small: dict[tuple[int, Any], Any] = {}


def _small_kernel(spec: ElementwiseSpec, dtype: Any) -> Any:
    """The form of a kernel that costs least on small arrays."""
    key = id(spec), dtype
    if key not in _small:
        _small[key] = numpy_kernel(spec).plain(dtype) if dtype.kind == "f" else numpy_kernel(spec).call
    return _small[key]


NUMPY = NumpyBackend()
register_backend("cpu", lambda index: NUMPY)
register_arrays(np.ndarray, lambda array: NUMPY)
