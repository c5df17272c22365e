"""Stage: takes Eval's place and writes every op into a graph, those of `backward()` and `step()` included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.backend import backend_on, is_cupy
from gradcore.core.aval import Aval, aval_of, dense
from gradcore.core.bind import as_tuple
from gradcore.core.cell import Cell, Leaf
from gradcore.core.errors import StageError
from gradcore.core.evaluate import SCALARS, meeting
from gradcore.core.graph import CellSlot, Graph, Node, Var
from gradcore.core.op import Op
from gradcore.core.state import replaced, state, user_frame
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten, unflatten


class Stage:
    """The base interpreter while a function is captured."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self.slots: dict[Cell, CellSlot] = {}
        self.current: dict[Cell, Tensor | None] = {}
        self._constants: dict[int, Var] = {}
        self._count = 0

    def new_var(self, aval: Aval) -> Var:
        self._count += 1
        return Var(aval, self._count - 1)

    def process(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
        inputs = tuple([value if isinstance(value, SCALARS) else self.var_of(value) for value in values])
        avals = [aval_of(value) for value in inputs]
        if any(aval.device != "cpu" for aval in avals):
            meeting(op, [None if isinstance(v, SCALARS) else backend_on(v.aval.device) for v in inputs])
        made = as_tuple(op.abstract(*avals, *params))
        outputs = tuple([self.new_var(aval) for aval in made])
        view = op.alias(*avals, *params) if op.alias is not None else None
        frame = user_frame()
        self.graph.nodes.append(Node(op, inputs, params, outputs, view, frame.f_code, frame.f_lasti))
        return outputs if op.multiple else outputs[0]

    def recomputed(self, outputs: Sequence[Var]) -> None:
        """The node that made these does so a second time, to save memory: no pass may merge it with the first."""
        node = self.graph.nodes[-1]
        assert node.outputs == tuple(outputs)
        node.recomputed = True

    def var_of(self, value: Any) -> Var:
        """The Var of a raw value; an array that the function closed over becomes a constant."""
        if isinstance(value, Var):
            return value
        if id(value) not in self._constants:
            var = self._constants[id(value)] = self.new_var(aval_of(value))
            self.graph.constants[var] = value
        return self._constants[id(value)]

    def read(self, cell: Cell) -> Tensor | None:
        if cell not in self.current:
            slot = self.slots[cell] = CellSlot(cell)
            if cell.tensor is not None:
                slot.before = self.new_var(cell.tensor.aval)
            slot.was_empty = cell.tensor is None
            self.current[cell] = None if slot.before is None else Tensor(slot.before, cell.leaf)
        return self.current[cell]

    def assign(self, cell: Cell, value: Tensor | None) -> None:
        slot = self.slots.setdefault(cell, CellSlot(cell))
        slot.assigned = True
        self.current[cell] = None if value is None else Tensor(value.data, cell.leaf)

    def finish(self, result: Any) -> Graph:
        """Close the graph over what the function returned and what the cells hold."""
        leaves, self.graph.out_structure = flatten(result)
        self.graph.outputs = [leaf if isinstance(leaf, SCALARS) else self._returned(leaf) for leaf in leaves]
        for cell, slot in self.slots.items():
            value = self.current[cell]
            slot.after = self.var_of(value.data) if slot.assigned and value is not None else None
        self.graph.cells = list(self.slots.values())
        return self.graph

    def _returned(self, leaf: Any) -> Var:
        if isinstance(leaf, Cell):
            leaf = self.read(leaf)
        if not isinstance(leaf, Tensor):
            raise StageError(f"the captured function returned {type(leaf).__name__}; return tensors or numbers")
        return self.var_of(leaf.data)


def make_graph(function: Callable[..., Any]) -> Callable[..., Graph]:
    """Capture what `function` does as a graph.

    Every op is written down, in order: those of forward passes, of `loss.backward()`, of `optimizer.step()`, and of
    transforms inside.  Cells that the function reads (parameters, optimiser slots, the random counter) become inputs;
    those that it assigns become outputs, donated where they are both.  Nothing is computed and no cell changes.

    Args:
        function: takes trees of tensors or arrays (they become inputs) and Python scalars (they become constants).

    Returns:
        A function of the same arguments that returns a `Graph`; `print(graph)` shows it.

    Raises:
        StageError: the function asked for the elements of a tensor.

    Example:
        >>> import gradcore as gc
        >>> print(gc.make_graph(lambda x: gc.sin(x) * 2)(gc.tensor([1.0, 2.0])))
        graph <lambda>(v0: float32[2]):
          v1: float32[2] = sin(v0)
          v2: float32[2] = mul(v1, 2)
          return v2
    """

    def capture(*args: Any) -> Graph:
        if state.base is not None or state.levels:
            raise StageError("make_graph was called inside another capture or transform; capture from the outside")
        stage = Stage(getattr(function, "__name__", "graph"))
        with replaced("base", stage):
            return stage.finish(function(*_as_inputs(stage, args)))

    return capture


def _as_inputs(stage: Stage, args: Sequence[Any]) -> Any:
    leaves, structure = flatten(tuple(args))
    stage.graph.in_structure = structure
    inputs = [leaf if type(leaf) in SCALARS else _input(stage, leaf) for leaf in leaves]
    stage.graph.sources = [value.data if isinstance(value, Tensor) else value for value in inputs]
    return unflatten(structure, inputs)


def _input(stage: Stage, leaf: Any) -> Tensor:
    leaf = leaf.read() if isinstance(leaf, Cell) else np.asarray(leaf) if isinstance(leaf, np.generic) else leaf
    if not (isinstance(leaf, (Tensor, np.ndarray)) or is_cupy(leaf)):
        raise StageError(f"make_graph takes trees of tensors, arrays and numbers, not {type(leaf).__name__}")
    aval = aval_of(leaf)
    var = stage.new_var(aval if dense(aval) else aval.update(strides=None))
    stage.graph.inputs.append(var)
    node = leaf.node if isinstance(leaf, Tensor) and isinstance(leaf.node, Leaf) else None
    return Tensor(var, node)
