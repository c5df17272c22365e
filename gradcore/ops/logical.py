"""Logic on truth values (nonzero is true) and tests of single numbers.  Results are boolean and have no derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradcore.core.op import Promotion, Sample
from gradcore.kernels import expr as e
from gradcore.ops.elementwise import elementwise
from gradcore.ops.samples import booleans, integers, normal, sample, unary

PAIRS = (
    sample(booleans(3, 4), booleans(3, 4), label="booleans"),
    sample(integers(3, 1), normal(2, 1, 4), label="numbers"),
    sample(booleans(), booleans(3), label="broadcast"),
    sample(booleans(0, 3), booleans(1, 3), label="empty"),
)
ONE = (sample(booleans(3, 4), label="booleans"), sample(integers(3, low=-1), label="integers"), *unary())


def _predicate(
    name: str, meaning: Callable[..., Any], samples: tuple[Sample, ...], doc: str, example: tuple[str, ...]
) -> Callable[..., Any]:
    nothing = (False,) * meaning.__code__.co_argcount
    return elementwise(
        name,
        meaning,
        promotion=Promotion.COMMON,
        differentiable=nothing,
        samples=samples,
        doc=doc,
        example=example,
    )


BOTH = ("[True, True]", "[True, False]")
logical_and = _predicate(
    "logical_and", lambda a, b: e.logical_and(a, b), PAIRS, "Are both true?", (*BOTH, "[ True, False]")
)
logical_or = _predicate(
    "logical_or", lambda a, b: e.logical_or(a, b), PAIRS, "Is one or the other true?", (*BOTH, "[ True,  True]")
)
logical_xor = _predicate(
    "logical_xor", lambda a, b: e.logical_xor(a, b), PAIRS, "Is just one true?", (*BOTH, "[False,  True]")
)
logical_not = _predicate(
    "logical_not", lambda x: e.logical_not(x), ONE, "Is it false?", ("[True, False]", "[False,  True]")
)

NUMBERS = "[1.0, float('inf'), float('nan')]"
isnan = _predicate("isnan", lambda x: e.isnan(x), ONE, "Is it NaN?", (NUMBERS, "[False, False,  True]"))
isinf = _predicate(
    "isinf", lambda x: e.equal(e.abs(x), math.inf), ONE, "Is it an infinity?", (NUMBERS, "[False,  True, False]")
)
isfinite = _predicate(
    "isfinite",
    lambda x: e.abs(x) < math.inf,
    ONE,
    "Is it neither an infinity nor NaN?",
    (NUMBERS, "[ True, False, False]"),
)
