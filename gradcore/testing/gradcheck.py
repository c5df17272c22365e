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

from gradcore.autodiff.arguments import as_value
from gradcore.autodiff.transforms import jvp, vjp
from gradcore.core.tensor import Tensor
from gradcore.core.trees import Structure, flatten, unflatten
from gradcore.testing.blame import guilty_op
from gradcore.testing.compare import worst_entry
from gradcore.testing.result import GradcheckError, GradcheckResult

Function = Callable[..., tuple[Any, ...]]
MODES = ("reverse", "forward")


def gradcheck(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: str | Sequence[str] = MODES,
    eps: float = 1e-5,
    tol: float = 1e-6,
    finite: bool = True,
    seed: int = 0,
) -> GradcheckResult:
    """Check the derivatives of a function in float64.

    Args:
        f: takes and returns trees of tensors.
        args: its arguments; floating leaves are converted to float64 and differentiated, others are constants.
        order: highest order of derivative.
        modes: "reverse", "forward" or "both" (the default); with both, all mixtures are checked.
        eps: step of the central differences.
        tol: allowed error, relative to the largest entry (at least 1).
        finite: compare with finite differences too (False at kinks: reverse and forward mode only).
        seed: of the random directions.

    Returns:
        The comparison that came closest to the tolerance, of all orders and modes: what was compared, its worst index,
        and both values. It is true, so `assert gradcheck(f, args)` is a test.

    Raises:
        AssertionError: two derivatives differ; `error.result` and the message name the order and mode, the worst index
            (for reverse mode in the argument whose gradient is wrong), both values, and the op inside of `f` whose own
            derivative is wrong, where there is one.
        ValueError: a mode is unknown, or there is no argument to differentiate.

    Example:
        >>> import gradcore as gc
        >>> bool(gradcheck(lambda x: gc.sin(x) * x, (gc.tensor([0.5, 2.0]),), order=3))
        True
    """
    chosen = MODES if modes == "both" else (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := set(chosen) - set(MODES):
        raise ValueError(f"modes must be among {', '.join(MODES)}, not {', '.join(sorted(unknown))}")
    if not finite and len(set(chosen)) < len(MODES):
        raise ValueError("gradcheck without finite differences needs both modes, to compare them")
    leaves, structure = flatten(tuple(args))
    values = [as_value(leaf, "an argument of gradcheck").cpu() for leaf in leaves]
    moving = [k for k, value in enumerate(values) if value.dtype.kind == "f"]
    if not moving:
        raise ValueError("gradcheck got no floating argument, so there is nothing to differentiate")
    points = [np.asarray(values[k].numpy(), np.float64) for k in moving]
    check = _Check(chosen, eps, tol, finite, np.random.default_rng(seed))
    flat = _flat(f, values, structure, moving)
    try:
        check.all_orders(flat, points, order, 1, "f")
    except GradcheckError as error:
        raise error.caused_by(guilty_op(flat, points, eps, tol) if finite else None) from None
    return check.worst


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
    """One run: its options, its random directions, and the worst comparison so far."""

    def __init__(self, modes: Sequence[str], eps: float, tol: float, finite: bool, rng: np.random.Generator) -> None:
        self.modes, self.eps, self.tol, self.finite, self.rng = modes, eps, tol, finite, rng
        self.worst = GradcheckResult(0, "", "", None, 0.0, 0.0, 0.0, 0.0)

    def all_orders(self, f: Function, xs: list[Any], order: int, number: int, name: str) -> None:
        vs, ys = self.like(xs), f(*xs)
        ws = self.like(ys)
        if number == 1:
            self.values(f, xs, vs, _arrays(ys))
        self.one_order(f, xs, vs, ws, number, name)
        if order > 1 and "reverse" in self.modes:
            self.all_orders(_reverse(f, len(xs)), [*xs, *ws], order - 1, number + 1, f"vjp({name})")
        if order > 1 and "forward" in self.modes:
            self.all_orders(_forward(f, len(xs)), [*xs, *vs], order - 1, number + 1, f"jvp({name})")

    def values(self, f: Function, xs: list[Any], vs: list[Any], ys: list[Any]) -> None:
        """A rule computes the result too, and it may be another one."""
        boxes, directions = tuple(map(as_value, xs)), tuple(map(as_value, vs))
        for mode in self.modes:
            outs = vjp(f, *boxes)[0] if mode == "reverse" else jvp(f, boxes, directions)[0]
            for k, (got, want) in enumerate(zip(_arrays(outs), ys, strict=True)):
                self.compare(1, mode, f"value of f in {mode} mode, output {k}", got, want)

    def one_order(self, f: Function, xs: list[Any], vs: list[Any], ws: list[Any], number: int, name: str) -> None:
        """The derivative of `f` at `xs` in every mode."""
        moved = self.difference(f, xs, vs) if self.finite else None
        if "forward" in self.modes:
            tangents = _arrays(_forward(f, len(xs))(*xs, *vs))
            for k, (t, m) in enumerate(zip(tangents, moved or (), strict=False)):
                self.compare(number, "forward", f"forward mode of {name}, output {k}", t, m)
            moved = moved or tangents
        if "reverse" in self.modes:
            gradients = _arrays(_reverse(f, len(xs))(*xs, *ws))
            assert moved is not None
            try:
                self.sums(gradients, vs, ws, moved, number, name)
            except GradcheckError:
                self.locate(f, xs, ws, gradients, number, name)
                raise

    def difference(self, f: Function, xs: list[Any], vs: list[Any]) -> list[Any]:
        """Central finite differences of `f` along `vs`."""
        ahead, behind = ([x + e * v for x, v in zip(xs, vs, strict=True)] for e in (self.eps, -self.eps))
        pairs = zip(_arrays(f(*ahead)), _arrays(f(*behind)), strict=True)
        return [(a - b) / (2 * self.eps) for a, b in pairs]

    def compare(self, number: int, mode: str, what: str, got: Any, want: Any, scale: float = 1.0) -> None:
        """Note how near two arrays are to what is allowed; raise where they are further apart."""
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            raise GradcheckError(GradcheckResult(number, mode, what, None, got.shape, want.shape, np.inf, self.tol))
        if got.size == 0:
            return
        allowed = self.tol * max(scale, np.abs(want).max())
        index, error = worst_entry(got, want)
        place = index if got.shape else None
        result = GradcheckResult(
            number, mode, what, place, float(got[index]), float(want[index]), error, float(allowed)
        )
        if not error <= allowed:
            raise GradcheckError(result)
        if result.closeness > self.worst.closeness or not self.worst.order:
            self.worst = result

    def sums(self, gradients: list[Any], vs: Any, ws: Any, moved: list[Any], number: int, name: str) -> None:
        """Gradients along the direction = cotangents times what the outputs moved by."""
        what = f"reverse mode of {name}"
        for k, (g, v) in enumerate(zip(gradients, vs, strict=True)):
            if g.shape != v.shape:
                result = GradcheckResult(
                    number, "reverse", f"{what}, argument {k}", None, g.shape, v.shape, np.inf, self.tol
                )
                raise GradcheckError(result)
        got = sum(float(np.vdot(g, v)) for g, v in zip(gradients, vs, strict=True))
        terms = [w * m for w, m in zip(ws, moved, strict=True)]
        scale = sum(float(np.abs(t).sum()) for t in terms)
        want = sum(float(t.sum()) for t in terms)
        self.compare(number, "reverse", f"{what} along a random direction", got, want, max(1.0, scale))

    def locate(self, f: Function, xs: list[Any], ws: list[Any], gradients: list[Any], number: int, name: str) -> None:
        """Compare entry by entry, to say which one is wrong; with thousands of arguments this takes too long."""
        if not self.finite or sum(x.size for x in xs) > 2000:
            return
        for k, (x, g) in enumerate(zip(xs, gradients, strict=True)):
            want = np.zeros(x.shape)
            for index in np.ndindex(x.shape):
                vs = [np.zeros(other.shape) for other in xs]
                vs[k][index] = 1.0
                want[index] = sum(float((w * m).sum()) for w, m in zip(ws, self.difference(f, xs, vs), strict=True))
            self.compare(number, "reverse", f"reverse mode of {name}, gradient of argument {k}", g, want)

    def like(self, values: Sequence[Any]) -> list[Any]:
        """Random directions in the shapes of `values`."""
        return [self.rng.standard_normal(value.shape) for value in values]


def _reverse(f: Function, count: int) -> Function:
    """The vjp of `f` as a function of its arguments and of the cotangents."""
    return lambda *values: tuple(vjp(f, *map(as_value, values[:count]))[1](tuple(map(as_value, values[count:]))))


def _forward(f: Function, count: int) -> Function:
    """The jvp of `f` as a function of its arguments and of the tangents."""
    return lambda *values: tuple(jvp(f, tuple(map(as_value, values[:count])), tuple(map(as_value, values[count:])))[1])


def _arrays(results: Sequence[Tensor]) -> list[Any]:
    return [result.data for result in map(as_value, results)]
