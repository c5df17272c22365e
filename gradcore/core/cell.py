"""Cells: the only mutable state.  Parameters, gradients, buffers, optimiser slots and random counters are cells.

Only `read` and `assign` touch a cell, so every interpreter sees both: Stage makes the cell an input and a donated
output of the graph, `functional_call` replaces it for a while, recomputation repeats no assignment.

Arrays are never changed while anybody can see them.  An eager assignment gives the cell the new value and lets the old
array go, so `old = p.detach()` and what a record saved stay what they were.  `update` (optimiser steps) writes into the
old array only where nothing but the cell holds it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import CodeType
from typing import Any
from weakref import getweakrefs, ref

import numpy as np

from gradcore.backend import NUMPY, backend_of, is_cupy, native
from gradcore.backend.half import HALF
from gradcore.core.bind import as_tuple, bind
from gradcore.core.errors import DeviceError
from gradcore.core.op import Op
from gradcore.core.state import diverted, next_serial, replaced, state, switch, user_frame
from gradcore.core.tensor import Tensor, Traced


class Leaf:
    """Where `backward()` ends: the gradient of one parameter, and when and where it was last assigned."""

    __slots__ = ("__weakref__", "assigned", "grad", "name", "site")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.grad: Cell = Cell(None, f"{name}.grad" if name else "grad")
        self.assigned = 0
        self.site: tuple[CodeType | None, int] = None, 0

    def __reduce__(self) -> Any:
        """Pickles and copies leave out where the last assignment was: code objects cannot be pickled."""
        return _leaf, (self.name, self.grad)

    def mark(self) -> None:
        """Remember this assignment: `backward()` compares its serial with those of the records."""
        frame = user_frame(2)
        self.assigned = next_serial()
        self.site = frame.f_code, frame.f_lasti


def _leaf(name: str, grad: Cell) -> Leaf:
    leaf = Leaf(name)
    leaf.grad = grad
    return leaf


class Cell:
    """A place that holds one Tensor, or None.

    One thread at a time may change a cell; others that read it meanwhile need a lock, as with any Python object.

    Args:
        value: the first content.
        name: shown in graphs and messages.
        requires_grad: `backward()` accumulates into `cell.leaf.grad`.
    """

    __slots__ = ("__weakref__", "leaf", "name", "tensor")

    role = "other"  # what memory reports call the content

    def __init__(self, value: Tensor | None, name: str = "", requires_grad: bool = False) -> None:
        self.name = name
        self.leaf = Leaf(name) if requires_grad else None
        self.tensor = None if value is None else Tensor(_contiguous(value.data), self.leaf)

    def read(self) -> Any:
        """The content, as this thread's interpreters see it."""
        return _read(self) if switch.busy and diverted() else self.tensor

    def assign(self, value: Tensor | None) -> None:
        """Replace the content.  Transforms keep the primal only; `vmap` refuses a mapped value."""
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"a cell holds tensors, not {type(value).__name__}; assign gradcore.tensor(value)")
        if (switch.busy and diverted()) or isinstance(value, Traced):
            self._assign(value)
        else:
            self._set(value)

    def _assign(self, value: Tensor | None) -> None:
        for region in state.regions if value is not None else ():
            region.assigned(value)
        for overlay in reversed(state.overlays):
            if self in overlay:
                overlay[self] = value
                return
        value = strip(value)
        if state.base is not None:
            state.base.assign(self, value)
        else:
            self._set(value)

    def _set(self, value: Tensor | None) -> None:
        self.store(value)
        if self.leaf is not None:
            self.leaf.mark()

    def store(self, value: Tensor | None) -> None:
        """Set the content of the cell itself, past every interpreter."""
        if value is not None and self.tensor is not None:
            _check_same_kind(self, value)
        self.tensor = None if value is None else Tensor(_contiguous(value.data), self.leaf)

    def destination(self) -> Any:
        """Where an eager assignment may write: the cell's own array if nothing else can see it, else a new one."""
        array = self.tensor.data  # type: ignore[union-attr]
        unshared = sys.getrefcount(self.tensor) == UNSHARED[0] and sys.getrefcount(array) == UNSHARED[1]
        unshared = unshared and ref not in map(type, getweakrefs(array))  # a checkpoint may look for it
        if unshared and array.base is None and array.flags.c_contiguous and getattr(array.flags, "writeable", True):
            return array
        return backend_of(array).make("empty", array.shape, array.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.tensor!r})"


class EveryCell(dict[Cell, Any]):
    """An overlay on all cells: what is assigned stays here, all else is read from below."""

    def __init__(self) -> None:
        self.below = list(state.overlays)

    def __contains__(self, cell: object) -> bool:
        return True

    def __missing__(self, cell: Cell) -> Any:
        return _read_through(self.below, cell)


def _contiguous(array: Any) -> Any:
    """What cells hold is C-contiguous, so a step may write to it and kernels need not test it."""
    if type(array) is np.ndarray:
        return np.asarray(native(array), order="C")
    return backend_of(array).contiguous(array) if is_cupy(array) else array


def _read(cell: Cell) -> Any:
    return _read_through(state.overlays, cell)


def _read_through(overlays: Sequence[dict[Cell, Any]], cell: Cell) -> Any:
    for overlay in reversed(overlays):
        if cell in overlay:
            return overlay[cell]
    return cell.tensor if state.base is None else state.base.read(cell)


def _check_same_kind(cell: Cell, value: Tensor) -> None:
    old = cell.tensor
    if old is None:
        return
    on_cpu = type(old.data) is type(value.data) is np.ndarray
    if not on_cpu and old.aval.device != value.aval.device:
        raise DeviceError(
            f"cell {cell.name or 'without a name'} is on {old.aval.device} and cannot take a tensor on "
            f"{value.aval.device}; assign tensor.to('{old.aval.device}'), or move a module with module.to(device)"
        )
    if old.shape != value.shape or old.dtype != value.dtype:
        raise ValueError(
            f"cell {cell.name or 'without a name'} holds {old.dtype}{list(old.shape)} and cannot take "
            f"{value.dtype}{list(value.shape)}; cast or reshape the value first"
        )


def strip(value: Tensor | None) -> Tensor | None:
    """The value without the derivatives and mappings of open transforms, and without a record."""
    while isinstance(value, Traced):
        value = value.level.primal(value)  # type: ignore[attr-defined]
    return value


def update(op: Op, cells: Sequence[Cell], operands: Sequence[Any], params: tuple[Any, ...] = ()) -> None:
    """Assign the outputs of `op` to `cells`, in place where an array is large and nothing else holds it.

    All memory is allocated before the first write, so running out of it leaves every cell as it was.
    """
    busy = switch.busy
    if busy and diverted():
        _update_general(op, cells, operands, params)
        return
    cpu = type(cells[0].tensor.data) is np.ndarray  # type: ignore[union-attr]
    small = cpu and all([cell.tensor.data.nbytes <= SMALL for cell in cells])  # type: ignore[union-attr]  # noqa: C419
    outs = None if small else tuple([cell.destination() for cell in cells])  # before `arrays` refers to them
    arrays = [o.data if type(o) is Tensor else o.tensor.data for o in operands]
    for hook in state.hooks if busy else ():
        hook.before(op, arrays, params)
    if not cpu or arrays[-1].dtype is HALF:
        results = (NUMPY if cpu else backend_of(outs[0])).run(op, outs, arrays, params)  # type: ignore[index]
    else:
        results = op.impl(NUMPY, outs, *arrays, *params)
    for hook in state.hooks if busy else ():
        hook.after(op, arrays, params, results)
    frame = user_frame()
    serial, site = next_serial(), (frame.f_code, frame.f_lasti)
    for cell, result in zip(cells, results):  # noqa: B905 - hot
        leaf = cell.leaf
        if cell.tensor.data is not result:  # type: ignore[union-attr]
            cell.tensor = tensor = _new(Tensor)
            tensor.data = np.asarray(result) if cpu else result
            tensor.node = leaf
        if leaf is not None:
            leaf.assigned, leaf.site = serial, site


_new = object.__new__
SMALL = 4096  # bytes; below, NumPy makes a new array faster than we find out whether the old one is shared


def _update_general(op: Op, cells: Sequence[Cell], operands: Sequence[Any], params: tuple[Any, ...]) -> None:
    with replaced("recording", False):
        values = [o.read() if isinstance(o, Cell) else o for o in operands]
        results = as_tuple(bind(op, values, params))
    for cell, result in zip(cells, results, strict=True):
        cell.assign(result)


def _unshared_counts() -> tuple[int, int]:
    """What `destination` counts when nothing but the cell holds the array (it depends on Python's version)."""
    self = Cell(Tensor(np.zeros(1)))
    array = self.tensor.data  # type: ignore[union-attr]
    return sys.getrefcount(self.tensor), sys.getrefcount(array)


UNSHARED = _unshared_counts()
