"""Elementary functions beyond those of `arithmetic`: roots, logarithms, circular, hyperbolic and error functions."""

from __future__ import annotations

import math

from gradcore.kernels import expr as e
from gradcore.ops.elementwise import elementwise
from gradcore.ops.samples import binary, unary

POSITIVE = unary(low=0.5, high=3.0)
INSIDE = unary(low=-0.8, high=0.8)  # of [-1, 1]


def logistic(x: e.Expr) -> e.Expr:
    """1 / (1 + exp(-x)) without overflow, for derivatives: right at 0 in every order, as min and abs would not be."""
    below, above = e.where(x < 0, x, 0), e.where(x < 0, 0, x)
    return e.exp(below) / (1 + e.exp(below - above))


reciprocal = elementwise(
    "reciprocal",
    lambda x: 1 / x,
    partials=lambda y, x: -(y * y),
    samples=POSITIVE,
    doc="1 / x; integers give floats.",
    example=("[1.0, 4.0]", "[1.  , 0.25]"),
)
rsqrt = elementwise(
    "rsqrt",
    lambda x: 1 / e.sqrt(x),
    partials=lambda y, x: -0.5 * (y * y * y),
    samples=POSITIVE,
    doc="Reciprocal of the square root, 1 / sqrt(x).",
    example=("[1.0, 4.0]", "[1. , 0.5]"),
)
exp2 = elementwise(
    "exp2", lambda x: e.exp2(x), samples=unary(), doc="Power of two, 2 ** x.", example=("[0.0, 3.0]", "[1., 8.]")
)
expm1 = elementwise(
    "expm1",
    lambda x: e.expm1(x),
    samples=unary(),
    doc="exp(x) - 1, accurate for small x.",
    example=("[1e-10]", "[1.e-10]"),
)
log1p = elementwise(
    "log1p",
    lambda x: e.log1p(x),
    samples=POSITIVE,
    doc="log(1 + x), accurate for small x.",
    example=("[1e-10]", "[1.e-10]"),
)
log2 = elementwise(
    "log2", lambda x: e.log2(x), samples=POSITIVE, doc="Logarithm to base 2.", example=("[1.0, 8.0]", "[0., 3.]")
)
log10 = elementwise(
    "log10",
    lambda x: e.log10(x),
    samples=POSITIVE,
    doc="Logarithm to base 10.",
    example=("[1.0]", "[0.]"),
)
tan = elementwise("tan", lambda x: e.tan(x), samples=INSIDE, doc="Tangent, of radians.", example=("[0.0]", "[0.]"))
arcsin = elementwise(
    "arcsin",
    lambda x: e.arcsin(x),
    samples=INSIDE,
    doc="Inverse sine, in radians; NaN outside [-1, 1].",
    example=("[0.0]", "[0.]"),
)
arccos = elementwise(
    "arccos",
    lambda x: e.arccos(x),
    samples=INSIDE,
    doc="Inverse cosine, in radians; NaN outside [-1, 1].",
    example=("[1.0]", "[0.]"),
)


def _share(a: e.Expr, b: e.Expr) -> e.Expr:
    """The quotient a / (a * a + b * b) without overflow on the way; 0 at the origin."""
    length = e.hypot(a, b)
    return e.where(e.not_equal(length, 0), a / length / length, 0)


arctan = elementwise(
    "arctan",
    lambda x: e.arctan(x),
    samples=unary(),
    doc="Inverse tangent, in radians.",
    example=("[0.0]", "[0.]"),
)
arctan2 = elementwise(
    "arctan2",
    lambda a, b: e.arctan2(a, b),
    partials=lambda y, a, b: (_share(b, a), -_share(a, b)),
    samples=binary(low=0.5, high=2.0),
    doc="Angle in radians between the positive first axis and the point (b, a): arctan(a / b) in the right quadrant.",
    example=("[0.0, 0.0]", "[1.0, -1.0]", "[0.       , 3.1415927]"),
)
sinh = elementwise("sinh", lambda x: e.sinh(x), samples=unary(), doc="Hyperbolic sine.", example=("[0.0]", "[0.]"))
cosh = elementwise("cosh", lambda x: e.cosh(x), samples=unary(), doc="Hyperbolic cosine.", example=("[0.0]", "[1.]"))
arcsinh = elementwise(
    "arcsinh",
    lambda x: e.arcsinh(x),
    samples=unary(),
    doc="Inverse hyperbolic sine.",
    example=("[0.0]", "[0.]"),
)
arccosh = elementwise(
    "arccosh",
    lambda x: e.arccosh(x),
    samples=unary(low=1.5, high=4.0),
    doc="Inverse hyperbolic cosine; NaN below 1.",
    example=("[1.0]", "[0.]"),
)
arctanh = elementwise(
    "arctanh",
    lambda x: e.arctanh(x),
    samples=INSIDE,
    doc="Inverse hyperbolic tangent; NaN outside [-1, 1].",
    example=("[0.0]", "[0.]"),
)
erf = elementwise(
    "erf",
    lambda x: e.erf(x),
    samples=unary(),
    doc="Error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x.",
    example=("[0.0, 10.0]", "[0., 1.]"),
)
erfc = elementwise(
    "erfc",
    lambda x: e.erfc(x),
    samples=unary(),
    doc="1 - erf(x), accurate for large x.",
    example=("[0.0, -10.0]", "[1., 2.]"),
)
hypot = elementwise(
    "hypot",
    lambda a, b: e.hypot(a, b),
    partials=lambda y, a, b: (e.where(e.not_equal(y, 0), a / y, 0), e.where(e.not_equal(y, 0), b / y, 0)),
    samples=binary(low=0.5, high=2.0),
    doc="sqrt(a * a + b * b), without overflow on the way; its derivatives at (0, 0) are 0.",
    example=("[3.0, 5.0]", "[4.0, 12.0]", "[ 5., 13.]"),
)
logaddexp = elementwise(
    "logaddexp",
    lambda a, b: e.where(e.equal(a, b), a + math.log(2), e.maximum(a, b) + e.log1p(e.exp(-e.abs(a - b)))),
    partials=lambda y, a, b: (logistic(_gap(a, b)), logistic(_gap(b, a))),
    samples=binary(),
    doc="log(exp(a) + exp(b)), without overflow.",
    example=("[0.0, 1000.0]", "[-1000.0, 1000.0]", "[   0.    , 1000.6932]"),
)


def _gap(a: e.Expr, b: e.Expr) -> e.Expr:
    """The difference a - b, but 0 between equal infinities."""
    return e.where(e.equal(a, b) & e.equal(e.abs(a), math.inf), 0, a - b)
