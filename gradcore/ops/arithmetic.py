"""Arithmetic, elementary functions, comparisons and selection.  One expression per op; all rules follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradcore.core.op import Promotion
from gradcore.kernels import expr as e
from gradcore.ops.elementwise import elementwise
from gradcore.ops.samples import binary, booleans, integers, normal, sample, unary

COMMON = Promotion.COMMON

add = elementwise(
    "add",
    lambda a, b: a + b,
    promotion=COMMON,
    samples=binary(),
    doc="Sum, a + b.",
    example=("[1.0, 4.0]", "2.0", "[3., 6.]"),
)
sub = elementwise(
    "sub",
    lambda a, b: a - b,
    promotion=COMMON,
    samples=binary(),
    doc="Difference, a - b.",
    example=("[1.0, 4.0]", "2.0", "[-1.,  2.]"),
)
mul = elementwise(
    "mul",
    lambda a, b: a * b,
    promotion=COMMON,
    samples=binary(),
    doc="Product, a * b.",
    example=("[1.0, 4.0]", "2.0", "[2., 8.]"),
)
div = elementwise(
    "div",
    lambda a, b: a / b,
    partials=lambda y, a, b: (1 / b, -(y / b)),
    samples=binary(low=0.5, high=2.0),
    doc="Quotient, a / b; integers give floats.",
    example=("[1.0, 4.0]", "2.0", "[0.5, 2. ]"),
)
power = elementwise(
    "power",
    lambda a, b: a**b,
    promotion=COMMON,
    samples=binary(low=0.5, high=2.0),
    doc="Power, a ** b.",
    example=("[1.0, 4.0]", "2.0", "[ 1., 16.]"),
)
neg = elementwise(
    "neg", lambda x: -x, promotion=COMMON, samples=unary(), doc="Negative, -x.", example=("[1.0, -2.0]", "[-1.,  2.]")
)
abs = elementwise(
    "abs",
    lambda x: e.abs(x),
    promotion=COMMON,
    samples=unary(away=0.2),
    doc="Absolute value; its derivative at 0 is 0.",
    example=("[1.0, -2.0]", "[1., 2.]"),
)
square = elementwise(
    "square",
    lambda x: x * x,
    promotion=COMMON,
    samples=unary(),
    doc="Square, x * x.",
    example=("[1.0, -2.0]", "[1., 4.]"),
)
sqrt = elementwise(
    "sqrt",
    lambda x: e.sqrt(x),
    samples=unary(low=0.5, high=3.0),
    doc="Square root.",
    example=("[1.0, 4.0]", "[1., 2.]"),
)
exp = elementwise("exp", lambda x: e.exp(x), samples=unary(), doc="Exponential.", example=("[0.0]", "[1.]"))
log = elementwise(
    "log", lambda x: e.log(x), samples=unary(low=0.5, high=3.0), doc="Natural logarithm.", example=("[1.0]", "[0.]")
)
sin = elementwise("sin", lambda x: e.sin(x), samples=unary(), doc="Sine, of radians.", example=("[0.0]", "[0.]"))
cos = elementwise("cos", lambda x: e.cos(x), samples=unary(), doc="Cosine, of radians.", example=("[0.0]", "[1.]"))
tanh = elementwise(
    "tanh", lambda x: e.tanh(x), samples=unary(), doc="Hyperbolic tangent.", example=("[0.0, 1000.0]", "[0., 1.]")
)
maximum = elementwise(
    "maximum",
    lambda a, b: e.maximum(a, b),
    promotion=COMMON,
    samples=binary(low=-5.0, high=5.0),
    doc="The larger of a and b; NaN if either is. Equal operands share the gradient.",
    example=("[1.0, 4.0]", "2.0", "[2., 4.]"),
)
minimum = elementwise(
    "minimum",
    lambda a, b: e.minimum(a, b),
    promotion=COMMON,
    samples=binary(low=-5.0, high=5.0),
    doc="The smaller of a and b; NaN if either is. Equal operands share the gradient.",
    example=("[1.0, 4.0]", "2.0", "[1., 2.]"),
)
where = elementwise(
    "where",
    lambda condition, a, b: e.where(condition, a, b),
    promotion=COMMON,
    differentiable=(False, True, True),
    samples=(
        sample(booleans(3, 4), normal(3, 4), normal(3, 4), label="equal"),
        sample(booleans(3, 1), normal(4), normal(), label="broadcast"),
        sample(booleans(), normal(2, 2), normal(1, 2), label="one condition"),
        sample(booleans(0, 2), normal(1, 2), normal(2), label="empty"),
        sample(integers(3, 4, low=-1), normal(3, 4), normal(4), label="integer condition"),
    ),
    doc="a where condition is true, else b. The operand that was not taken gets gradient 0, be it infinite or NaN.",
    example=("[True, False]", "[1.0, 2.0]", "0.0", "[1., 0.]"),
)


def _comparison(name: str, meaning: Callable[..., Any], doc: str, result: str) -> Callable[..., Any]:
    return elementwise(
        name,
        meaning,
        promotion=COMMON,
        differentiable=(False, False),
        samples=binary(),
        doc=doc + " (boolean).",
        example=("[1.0, 2.0, 3.0]", "2.0", result),
    )


less = _comparison("less", lambda a, b: a < b, "a < b", "[ True, False, False]")
less_equal = _comparison("less_equal", lambda a, b: a <= b, "a <= b", "[ True,  True, False]")
greater = _comparison("greater", lambda a, b: a > b, "a > b", "[False, False,  True]")
greater_equal = _comparison("greater_equal", lambda a, b: a >= b, "a >= b", "[False,  True,  True]")
equal = _comparison("equal", lambda a, b: e.equal(a, b), "a == b", "[False,  True, False]")
not_equal = _comparison("not_equal", lambda a, b: e.not_equal(a, b), "a != b", "[ True, False,  True]")
