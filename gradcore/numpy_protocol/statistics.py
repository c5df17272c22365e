"""Statistics and differences of NumPy that are made of ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore import ops
from gradcore.numpy_protocol.composed import atleast_2d
from gradcore.numpy_protocol.nans import correction_of, nanmax, nanmean, nanmin, nanprod, nanstd, nansum, nanvar
from gradcore.numpy_protocol.rules import operand
from gradcore.ops.operands import named_tensor
from gradcore.ops.subscripts import getitem

__all__ = ["nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar"]

# --- statistics -------------------------------------------------------------------------------------------------------


def var(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Any:
    return ops.var(a, axis, keepdims, correction_of(ddof, correction))


def std(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Any:
    return ops.std(a, axis, keepdims, correction_of(ddof, correction))


def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return ops.sub(ops.max(a, axis, keepdims), ops.min(a, axis, keepdims))


def percentile(a: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    share = q / 100 if isinstance(q, (int, float)) else ops.div(operand(q, "percentile"), 100)
    return ops.quantile(a, share, axis, keepdims, method)


def average(a: Any, axis: Any = None, weights: Any = None, keepdims: bool = False) -> Any:
    if weights is None:
        return ops.mean(a, axis, keepdims)
    a, weights = named_tensor(a, "average"), named_tensor(operand(weights, "average"), "average")
    if a.shape != weights.shape:
        if not isinstance(axis, int) or len(weights.shape) != 1:
            raise TypeError("numpy.average takes weights of the shape of a, or a vector of them and one axis")
        weights = ops.reshape(weights, [-1 if k == axis % a.ndim else 1 for k in range(a.ndim)])
    dtype = np.result_type(a.dtype, weights.dtype, *[np.float64] * (a.dtype.kind != "f"))
    a, weights = ops.cast(a, dtype), ops.cast(weights, dtype)
    total = ops.sum(ops.broadcast_to(weights, a.shape), axis, keepdims)
    return ops.div(ops.sum(ops.mul(a, weights), axis, keepdims), total)


def cumulative_sum(x: Any, axis: int | None = None, include_initial: bool = False) -> Any:
    return _cumulative(ops.cumsum, ops.zeros_like, x, axis, include_initial)


def cumulative_prod(x: Any, axis: int | None = None, include_initial: bool = False) -> Any:
    return _cumulative(ops.cumprod, ops.ones_like, x, axis, include_initial)


def _cumulative(function: Any, first: Any, x: Any, axis: int | None, include_initial: bool) -> Any:
    x = named_tensor(x, "cumulative_sum")
    if axis is None and x.ndim != 1:
        raise ValueError("numpy.cumulative_sum and cumulative_prod need an axis where x has not exactly one")
    result = function(x, axis or 0)
    if not include_initial:
        return result
    return ops.concatenate([first(_part(result, axis or 0, slice(0, 1))), result], axis or 0)


def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: float | None = None) -> Any:
    rows = _as_rows(m, y, rowvar)
    count = rows.shape[1] - (1 - int(bias) if ddof is None else ddof)
    centred = ops.sub(rows, ops.mean(rows, 1, True))
    return ops.squeeze(ops.div(ops.matmul(centred, ops.transpose(centred)), count))


def _as_rows(m: Any, y: Any, rowvar: bool) -> Any:
    """One row per variable."""
    parts = [atleast_2d(named_tensor(x, "cov")) for x in (m, y) if x is not None]
    turned = [part if rowvar or part.shape[0] == 1 else ops.transpose(part) for part in parts]
    joined = turned[0] if len(turned) == 1 else ops.concatenate(turned, 0)
    return ops.cast(joined, np.float64)


def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return ops.div(c, c)
    deviation = ops.sqrt(ops.diagonal(c))
    return ops.clip(ops.div(c, ops.outer(deviation, deviation)), -1, 1)


def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return ops.sum(ops.not_equal(a, 0), axis, keepdims)


# --- differences ------------------------------------------------------------------------------------------------------


def _part(x: Any, axis: int, part: Any) -> Any:
    """A slice of one axis."""
    return getitem(x, (slice(None),) * (axis % x.ndim) + (part,))


def _steps(x: Any, axis: int) -> Any:
    later, earlier = _part(x, axis, slice(1, None)), _part(x, axis, slice(None, -1))
    return ops.not_equal(later, earlier) if x.dtype.kind == "b" else ops.sub(later, earlier)


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    a = named_tensor(a, "diff")
    if n < 0 or a.ndim == 0:
        raise ValueError(f"numpy.diff takes n of 0 or more, and one axis or more, not n = {n} and shape {a.shape}")
    parts = [a if part is a else _beside(part, a, axis) for part in (prepend, a, append) if part is not None]
    a = a if len(parts) == 1 else ops.concatenate(parts, axis)
    for _ in range(n):
        a = _steps(a, axis)
    return a


def _beside(part: Any, a: Any, axis: int) -> Any:
    """What is put before or after a; a number is repeated."""
    part = part if hasattr(part, "dtype") else named_tensor(np.asarray(part), "diff")
    if part.ndim:
        return part
    return ops.broadcast_to(part, [1 if k == axis % a.ndim else n for k, n in enumerate(a.shape)])


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    steps = _steps(ops.ravel(named_tensor(ary, "ediff1d")), 0)
    ends = [None if x is None else _flat(x, steps.dtype) for x in (to_begin, to_end)]
    parts = [part for part in (ends[0], steps, ends[1]) if part is not None]
    return steps if len(parts) == 1 else ops.concatenate(parts)


def _flat(x: Any, dtype: Any) -> Any:
    x = x if hasattr(x, "dtype") else named_tensor(np.asarray(x), "ediff1d")
    if not np.can_cast(x.dtype, dtype, "same_kind"):
        raise TypeError(f"numpy.ediff1d cannot put {x.dtype} before or after differences of {dtype}")
    return ops.ravel(ops.cast(x, dtype))


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    y = named_tensor(y, "trapezoid")
    heights = ops.add(_part(y, axis, slice(1, None)), _part(y, axis, slice(None, -1)))
    if x is None:
        widths: Any = dx
    else:
        x = named_tensor(operand(x, "trapezoid"), "trapezoid")
        along = x.ndim == 1
        widths = _steps(x, 0 if along else axis)
        widths = ops.reshape(widths, [-1 if k == axis % y.ndim else 1 for k in range(y.ndim)]) if along else widths
    return ops.sum(ops.div(ops.mul(widths, heights), 2.0), axis)


def gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences inside, one-sided ones at the ends; the distance of the points is one number per axis."""
    f = named_tensor(f, "gradient")
    f = f if f.dtype.kind == "f" else ops.cast(f, np.float64)
    axes = range(f.ndim) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    distances = list(spacing) * (len(axes) if len(spacing) == 1 else 1) or [1.0] * len(axes)
    if edge_order != 1 or any(np.ndim(h) for h in distances) or len(distances) != len(axes):
        raise TypeError("numpy.gradient takes edge_order=1 on tensors, and one number as the distance along each axis")
    results = [_central(f, axis, h) for axis, h in zip(axes, distances, strict=True)]
    return results[0] if len(results) == 1 else tuple(results)


def _central(f: Any, axis: int, h: Any) -> Any:
    if f.shape[axis] < 2:
        raise ValueError(f"numpy.gradient needs two points or more along axis {axis} of shape {f.shape}")
    inner = ops.div(ops.sub(_part(f, axis, slice(2, None)), _part(f, axis, slice(None, -2))), 2.0 * h)
    first, last = _steps(_part(f, axis, slice(0, 2)), axis), _steps(_part(f, axis, slice(-2, None)), axis)
    return ops.concatenate([ops.div(first, h), inner, ops.div(last, h)], axis)
