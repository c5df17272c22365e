"""The norm of all gradients together, and scaling them to one.  A device may do each in one launch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.record import zeros
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.arithmetic import abs as absolute
from gradcore.ops.arithmetic import add, div, maximum, minimum, mul, sqrt, square
from gradcore.ops.conversion import beside, cast
from gradcore.ops.fused import fused
from gradcore.ops.reductions import max as largest
from gradcore.ops.reductions import sum as total_of
from gradcore.ops.samples import distinct, normal, sample

HALF = np.dtype(np.float16)
SINGLE = np.dtype(np.float32)
DOUBLE = np.dtype(np.float64)


def _wide(x: Any) -> Any:
    return cast(x, SINGLE) if x.dtype == HALF else x


# --- the common norm --------------------------------------------------------------------------------------------------


def _norm_meaning(*given: Any) -> Any:
    *grads, norm_type, dtype = given
    wide = [cast(g, dtype) for g in grads if math.prod(g.shape)]
    if not wide:
        return zeros(Aval((), dtype), grads[0])
    if norm_type == 2:
        return sqrt(functools.reduce(add, [total_of(square(g)) for g in wide]))
    return functools.reduce(maximum, [largest(absolute(g)) for g in wide])


def _norm_impl(xp: Any, out: Any, *given: Any) -> Any:
    *grads, norm_type, dtype = given
    if xp.device.kind == "cuda":
        return xp.global_norm(xp.empty((), dtype) if out is None else out, grads, norm_type)
    np = xp.np
    flat = [g.reshape(-1) for g in grads if g.size]
    room = xp.scratch((max([g.size for g in flat], default=0),), dtype)
    if norm_type == 2:
        squares = [np.add.reduce(np.square(g, room[: g.size], dtype=dtype)) for g in flat]
        total = np.sqrt(sum(squares, dtype.type(0)))
    else:
        peaks = [np.maximum.reduce(np.abs(g, room[: g.size], dtype=dtype)) for g in flat]
        total = np.maximum.reduce([dtype.type(0), *peaks])
    if out is None:
        return np.asarray(total)
    out[()] = total
    return out


def _norm_shape(*given: Any) -> Aval:
    grad, dtype = given[0], given[-1]
    return grad.update(shape=(), dtype=dtype)  # type: ignore[no-any-return]


global_norm_op: Op = fused(
    "global_norm",
    ("grads",),
    params=("norm_type", "dtype"),
    variadic=True,
    meaning=_norm_meaning,
    impl=_norm_impl,
    abstract=_norm_shape,
    half=False,
    samples=(
        sample(normal(3, 4), normal(5, away=0.5), normal(), normal(0, 2), params=(2.0, DOUBLE)),
        sample(normal(away=1.0), params=(2.0, DOUBLE), label="()"),
        sample(distinct(3, 4), distinct(2), distinct(0), params=(math.inf, DOUBLE)),
        sample(normal(0, 3), normal(0), params=(2.0, DOUBLE), label="empty"),
    ),
    doc="The 2-norm, or the largest absolute value, of the elements of all operands, computed in `dtype`.",
)


def global_norm(grads: Sequence[Any], norm_type: float) -> Any:
    """The norm of all elements of `grads` together: 2, or `math.inf` for the largest absolute value.

    Returns:
        A 0-d Tensor, float64 where some of them are, else float32; 0 where there are no elements.
    """
    dtype = np.result_type(SINGLE, *{g.dtype for g in grads if math.prod(g.shape)})
    return bind(global_norm_op, grads, (float(norm_type), dtype))


# --- scaling ----------------------------------------------------------------------------------------------------------


def _clip_meaning(total: Any, max_norm: Any, *grads: Any) -> tuple[Any, ...]:
    factor = minimum(div(_wide(beside(total, max_norm)), add(_wide(total), 1e-6)), 1.0)
    return tuple([cast(mul(g, factor), g.dtype) for g in grads])


def _clip_impl(xp: Any, out: Any, total: Any, max_norm: Any, *grads: Any) -> Any:
    if xp.device.kind == "cuda":
        return xp.clip_to_norm(out, total, max_norm, grads)
    np = xp.np
    limit, total = [SINGLE.type(x) if x.dtype == HALF else x[()] for x in (max_norm, total)]
    factor = np.minimum(limit / (total + 1e-6), 1.0)
    if out is None:
        out = tuple([xp.empty(g.shape, g.dtype) for g in grads])
    for g, scaled in zip(grads, out, strict=True):
        np.multiply(g, factor, scaled)
    return out


def _clip_shape(total: Aval, max_norm: Aval, *grads: Aval) -> tuple[Aval, ...]:
    return tuple([g.update(shape=g.shape) for g in grads])


clip_to_norm_op: Op = fused(
    "clip_to_norm",
    ("total", "max_norm", "grads"),
    variadic=True,
    outputs=-1,
    host=frozenset({1}),
    meaning=_clip_meaning,
    impl=_clip_impl,
    abstract=_clip_shape,
    half=False,
    samples=(
        sample(normal(low=2, high=3), normal(low=0.5, high=1), normal(3, 4), normal(), normal(0, 2)),
        sample(normal(low=0.5, high=1), normal(low=2, high=3), normal(3), normal(2, 1), label="below"),
    ),
    doc="Every gradient times min(max_norm / (total + 1e-6), 1), where total is their common norm.",
)
