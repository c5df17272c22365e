"""The scalar language: immutable expressions, built from Python operators and functions (see `leaves`)."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
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


PREDICATES = frozenset(
    {"less", "less_equal", "equal", "not_equal", "isnan", "logical_and", "logical_or", "logical_xor", "logical_not"}
)
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
    return value is True or value is False or leaf in PREDICATES


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
    stack = [output for output in outputs if output not in known][::-1]
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


ZERO, ONE = const(0), const(1)


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


add, sub, mul, div = map(_binary, ("add", "sub", "mul", "div"))
mod, floor_divide = map(_binary, ("mod", "floor_divide"))
neg, abs, sign, sqrt, isnan = map(_unary, ("neg", "abs", "sign", "sqrt", "isnan"))
exp, exp2, expm1 = map(_unary, ("exp", "exp2", "expm1"))
log, log1p, log2, log10 = map(_unary, ("log", "log1p", "log2", "log10"))
sin, cos, tan, sinh, cosh, tanh = map(_unary, ("sin", "cos", "tan", "sinh", "cosh", "tanh"))
arcsin, arccos, arctan = map(_unary, ("arcsin", "arccos", "arctan"))
arcsinh, arccosh, arctanh = map(_unary, ("arcsinh", "arccosh", "arctanh"))
erf, erfc, floor, ceil, round = map(_unary, ("erf", "erfc", "floor", "ceil", "round"))
arctan2, hypot, maximum, minimum = map(_binary, ("arctan2", "hypot", "maximum", "minimum"))
less, less_equal, equal, not_equal = map(_binary, ("less", "less_equal", "equal", "not_equal"))
logical_and, logical_or, logical_xor = map(_binary, ("logical_and", "logical_or", "logical_xor"))
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
