"""Capture: the body of a `scan` or a branch of a `cond` as a graph, at any depth of transforms.

Stage takes the place of Eval below all transforms; a Capture is a level above those that are open, so a body may use
tensors of all of them.  What a body closes over becomes an operand of the op that holds it, and so its derivatives,
mappings and captures need no further code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.autodiff.arguments import as_value, common_device
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import as_tuple, bind
from gradcore.core.cell import Cell, EveryCell
from gradcore.core.errors import StageError
from gradcore.core.evaluate import SCALARS
from gradcore.core.graph import Graph, Node, Var
from gradcore.core.op import Op
from gradcore.core.state import pushed, replaced, state, user_frame
from gradcore.core.tensor import Tensor, Traced
from gradcore.core.trees import Structure, flatten


class CaptureTensor(Traced):
    """A Tensor of a Capture: a variable of its graph."""

    __slots__ = ("var",)

    def __init__(self, level: Capture, var: Var) -> None:
        self.level = level
        self.var = var
        self.data = None
        self.node = None

    @property
    def aval(self) -> Aval:
        return self.var.aval


class Capture:
    """Writes the ops on its own tensors into a graph; other operands become inputs of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.depth = len(state.levels)
        self.graph = Graph(name)
        self.closed: dict[int, tuple[Any, Var]] = {}
        self.recording = state.recording
        self._count = 0

    def new_var(self, aval: Aval) -> Var:
        self._count += 1
        return Var(aval, self._count - 1)

    def process(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
        if state.recording is not self.recording:
            raise StageError(
                f"no_grad() was entered in the body of {self.name}, which records nothing itself; enter it around "
                f"{self.name}, or use stop_gradient() in the body"
            )
        inputs = tuple([arg if isinstance(arg, SCALARS) else self.var_of(arg) for arg in args])
        avals = [aval_of(value) for value in inputs]
        outputs = tuple([self.new_var(aval) for aval in as_tuple(op.abstract(*avals, *params))])
        view = op.alias(*avals, *params) if op.alias is not None else None
        frame = user_frame()
        self.graph.nodes.append(Node(op, inputs, params, outputs, view, frame.f_code, frame.f_lasti))
        boxes = tuple([CaptureTensor(self, var) for var in outputs])
        return boxes if op.multiple else boxes[0]

    def var_of(self, value: Any) -> Var:
        if isinstance(value, CaptureTensor) and value.level is self:
            return value.var
        if id(value) not in self.closed:
            self.closed[id(value)] = value, self.new_var(value.aval.update(strides=None))
        return self.closed[id(value)][1]

    def primal(self, tensor: CaptureTensor) -> Any:
        raise StageError(
            f"the elements of a tensor were asked for in the body of {self.name}, where they exist only when it runs; "
            "use where() or cond() in place of `if`, scan() in place of a loop"
        )


class Body:
    """A captured function as data: hashable, and callable on Tensors of any interpreter."""

    __slots__ = ("cache", "graph")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.cache: dict[Any, Any] = {}

    @property
    def avals(self) -> list[Aval]:
        """Of the inputs."""
        return [var.aval for var in self.graph.inputs]

    @property
    def results(self) -> list[Aval]:
        """Of the outputs."""
        return [var.aval.update(strides=None) for var in self.graph.outputs]

    def __call__(self, *operands: Any) -> tuple[Any, ...]:
        return replay(self.graph, operands, bind, Tensor)

    def run(self, xp: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The outputs on raw arrays; hooks of this thread are told of every node."""
        nodes = iter(self.graph.nodes)

        def perform(op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
            outputs, node = xp.run(op, None, values, params), next(nodes)
            for hook in state.hooks:
                hook.inside(node, values, as_tuple(outputs))
            return outputs

        return replay(self.graph, arrays, perform, lambda array: array)

    def __repr__(self) -> str:
        return f"<{self.graph.name}: {len(self.graph.nodes)} ops>"


def replay(
    graph: Graph, operands: Sequence[Any], apply: Callable[..., Any], constant: Callable[[Any], Any]
) -> tuple[Any, ...]:
    """Perform the nodes of a graph in order by `apply(op, values, params)`; returns the outputs in a tuple."""
    values: dict[Var, Any] = {var: constant(array) for var, array in graph.constants.items()}
    values |= zip(graph.inputs, operands, strict=True)
    for node in graph.nodes:
        inputs = [values[v] if isinstance(v, Var) else v for v in node.inputs]
        values |= zip(node.outputs, as_tuple(apply(node.op, inputs, node.params)), strict=True)
    return tuple([values[v] for v in graph.outputs])


def capture(function: Callable[..., Any], avals: Sequence[Aval], name: str) -> tuple[Body, list[Any], Structure]:
    """The body of a function of flat Tensors, what it closes over, and the structure of what it returns.

    The inputs of the body are what it closes over, and then the arguments.
    """
    level = Capture(name)
    given = [level.new_var(aval.update(strides=None, weak=False)) for aval in avals]
    with pushed(state.levels, level), pushed(state.overlays, _ReadOnly(name)):
        arguments = [CaptureTensor(level, var) for var in given]
        leaves, structure = flatten(function(*arguments))
        device = common_device(arguments)
        values = [as_value(leaf, f"a result of the body of {name}", device) for leaf in leaves]
    level.graph.outputs = [level.var_of(value) for value in values]
    closed = list(level.closed.values())
    level.graph.inputs = [*[var for _, var in closed], *given]
    return Body(level.graph), [value for value, _ in closed], structure


def derived(function: Callable[..., Any], avals: Sequence[Aval], name: str) -> Body:
    """The body of a rule, which closes over constants only; they become constants of the graph."""
    with replaced("base", None), replaced("levels", []), replaced("recording", False):
        body, closed, _ = capture(function, avals, name)
    for value in closed:
        body.graph.constants[body.graph.inputs.pop(0)] = value.data
    return body


class _ReadOnly(EveryCell):
    """An overlay on all cells: a body may read them and not assign them, since it runs any number of times."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __setitem__(self, cell: Cell, value: Any) -> None:
        raise StageError(
            f"the body of {self.name} assigned cell {cell.name or 'without a name'}, but it is captured once and runs "
            "any number of times; carry what changes from step to step, and draw random keys outside and pass them in"
        )
