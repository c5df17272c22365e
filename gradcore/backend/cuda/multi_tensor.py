"""Launches over many tensors at once: the steps of optimisers, and clipping by the common norm.

A training step comes here with the same shapes again and again, so all that depends on them is kept; what is left is to
write the pointers into a table, which travels by value with the launch.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

import cupy
import numpy as np

from gradcore.backend.cuda.plans import OPTIONS
from gradcore.kernels.multi_tensor import (
    CLIP_TABLE,
    KINDS,
    NORM_TABLE,
    THREADS,
    Table,
    chunk_for,
    computing,
    emit_clip,
    emit_multi_tensor,
    emit_norm,
    kernel_name,
    step_table,
)
from gradcore.kernels.spec import ElementwiseSpec

_pointer = attrgetter("data.ptr")
_bytes = attrgetter("nbytes")
_dtype = attrgetter("dtype")
_dense = attrgetter("_c_contiguous")  # `flags` takes ten times as long


class Tables:
    """The tables of the launches for groups of known sizes, to be filled with pointers before each use.

    Attributes:
        launches: table, its number of blocks, and its part of the groups.
        blocks: of all launches.
    """

    def __init__(self, layout: Table, sizes: Sequence[int], real: Any) -> None:
        self.lock = threading.Lock()
        self.launches: list[tuple[Any, int, slice]] = []
        self.blocks = 0
        chunk = chunk_for(sum(sizes))
        for start in range(0, len(sizes), layout.capacity):
            part = slice(start, start + layout.capacity)
            size = np.array(sizes[part], np.int64)
            ends = np.cumsum(-(-size // chunk))
            if ends[-1]:
                table = np.zeros((), layout.dtype(real))
                self.launches.append((table, int(ends[-1]), part))
                _fill(table, size=size, first=np.append(0, ends[:-1]), chunk=chunk, count=len(size))
                _fill(table, before=self.blocks)
                self.blocks += int(ends[-1])
        for table, _, _ in self.launches:
            _fill(table, blocks=self.blocks)

    def launch(self, function: Any, grouped: Mapping[str, Any], alike: Mapping[str, Any], *arguments: Any) -> None:
        """One launch for each table, with an entry of `grouped` for each group, and with `alike`, written into it."""
        with self.lock:
            for table, blocks, part in self.launches:
                _fill(table, **{name: column[part] for name, column in grouped.items()}, **alike)
                function((blocks,), (THREADS,), (table, *arguments))


def _fill(table: Any, **values: Any) -> None:
    """Write members of a table, those that it has; columns may be shorter than it is."""
    for name, value in values.items():
        if name in table.dtype.fields:
            if type(value) is np.ndarray:
                table[name][: len(value)] = value
            else:
                table[name] = value


def _dense_arrays(backend: Any, arrays: Sequence[Any]) -> Sequence[Any]:
    return arrays if all(map(_dense, arrays)) else [backend.contiguous(array) for array in arrays]


def _pointers(arrays: Sequence[Any]) -> Any:
    return np.fromiter(map(_pointer, arrays), np.uint64, len(arrays))


def _on_device(values: Sequence[Any], real: Any) -> list[Any]:
    """0-d operands, those on the device as `real`, so that a kernel can read them through a pointer."""
    return [value.astype(real, copy=False) if isinstance(value, cupy.ndarray) else value for value in values]


def _shared(values: Sequence[Any]) -> dict[str, Any]:
    """0-d operands for all groups: by pointer where they are on the device, else by value."""
    device = [isinstance(value, cupy.ndarray) for value in values]
    if not any(device):
        return {"shared": values, "shared_at": 0} if values else {}
    pairs = list(zip(values, device, strict=True))
    return {
        "shared": [0 if there else value for value, there in pairs],
        "shared_at": [value.data.ptr if there else 0 for value, there in pairs],
    }


def _compiled(text: str, name: str) -> Any:
    return cupy.RawModule(code=text, options=OPTIONS).get_function(name)


# --- optimiser steps --------------------------------------------------------------------------------------------------


def launch_groups(backend: Any, spec: ElementwiseSpec, out: Any, operands: Sequence[Any], shared: int) -> Any:
    """Run an elementwise kernel on many groups of arrays at once; see `Backend.launch_groups`.

    Raises:
        TypeError: the parameters have several dtypes, or one that is not a float of 16, 32 or 64 bits.
        ValueError: the arrays of a group differ in size.
    """
    arrays = _dense_arrays(backend, operands[shared:])
    width, count = len(spec.inputs) - shared, len(spec.outputs)
    first = arrays[::width]
    if out is None:
        out = tuple([backend.empty(array.shape, array.dtype) for array in first for _ in range(count)])
    dtypes = set(map(_dtype, first))
    if len(dtypes) > 1 or (dtype := dtypes.pop()).kind != "f":
        raise TypeError(f"'{spec.name}': parameters of one launch must have one floating dtype; make a group of each")
    function, layout = _step(spec, dtype)
    tables = _step_tables(layout, width, dtype, tuple(map(_bytes, arrays)))
    pointers = {"in": _pointers(arrays).reshape(-1, width), "out": _pointers(out).reshape(-1, count)}
    hyper = _on_device(operands[:shared], computing(dtype))
    tables.launch(function, pointers, _shared(hyper))
    return out


_steps: dict[Any, Any] = {}


def _step(spec: ElementwiseSpec, dtype: Any) -> tuple[Any, Table]:
    """The kernel of a spec and its table, made once (the spec is kept, so its id stays its own)."""
    found = _steps.get((id(spec), dtype))
    if found is None:
        function = _compiled(emit_multi_tensor(spec, dtype), kernel_name(spec))
        found = _steps[id(spec), dtype] = (spec, (function, step_table(spec)))
    return found[1]


@lru_cache(256)
def _step_tables(layout: Table, width: int, dtype: Any, sizes: tuple[int, ...]) -> Tables:
    """For arrays of `sizes` bytes, of which `width` make a group."""
    first = sizes[::width]
    if any(sizes[k::width] != first for k in range(width)):
        raise ValueError("the arrays of a parameter, its gradient and its state must have one size and dtype")
    return Tables(layout, [size // dtype.itemsize for size in first], computing(dtype))


# --- clipping ---------------------------------------------------------------------------------------------------------


def global_norm(backend: Any, out: Any, grads: Sequence[Any], norm_type: float) -> Any:
    """The 2-norm or largest absolute value of all elements of `grads`, which may have several dtypes, in one launch.

    It is computed in the dtype of `out`, which is 0-d.
    """
    grads = _dense_arrays(backend, grads)
    kinds, tables = _mixed_tables(NORM_TABLE, tuple(map(_bytes, grads)), tuple(map(_dtype, grads)), out.dtype)
    if not tables.blocks:
        out.fill(0)
        return out
    partials = backend.scratch((tables.blocks,), out.dtype)
    columns = {"in": _pointers(grads), "kind": kinds}
    tables.launch(_norm_kernel(norm_type, out.dtype), columns, {}, partials, backend.tickets(), out)
    return out


@lru_cache(256)
def _mixed_tables(layout: Table, sizes: tuple[int, ...], dtypes: tuple[Any, ...], real: Any) -> tuple[Any, Tables]:
    """For tensors of `sizes` bytes and any floating dtypes, with the kind of each."""
    counts = [size // dtype.itemsize for size, dtype in zip(sizes, dtypes, strict=True)]
    return np.array([KINDS.index(str(dtype)) for dtype in dtypes], np.uint8), Tables(layout, counts, real)


@cache
def _norm_kernel(norm_type: float, real: Any) -> Any:
    return _compiled(emit_norm(norm_type, real), "gradcore_multi_norm")


def clip_to_norm(backend: Any, out: Any, total: Any, max_norm: Any, grads: Sequence[Any]) -> Any:
    """`grads` times min(max_norm / (total + 1e-6), 1), in one launch; `max_norm` may be on the host."""
    grads = _dense_arrays(backend, grads)
    if out is None:
        out = tuple([backend.empty(grad.shape, grad.dtype) for grad in grads])
    dtypes = tuple(map(_dtype, grads))
    real = np.result_type(np.float32, total.dtype, *set(dtypes))
    kinds, tables = _mixed_tables(CLIP_TABLE, tuple(map(_bytes, grads)), dtypes, real)
    columns = {"in": _pointers(grads), "out": _pointers(out), "kind": kinds}
    limit, total = _on_device([max_norm, total], real)
    tables.launch(_clip_kernel(real), columns, _shared([limit]), total)
    return out


@cache
def _clip_kernel(real: Any) -> Any:
    return _compiled(emit_clip(real), "gradcore_multi_clip")
