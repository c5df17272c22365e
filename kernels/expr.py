"""The scalar language: immutable expressions, built from Python operators and a table of leaves."""

from __future__ import annotations

import inspect
import math
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Number: TypeAlias = int | float
Operand: TypeAlias = "Expr | int | float"
Text: TypeAlias = tuple[str, int]  # a spelling and how tightly it binds

TERNARY, OR, AND, EQUAL, LESS, SUM, PRODUCT, UNARY, POWER, CALL = range(1, 11)


class Expr:
    """A node of a scalar expression. Equal structure is the same object, so `is` is equality."""

    __slots__ = ("__weakref__", "args", "boolean", "leaf", "value")
    leaf: str
    args: tuple[Expr, ...]
    value: Any
    boolean: bool

    def __new__(cls, leaf: str, args: tuple[Any, ...] = (), value: Any = None) -> Expr:
        """The one node with this structure; `repr` tells 1 from 1.0 and True, and 0.0 from -0.0."""
        key = (leaf, args, type(value), repr(value))
        with _lock:
            node = _nodes.get(key)
            if node is None:
                node = _nodes[key] = _create(cls, leaf, args, value)
        return node

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"expressions are immutable; cannot set {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Expr, (self.leaf, self.args, self.value)

    def __bool__(self) -> bool:
        raise TypeError("a scalar expression has no truth value; use where, &, | and ~")

    def __str__(self) -> str:
        texts: dict[Expr, Text] = {}
        for node in walk([self]):
            texts[node] = compose(node, texts, _python_spelling)
        return texts[self][0]

    def __repr__(self) -> str:
        return f"<{self}>"

    def __add__(self, other: Operand) -> Expr:
        return add(self, other)

    def __radd__(self, other: Operand) -> Expr:
        return add(other, self)

    def __sub__(self, other: Operand) -> Expr:
        return sub(self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return sub(other, self)

    def __mul__(self, other: Operand) -> Expr:
        return mul(self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return mul(other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return div(self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return div(other, self)

    def __mod__(self, other: Operand) -> Expr:
        return mod(self, other)

    def __rmod__(self, other: Operand) -> Expr:
        return mod(other, self)

    def __pow__(self, other: Operand) -> Expr:
        return power(self, other)

    def __rpow__(self, other: Operand) -> Expr:
        return power(other, self)

    def __neg__(self) -> Expr:
        return neg(self)

    def __abs__(self) -> Expr:
        return abs(self)

    def __lt__(self, other: Operand) -> Expr:
        return less(self, other)

    def __le__(self, other: Operand) -> Expr:
        return less_equal(self, other)

    def __gt__(self, other: Operand) -> Expr:
        return less(other, self)

    def __ge__(self, other: Operand) -> Expr:
        return less_equal(other, self)

    def __and__(self, other: Operand) -> Expr:
        return logical_and(self, other)

    def __or__(self, other: Operand) -> Expr:
        return logical_or(self, other)

    def __invert__(self) -> Expr:
        return logical_not(self)


_nodes: weakref.WeakValueDictionary[tuple[Any, ...], Expr] = weakref.WeakValueDictionary()
_lock = threading.RLock()


def _create(cls: type[Expr], leaf: str, args: tuple[Expr, ...], value: Any) -> Expr:
    node = object.__new__(cls)
    for name, content in (("leaf", leaf), ("args", args), ("value", value)):
        object.__setattr__(node, name, content)
    object.__setattr__(node, "boolean", _is_boolean(leaf, args, value))
    return node


def _is_boolean(leaf: str, args: tuple[Expr, ...], value: Any) -> bool:
    if leaf == "where":
        return args[1].boolean and args[2].boolean
    return value is True or value is False or (leaf in LEAVES and LEAVES[leaf].boolean)


def var(name: str) -> Expr:
    """The input called `name`."""
    return Expr("var", (), name)


def const(number: Number) -> Expr:
    """A Python number; like NumPy's weak scalars it takes the type of what it meets."""
    if isinstance(number, bool):
        return Expr("const", (), bool(number))
    if isinstance(number, (int, float)):
        return Expr("const", (), int(number) if isinstance(number, int) else float(number))
    raise TypeError(f"expected a scalar expression, int or float, not {type(number).__name__}")


def lift(value: Operand) -> Expr:
    """`value` as an expression."""
    return value if isinstance(value, Expr) else const(value)


def is_const(node: Expr, *numbers: Number) -> bool:
    """Whether `node` is a constant (equal to one of `numbers`, where given)."""
    return node.leaf == "const" and (not numbers or node.value in numbers)


def trace(function: Callable[..., Any], *names: str) -> tuple[Expr, ...]:
    """Apply `function` to the inputs called `names` (by default its own parameter names)."""
    names = names or tuple(inspect.signature(function).parameters)
    result = function(*map(var, names))
    return tuple(map(lift, result)) if isinstance(result, (tuple, list)) else (lift(result),)


def walk(outputs: Iterable[Expr], known: Container[Expr] = ()) -> list[Expr]:
    """Every node below `outputs` once, arguments before what uses them; passes `known` ones."""
    order: dict[Expr, None] = {}
    stack = list(outputs)[::-1]
    while stack:
        node = stack[-1]
        pending = [a for a in node.args if a not in order and a not in known]
        if pending:
            stack.extend(reversed(pending))
        else:
            order.setdefault(stack.pop())
    return list(order)


def compose(node: Expr, texts: Mapping[Expr, Text], spell: Callable[[Expr], Text]) -> Text:
    """`node` in the language of `spell`, with no more parentheses around arguments than needed."""
    form, rank = spell(node)
    if not node.args:
        return form, rank
    wanted = [0 if rank == CALL else rank + 1] * len(node.args)
    if rank in (SUM, PRODUCT):
        wanted[0] = rank
    parts = (texts[argument] for argument in node.args)
    closed = (text if r >= least else f"({text})" for (text, r), least in zip(parts, wanted, strict=True))
    return form.format(*closed), rank


_PYTHON: dict[str, Text] = {
    "add": ("{0} + {1}", SUM), "sub": ("{0} - {1}", SUM), "mul": ("{0} * {1}", PRODUCT),
    "div": ("{0} / {1}", PRODUCT), "mod": ("{0} % {1}", PRODUCT), "neg": ("-{0}", UNARY),
    "power": ("{0} ** {1}", POWER), "logical_not": ("~{0}", UNARY),
    "less": ("{0} < {1}", TERNARY), "less_equal": ("{0} <= {1}", TERNARY),
    "equal": ("{0} == {1}", TERNARY), "not_equal": ("{0} != {1}", TERNARY),
    "logical_or": ("{0} | {1}", EQUAL), "logical_and": ("{0} & {1}", LESS),
}  # fmt: skip


def mirrored(node: Expr, rank: int) -> Text | None:
    """`0 < x` reads better as `x > 0`."""
    if node.leaf in ("less", "less_equal") and is_const(node.args[0]):
        return ("{1} > {0}" if node.leaf == "less" else "{1} >= {0}"), rank
    return None


def _python_spelling(node: Expr) -> Text:
    if node.leaf in ("var", "const"):
        negative = node.leaf == "const" and str(node.value).startswith("-")
        return str(node.value), UNARY if negative else CALL
    places = ", ".join(f"{{{place}}}" for place in range(len(node.args)))
    operator = mirrored(node, TERNARY) or _PYTHON.get(node.leaf)
    return operator or (f"{node.leaf}({places})", CALL)


@dataclass(frozen=True, eq=False)
class Leaf:
    """A scalar function: its C and NumPy spellings and its partial derivatives.

    `c` is written with C's generic names (tgmath in C, overloads in CUDA); `partials(y, *args)`
    may use the node `y` itself. `exact` leaves map integers to integers in NumPy.
    """

    name: str
    arity: int
    c: str
    numpy: str
    partials: Callable[..., tuple[Expr, ...]]
    rank: int = CALL
    boolean: bool = False
    exact: bool = False


LEAVES: dict[str, Leaf] = {}
ZERO, HALF, ONE = const(0), const(0.5), const(1)


def _node(name: str, *args: Operand) -> Expr:
    return Expr(name, tuple(map(lift, args)))


def _unary(name: str) -> Callable[[Operand], Expr]:
    def build(x: Operand) -> Expr:
        return _node(name, x)

    _name(build, name)
    return build


def _binary(name: str) -> Callable[[Operand, Operand], Expr]:
    def build(x: Operand, y: Operand) -> Expr:
        return _node(name, x, y)

    _name(build, name)
    return build


def _name(build: Any, name: str) -> None:
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"The expression {name} of its arguments."


add, sub, mul, div, mod = map(_binary, ("add", "sub", "mul", "div", "mod"))
neg, abs, sign, sqrt, isnan = map(_unary, ("neg", "abs", "sign", "sqrt", "isnan"))
exp, expm1, log, log1p, log2, log10 = map(_unary, ("exp", "expm1", "log", "log1p", "log2", "log10"))
sin, cos, tan, sinh, cosh, tanh = map(_unary, ("sin", "cos", "tan", "sinh", "cosh", "tanh"))
arcsin, arccos, arctan = map(_unary, ("arcsin", "arccos", "arctan"))
arcsinh, arccosh, arctanh = map(_unary, ("arcsinh", "arccosh", "arctanh"))
erf, erfc, floor, ceil, round = map(_unary, ("erf", "erfc", "floor", "ceil", "round"))
arctan2, hypot, maximum, minimum = map(_binary, ("arctan2", "hypot", "maximum", "minimum"))
less, less_equal, equal, not_equal = map(_binary, ("less", "less_equal", "equal", "not_equal"))
logical_and, logical_or = map(_binary, ("logical_and", "logical_or"))
logical_not = _unary("logical_not")
eq, ne = equal, not_equal


def where(condition: Operand, x: Operand, y: Operand) -> Expr:
    """`x` where `condition` holds, else `y`; what the other branch holds there does not matter."""
    return _node("where", condition, x, y)


def power(x: Operand, y: Operand) -> Expr:
    """`x` to the `y`; the exponents 0, 1, 2, -1 and 0.5 become simpler leaves."""
    base, exponent = lift(x), lift(y)
    simple: dict[Any, Callable[[], Expr]] = {
        0: lambda: ONE,
        1: lambda: base,
        2: lambda: base * base,
        -1: lambda: 1 / base,
        0.5: lambda: sqrt(base),
    }
    build = simple.get(exponent.value) if exponent.leaf == "const" else None
    return build() if build else _node("power", base, exponent)


def _power_partials(y: Expr, x: Expr, n: Expr) -> tuple[Expr, Expr]:
    if n.leaf == "const":
        return n * power(x, n.value - 1), ZERO
    return (
        where(eq(n, 0), 0, n * power(x, n - 1)),
        where(eq(x, 0) & (n >= 0), 0, y * log(x)),
    )


def _picked(over: Callable[[Expr, Expr], Expr]) -> Callable[..., tuple[Expr, ...]]:
    """Partials of maximum and minimum: ties share; a NaN on either side passes both."""

    def partials(y: Expr, a: Expr, b: Expr) -> tuple[Expr, Expr]:
        tie = eq(a, b)
        return where(tie, 0.5, where(over(b, a), 0, 1)), where(tie, 0.5, where(over(a, b), 0, 1))

    return partials


def _leaf(
    name: str,
    c: str,
    numpy: str,
    partials: Callable[..., tuple[Expr, ...]],
    rank: int = CALL,
    *,
    exact: bool = False,
) -> None:
    arity = next(n for n in (3, 2, 1) if f"{{{n - 1}}}" in c)
    LEAVES[name] = Leaf(name, arity, c, numpy, partials, rank, exact=exact)


def _predicate(name: str, c: str, rank: int, numpy: str = "") -> None:
    arity = 2 if "{1}" in c else 1
    zeros = (ZERO,) * arity
    LEAVES[name] = Leaf(name, arity, c, numpy or name, lambda *_: zeros, rank, True, True)


# fmt: off
_leaf("add", "{0} + {1}", "add", lambda y, a, b: (ONE, ONE), SUM, exact=True)
_leaf("sub", "{0} - {1}", "subtract", lambda y, a, b: (ONE, const(-1)), SUM, exact=True)
_leaf("mul", "{0} * {1}", "multiply", lambda y, a, b: (b, a), PRODUCT, exact=True)
_leaf("div", "{0} / {1}", "true_divide", lambda y, a, b: (1 / b, -(y / b)), PRODUCT)
_leaf("mod", "floor_mod({0}, {1})", "remainder", lambda y, a, b: (ONE, -floor(a / b)), exact=True)
_leaf("neg", "-{0}", "negative", lambda y, x: (const(-1),), UNARY, exact=True)
_leaf("abs", "fabs({0})", "absolute", lambda y, x: (sign(x),), exact=True)
_leaf("sign", "{0} != {0} ? {0} : ({0} > 0) - ({0} < 0)", "sign", lambda y, x: (ZERO,), TERNARY,
      exact=True)
_leaf("sqrt", "sqrt({0})", "sqrt", lambda y, x: (0.5 / y,))
_leaf("exp", "exp({0})", "exp", lambda y, x: (y,))
_leaf("expm1", "expm1({0})", "expm1", lambda y, x: (y + 1,))
_leaf("log", "log({0})", "log", lambda y, x: (1 / x,))
_leaf("log1p", "log1p({0})", "log1p", lambda y, x: (1 / (1 + x),))
_leaf("log2", "log2({0})", "log2", lambda y, x: (1 / math.log(2) / x,))
_leaf("log10", "log10({0})", "log10", lambda y, x: (1 / math.log(10) / x,))
_leaf("sin", "sin({0})", "sin", lambda y, x: (cos(x),))
_leaf("cos", "cos({0})", "cos", lambda y, x: (-sin(x),))
_leaf("tan", "tan({0})", "tan", lambda y, x: (1 + y * y,))
_leaf("sinh", "sinh({0})", "sinh", lambda y, x: (cosh(x),))
_leaf("cosh", "cosh({0})", "cosh", lambda y, x: (sinh(x),))
_leaf("tanh", "tanh({0})", "tanh", lambda y, x: (1 - y * y,))
_leaf("arcsin", "asin({0})", "arcsin", lambda y, x: (1 / sqrt((1 - x) * (1 + x)),))
_leaf("arccos", "acos({0})", "arccos", lambda y, x: (-1 / sqrt((1 - x) * (1 + x)),))
_leaf("arctan", "atan({0})", "arctan", lambda y, x: (1 / (1 + x * x),))
_leaf("arcsinh", "asinh({0})", "arcsinh", lambda y, x: (1 / hypot(x, 1),))
_leaf("arccosh", "acosh({0})", "arccosh", lambda y, x: (1 / (sqrt(x - 1) * sqrt(x + 1)),))
_leaf("arctanh", "atanh({0})", "arctanh", lambda y, x: (1 / ((1 - x) * (1 + x)),))
_leaf("erf", "erf({0})", "scipy.special.erf",
      lambda y, x: (2 / math.sqrt(math.pi) * exp(-(x * x)),))
_leaf("erfc", "erfc({0})", "scipy.special.erfc",
      lambda y, x: (-2 / math.sqrt(math.pi) * exp(-(x * x)),))
_leaf("power", "pow({0}, {1})", "power", _power_partials, exact=True)
_leaf("arctan2", "atan2({0}, {1})", "arctan2", lambda y, a, b: (
    b / hypot(a, b) / hypot(a, b), -(a / hypot(a, b) / hypot(a, b))))
_leaf("hypot", "hypot({0}, {1})", "hypot", lambda y, a, b: (a / y, b / y))
_leaf("maximum", "{0} > {1} || {0} != {0} ? {0} : {1}", "maximum",
      _picked(lambda a, b: a > b), TERNARY, exact=True)
_leaf("minimum", "{0} < {1} || {0} != {0} ? {0} : {1}", "minimum",
      _picked(lambda a, b: a < b), TERNARY, exact=True)
_leaf("where", "{0} ? {1} : {2}", "where", lambda y, c, a, b: (
    ZERO, where(c, 1, 0), where(c, 0, 1)), TERNARY, exact=True)
_leaf("floor", "floor({0})", "floor", lambda y, x: (ZERO,), exact=True)
_leaf("ceil", "ceil({0})", "ceil", lambda y, x: (ZERO,), exact=True)
_leaf("round", "rint({0})", "rint", lambda y, x: (ZERO,))
_predicate("less", "{0} < {1}", LESS)
_predicate("less_equal", "{0} <= {1}", LESS)
_predicate("equal", "{0} == {1}", EQUAL)
_predicate("not_equal", "{0} != {1}", EQUAL)
_predicate("logical_and", "{0} && {1}", AND)
_predicate("logical_or", "{0} || {1}", OR)
_predicate("logical_not", "!{0}", UNARY)
_predicate("isnan", "{0} != {0}", EQUAL)
# fmt: on
