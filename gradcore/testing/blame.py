"""Which op is to blame for a wrong derivative: each op that a function performs is checked alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.transforms import jvp, vjp
from gradcore.core.bind import as_tuple, bind
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Op
from gradcore.core.state import describe_site, user_frame
from gradcore.core.tensor import Tensor


class _Performed(Hook):
    def __init__(self) -> None:
        self.calls: list[tuple[Op, tuple[Any, ...], tuple[Any, ...], str]] = []

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        frame = user_frame()
        self.calls.append((op, tuple(values), params, describe_site(frame.f_code, frame.f_lasti)))


def guilty_op(f: Callable[..., Any], points: Sequence[Any], eps: float, tol: float) -> str | None:
    """The first op of `f` whose first derivative is not that of a finite difference, with shapes and line."""
    performed = _Performed()
    with hooked(performed):
        f(*points)
    for op, values, params, site in performed.calls:
        moving = [
            i for i, v in enumerate(values) if getattr(v, "dtype", None) == np.float64 and op.can_differentiate(i)
        ]
        if moving and not _is_right(op, values, params, moving, eps, tol):
            shapes = ", ".join(str(Tensor(v).aval) if isinstance(v, np.ndarray) else str(v) for v in values)
            return f"'{op.name}' on {shapes}\n  {site}"
    return None


def _is_right(op: Op, values: Any, params: Any, moving: list[int], eps: float, tol: float) -> bool:
    rng = np.random.default_rng(0)
    points = [values[i] for i in moving]
    vs = [rng.standard_normal(x.shape) for x in points]

    def function(*xs: Any) -> tuple[Any, ...]:
        every = [Tensor(v) if isinstance(v, np.ndarray) else v for v in values]
        for i, x in zip(moving, xs, strict=True):
            every[i] = x if isinstance(x, Tensor) else Tensor(x)
        outs = as_tuple(bind(op, every, params))
        return tuple([y for y in (outs if op.visible < 0 else outs[: op.visible]) if y.dtype.kind == "f"])

    try:
        return _agrees(function, points, vs, eps, tol)
    except Exception:  # an op that cannot be differentiated this way is not to blame
        return True


def _agrees(function: Callable[..., Any], points: list[Any], vs: list[Any], eps: float, tol: float) -> bool:
    ends = [function(*[x + e * v for x, v in zip(points, vs, strict=True)]) for e in (eps, -eps)]
    moved = [(a.data - b.data) / (2 * eps) for a, b in zip(*ends, strict=True)]
    boxes = [Tensor(x) for x in points]
    tangents = [t.data for t in jvp(function, tuple(boxes), tuple(map(Tensor, vs)))[1]]
    near = all(
        np.allclose(t, m, rtol=0, atol=10 * tol * max(1.0, np.abs(m).max(initial=0.0)))
        for t, m in _pairs(tangents, moved)
    )
    outs, pull = vjp(function, *boxes)
    gradients = [g.data for g in pull(tuple([Tensor(np.ones(y.shape)) for y in outs]))]
    got = sum(float(np.vdot(g, v)) for g, v in _pairs(gradients, vs))
    scale = max(1.0, sum(float(np.abs(m).sum()) for m in moved))
    return near and abs(got - sum(float(m.sum()) for m in moved)) <= 10 * tol * scale


def _pairs(a: list[Any], b: list[Any]) -> Any:
    return zip(a, b, strict=True)
