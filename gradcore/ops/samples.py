"""Operands for the generated tests.  A sample draws what an op is tested on; ranges keep clear of kinks and poles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.core.op import Sample

Make = Callable[..., Any]  # (numpy.random.Generator, dtype); naming that class would import numpy.random


def normal(*shape: int, low: float | None = None, high: float | None = None, away: float = 0.0) -> Make:
    """Floats: normal ones, or uniform in [low, high]; `away` keeps them that far from zero."""

    def make(rng: np.random.Generator, dtype: Any) -> Any:
        x = rng.normal(size=shape) if low is None else rng.uniform(low, high, shape)  # type: ignore[arg-type]
        return np.asarray(x + away * np.sign(x), dtype)

    return make


def distinct(*shape: int) -> Make:
    """Floats at least 0.05 apart, so that a maximum does not change hands within a finite difference."""
    size = int(np.prod(shape))

    def make(rng: np.random.Generator, dtype: Any) -> Any:
        return (rng.permutation(size).reshape(shape) * 0.1 - size * 0.05 + 0.013).astype(dtype)

    return make


def integers(*shape: int, low: int = 0, high: int = 3) -> Make:
    """Integers in [low, high)."""
    return lambda rng, dtype: rng.integers(low, high, shape)


def booleans(*shape: int) -> Make:
    return lambda rng, dtype: rng.random(shape) < 0.5


def key() -> Make:
    """A key of the random generator."""
    return lambda rng, dtype: rng.integers(0, 2**63, 2).astype(np.uint64)


def sample(*makes: Make, params: tuple[Any, ...] = (), **fields: Any) -> Sample:
    """One call of an op; `fields` are those of `Sample`."""

    def args(rng: np.random.Generator, dtype: Any) -> Sequence[Any]:
        return [make(rng, dtype) for make in makes]

    return Sample(args, params, **fields)


def unary(low: float | None = None, high: float | None = None, away: float = 0.0) -> tuple[Sample, ...]:
    """Samples of a function of one operand: a matrix, a scalar, nothing."""
    shapes = ((3, 4), (), (0, 3))
    return tuple([sample(normal(*s, low=low, high=high, away=away), label=str(s)) for s in shapes])


def binary(second: Make | None = None, first: Make | None = None, **ranges: Any) -> tuple[Sample, ...]:
    """Samples of a function of two operands: equal shapes, broadcasting both ways, scalars, nothing."""
    shapes = (((3, 4), (3, 4)), ((3, 1), (2, 1, 4)), ((), (3,)), ((2, 3), ()), ((), ()), ((0, 3), (1, 3)))
    return tuple([sample(normal(*a, **ranges), normal(*b, **ranges), label=f"{a},{b}") for a, b in shapes])
