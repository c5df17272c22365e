"""The graph of a computed value: its steps in order, with the value and the gradient of everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from gradcore.autodiff.record import FREED, Port, Record
from gradcore.autodiff.tape import add_base, pull_base
from gradcore.backend import backend_of, is_cupy
from gradcore.core.bind import as_tuple
from gradcore.core.cell import Leaf
from gradcore.core.errors import GradcoreError, GraphFreedError
from gradcore.core.evaluate import SCALARS
from gradcore.core.op import Op
from gradcore.core.state import replaced
from gradcore.core.tensor import Tensor
from gradcore.explanation.log import Application, Call, Log, told

PASS_IT = "pass the function: gradcore.explain(lambda: ...)"
CURE = f"compute it inside `with gradcore.keep_values():`, or {PASS_IT}"


@dataclass(eq=False, repr=False)
class Value:
    """A number or array of the graph; `gradient` is the sum over its uses, None where none is recorded."""

    array: Any
    leaf: Leaf | None = None
    maker: Step | None = None
    name: str = ""
    gradient: Any = None
    uses: list[Use] = field(default_factory=list)


@dataclass(eq=False, repr=False)
class Use:
    """An edge: a value as operand of a step, and the gradient that flows back along it."""

    value: Value
    step: Step
    position: int
    gradient: Any = None


@dataclass(eq=False, repr=False)
class Step:
    """One op; operands are Uses and Python numbers."""

    application: Application
    record: Record | None
    call: Call
    operands: list[Any] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)

    @property
    def op(self) -> Op:
        return self.application.op

    @property
    def uses(self) -> list[Use]:
        return [operand for operand in self.operands if isinstance(operand, Use)]


@dataclass(eq=False, repr=False)
class Graph:
    """Everything that the scalar `root` was computed from; steps in order."""

    root: Value
    leaves: list[Value]
    steps: list[Step]

    @property
    def values(self) -> Iterator[Value]:
        """Leaves, then results in order."""
        yield from self.leaves
        for step in self.steps:
            yield from step.results


def graph_of(loss: Tensor, log: Log, expand: bool = False) -> Graph:
    """The graph of a recorded scalar.

    Args:
        loss: a scalar Tensor with a record.
        log: where its values were kept.
        expand: replace fused ops by their meaning.

    Raises:
        GradcoreError: a value was not kept, or backward() has freed the record.
    """
    builder = _Builder(log, expand)
    builder.add_all(loss.node, loss.data)
    root = builder.value(loss.data, loss.node)
    _pull(root, builder.steps)
    return Graph(root, builder.leaves, builder.steps)


def bring_to_host(graph: Graph) -> None:
    """Copy what is on a GPU, to be shown."""
    for value in graph.values:
        value.array, value.gradient = _on_host(value.array), _on_host(value.gradient)
    for step in graph.steps:
        for use in step.uses:
            use.gradient = _on_host(use.gradient)


def _on_host(array: Any) -> Any:
    return backend_of(array).fetch(array) if is_cupy(array) else array


class _Builder:
    """Makes steps of applications, each when all that it needs is made."""

    def __init__(self, log: Log, expand: bool) -> None:
        self.logs = [log]
        self.expand = expand
        self.steps: list[Step] = []
        self.leaves: list[Value] = []
        self._made: dict[Application, list[Value]] = {}
        self._calls: dict[Application, Call] = {}  # of what stands in for a fused op
        self._found: dict[Record, Application] = {}

    def add_all(self, node: Any, array: Any) -> None:
        """Add what a value was computed from, in the order in which it was performed."""
        reached: dict[Application, Record | None] = {}
        waiting = [self._origin(node, array)]
        while waiting:
            application, record = waiting.pop()
            if application is None or application in self._made:
                continue
            if application in reached and (record is None or reached[application] is not None):
                continue
            reached[application] = record
            waiting += [self._origin(p, a, application.serial) for a, p in _operands(application, record)]
        for application in sorted(reached, key=lambda a: a.serial):
            self._add(application, reached[application])

    def _origin(self, node: Any, array: Any, before: float = inf) -> tuple[Application | None, Record | None]:
        """Who made a value: by its record, or for a constant by the identity of its array."""
        record = node.record if isinstance(node, Port) else node
        if isinstance(record, Record):
            return self._application(record), record
        makers = [log.maker(array, before) for log in reversed(self.logs)] if node is None else []
        return next((maker for maker in makers if maker), None), None

    def _application(self, record: Record) -> Application:
        if record not in self._found:
            if record.saved is FREED:
                raise GraphFreedError(
                    "explain: backward() has freed the graph of this tensor; call gradcore.explain(loss) before "
                    f"loss.backward(), or {PASS_IT}"
                )
            found = next((a for a in (log.of(record) for log in reversed(self.logs)) if a), None)
            if found is None:
                raise GradcoreError(f"explain: the values of '{record.pull.op.name}' were not kept; {CURE}")
            self._found[record] = found
        return self._found[record]

    def _add(self, application: Application, record: Record | None) -> None:
        if self.expand and record is not None and application.op.meaning is not None:
            self._made[application] = self._expanded(application, record)
            return
        step = Step(application, record, self._call(application))
        for position, (array, node) in enumerate(_operands(application, record)):
            operand = array if isinstance(array, SCALARS) else self._use(array, node, step, position)
            step.operands.append(operand)
        step.results = [Value(array, maker=step) for array in _visible(application)]
        self.steps.append(step)
        self._made[application] = step.results

    def _use(self, array: Any, node: Any, step: Step, position: int) -> Use:
        value = self.value(array, node, step.application.serial)
        use = Use(value, step, position)
        value.uses.append(use)
        return use

    def value(self, array: Any, node: Any, before: float = inf) -> Value:
        application, _ = self._origin(node, array, before)
        if application is not None:
            index = node.index if isinstance(node, Port) else 0 if node else _place(application.results, array)
            return self._made[application][index]
        return self._leaf(array, node)

    def _leaf(self, array: Any, node: Leaf | None) -> Value:
        """One value for each leaf and array; a constant that shares the array of a leaf is the leaf."""
        for value in self.leaves:
            if value.array is array and (node is None or value.leaf in (None, node)):
                value.leaf = value.leaf or node
                return value
        self.leaves.append(Value(array, node))
        return self.leaves[-1]

    def _expanded(self, application: Application, record: Record) -> list[Value]:
        """The results of a fused op, computed again by its meaning on the same operands and nodes."""
        operands = _operands(application, record)
        log = Log()
        with replaced("recording", True), told(log):
            args = [array if isinstance(array, SCALARS) else Tensor(array, node) for array, node in operands]
            results = as_tuple(application.op.meaning(*args, *application.params))  # type: ignore[misc]
        self.logs.append(log)
        self._calls |= dict.fromkeys(log.applications, self._call(application))
        for result in results:
            self.add_all(result.node, result.data)
        return [self.value(result.data, result.node) for result in results]

    def _call(self, application: Application) -> Call:
        return self._calls.get(application, application.call)


def _operands(application: Application, record: Record | None) -> list[tuple[Any, Any]]:
    """Raw operands with their nodes."""
    nodes = record.parents if record is not None else (None,) * len(application.operands)
    return list(zip(application.operands, nodes, strict=True))


def _visible(application: Application) -> tuple[Any, ...]:
    visible = application.op.visible
    return application.results if visible < 0 else application.results[:visible]


def _place(results: tuple[Any, ...], array: Any) -> int:
    return next(i for i, result in enumerate(results) if result is array)


def _pull(root: Value, steps: list[Step]) -> None:
    """Every gradient, from the last step to the first: a use gets its rule's, a value the sum of its uses'."""
    root.gradient = backend_of(root.array).make("ones", root.array.shape, root.array.dtype)
    for step in reversed(steps):
        if step.record is not None and any(value.gradient is not None for value in step.results):
            for use, part in zip(step.operands, pull_base(step.record, _incoming(step)), strict=True):
                if isinstance(use, Use) and part is not None:
                    use.gradient = part
                    old = use.value.gradient
                    use.value.gradient = part if old is None else add_base(old, part)


def _incoming(step: Step) -> Any:
    gradients = tuple([value.gradient for value in step.results])
    return gradients[0] if step.op.visible == 1 else gradients
