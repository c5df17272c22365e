"""The leaves of the scalar language: how C and NumPy spell them, and their partial derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from gradcore.kernels.expr import (
    AND,
    CALL,
    EQUAL,
    LESS,
    ONE,
    OR,
    PRODUCT,
    SUM,
    TERNARY,
    UNARY,
    ZERO,
    Expr,
    const,
    cos,
    cosh,
    eq,
    exp,
    floor_divide,
    hypot,
    log,
    power,
    sign,
    sin,
    sinh,
    sqrt,
    where,
)


class Leaf(NamedTuple):
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
    exact: bool = False


LEAVES: dict[str, Leaf] = {}


def _power_partials(y: Expr, x: Expr, n: Expr) -> tuple[Expr, Expr]:
    if n.leaf == "const":
        return n * power(x, n.value - 1), ZERO
    return (
        where(eq(n, 0) & eq(x, 0), 0, n * power(x, n - 1)),
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
    LEAVES[name] = Leaf(name, arity, c, numpy or name, lambda *_: zeros, rank, exact=True)


# fmt: off
_leaf("add", "{0} + {1}", "add", lambda y, a, b: (ONE, ONE), SUM, exact=True)
_leaf("sub", "{0} - {1}", "subtract", lambda y, a, b: (ONE, const(-1)), SUM, exact=True)
_leaf("mul", "{0} * {1}", "multiply", lambda y, a, b: (b, a), PRODUCT, exact=True)
_leaf("div", "{0} / {1}", "true_divide", lambda y, a, b: (1 / b, -(y / b)), PRODUCT)
_leaf("mod", "floor_mod({0}, {1})", "remainder", lambda y, a, b: (ONE, -floor_divide(a, b)), exact=True)
_leaf("floor_divide", "floor_divide({0}, {1})", "floor_divide", lambda y, a, b: (ZERO, ZERO), exact=True)
_leaf("neg", "-{0}", "negative", lambda y, x: (const(-1),), UNARY, exact=True)
_leaf("abs", "fabs({0})", "absolute", lambda y, x: (sign(x),), exact=True)
_leaf("sign", "{0} != {0} ? {0} : ({0} > 0) - ({0} < 0)", "sign", lambda y, x: (ZERO,), TERNARY,
      exact=True)
_leaf("sqrt", "sqrt({0})", "sqrt", lambda y, x: (0.5 / y,))
_leaf("exp", "exp({0})", "exp", lambda y, x: (y,))
_leaf("exp2", "exp2({0})", "exp2", lambda y, x: (math.log(2) * y,))
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
_predicate("logical_xor", "({0} != 0) != ({1} != 0)", EQUAL)
_predicate("logical_not", "!{0}", UNARY)
_predicate("isnan", "{0} != {0}", EQUAL)
# fmt: on
