"""Whose memory it is: a search among all objects of the process, at any time."""

from __future__ import annotations

import gc as collector
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from gradcore.autodiff.record import Record
from gradcore.autodiff.regions import Kept, Region, Step
from gradcore.backend import Device, backend_on, is_cupy
from gradcore.backend.sizes import size_text
from gradcore.core.cell import Cell, Leaf
from gradcore.core.state import describe_site
from gradcore.core.tensor import Tensor, Traced


class Label(NamedTuple):
    """Whose a block is.  It refers to no array and no frame."""

    kind: str
    name: str = ""
    op: str = ""
    code: CodeType | None = None
    offset: int = 0
    module: str = ""

    @property
    def line(self) -> str:
        """The user's line that it comes from, or ""."""
        return describe_site(self.code, self.offset) if self.code is not None else ""


OTHER = Label("other")
KINDS = (
    "parameter",
    "gradient",
    "optimiser state",
    "buffer",
    "saved activation",
    "input",
    "workspace",
    "other",
)


class Holder(NamedTuple):
    """Memory and whose it is.

    Attributes:
        bytes: how much.
        kind: one of `KINDS`.
        op: the op that saved or made it.
        module: dotted path of the module in which that was.
        line: the user's line.
        shape, dtype: of the array, where it is known.
        name: of the parameter or cell.
    """

    bytes: int
    kind: str
    op: str
    module: str
    line: str
    shape: tuple[int, ...] | None
    dtype: Any
    name: str

    def __str__(self) -> str:
        array = "" if self.shape is None else f"{self.dtype}{list(self.shape)}"
        op = f"of '{self.op}'" if self.op else ""
        module = f"in {self.module}" if self.module else ""
        line = f"at {self.line}" if self.line else ""
        words = [size_text(self.bytes), self.kind, self.name, op, array, module, line]
        return " ".join([word for word in words if word])


# --- the search -------------------------------------------------------------------------------------------------------


class _Wanted(dict[type, type | None]):
    """class -> which of ours it is, if any; thousands of objects have few classes."""

    def __missing__(self, kind: type) -> type | None:
        ours = (Cell, Leaf, Record, Kept, Region, Step, Tensor)
        found = next((c for c in ours if c in kind.__mro__), np.ndarray if _is_cupy_class(kind) else None)
        self[kind] = found
        return found


def _is_cupy_class(kind: type) -> bool:
    return kind.__name__ == "ndarray" and kind.__module__.partition(".")[0] == "cupy"


def _objects() -> dict[type | None, list[Any]]:
    """Every object of ours that is alive, by class; CuPy's arrays under NumPy's class."""
    wanted = _Wanted()
    found: dict[type | None, list[Any]] = {c: [] for c in (Cell, Leaf, Record, Kept, Region, Step, Tensor, np.ndarray)}
    for thing in collector.get_objects():
        ours = wanted[type(thing)]
        if ours is not None:
            found[ours].append(thing)
    return found


def alive(device: Device | str) -> Iterator[tuple[Any, Label]]:
    """Arrays on a device that tensors, cells and records hold, and labels: of an array that comes twice, the first."""
    backend = backend_on(device)
    for array, label in _labelled(_objects()):
        if backend.block_of(array) is not None:
            yield array, label


def _labelled(objects: dict[type | None, list[Any]]) -> Iterator[tuple[Any, Label]]:
    gradients = {id(leaf.grad) for leaf in objects[Leaf]}
    for cell in objects[Cell]:
        if cell.tensor is not None:
            kind = "gradient" if id(cell) in gradients else "parameter" if cell.leaf is not None else cell.role
            yield cell.tensor.data, Label(kind, cell.name)
    for tensor in objects[Tensor]:
        if isinstance(tensor.node, Leaf) and not isinstance(tensor, Traced):
            yield tensor.data, Label("parameter", tensor.node.name)
    for record in objects[Record]:
        yield from saved_by(record)
    for region in objects[Region]:
        for array in region.held.values():
            yield array, Label("saved activation", op="checkpoint")
    for step in objects[Step]:
        for array in raw(step.operands):
            yield array, Label("input", "", step.op.name, step.code, step.offset)
    for tensor in objects[Tensor]:
        for array in raw((tensor,)):
            yield array, _of_tensor(tensor)
    for array in objects[np.ndarray]:
        yield array, OTHER


def saved_by(record: Record) -> Iterator[tuple[Any, Label]]:
    """What a record keeps for the backward pass.  Operands that no gradient goes to are the user's input."""
    kept: Any = record.saved
    values = (*kept.hollow, *(kept.values or ())) if isinstance(kept, Kept) else kept if type(kept) is tuple else ()
    op, code, offset = record.pull.op, record.code, record.offset
    activation = Label("saved activation", "", op.name, code, offset)
    given = Label("input", "", op.name, code, offset)
    inputs = op.saves(record.pull.needed, record.params).inputs
    for place, value in enumerate(values):
        constant = place < len(inputs) and record.parents and record.parents[inputs[place]] is None
        for array in raw((value,)):
            yield array, given if constant else activation


def raw(values: Iterable[Any]) -> list[Any]:
    """The raw arrays under values of any level."""
    found = []
    for value in values:
        if type(value) is np.ndarray:
            found.append(value)
        elif isinstance(value, Traced):
            found += raw([getattr(value, name) for name in ("value", "primal", "tangent") if hasattr(value, name)])
        else:
            array = value.data if isinstance(value, Tensor) else value
            if isinstance(array, np.ndarray) or is_cupy(array):
                found.append(array)
    return found


def _of_tensor(tensor: Tensor) -> Label:
    """A tensor that was not computed is input."""
    node = tensor.node
    record = getattr(node, "record", node)
    if isinstance(record, Record):
        return Label("other", "", record.pull.op.name, record.code, record.offset)
    return Label("input")


def holders(device: Device | str = "cpu") -> list[Holder]:
    """What tensors, cells and records hold on a device now, the largest first; each block of memory once.

    All objects of the process are looked at, which takes some milliseconds; nothing needs to be switched on before. On
    the CPU, NumPy arrays that no tensor shares are not ours and not in the list.

    Args:
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: the device is not there.

    Example:
        >>> import gradcore as gc
        >>> model = gc.nn.Linear(1000, 300)
        >>> [str(holder) for holder in gc.memory.holders() if holder.shape == (300, 1000)]
        ['1.1 MiB parameter weight float32[300, 1000]']
    """
    backend = backend_on(device)
    found: dict[int, Holder] = {}
    for array, label in alive(device):
        block = backend.block_of(array)
        if block is not None and block.key not in found:
            found[block.key] = holder_of(block.size, label, array.shape, array.dtype)
    return sorted(found.values(), key=lambda holder: -holder.bytes)


def holder_of(size: int, label: Label, shape: Any = None, dtype: Any = None) -> Holder:
    """A label in words."""
    return Holder(size, label.kind, label.op, label.module, label.line, shape, dtype, label.name)


def explained(device: Device | str, count: int = 5) -> str:
    """The largest holders in lines, for errors."""
    largest = holders(device)[:count]
    return "".join([f"the largest holders on {device}:", *[f"\n  {holder}" for holder in largest]]) if largest else ""
