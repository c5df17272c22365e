"""Run a graph again and again in memory that is allocated once.

Every value of the graph has a buffer of its own, every view is made once, every op writes through `out=`.  So a step
allocates no array, and it gives the same bits as eager execution, since it performs the same ops on memory of the same
layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY, Arena
from gradcore.core.cell import Cell
from gradcore.core.errors import StageError
from gradcore.core.evaluate import SCALARS
from gradcore.core.graph import CellSlot, Graph, Node, Var
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten_like, unflatten


class Program:
    """A graph with memory.

    Args:
        graph: made by `gradcore.make_graph`.

    Call it with arguments like those of the captured function: cells are read, the ops run, cells are assigned, and
    the outputs come back as new tensors.

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
            self.buffers[var] = np.empty(var.shape, var.dtype)
        self.steps = [step for node in graph.nodes if (step := self._step(node)) is not None]

    def _step(self, node: Node) -> Callable[[], Any] | None:
        values = _typed([self.buffers[v] if isinstance(v, Var) else v for v in node.inputs])
        if node.view_of is not None:
            self.buffers[node.outputs[0]] = node.op.impl(NUMPY, None, *values, *node.params)
            return None
        outs = tuple([np.empty(var.shape, var.dtype) for var in node.outputs])
        self.buffers.update(zip(node.outputs, outs, strict=True))
        arena, run = self.arena, self.arena.run
        out = outs if node.op.multiple else outs[0]

        def step() -> None:
            run(node.op, out, values, node.params)
            arena.reset()

        return step

    def __call__(self, *args: Any) -> Any:
        self._load(args)
        for step in self.steps:
            step()
        results = [self._result(output) for output in self.graph.outputs]
        for slot, place in [(slot, _place(slot)) for slot in self.graph.cells if slot.assigned]:
            self._store(slot, place)
        return unflatten(self.graph.out_structure, results)  # type: ignore[arg-type]

    def _load(self, args: Sequence[Any]) -> None:
        leaves = [leaf for leaf in flatten_like(self.graph.in_structure, tuple(args)) if not isinstance(leaf, SCALARS)]  # type: ignore[arg-type]
        for var, leaf in zip(self.graph.inputs, leaves, strict=True):
            _copy(self.buffers[var], leaf, "an argument")
        for slot in self.graph.cells:
            if slot.before is not None:
                _copy(self.buffers[slot.before], slot.cell.tensor, f"cell {slot.cell.name}")

    def _result(self, output: Any) -> Any:
        return Tensor(self.buffers[output].copy()) if isinstance(output, Var) else output

    def _store(self, slot: CellSlot, place: Any) -> None:
        cell = slot.cell
        if slot.after is None:
            cell.store(None)
            return
        np.copyto(place, self.buffers[slot.after])
        if cell.tensor is None or cell.tensor.data is not place:
            cell.tensor = Tensor(place, cell.leaf)
        if cell.leaf is not None:
            cell.leaf.mark()


def _place(slot: CellSlot) -> Any:
    """Where the new value of a cell goes; all places are found before the first is written."""
    if slot.after is None:
        return None
    return slot.cell.destination() if slot.cell.tensor is not None else np.empty(slot.after.shape, slot.after.dtype)


def _copy(buffer: Any, value: Any, what: str) -> None:
    value = value.read() if isinstance(value, Cell) else value
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if array.shape != buffer.shape or array.dtype != buffer.dtype:
        raise StageError(
            f"{what} is {array.dtype}{list(array.shape)}, but the graph was captured with "
            f"{buffer.dtype}{list(buffer.shape)}; capture it again for other shapes"
        )
    np.copyto(buffer, array)


def _typed(values: list[Any]) -> list[Any]:
    """Python scalars as 0-d arrays of the dtype that the operands have, made once."""
    arrays = [v for v in values if not isinstance(v, SCALARS)]
    if len(arrays) == len(values):
        return values
    dtype = np.result_type(*values)
    return [np.asarray(v, dtype) if isinstance(v, SCALARS) else v for v in values]

