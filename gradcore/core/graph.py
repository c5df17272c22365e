"""Graphs: a captured program as data.  `make_graph` writes them, `gradcore.compile` runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Any

from gradcore.core.aval import Aval, Shape
from gradcore.core.cell import Cell
from gradcore.core.errors import StageError
from gradcore.core.op import Op
from gradcore.core.trees import Structure


class Var:
    """A value of a graph: an Aval and a number.  It has no elements, and says so when asked for them."""

    __slots__ = ("__weakref__", "aval", "number")

    def __init__(self, aval: Aval, number: int) -> None:
        self.aval = aval
        self.number = number

    @property
    def shape(self) -> Shape:
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        return self.aval.dtype

    def _no_elements(self, *args: Any, **kwargs: Any) -> Any:
        raise StageError(
            "the function that is being captured asked for the elements of a tensor (float(), bool(), .numpy(), "
            "printing, `if`, `while`); they exist only when the graph runs. Return the tensor, use where() or cond() "
            "instead of `if`, and scan() instead of a loop"
        )

    __array__ = __bool__ = __float__ = __int__ = __index__ = __iter__ = _no_elements
    __array_ufunc__ = _no_elements

    def __repr__(self) -> str:
        return f"v{self.number}"


@dataclass
class Node:
    """One op of a graph; inputs are Vars and Python scalars; the output is a view of input `view_of`."""

    op: Op
    inputs: tuple[Any, ...]
    params: tuple[Any, ...]
    outputs: tuple[Var, ...]
    view_of: int | None
    code: CodeType | None
    offset: int
    recomputed: bool = False  # an op of a checkpoint a second time; merged with the first, it would save no memory


@dataclass
class CellSlot:
    """A cell in a graph: what it held `before` (None if that is not read), and what it holds `after`.

    `assigned` cells change; one that is read as well is donated: its memory may take the new value.  One that
    `was_empty` was read and held None.
    """

    cell: Cell
    before: Var | None = None
    after: Var | None = None
    assigned: bool = False
    was_empty: bool = False

    @property
    def donated(self) -> bool:
        return self.before is not None and self.after is not None


@dataclass
class Graph:
    """A program: inputs, constants, cells, nodes in order, outputs."""

    name: str
    inputs: list[Var] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)  # for each leaf of the arguments its Var, or its number
    constants: dict[Var, Any] = field(default_factory=dict)
    cells: list[CellSlot] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    in_structure: Structure | None = None
    out_structure: Structure | None = None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    if TYPE_CHECKING:  # attached by gradcore/core/graph_text.py

        def dot(self) -> str: ...
        def to_text(self) -> str: ...
        @staticmethod
        def from_text(text: str, cells: Mapping[str, Cell] | None = None) -> Graph: ...

    def _lines(self) -> Iterator[str]:
        yield f"graph {self.name}({', '.join(map(_typed, self.inputs))}):"
        for slot in self.cells:
            yield f"  {_describe(slot)}"
        for var in self.constants:
            yield f"  constant {_typed(var)}"
        for node in self.nodes:
            yield f"  {_equation(node)}"
            for body in _bodies(node.params):
                yield from [f"    {line}" for line in body._lines()]
        yield f"  return {', '.join(map(str, self.outputs))}"


def _bodies(params: tuple[Any, ...]) -> Iterator[Graph]:
    """The graphs of loops and branches among static parameters."""
    for param in params:
        if isinstance(param, tuple):
            yield from _bodies(param)
        elif isinstance(getattr(param, "graph", None), Graph):
            yield param.graph


def _typed(var: Var) -> str:
    return f"{var}: {var.aval}"


def _describe(slot: CellSlot) -> str:
    name = slot.cell.name or "unnamed"
    if slot.donated:
        return f"cell {name}: {slot.before} -> {slot.after} (donated): {slot.before.aval}"  # type: ignore[union-attr]
    if slot.assigned:
        return f"cell {name}: -> {slot.after}"
    if slot.before is None:
        return f"cell {name}: empty"
    return f"cell {name}: {slot.before}: {slot.before.aval}"


def _equation(node: Node) -> str:
    outputs = ", ".join(map(_typed, node.outputs))
    operands = ", ".join(map(str, node.inputs))
    params = "".join(f", {name}={value}" for name, value in zip(node.op.params, node.params, strict=False))
    view = " (view)" if node.view_of is not None else ""
    again = " (recomputed)" if node.recomputed else ""
    return f"{outputs} = {node.op.name}({operands}{params}){view}{again}"
