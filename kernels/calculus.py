"""Substitution, simplification and symbolic derivatives of scalar expressions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from gradcore.kernels.expr import (
    ONE,
    ZERO,
    Expr,
    Number,
    add,
    const,
    div,
    is_const,
    mul,
    neg,
    sub,
    var,
    walk,
    where,
)
from gradcore.kernels.leaves import LEAVES


def free_variables(*expressions: Expr) -> frozenset[str]:
    """The names of the inputs that `expressions` read."""
    return frozenset(node.value for node in walk(expressions) if node.leaf == "var")


def substitute(expression: Expr, replacements: Mapping[str, Expr]) -> Expr:
    """`expression` with the inputs named in `replacements` replaced, all at once."""
    return _rebuild(
        expression,
        lambda node: replacements.get(node.value, node) if node.leaf == "var" else node,
        {},
    )


def replace(expression: Expr, old: Expr, new: Expr) -> Expr:
    """`expression` with every occurrence of the subexpression `old` replaced by `new`."""
    return _rebuild(expression, lambda node: node, {old: new})


def simplify(expression: Expr) -> Expr:
    """An expression with the same values, without steps that change nothing.

    Only rules that hold for every float are applied, so `0 * x` stays (it is NaN for infinite x).
    """
    return _rebuild(expression, _simple, {})


def differentiate(expression: Expr, name: str) -> Expr:
    """The derivative of `expression` with respect to the input `name`; const(0) where it has none.

    Zero is symbolic: it is dropped, never multiplied, and `where` differentiates to a `where`, so
    an infinity in the branch that was not taken stays out of the result.
    """
    expression = simplify(expression)
    order = walk([expression])
    tangents: dict[Expr, Expr] = {}
    simple = {node: node for node in order}
    for node in order:
        tangents[node] = ONE if node is var(name) else _tangent(node, tangents, simple)
    return tangents[expression]


def _tangent(node: Expr, tangents: Mapping[Expr, Expr], simple: dict[Expr, Expr]) -> Expr:
    inner = [tangents[argument] for argument in node.args]
    if node.boolean or all(is_const(tangent, 0) for tangent in inner):
        return ZERO
    if node.leaf == "where":
        return _simple(where(node.args[0], inner[1], inner[2]))
    total = ZERO
    for partial, tangent in zip(LEAVES[node.leaf].partials(node, *node.args), inner, strict=True):
        total = _simple(total + scale(_rebuild(partial, _simple, simple), tangent))
    return total


def scale(factor: Expr, derivative: Expr) -> Expr:
    """The product, in which a symbolic 0 or 1 in either, also in a branch, is never multiplied.

    Multiplication by a 0/1 mask would turn 0 * inf into NaN; so a factor goes into the branches of
    a `where` that has constant branches: `scale(g, where(c, 1, 0))` is `where(c, g, 0)`.
    """
    for a, b in ((factor, derivative), (derivative, factor)):
        if is_const(b, 0):
            return ZERO
        if is_const(b, 1):
            return a
        if is_const(b, -1):
            return _simple(neg(a))
        if b.leaf == "neg":
            return _simple(neg(scale(a, b.args[0])))
    for a, b in ((factor, derivative), (derivative, factor)):
        if _has_constant_branch(b):
            condition, x, y = b.args
            return _simple(where(condition, scale(a, x), scale(a, y)))
        if b.leaf == "div" and is_const(b.args[0]):
            return _simple(div(scale(a, b.args[0]), b.args[1]))
    return _simple(mul(factor, derivative))


def _has_constant_branch(node: Expr) -> bool:
    return node.leaf == "where" and any(is_const(branch) or _has_constant_branch(branch) for branch in node.args[1:])


def pullback(
    outputs: Sequence[Expr],
    variables: Sequence[str],
    cotangents: Sequence[Expr],
    partials: Sequence[Sequence[Expr]] | None = None,
) -> tuple[Expr, ...]:
    """For each of `variables`, the sum over outputs of cotangent * derivative of the output.

    `partials[output][variable]` replaces the derivatives that would be derived.
    """
    rows = partials or [[differentiate(output, name) for name in variables] for output in outputs]
    return tuple(_weighted(cotangents, column) for column in zip(*rows, strict=True))


def _weighted(cotangents: Iterable[Expr], derivatives: Iterable[Expr]) -> Expr:
    total = ZERO
    for cotangent, derivative in zip(cotangents, derivatives, strict=True):
        total = _simple(total + scale(cotangent, derivative))
    return total


def _rebuild(expression: Expr, change: Callable[[Expr], Expr], new: dict[Expr, Expr]) -> Expr:
    """Apply `change` from the leaves up; `new` holds what is done already, and more afterwards."""
    for node in walk([expression], new):
        args = tuple(new[argument] for argument in node.args)
        same = all(a is b for a, b in zip(args, node.args, strict=True))
        new[node] = change(node if same else Expr(node.leaf, args, node.value))
    return new[expression]


def _simple(node: Expr) -> Expr:
    """`node`, whose arguments are simple, by the first rule that applies."""
    if node.args and all(is_const(argument) for argument in node.args):
        return _folded(node)
    rule = _RULES.get(node.leaf)
    return rule(node, *node.args) if rule else node


def _add(node: Expr, a: Expr, b: Expr) -> Expr:
    if is_const(a, 0) or is_const(b, 0):
        return b if is_const(a, 0) else a
    if b.leaf == "neg":
        return sub(a, b.args[0])
    return sub(b, a.args[0]) if a.leaf == "neg" else node


def _sub(node: Expr, a: Expr, b: Expr) -> Expr:
    if is_const(b, 0):
        return a
    return add(a, b.args[0]) if b.leaf == "neg" else node


def _mul(node: Expr, a: Expr, b: Expr) -> Expr:
    for one, other in ((a, b), (b, a)):
        if is_const(one, 1) and not other.boolean:
            return other
        if is_const(one, -1) and not other.boolean:
            return _simple(neg(other))
    if a.leaf == "neg" or b.leaf == "neg":
        return _signed(mul, a, b)
    return node


def _div(node: Expr, a: Expr, b: Expr) -> Expr:
    if is_const(b, 1) and not a.boolean:
        return a
    return _signed(div, a, b) if a.leaf == "neg" or b.leaf == "neg" else node


def _signed(build: Callable[[Expr, Expr], Expr], a: Expr, b: Expr) -> Expr:
    """A product or quotient with its arguments' minus signs in front: exact, and two cancel."""
    x, y = (e.args[0] if e.leaf == "neg" else e for e in (a, b))
    plain = _simple(build(x, y))
    return plain if a.leaf == b.leaf == "neg" else _simple(neg(plain))


def _neg(node: Expr, x: Expr) -> Expr:
    return x.args[0] if x.leaf == "neg" else node


def _where(node: Expr, condition: Expr, x: Expr, y: Expr) -> Expr:
    if is_const(condition):
        return x if condition.value else y
    return x if x is y else node


def _and(node: Expr, a: Expr, b: Expr) -> Expr:
    return const(False) if is_const(a, False) or is_const(b, False) else node


_RULES: dict[str, Callable[..., Expr]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "where": _where,
    "logical_and": _and,
}

_FOLDS: dict[str, Callable[..., Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda x: -x,
    "abs": abs,
    "where": lambda c, a, b: a if c else b,
    "power": math.pow,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "logical_and": lambda a, b: bool(a and b),
    "logical_or": lambda a, b: bool(a or b),
    "logical_not": lambda x: not x,
    "maximum": lambda a, b: a if a > b or math.isnan(a) else b,
    "minimum": lambda a, b: a if a < b or math.isnan(a) else b,
}
_FOLDS |= {name: getattr(math, name) for name in (
    "sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh",
    "tanh", "erf", "erfc", "hypot")}  # fmt: skip


def _folded(node: Expr) -> Expr:
    """The number that a function of constants is, computed in float64; itself where undefined."""
    fold = _FOLDS.get(node.leaf)
    if fold is None:
        return node
    try:
        return const(fold(*(argument.value for argument in node.args)))
    except (ArithmeticError, ValueError):
        return node
