"""Kernels written in CUDA: compiled once for each set of types, launched by their plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cupy
import numpy as np

from gradcore.kernels.emit_cuda import cuda_source
from gradcore.kernels.spec import Launch, Plan, RowSpec

OPTIONS = ("--std=c++17", "--fmad=false")
TICKETS = 4096
MOST_PREPARED = 2**14
"""Plans that are kept; where shapes never come again, they would be ever more."""


class Step(NamedTuple):
    """A Launch with its compiled function; `places` index the arrays of a call (operands, outputs, scratch)."""

    function: Any
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    arguments: tuple[tuple[bool, Any], ...]  # (is it a place?, the place or the number)


class Prepared(NamedTuple):
    """A plan for operands of known shapes and dtypes."""

    outputs: tuple[tuple[tuple[int, ...], Any], ...]
    scratch: tuple[tuple[tuple[int, ...], Any], ...]
    tickets: bool
    steps: tuple[Step, ...]


_prepared: dict[Any, Prepared] = {}


def run_plan(
    backend: Any, spec: RowSpec, describe: Any, out: Any, values: Sequence[Any], params: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Launch a kernel: into `out` (an array, or a tuple of them) where given, else into new arrays.

    `describe(values, params)` tells shapes and dtypes of the outputs.
    """
    outs = out if type(out) is tuple else (out,) if out is not None else None
    key = spec.name, params, *[(array.shape, array.dtype) for array in (*values, *(outs or ()))]
    prepared = _prepared.get(key)
    if prepared is None:
        if len(_prepared) >= MOST_PREPARED:
            _prepared.clear()
        kinds = describe(values, params) if outs is None else tuple([(o.shape, o.dtype) for o in outs])
        prepared = _prepared[key] = _prepare(spec, values, params, kinds)
    if outs is None:
        outs = tuple([cupy.empty(shape, dtype) for shape, dtype in prepared.outputs])
    arrays = [_operand(value, name) for value, name in zip(values, spec.inputs, strict=True)]
    arrays += outs
    arrays += [cupy.empty(shape, dtype) for shape, dtype in prepared.scratch]
    if prepared.tickets:
        arrays.append(backend.tickets())
    for function, grid, block, shared, arguments in prepared.steps:
        function(grid, block, _flat([arrays[a] if place else a for place, a in arguments]), shared_mem=shared)
    return outs


def _operand(value: Any, name: str) -> Any:
    """What is passed for an operand: C-contiguous memory, or the value of a 0-d array on the host.

    A random key is three arguments: a pointer to keys on the device, or else none and the two words of the key.
    """
    if name == "key":
        if type(value) is np.ndarray and value.size == 2:
            return ZERO, *value.reshape(-1)
        return _dense(cupy.asarray(value)), ZERO, ZERO
    return value[()] if type(value) is np.ndarray else _dense(value)


ZERO = np.uint64(0)


def _dense(array: Any) -> Any:
    return array if array.flags.c_contiguous else cupy.ascontiguousarray(array)


def _flat(arguments: list[Any]) -> tuple[Any, ...]:
    return tuple([x for a in arguments for x in (a if type(a) is tuple else (a,))])


def _prepare(spec: RowSpec, values: Sequence[Any], params: tuple[Any, ...], outputs: Any) -> Prepared:
    plan = spec.plan(values, params)
    names = [*spec.inputs, *[f"out{i}" for i in range(len(outputs))], *plan.scratch, "tickets"]
    tickets = any("tickets" in launch.arguments for launch in plan.launches)
    module = _module(spec, plan) if plan.launches else None
    steps = tuple([_step(launch, module, names) for launch in plan.launches])
    return Prepared(outputs, tuple(plan.scratch.values()), tickets, steps)


def _step(launch: Launch, module: Any, names: list[str]) -> Step:
    arguments = tuple([(True, names.index(a)) if isinstance(a, str) else (False, a) for a in launch.arguments])
    return Step(module.get_function(launch.entry), (launch.grid,), (launch.block,), launch.shared, arguments)


_modules: dict[Any, Any] = {}


def _module(spec: RowSpec, plan: Plan) -> Any:
    key = spec.name, tuple(sorted((name, str(dtype)) for name, dtype in plan.types.items()))
    if key not in _modules:
        _modules[key] = cupy.RawModule(code=cuda_source(spec, plan.types), options=OPTIONS)
    return _modules[key]
