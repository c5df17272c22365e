"""What the NumPy emitter must know of an expression: shapes, types, order and last uses."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gradcore.kernels.calculus import simplify
from gradcore.kernels.expr import Expr, const, is_const, ne, walk, where
from gradcore.kernels.leaves import LEAVES
from gradcore.kernels.spec import ElementwiseSpec

BOOLEAN, EXACT, FLOATING = "boolean", "exact", "floating"
_TAKEN = re.compile(r"(np_\w+|[tkdsn]\d+|out\d+|outs|scratch|widen|copied|call|into)_*$")


@dataclass(frozen=True)
class Form:
    """What decides a value's shape and dtype before any array is seen.

    Its shape is the broadcast shape of the inputs `shape`; its dtype follows from the inputs
    `source` and from `kind`: EXACT leaves map integers to integers, FLOATING ones to floats.
    """

    shape: frozenset[str]
    source: frozenset[str]
    kind: str


class Plan:
    """The steps of a spec in order, and a `Form` for every node."""

    def __init__(self, spec: ElementwiseSpec, evaluate: Callable[..., Any]) -> None:
        self.names = {name: name + "_" * bool(_TAKEN.match(name)) for name in spec.inputs}
        self.inputs = tuple(self.names.values())
        self.spec = spec
        self.all = frozenset(spec.inputs) - spec.scalar_inputs
        self.numeric = frozenset(spec.inputs) - spec.boolean_inputs
        self.outputs = self._normal(spec.outputs, evaluate)
        order = walk(self.outputs)
        self.steps = [node for node in order if node.args]
        self.leaves = sorted({node.leaf for node in self.steps} | {"logical_not"})
        self.typed: dict[tuple[Expr, Expr], str] = {}
        self.forms: dict[Expr, Form] = {}
        for node in order:
            self.forms[node] = self._form(node)
        self.last_use = self._last_uses()

    def uniform(self) -> Plan:
        """The plan for inputs of one shape (`scalar_inputs` aside)."""
        plan = copy.copy(self)
        plan.forms = {node: replace(form, shape=self.all) if form.shape else form for node, form in self.forms.items()}
        return plan

    def _normal(self, outputs: tuple[Expr, ...], evaluate: Callable[..., Any]) -> tuple[Expr, ...]:
        """`outputs` with constants folded and every condition of a `where` a boolean."""
        new: dict[Expr, Expr] = {}
        for node in walk(outputs):
            new[node] = self._rewritten(node, tuple(new[a] for a in node.args), evaluate)
        return tuple(new[output] for output in outputs)

    def _rewritten(self, node: Expr, args: tuple[Expr, ...], evaluate: Callable[..., Any]) -> Expr:
        if args and all(is_const(argument) for argument in args):
            folded = simplify(Expr(node.leaf, args)) if LEAVES[node.leaf].exact else node
            if is_const(folded):
                return folded
            return const(evaluate(node, *(argument.value for argument in args)))
        if node.leaf == "where":
            if is_const(args[0]):
                return args[1] if args[0].value else args[2]
            return args[1] if args[1] is args[2] else where(self._condition(args[0]), *args[1:])
        return Expr(node.leaf, args, node.value)

    def _condition(self, node: Expr) -> Expr:
        known = node.boolean or (node.leaf == "var" and node.value in self.spec.boolean_inputs)
        return node if known else ne(node, 0)

    def _form(self, node: Expr) -> Form:
        if node.leaf == "var":
            name = frozenset([node.value])
            boolean = node.value in self.spec.boolean_inputs
            return Form(name & self.all, name & self.numeric, BOOLEAN if boolean else EXACT)
        if node.leaf == "const":
            kind = BOOLEAN if node.boolean else FLOATING if type(node.value) is float else EXACT
            return Form(frozenset(), frozenset(), kind)
        args = [self.forms[argument] for argument in node.args]
        shape = frozenset().union(*(form.shape for form in args))
        if node.boolean:
            return Form(shape, frozenset(), BOOLEAN)
        return self._number(node, shape, args[1:] if node.leaf == "where" else args)

    def _number(self, node: Expr, shape: frozenset[str], args: list[Form]) -> Form:
        source = frozenset().union(*(form.source for form in args)) or self._give_type(node)
        floats = not LEAVES[node.leaf].exact or any(form.kind == FLOATING for form in args)
        return Form(shape, source, FLOATING if floats else EXACT)

    def _give_type(self, node: Expr) -> frozenset[str]:
        """Of numbers and conditions alone NumPy would make float64 or int64: type one number.

        `where(c, 1, 0)` and `c * 2.0` take the dtype of the kernel's other inputs this way.
        """
        numbers = [argument for argument in node.args if is_const(argument)]
        if not self.numeric or not numbers:
            return frozenset()
        self.typed[node, numbers[0]] = f"k{len(self.typed)}"
        return self.numeric

    def _last_uses(self) -> dict[Expr, int]:
        last = {a: at for at, node in enumerate(self.steps) for a in node.args}
        return last | dict.fromkeys(self.outputs, len(self.steps))

    def full(self, node: Expr) -> bool:
        """Whether `node` has the broadcast shape of all inputs, whatever their shapes."""
        return self.forms[node].shape == self.all

    def is_plain(self, place: int) -> bool:
        """Whether the output at `place` is a fresh full-sized value that no other output is."""
        node = self.outputs[place]
        return bool(node.args) and self.full(node) and node not in self.outputs[:place]

    @property
    def weak_ok(self) -> bool:
        """Whether Python scalars may go straight to the single ufunc of this kernel."""
        single = len(self.steps) == 1 and len(self.outputs) == 1 and self.is_plain(0)
        return single and self.steps[0].leaf != "where" and not self.typed

    @property
    def mixed(self) -> bool:
        """Whether integer inputs would give both integers and floats on the way."""
        kinds = {self.forms[node].kind for node in self.steps}
        return {EXACT, FLOATING} <= kinds


def literal(number: Expr) -> str:
    """A constant as Python source."""
    text = repr(number.value)
    return f'float("{text}")' if text.strip("-") in ("inf", "nan") else text
