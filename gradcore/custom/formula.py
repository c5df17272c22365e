"""From a function on tensors to scalar expressions: it is captured once, on numbers, and its graph is read.

So a formula may use whatever gives elementwise ops: operators, functions of gradcore, other formulas.  Derivatives go
through the graph op by op, which keeps the partial derivatives that an op states: they are accurate where those of its
expression are not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gradcore.autodiff.capture import capture
from gradcore.autodiff.record import is_ones
from gradcore.core.aval import Aval
from gradcore.core.errors import GradcoreError
from gradcore.core.evaluate import SCALARS
from gradcore.core.graph import Graph, Node, Var
from gradcore.core.state import describe_site
from gradcore.kernels.calculus import scale, simplify, substitute
from gradcore.kernels.expr import ONE, ZERO, Expr, is_const, lift, not_equal, var, walk, where
from gradcore.ops.scalar import Scalar


class Formula(NamedTuple):
    """What a scalar function computes, and its partial derivative by each operand."""

    output: Expr
    partials: tuple[Expr, ...]


def site_of(function: Callable[..., Any]) -> str:
    """`swish (model.py:12)`, for messages."""
    name = getattr(function, "__name__", type(function).__name__)
    code = getattr(inspect.unwrap(function), "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def operand_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the operands of a function; it must take a fixed number of them."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) or not parameters:
        raise TypeError(f"{site_of(function)} must take a fixed number of operands by position, and at least one")
    return tuple([p.name for p in parameters])


def read(function: Callable[..., Any], names: Sequence[str], numbers: bool = False) -> list[Formula]:
    """The formulas of all results of a function of numbers; with `numbers`, they may be mere numbers.

    Raises:
        GradcoreError: it does something that is not elementwise, or reads a tensor that is not an operand.
    """
    site = site_of(function)
    parts: list[Any] = []

    def body(*operands: Any) -> Any:
        result = function(*operands)
        parts.extend(result if isinstance(result, (tuple, list)) else (result,))
        return [part for part in parts if not isinstance(part, SCALARS)]

    reader = _Reader(site, _capture(body, len(names), site), names)
    made = iter(reader.formulas())
    return [reader.number(part, numbers) if isinstance(part, SCALARS) else next(made) for part in parts]


def _capture(function: Callable[..., Any], count: int, site: str) -> Graph:
    """As a body of `scan`, where all that has no place in a formula is an op, `detach` too."""
    body, closed, _ = capture(function, [Aval((), "float64")] * count, f"the formula {site}")
    if not all(map(is_ones, closed)):
        raise GradcoreError(
            f"{site} reads a tensor that is not one of its operands; make it an operand, or use a Python number "
            "(of which where() takes one, beside an operand)"
        )
    body.graph.constants = {body.graph.inputs.pop(0): value.data for value in closed}
    return body.graph


class _Reader:
    """Expressions of the variables of a graph.

    `exact` is what is computed.  `smooth` has the same values, and right derivatives at 0 in every order: that of an op
    with stated derivatives is smooth even where its expression is made of abs and minimum.
    """

    def __init__(self, site: str, graph: Graph, names: Sequence[str]) -> None:
        self.site, self.count = site, len(names)
        self.nodes, self.outputs = graph.nodes, graph.outputs
        self.exact: dict[Any, Expr] = {v: var(n) for v, n in zip(graph.inputs, names, strict=True)}
        self.exact |= dict.fromkeys(graph.constants, ONE)  # what a gradient inside starts from
        self.smooth = dict(self.exact)
        self.slopes: dict[Any, list[Expr]] = {
            v: [ONE if i == k else ZERO for i in range(self.count)]
            for k, v in enumerate((*graph.inputs, *graph.constants))
        }

    def take(self, node: Node) -> None:
        if node.op.name == "cast":
            self._cast(node)
        elif isinstance(node.op.spec, Scalar):
            self._apply(node, node.op.spec)
        else:
            raise GradcoreError(
                f"{self.site} uses '{node.op.name}', which is not an elementwise op; write it outside the formula, or "
                f"use gradcore.fused\n  {describe_site(node.code, node.offset)}"
            )

    def _cast(self, node: Node) -> None:
        source, (made,), kind = node.inputs[0], node.outputs, node.params[0].kind
        if kind not in "fb":
            raise GradcoreError(f"{self.site} casts to {node.params[0]}; a formula computes with floats and booleans")
        for table in (self.exact, self.smooth):
            table[made] = _as_kind(table[source], kind)
        self.slopes[made] = self.slopes[source] if kind == "f" else [ZERO] * self.count

    def _apply(self, node: Node, scalar: Scalar) -> None:
        exact = dict(zip(scalar.inputs, [self._of(self.exact, v) for v in node.inputs], strict=True))
        smooth = dict(zip(scalar.inputs, [self._of(self.smooth, v) for v in node.inputs], strict=True))
        for made, output in zip(node.outputs, scalar.outputs, strict=True):
            self.exact[made] = substitute(output, exact)
            self.smooth[made] = substitute(output if scalar._partials is None else _smoothed(output), smooth)
        known = smooth | {scalar.y: self.smooth[node.outputs[0]]}
        moving = [i for i in range(len(node.inputs)) if node.op.can_differentiate(i)]
        for made, row in zip(node.outputs, scalar.rows(), strict=True):
            parts = [(simplify(substitute(row[i], known)), self._slopes(node.inputs[i])) for i in moving]
            self.slopes[made] = [_total([scale(p, s[k]) for p, s in parts]) for k in range(self.count)]

    def _of(self, table: dict[Any, Expr], value: Any) -> Expr:
        return table[value] if isinstance(value, Var) else lift(value)

    def _slopes(self, value: Any) -> list[Expr]:
        return self.slopes[value] if isinstance(value, Var) else [ZERO] * self.count

    def formulas(self) -> list[Formula]:
        for node in self.nodes:
            self.take(node)
        return [Formula(simplify(self.exact[output]), tuple(self.slopes[output])) for output in self.outputs]

    def number(self, value: Any, allowed: bool) -> Formula:
        if not allowed:
            raise GradcoreError(f"{self.site} returned the number {value}; a formula depends on its operands")
        return Formula(lift(value), (ZERO,) * self.count)


def _total(terms: list[Expr]) -> Expr:
    total = ZERO
    for term in terms:
        total = simplify(total + term)
    return total


def _as_kind(e: Expr, kind: str) -> Expr:
    if e.boolean == (kind == "b"):
        return e
    return not_equal(e, 0) if kind == "b" else where(e, 1, 0)


def _smoothed(e: Expr) -> Expr:
    """The same with `where` in place of abs, and of minimum and maximum with a constant: one side owns the tie."""
    made: dict[Expr, Expr] = {}
    for node in walk([e]):
        args = tuple([made[a] for a in node.args])
        made[node] = _split(node.leaf, args) if node.leaf in ("abs", "minimum", "maximum") else _rebuilt(node, args)
    return made[e]


def _rebuilt(node: Expr, args: tuple[Expr, ...]) -> Expr:
    return Expr(node.leaf, args, node.value)


def _split(leaf: str, args: tuple[Expr, ...]) -> Expr:
    a = args[0]
    if leaf == "abs":
        return where(a < 0, -a, a)
    b = args[1]
    if not is_const(b):
        return Expr(leaf, args)
    return where(a < b, a, b) if leaf == "minimum" else where(a < b, b, a)
