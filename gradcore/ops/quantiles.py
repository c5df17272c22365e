"""Order statistics: median and quantiles, from a sort, two gathers and an interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.ops import rounding
from gradcore.ops.along_axis import folded
from gradcore.ops.arithmetic import add, equal, less_equal, mul, not_equal, sub, where
from gradcore.ops.conversion import beside, cast
from gradcore.ops.indexing import as_indices, take_axis
from gradcore.ops.logical import logical_and
from gradcore.ops.operands import as_tensor
from gradcore.ops.reductions import AxisArgument, as_floating, mean, reduced_shape
from gradcore.ops.shapes import reshape_to, transpose_to
from gradcore.ops.sorting import part, sort
from gradcore.ops.structural import normal_axes


def median(x: Any, axis: AxisArgument = None, keepdims: bool = False) -> Any:
    """The element in the middle of the sorted ones, or the mean of the two in the middle; NaN if there is one.

    Args:
        x: tensor of any shape; integers give float64.
        axis: an axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.

    Returns:
        Tensor without the reduced axes; NaN of no elements. A gradient goes to the elements in the middle.

    Raises:
        ValueError: an axis is out of bounds, or named twice.

    Example:
        >>> import gradcore as gc
        >>> gc.median(gc.tensor([[3.0, 1.0, 9.0], [5.0, 4.0, 0.0]]), axis=1)
        tensor([3., 4.], dtype=float32, device='cpu')
    """
    x = as_floating(x, "median")
    axes = normal_axes(axis, len(x.shape))
    rows = sort(folded(x, axes))
    last, n = len(rows.shape) - 1, rows.shape[-1]
    middle = mean(part(rows, last, max(n - 1, 0) // 2, n // 2 + 1 if n else 0), last)
    return reshape_to(_or_nan(rows, middle) if n else middle, reduced_shape(x.shape, axes, keepdims))


def _or_nan(rows: Any, result: Any) -> Any:
    """The result, or NaN for rows that contain NaN (it is last); further axes of the result are at the end."""
    last, n = len(rows.shape) - 1, rows.shape[-1]
    top = reshape_to(part(rows, last, n - 1, n), (*rows.shape[:-1], *(1,) * (len(result.shape) - last)))
    return where(not_equal(top, top), top, result)


# Where among the sorted elements the result is, given the place q (n - 1); `m` computes with arrays or with tensors.
METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda m, place: place,
    "lower": lambda m, place: m.floor(place),
    "higher": lambda m, place: m.ceil(place),
    "midpoint": lambda m, place: (m.floor(place) + m.ceil(place)) / 2,
    "nearest": lambda m, place: m.round(place),
}


def quantile(x: Any, q: Any, axis: AxisArgument = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The value below which a part q of the elements lies, as `numpy.quantile`; NaN if there is one.

    Args:
        x: tensor of any shape; integers give float64.
        q: numbers in [0, 1]: a number, a list or a tensor of any shape. A number or a list takes the dtype of x.
        axis: an axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.
        method: what to do between two neighbours: "linear" interpolation, "lower", "higher", "midpoint" or "nearest".

    Returns:
        Tensor of shape (*q.shape, *shape without the reduced axes). A gradient goes to the two neighbours and, with
        "linear", to q. Where an element of a tensor q is outside [0, 1], the result is NaN.

    Raises:
        ValueError: a number is outside [0, 1], there are no elements, the method is unknown, or an axis is wrong.

    Example:
        >>> import gradcore as gc
        >>> gc.quantile(gc.tensor([4.0, 1.0, 3.0, 2.0]), [0.0, 0.5, 0.9])
        tensor([1. , 2.5, 3.7], dtype=float32, device='cpu')
    """
    if method not in METHODS:
        raise ValueError(f"'quantile': method {method!r} is not among {', '.join(METHODS)}")
    x = as_floating(x, "quantile")
    axes = normal_axes(axis, len(x.shape))
    dtype = np.result_type(x.dtype, q.dtype) if hasattr(q, "dtype") and q.dtype.kind == "f" else x.dtype
    rows, q = sort(folded(x, axes)), _parts(q)
    if rows.shape[-1] == 0:
        raise ValueError(f"'quantile': x of shape {x.shape} has no elements along axis {axes}")
    rows = rows if rows.dtype == dtype else cast(rows, dtype)
    result = _or_nan(rows, (_at_parts if isinstance(q, Tensor) else _at)(rows, q, METHODS[method]))
    count, kept = len(rows.shape) - 1, reduced_shape(x.shape, axes, keepdims)
    turned = transpose_to(result, (*range(count, len(result.shape)), *range(count))) if q.shape else result
    return reshape_to(turned, (*q.shape, *kept))


def _parts(q: Any) -> Any:
    """The wanted parts: a tensor, or an array of numbers that are known to be right."""
    if isinstance(q, (Tensor, Cell)):
        return as_tensor(q)
    array = np.asarray(q, None if hasattr(q, "dtype") else np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"'quantile': q must lie in [0, 1], not {q}")
    return array


def _neighbours(m: Any, place: Any) -> tuple[Any, Any, Any]:
    """The nearest element to a place, the other neighbour, and how far from the first to it the place is."""
    near = m.floor(place + 0.5)
    beyond = place - near
    return near.astype(np.int64), (near + m.sign(beyond)).astype(np.int64), abs(beyond)


def _at(rows: Any, q: Any, method: Callable[[Any, Any], Any]) -> Any:
    """Between neighbours in sorted rows; the axes of q are at the end."""
    last = len(rows.shape) - 1
    near, far, distance = _neighbours(np, method(np, q * (rows.shape[-1] - 1.0)))
    a = take_axis(rows, as_indices(near, rows), last)
    if not distance.any():
        return a
    b = take_axis(rows, as_indices(far, rows), last)
    step = mul(sub(b, a), beside(rows, as_tensor(distance, rows.dtype)))
    if distance.all():
        return add(a, step)
    return add(a, where(beside(rows, as_tensor(distance != 0)), step, 0.0))  # b may be infinite


def _at_parts(rows: Any, q: Any, method: Callable[[Any, Any], Any]) -> Any:
    """The same for a tensor q; NaN where it is outside [0, 1]."""
    last = len(rows.shape) - 1
    inside = logical_and(less_equal(0.0, q), less_equal(q, 1.0))
    place = cast(mul(where(inside, q, 0.0), rows.shape[-1] - 1.0), np.float64)
    near, far, distance = _neighbours(rounding, method(rounding, place))
    a, b = take_axis(rows, near, last), take_axis(rows, far, last)
    step = mul(sub(b, a), cast(distance, rows.dtype))
    return where(inside, add(a, where(equal(distance, 0), 0.0, step)), math.nan)
