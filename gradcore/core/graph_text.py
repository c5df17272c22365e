"""Graphs as text that can be read back, and as drawings in DOT (https://graphviz.org/doc/info/lang.html).

The text has one statement per line, a keyword and a Python literal.  Nothing in it is executed: literals go through
`ast.literal_eval`, ops are looked up in the op table, and an op that is not in it (the derivative of an elementwise op,
say) is written out by a form that `ops` registers.
"""

from __future__ import annotations

import ast
import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gradcore.backend import backend_of, backend_on
from gradcore.core.aval import Aval
from gradcore.core.cell import Cell
from gradcore.core.errors import GradcoreError
from gradcore.core.graph import CellSlot, Graph, Node, Var
from gradcore.core.op import OPS, Op
from gradcore.core.trees import Structure

HEADER = "gradcore graph 1"
LARGEST = 4096  # bytes of a constant


class Form(NamedTuple):
    """How ops of one kind are written: `encode(op)` gives a literal, or None if it is another kind."""

    encode: Callable[[Op], Any]
    decode: Callable[[Any], Op]


class ValueForm(NamedTuple):
    """How static parameters of a class are written."""

    kind: type
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


FORMS: dict[str, Form] = {}
VALUE_FORMS: dict[str, ValueForm] = {}

# --- values -----------------------------------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """A static parameter as a literal; what is not one is a dict with a single key."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return {"float": value.hex()}
    if type(value) in (tuple, list):
        return type(value)(map(encode, value))
    if isinstance(value, slice):
        return {"slice": (value.start, value.stop, value.step)}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, Var):
        return {"var": value.number}
    for name, form in VALUE_FORMS.items():
        if type(value) is form.kind:
            return {name: form.encode(value)}
    raise GradcoreError(f"a graph with {type(value).__name__} as a static parameter has no text form")


def decode(literal: Any, variables: Mapping[int, Var] | None = None) -> Any:
    if type(literal) in (tuple, list):
        return type(literal)(decode(part, variables) for part in literal)
    if type(literal) is not dict:
        return literal
    ((kind, content),) = literal.items()
    if kind == "var":
        return (variables or {})[content]
    if kind in VALUE_FORMS:
        return VALUE_FORMS[kind].decode(content)
    kinds: dict[str, Callable[[Any], Any]] = {"float": float.fromhex, "slice": lambda s: slice(*s), "dtype": np.dtype}
    return kinds[kind](content)


def _encode_aval(aval: Aval) -> Any:
    return aval.dtype.name, aval.shape, aval.weak, aval.device, aval.strides


def _decode_aval(literal: Any) -> Aval:
    dtype, shape, weak, device, strides = literal
    return Aval(shape, dtype, weak, device, strides)


_CONTAINERS = {"dict": dict, "list": list, "tuple": tuple, "None": type(None)}


def _encode_structure(structure: Structure | None) -> Any:
    if structure is None or structure.kind is None:
        return None if structure is None else "*"
    names = [name for name, kind in _CONTAINERS.items() if kind is structure.kind]
    if not names:
        raise GradcoreError(
            f"a graph whose arguments or results are a {structure.kind.__name__} has no text form; use dicts, lists "
            "and tuples"
        )
    return names[0], encode(structure.rest), [_encode_structure(child) for child in structure.children]


def _decode_structure(literal: Any) -> Structure | None:
    if literal is None or literal == "*":
        return None if literal is None else Structure(None)
    name, rest, children = literal
    made = tuple([_decode_structure(child) for child in children])
    return Structure(_CONTAINERS[name], decode(rest), made)  # type: ignore[arg-type]


def _encode_constant(var: Var, array: Any) -> Any:
    host = backend_of(array).fetch(array)
    repeated = [s == 0 and host.size > 0 for s in host.strides]  # axes of a broadcast view: one element tells all
    small = np.array(host[tuple([slice(0, 1) if r else slice(None) for r in repeated])], order="C")
    if small.nbytes > LARGEST:
        raise GradcoreError(
            f"the graph holds a constant of {host.dtype}{list(host.shape)}, and its text takes {LARGEST} bytes at "
            "most; make it an argument of the function, or a cell"
        )
    return var.number, small.shape, base64.b64encode(small.tobytes()).decode()


def _decode_constant(var: Var, shape: tuple[int, ...], text: str) -> Any:
    aval = var.aval
    array = np.frombuffer(base64.b64decode(text), aval.dtype).reshape(shape)
    array = np.broadcast_to(array, aval.shape) if shape != aval.shape else _laid_out(array, aval)
    return backend_on(aval.device).receive(array)


def _laid_out(array: Any, aval: Aval) -> Any:
    """A copy with the strides of the original."""
    if aval.strides is None:
        return array.copy()
    order = sorted(range(aval.ndim), key=lambda axis: -aval.strides[axis])  # type: ignore[index]
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))


# --- graphs to text ---------------------------------------------------------------------------------------------------


def to_text(graph: Graph) -> str:
    """The whole graph as text, from which `from_text` makes an equal one; for a picture to read use `print`.

    Raises:
        GradcoreError: it holds a large constant, a cell without a name of its own, containers other than dicts,
            lists and tuples, or an op that is Python code (`fused`).
    """
    return "\n".join(_Writer(graph).lines()) + "\n"


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.written: dict[Op, str] = {}

    def lines(self) -> Iterator[str]:
        graph = self.graph
        yield HEADER
        yield f"name {graph.name!r}"
        for var in self._all_variables():
            yield f"var {(var.number, *_encode_aval(var.aval))!r}"
        yield f"inputs {[var.number for var in graph.inputs]!r}"
        yield f"sources {encode(list(graph.sources))!r}"
        yield f"structures {(_encode_structure(graph.in_structure), _encode_structure(graph.out_structure))!r}"
        for var, array in graph.constants.items():
            yield f"constant {_encode_constant(var, array)!r}"
        yield from map(self._cell, graph.cells)
        for node in graph.nodes:
            yield from self._node(node)
        yield f"outputs {encode(list(graph.outputs))!r}"

    def _all_variables(self) -> list[Var]:
        graph = self.graph
        found = dict.fromkeys([*graph.inputs, *graph.constants])
        for slot in graph.cells:
            found |= dict.fromkeys([v for v in (slot.before, slot.after) if v is not None])
        for node in graph.nodes:
            found |= dict.fromkeys(node.outputs)
        return sorted(found, key=lambda var: var.number)

    def _cell(self, slot: CellSlot) -> str:
        if [other.cell.name for other in self.graph.cells].count(slot.cell.name) > 1 or not slot.cell.name:
            raise GradcoreError(
                f"the graph uses a cell named {slot.cell.name!r}; in its text each cell needs a name of its own"
            )
        return f"cell {encode((slot.cell.name, slot.before, slot.after, slot.assigned, slot.was_empty))!r}"

    def _node(self, node: Node) -> Iterator[str]:
        if node.op not in self.written:
            name, form = self._op(node.op)
            self.written[node.op] = name
            if form is not None:
                yield f"op {(name, *form)!r}"
        row = self.written[node.op], node.inputs, node.params, [var.number for var in node.outputs], node.view_of
        marks = ("recomputed",) if node.recomputed else ()
        yield f"node {encode((*row, *marks))!r}"

    def _op(self, op: Op) -> tuple[str, Any]:
        if OPS.get(op.name) is op:
            return op.name, None
        for kind, form in FORMS.items():
            literal = form.encode(op)
            if literal is not None:
                return f"{op.name}#{len(self.written)}", (kind, literal)
        raise GradcoreError(
            f"the graph uses '{op.name}', which is Python code outside the op table, so it has no text form; an op "
            "made with gradcore.elementwise has one"
        )


# --- text to graphs ---------------------------------------------------------------------------------------------------


def from_text(text: str, cells: Mapping[str, Cell] | None = None) -> Graph:
    """The graph that `to_text` wrote. No part of the text is executed.

    Args:
        text: what `to_text` returned.
        cells: the cells that the graph reads and assigns, by name.

    Raises:
        GradcoreError: the text cannot be read, or a cell is missing or of another shape or dtype.

    Example:
        >>> import gradcore as gc
        >>> graph = gc.make_graph(lambda x: gc.sin(x) * 2)(gc.tensor([1.0, 2.0]))
        >>> again = Graph.from_text(graph.to_text())
        >>> str(again) == str(graph)
        True
        >>> gc.compile.Program(again)(gc.tensor([0.0, 0.0]))
        tensor([0., 0.], dtype=float32, device='cpu')
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or lines[0].strip() != HEADER:
        raise GradcoreError(f"the text of a graph starts with {HEADER!r}, this one with {lines[0] if lines else ''!r}")
    reader = _Reader(cells)
    for number, line in enumerate(lines[1:], 2):
        keyword, _, content = line.partition(" ")
        try:
            getattr(reader, f"read_{keyword}")(ast.literal_eval(content))
        except GradcoreError:
            raise
        except Exception as error:
            raise GradcoreError(f"line {number} of the graph cannot be read ({error!r}): {line[:200]}") from error
    return reader.graph


class _Reader:
    def __init__(self, cells: Mapping[str, Cell] | None) -> None:
        self.graph = Graph("")
        self.cells = cells
        self.variables: dict[int, Var] = {}
        self.ops: dict[str, Op] = {}

    def read_name(self, literal: Any) -> None:
        self.graph.name = literal

    def read_var(self, literal: Any) -> None:
        number, *aval = literal
        self.variables[number] = Var(_decode_aval(aval), number)

    def read_inputs(self, literal: Any) -> None:
        self.graph.inputs = [self.variables[number] for number in literal]

    def read_sources(self, literal: Any) -> None:
        self.graph.sources = decode(literal, self.variables)

    def read_structures(self, literal: Any) -> None:
        self.graph.in_structure, self.graph.out_structure = map(_decode_structure, literal)

    def read_constant(self, literal: Any) -> None:
        number, shape, text = literal
        self.graph.constants[self.variables[number]] = _decode_constant(self.variables[number], shape, text)

    def read_cell(self, literal: Any) -> None:
        name, before, after, assigned, was_empty = decode(literal, self.variables)
        if self.cells is None or name not in self.cells:
            raise GradcoreError(f"the graph uses the cell {name!r}; pass from_text(text, cells) with that cell by name")
        cell = self.cells[name]
        held = None if cell.tensor is None else (cell.tensor.shape, cell.tensor.dtype)
        if before is not None and held != (before.shape, before.dtype):
            raise GradcoreError(f"cell {name!r} holds {held}, but the graph was captured with {before.aval}")
        self.graph.cells.append(CellSlot(cell, before, after, assigned, was_empty))

    def read_op(self, literal: Any) -> None:
        name, kind, content = literal
        self.ops[name] = FORMS[kind].decode(content)

    def read_node(self, literal: Any) -> None:
        name, inputs, params, outputs, view_of, *marks = decode(literal, self.variables)
        op = self.ops.get(name) or OPS.get(name)
        if op is None:
            raise GradcoreError(f"the graph uses '{name}', which is not in the op table of this version")
        made = tuple([self.variables[number] for number in outputs])
        self.graph.nodes.append(Node(op, inputs, params, made, view_of, None, 0, "recomputed" in marks))

    def read_outputs(self, literal: Any) -> None:
        self.graph.outputs = decode(literal, self.variables)


# --- drawing ----------------------------------------------------------------------------------------------------------


def to_dot(graph: Graph) -> str:
    """A drawing in the DOT language, for Graphviz: ops are boxes, arrows carry shapes and dtypes.

    Example:
        >>> import gradcore as gc
        >>> print(gc.make_graph(gc.sin)(gc.tensor([1.0])).dot())
        digraph "sin" {
          node [shape=box];
          v0 [label="input: float32[1]", shape=ellipse];
          n0 [label="sin"];
          v0 -> n0 [label="float32[1]"];
          o0 [label="output 0", shape=ellipse];
          n0 -> o0 [label="float32[1]"];
        }
    """
    return "\n".join(_dot_lines(graph))


def _dot_lines(graph: Graph) -> Iterator[str]:
    yield f"digraph {_quoted(graph.name)} {{"
    yield "  node [shape=box];"
    makers: dict[Any, str] = {}
    starts = [(var, "input") for var in graph.inputs] + [(var, "constant") for var in graph.constants]
    starts += [(slot.before, f"cell {slot.cell.name}") for slot in graph.cells if slot.before is not None]
    for var, label in starts:
        makers[var] = f"v{var.number}"
        yield f"  {makers[var]} [label={_quoted(f'{label}: {var.aval}')}, shape=ellipse];"
    for number, node in enumerate(graph.nodes):
        makers |= dict.fromkeys(node.outputs, f"n{number}")
        params = "".join(f"\n{name}={value}" for name, value in zip(node.op.params, node.params, strict=False))
        again = "\n(recomputed)" if node.recomputed else ""
        yield f"  n{number} [label={_quoted(node.op.name + params + again)}];"
        for value in node.inputs:
            if isinstance(value, Var):
                yield f"  {makers[value]} -> n{number} [label={_quoted(str(value.aval))}];"
    ends = [(out, f"output {i}") for i, out in enumerate(graph.outputs) if isinstance(out, Var)]
    ends += [(slot.after, f"new {slot.cell.name}") for slot in graph.cells if slot.after is not None]
    for number, (var, label) in enumerate(ends):
        yield f"  o{number} [label={_quoted(label)}, shape=ellipse];"
        yield f"  {makers[var]} -> o{number} [label={_quoted(str(var.aval))}];"
    yield "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


Graph.dot = to_dot  # type: ignore[method-assign, assignment]
Graph.to_text = to_text  # type: ignore[method-assign, assignment]
Graph.from_text = staticmethod(from_text)  # type: ignore[method-assign]
