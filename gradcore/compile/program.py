"""Run a graph again and again in memory that is allocated once.

Every value of the graph has a buffer of its own, every view is made once, every op writes through `out=`.  So a step
allocates no array, and it gives the same bits as eager execution, since it performs the same ops on memory of the same
layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY, Arena, backend_of, backend_on, is_cupy
from gradcore.backend.numpy_backend import typed_scalars
from gradcore.core.aval import Aval
from gradcore.core.cell import Cell
from gradcore.core.errors import StageError
from gradcore.core.evaluate import SCALARS, place_of
from gradcore.core.graph import CellSlot, Graph, Node, Var
from gradcore.core.state import state
from gradcore.core.tensor import Tensor, Traced
from gradcore.core.trees import flatten_like, unflatten


class Program:
    """A graph with memory.

    It belongs to the cells (parameters, optimiser slots) that the captured function used: replacing a parameter by
    another object calls for another capture, assigning a new value to it does not.

    Args:
        graph: made by `gradcore.make_graph`.

    Call it with arguments like those of the captured function: cells are read, the ops run, cells are assigned, and
    the outputs come back as new tensors.

    Raises:
        StageError: an argument or a cell is not of the shape, dtype or kind that was captured.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([1.0, 2.0])
        >>> program = Program(gc.make_graph(lambda x: gc.sin(x) * 2)(x))
        >>> program(x)
        tensor([1.682942 , 1.8185948], dtype=float32, device='cpu')
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.arena = Arena()
        self.buffers: dict[Var, Any] = dict(graph.constants)
        for var in [*graph.inputs, *[slot.before for slot in graph.cells if slot.before is not None]]:
            self.buffers[var] = _buffer(var.aval)
        self.steps = [step for node in graph.nodes if (step := self._step(node)) is not None]

    def _step(self, node: Node) -> Callable[[], Any] | None:
        values: Any = [self.buffers[v] if isinstance(v, Var) else v for v in node.inputs]
        backend: Any = place_of(node.op, values)
        if node.view_of is not None:
            self.buffers[node.outputs[0]] = node.op.impl(backend, None, *values, *node.params)
            return None
        outs = tuple([backend_on(var.aval.device).empty(var.shape, var.dtype) for var in node.outputs])
        self.buffers.update(zip(node.outputs, outs, strict=True))
        if backend is NUMPY:
            backend, values = self.arena, list(typed_scalars(values))
        arena, run = self.arena, backend.run
        out = outs if node.op.multiple else outs[0]

        def step() -> None:
            for hook in state.hooks:
                hook.before(node.op, values, node.params)
            run(node.op, out, values, node.params)
            arena.reset()
            for hook in state.hooks:
                hook.after(node.op, values, node.params, outs)

        return step

    def __call__(self, *args: Any) -> Any:
        self._load(args)
        for step in self.steps:
            step()
        results = [self._result(output) for output in self.graph.outputs]
        for slot, place in [(slot, _place(slot)) for slot in self.graph.cells if slot.assigned]:
            _store(slot, place, self.buffers)
        return unflatten(self.graph.out_structure, results)  # type: ignore[arg-type]

    def _load(self, args: Sequence[Any]) -> None:
        leaves = flatten_like(self.graph.in_structure, tuple(args), "the tuple of arguments")  # type: ignore[arg-type]
        for source, leaf in zip(self.graph.sources, leaves, strict=True):
            if isinstance(source, Var):
                _copy(self.buffers[source], leaf, "an argument")
            elif type(leaf) not in SCALARS or leaf != source:
                raise StageError(
                    f"the graph was captured with the number {source!r} and got {leaf!r}; numbers are constants of a "
                    "graph: pass a tensor, or capture again"
                )
        for slot in self.graph.cells:
            self._load_cell(slot)

    def _load_cell(self, slot: CellSlot) -> None:
        tensor = slot.cell.tensor
        if slot.before is not None and tensor is not None:
            _copy(self.buffers[slot.before], tensor, f"cell {slot.cell.name}")
        elif slot.before is not None or (slot.was_empty and tensor is not None):
            now, then = ("something", "empty") if slot.was_empty else ("empty", "not")
            raise StageError(
                f"cell {slot.cell.name or 'without a name'} is {now} now and was {then} when the graph was captured "
                "(a gradient that the step reads before it is cleared?); call zero_grad() first in the step, or "
                "capture again"
            )

    def _result(self, output: Any) -> Any:
        return Tensor(_copied(self.buffers[output])) if isinstance(output, Var) else output


def _copied(array: Any) -> Any:
    return backend_of(array).make("copy", array)


def _buffer(aval: Aval) -> Any:
    """Memory laid out as what was captured: some order of the axes, without gaps."""
    empty = backend_on(aval.device).empty
    if aval.strides is None:
        return empty(aval.shape, aval.dtype)
    order = sorted(range(aval.ndim), key=lambda axis: -aval.strides[axis])  # type: ignore[index]
    dense = empty(tuple([aval.shape[axis] for axis in order]), aval.dtype)
    return dense.transpose([order.index(axis) for axis in range(aval.ndim)])


def _place(slot: CellSlot) -> Any:
    """Where the new value of a cell goes; all places are found before the first is written."""
    if slot.after is None:
        return None
    aval = slot.after.aval
    return slot.cell.destination() if slot.cell.tensor is not None else _buffer(aval.update(strides=None))


def _store(slot: CellSlot, place: Any, buffers: dict[Var, Any]) -> None:
    cell = slot.cell
    if slot.after is None:
        cell.store(None)
        return
    backend_of(place).copy(place, buffers[slot.after])
    if cell.tensor is None or cell.tensor.data is not place:
        cell.tensor = Tensor(place, cell.leaf)
    if cell.leaf is not None:
        cell.leaf.mark()


def _copy(buffer: Any, value: Any, what: str) -> None:
    value = value.read() if isinstance(value, Cell) else value
    if isinstance(value, Traced):
        raise StageError(f"{what} is a tensor inside {value.level.name}; a Program runs outside transforms only")
    array = value.data if isinstance(value, Tensor) else value if is_cupy(value) else np.asarray(value)
    backend = backend_of(buffer)
    if array.shape != buffer.shape or array.dtype != buffer.dtype:
        raise StageError(
            f"{what} is {array.dtype}{list(array.shape)}, but the graph was captured with "
            f"{buffer.dtype}{list(buffer.shape)}; capture it again for other shapes"
        )
    if backend_of(array) is not backend:
        raise StageError(
            f"{what} is on {backend_of(array).device}, but the graph was captured with it on {backend.device}; move it "
            "with .to(device)"
        )
    backend.copy(buffer, array)
