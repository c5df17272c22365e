"""Reductions that leave NaNs out; no gradient flows to them."""

from __future__ import annotations

import math
from typing import Any

from gradcore import ops
from gradcore.ops.operands import named_tensor


def without_nans(x: Any, value: float) -> Any:
    x = named_tensor(x, "nan_to_num")
    return ops.where(ops.isnan(x), value, x) if x.dtype.kind == "f" else x


def _count(a: Any, axis: Any, keepdims: bool) -> Any:
    return ops.sum(ops.logical_not(ops.isnan(a)), axis, keepdims)


def nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return ops.sum(without_nans(a, 0.0), axis, keepdims)


def nanprod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return ops.prod(without_nans(a, 1.0), axis, keepdims)


def _shared(total: Any, count: Any) -> Any:
    """The total divided by how many there were, in the dtype of the total."""
    return ops.div(total, ops.cast(count, total.dtype) if total.dtype.kind == "f" else count)


def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _shared(nansum(a, axis, keepdims), _count(a, axis, keepdims))


def correction_of(ddof: float, correction: float | None) -> float:
    """They are two names of one argument."""
    if correction is not None and ddof != 0:
        raise ValueError("NumPy's var and std take ddof or correction, not both")
    return ddof if correction is None else correction


def nanvar(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Any:
    """NaN where there are not more than ddof numbers."""
    distance = ops.sub(without_nans(a, 0.0), nanmean(a, axis, True))
    squares = ops.where(ops.isnan(a), 0.0, ops.square(distance))
    freedom = ops.sub(_count(a, axis, keepdims), correction_of(ddof, correction))
    enough = ops.greater(freedom, 0)
    variance = _shared(ops.sum(squares, axis, keepdims), ops.where(enough, freedom, 1))
    return ops.where(enough, variance, math.nan)


def nanstd(a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, correction: float | None = None) -> Any:
    """Where all are equal, its derivative is 0, as that of `gradcore.std`."""
    variance = nanvar(a, axis, ddof, keepdims, correction)
    nothing = ops.equal(variance, 0)
    return ops.where(nothing, variance, ops.sqrt(ops.where(nothing, 1.0, variance)))


def _extreme(function: Any, a: Any, bound: float, axis: Any, keepdims: bool) -> Any:
    """NaN where there is nothing else."""
    a = named_tensor(a, "nanmax")
    if a.dtype.kind != "f":
        return function(a, axis, keepdims)
    found = function(without_nans(a, bound), axis, keepdims)
    return ops.where(ops.equal(_count(a, axis, keepdims), 0), math.nan, found)


def nanmax(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _extreme(ops.max, a, -math.inf, axis, keepdims)


def nanmin(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return _extreme(ops.min, a, math.inf, axis, keepdims)
