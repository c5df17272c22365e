"""Derivatives against finite differences, and reverse mode against forward mode, to any order.

Along a random direction v, central differences approximate the product of the Jacobian with v.  Forward mode must give
the same, entry by entry; reverse mode must give the same sum for a random cotangent.  Then the derivative itself is a
function (of the arguments and of the direction or cotangent) and is checked in the same way, one order down.  So each
order takes one finite difference only, and high orders are as accurate as the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.transforms import as_value, jvp, vjp
from gradcore.core.tensor import Tensor
from gradcore.core.trees import Structure, flatten, unflatten
from gradcore.testing.compare import assert_near

Function = Callable[..., tuple[Any, ...]]
MODES = ("reverse", "forward")


def gradcheck(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = MODES,
    eps: float = 1e-5,
    tol: float = 1e-6,
    finite: bool = True,
    seed: int = 0,
) -> None:
    """Check the derivatives of a function in float64.

    Args:
        f: takes and returns trees of tensors.
        args: its arguments; floating leaves are converted to float64 and differentiated, others are constants.
        order: highest order of derivative.
        modes: "reverse", "forward" or both; with both, all mixtures are checked.
        eps: step of the central differences.
        tol: allowed error, relative to the largest entry (at least 1).
        finite: compare with finite differences too (False at kinks: reverse and forward mode only).
        seed: of the random directions.

    Raises:
        AssertionError: two derivatives differ; the message names the order, the mode, the entry and both values.

    Example:
        >>> import gradcore as gc
        >>> gradcheck(lambda x: gc.sin(x) * x, (gc.tensor([0.5, 2.0]),), order=3)
    """
    if unknown := set(modes) - set(MODES):
        raise ValueError(f"modes must be among {', '.join(MODES)}, not {', '.join(sorted(unknown))}")
    leaves, structure = flatten(tuple(args))
    values = [as_value(leaf, "an argument of gradcheck").cpu() for leaf in leaves]
    moving = [k for k, value in enumerate(values) if value.dtype.kind == "f"]
    points = [np.asarray(values[k].data, np.float64) for k in moving]
    check = _Check(modes, eps, tol, finite, np.random.default_rng(seed))
    check.all_orders(_flat(f, values, structure, moving), points, order, "f")


def _flat(f: Callable[..., Any], values: list[Any], structure: Structure, moving: list[int]) -> Function:
    """`f` as a function from floating arrays to a tuple of floating tensors."""

    def flat(*xs: Any) -> tuple[Any, ...]:
        every = list(values)
        for k, x in zip(moving, xs, strict=True):
            every[k] = as_value(x)
        results = [as_value(out, "the result of f") for out in flatten(f(*unflatten(structure, every)))[0]]
        return tuple([out for out in results if out.dtype.kind == "f"])

    return flat


class _Check:
    """One run: its options and its random directions."""

    def __init__(self, modes: Sequence[str], eps: float, tol: float, finite: bool, rng: np.random.Generator) -> None:
        self.modes, self.eps, self.tol, self.finite, self.rng = modes, eps, tol, finite, rng

    def all_orders(self, f: Function, xs: list[Any], order: int, name: str) -> None:
        vs = self.like(xs)
        ws = self.like(f(*xs))
        self.one_order(f, xs, vs, ws, name)
        if order > 1 and "reverse" in self.modes:
            self.all_orders(_reverse(f, len(xs)), [*xs, *ws], order - 1, f"vjp({name})")
        if order > 1 and "forward" in self.modes:
            self.all_orders(_forward(f, len(xs)), [*xs, *vs], order - 1, f"jvp({name})")

    def one_order(self, f: Function, xs: list[Any], vs: list[Any], ws: list[Any], name: str) -> None:
        """The derivative of `f` at `xs` in every mode."""
        moved = self.difference(f, xs, vs) if self.finite else None
        if "forward" in self.modes:
            tangents = _arrays(_forward(f, len(xs))(*xs, *vs))
            self.entries(tangents, moved, f"forward mode of {name}")
            moved = moved or tangents
        if "reverse" in self.modes:
            gradients = _arrays(_reverse(f, len(xs))(*xs, *ws))
            assert moved is not None, "gradcheck without finite differences needs both modes"
            self.sums(gradients, vs, ws, moved, f"reverse mode of {name}")

    def difference(self, f: Function, xs: list[Any], vs: list[Any]) -> list[Any]:
        """Central finite differences of `f` along `vs`."""
        ahead, behind = ([x + e * v for x, v in zip(xs, vs, strict=True)] for e in (self.eps, -self.eps))
        pairs = zip(_arrays(f(*ahead)), _arrays(f(*behind)), strict=True)
        return [(a - b) / (2 * self.eps) for a, b in pairs]

    def entries(self, got: list[Any], want: list[Any] | None, what: str) -> None:
        for k, (g, w) in enumerate(zip(got, want or got, strict=True)):
            assert g.shape == w.shape, f"{what}, output {k}: shape {g.shape} instead of {w.shape}"
            assert_near(g, w, f"{what}, output {k}", self.tol * max(1.0, np.abs(w).max(initial=0.0)))

    def sums(self, gradients: list[Any], vs: list[Any], ws: list[Any], moved: list[Any], what: str) -> None:
        """Gradients along the direction = cotangents times what the outputs moved by."""
        for k, (g, v) in enumerate(zip(gradients, vs, strict=True)):
            assert g.shape == v.shape, f"{what}, argument {k}: shape {g.shape} instead of {v.shape}"
        got = sum(float(np.vdot(g, v)) for g, v in zip(gradients, vs, strict=True))
        terms = [w * m for w, m in zip(ws, moved, strict=True)]
        scale = max(1.0, sum(float(np.abs(t).sum()) for t in terms))
        assert_near(got, sum(float(t.sum()) for t in terms), f"{what} along a random direction", self.tol * scale)

    def like(self, values: Sequence[Any]) -> list[Any]:
        """Random directions in the shapes of `values`."""
        return [self.rng.standard_normal(value.shape) for value in values]


def _reverse(f: Function, count: int) -> Function:
    """The vjp of `f` as a function of its arguments and of the cotangents."""
    return lambda *values: tuple(vjp(f, *values[:count])[1](values[count:]))


def _forward(f: Function, count: int) -> Function:
    """The jvp of `f` as a function of its arguments and of the tangents."""
    return lambda *values: tuple(jvp(f, values[:count], values[count:])[1])


def _arrays(results: Sequence[Tensor]) -> list[Any]:
    return [result.data for result in results]
