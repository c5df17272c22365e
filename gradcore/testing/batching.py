"""vmap against a Python loop: values, gradients and tangents of an op, for any choice of mapped operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcore.autodiff.map_axes import vmap
from gradcore.autodiff.transforms import vjp
from gradcore.testing.cases import Case, Function, cotangents_for, pulled, pushed, tangents_for
from gradcore.testing.compare import assert_all, assert_close, raw

SIZE = 3
TOL = 1e-11


@dataclass(frozen=True)
class Plan:
    """Which operands are mapped (None: not), and along which axis."""

    axes: tuple[int | None, ...]

    def stacked(self, draws: Sequence[Sequence[Any]]) -> list[Any]:
        """Operands for vmap: mapped ones from every draw, the others from the first."""
        columns = zip(*draws, strict=True)
        return [c[0] if a is None else np.stack(c, a) for c, a in zip(columns, self.axes, strict=True)]

    def example(self, draws: Sequence[Sequence[Any]], i: int) -> list[Any]:
        """Operands of one example."""
        return [draws[0][k] if a is None else draws[i][k] for k, a in enumerate(self.axes)]


def random_plan(rng: np.random.Generator, draw: Sequence[Any]) -> Plan:
    """A random choice of mapped operands (at least one), each along a random axis."""
    mapped = rng.random(len(draw)) < 0.6
    mapped[rng.integers(len(draw))] = True
    return Plan(tuple([int(rng.integers(x.ndim + 1)) if on else None for x, on in zip(draw, mapped, strict=True)]))


def assert_vmapped(function: Function, draws: Sequence[Sequence[Any]], plan: Plan, what: str) -> None:
    """Vmap of `function` = stacked results of a loop over the draws."""
    got = vmap(function, in_axes=plan.axes)(*plan.stacked(draws))
    rows = [function(*plan.example(draws, i)) for i in range(len(draws))]
    want = [np.stack([raw(out) for out in column]) for column in zip(*rows, strict=True)]
    assert_all(assert_close, got, want, what, tol=TOL)


def check_batch(case: Case, rounds: int = 2) -> None:
    """vmap, nested vmap, vmap of the gradient and of the tangent, gradient of vmap."""
    rng = case.rng(7)
    rows = [[case.operands(seed=i * SIZE + j) for j in range(SIZE)] for i in range(2)]
    draws = rows[0]
    count = len(draws[0])
    for _ in range(rounds):
        assert_vmapped(case.call, draws, random_plan(rng, draws[0]), f"vmap of {case}")
    _check_nested(case.call, rows, rng, f"vmap of vmap of {case}")
    if not case.differentiable():
        return
    with_ws = [[*d, *cotangents_for(case, d, i)] for i, d in enumerate(draws)]
    with_vs = [[*d, *tangents_for(case, d, i)] for i, d in enumerate(draws)]
    for _ in range(rounds):
        plan = random_plan(rng, with_ws[0])
        assert_vmapped(pulled(case, count), with_ws, plan, f"vmap of the vjp of {case}")
        assert_vmapped(pushed(case, count), with_vs, random_plan(rng, with_vs[0]), f"vmap of the jvp of {case}")
        _check_gradient_of_vmap(case, draws, random_plan(rng, draws[0]))


def _check_nested(function: Function, rows: Sequence[Sequence[Any]], rng: np.random.Generator, what: str) -> None:
    inner = random_plan(rng, rows[0][0])
    draws = [inner.stacked(row) for row in rows]
    assert_vmapped(vmap(function, in_axes=inner.axes), draws, random_plan(rng, draws[0]), what)


def _check_gradient_of_vmap(case: Case, draws: Sequence[Sequence[Any]], plan: Plan) -> None:
    """The vjp of the mapped op = gradients of all examples, stacked where mapped, else summed."""
    count = len(draws[0])
    ws = [cotangents_for(case, plan.example(draws, i), i) for i in range(len(draws))]
    moving = case.moving(draws[0])
    stacked = plan.stacked(draws)

    def mapped(*xs: Any) -> tuple[Any, ...]:
        every = list(stacked)
        for k, x in zip(moving, xs, strict=True):
            every[k] = x
        outs = vmap(case.call, in_axes=plan.axes)(*every)
        return tuple([out for out in outs if out.dtype.kind == "f"])

    cotangents = tuple([np.stack(column) for column in zip(*ws, strict=True)])
    got = vjp(mapped, *[stacked[k] for k in moving])[1](cotangents)
    each = [pulled(case, count)(*plan.example(draws, i), *w) for i, w in enumerate(ws)]
    want = [_combined([raw(g) for g in c], plan.axes[k]) for k, c in zip(moving, zip(*each, strict=True), strict=True)]
    assert_all(assert_close, got, want, f"vjp of vmap of {case}", tol=TOL)


def _combined(parts: Sequence[Any], axis: int | None) -> Any:
    return np.asarray(sum(parts[1:], parts[0])) if axis is None else np.stack(parts, axis)
