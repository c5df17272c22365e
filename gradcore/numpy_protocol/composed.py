"""Functions of NumPy that are made of ops, where no function of gradcore has the same name and parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.numpy_protocol.nans import without_nans
from gradcore.numpy_protocol.rules import operand
from gradcore.numpy_protocol.ufuncs import trunc
from gradcore.ops.operands import as_tensor, named_tensor
from gradcore.ops.structural import normal_axis
from gradcore.ops.subscripts import getitem

# --- shapes -----------------------------------------------------------------------------------------------------------


def reshape(a: Any, shape: Any, order: str = "C") -> Any:
    if order not in ("C", "c", "F", "f"):
        raise TypeError(f"numpy.reshape cannot honour order={order!r} on tensors; it takes 'C' and 'F'")
    if order in "Ff":
        sizes = ops.reshape(a, shape).shape
        return ops.transpose(ops.reshape(ops.transpose(a), sizes[::-1]))
    return ops.reshape(a, shape)


def sort(a: Any, axis: int | None = -1) -> Any:
    return ops.sort(a, axis)


def argsort(a: Any, axis: int | None = -1) -> Any:
    return ops.argsort(a, axis)


def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    first, second = axes
    if (first - second) % len(m.shape) == 0:
        raise ValueError(f"numpy.rot90 turns in the plane of two different axes, not {tuple(axes)}")
    turned = (
        lambda x: x,
        lambda x: ops.swapaxes(ops.flip(x, second), first, second),
        lambda x: ops.flip(x, (first, second)),
        lambda x: ops.flip(ops.swapaxes(x, first, second), second),
    )
    return turned[k % 4](named_tensor(m, "rot90"))


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    count = len(a.shape)
    axis, start = normal_axis(axis, count), start + count if start < 0 else start
    return ops.moveaxis(a, axis, start - 1 if axis < start else start)


def fliplr(m: Any) -> Any:
    return ops.flip(m, 1)


def flipud(m: Any) -> Any:
    return ops.flip(m, 0)


def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    return ops.split(ary, indices_or_sections, 0 if len(ary.shape) == 1 else 1)


def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    return ops.split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    return ops.split(ary, indices_or_sections, 2)


def unstack(x: Any, axis: int = 0) -> Any:
    x = ops.moveaxis(x, axis, 0)
    return tuple([getitem(x, i) for i in range(x.shape[0])])


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    parts = [named_tensor(operand(x, "append"), "append") for x in (arr, values)]
    return ops.concatenate(list(map(ops.ravel, parts)) if axis is None else parts, axis or 0)


def diagflat(v: Any, k: int = 0) -> Any:
    return ops.diag(ops.ravel(v), k)


def copy(a: Any) -> Any:
    return named_tensor(a, "copy")


def astype(x: Any, dtype: Any) -> Any:
    return ops.cast(x, dtype)


def real(val: Any) -> Any:
    return named_tensor(val, "real")


def imag(val: Any) -> Any:
    return ops.zeros_like(val)


def matrix_transpose(x: Any) -> Any:
    return ops.swapaxes(x, -1, -2)


def meshgrid(*xi: Any, indexing: str = "xy", sparse: bool = False) -> Any:
    return tuple(ops.meshgrid(*xi, indexing=indexing, sparse=sparse))


def broadcast_arrays(*args: Any) -> Any:
    return tuple(ops.broadcast_arrays(*args))


def _at_least(count: int, x: Any, before: Any) -> Any:
    x = named_tensor(x, f"atleast_{count}d")
    return x if x.ndim >= count else ops.reshape(x, before(x.shape))


def _all_of(function: Any, xs: Sequence[Any]) -> Any:
    results = tuple(map(function, xs))
    return results[0] if len(results) == 1 else results


def atleast_1d(*arys: Any) -> Any:
    return _all_of(lambda x: _at_least(1, x, lambda shape: (1,)), arys)


def atleast_2d(*arys: Any) -> Any:
    return _all_of(lambda x: _at_least(2, x, lambda shape: (1, *shape) if shape else (1, 1)), arys)


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, 1, 1) if not shape else (1, *shape, 1) if len(shape) == 1 else (*shape, 1)


def atleast_3d(*arys: Any) -> Any:
    return _all_of(lambda x: _at_least(3, x, _three), arys)


# --- joining and choosing ---------------------------------------------------------------------------------------------


def _every(arrays: Any, name: str) -> list[Any]:
    """The tensors of a sequence; the parts of one tensor."""
    return [operand(x, name) for x in arrays]


def concatenate(arrays: Any, axis: int | None = 0) -> Any:
    return ops.concatenate(_every(arrays, "concatenate"), axis)


def stack(arrays: Any, axis: int = 0) -> Any:
    return ops.stack(_every(arrays, "stack"), axis)


def hstack(tup: Any) -> Any:
    return ops.hstack(_every(tup, "hstack"))


def vstack(tup: Any) -> Any:
    return ops.vstack(_every(tup, "vstack"))


def dstack(tup: Any) -> Any:
    return ops.concatenate([atleast_3d(x) for x in _every(tup, "dstack")], 2)


def column_stack(tup: Any) -> Any:
    parts = [named_tensor(x, "column_stack") for x in _every(tup, "column_stack")]
    return ops.concatenate([ops.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in parts], 1)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None or y is None:
        raise TypeError("numpy.where without x and y gives positions, whose number depends on the numbers; pass both")
    return ops.where(condition, x, y)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = ops.where(operand(condition, "select"), operand(choice, "select"), result)
    return result


def clip(a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Any:
    if (a_min is not None or a_max is not None) and (min is not None or max is not None):
        raise ValueError("numpy.clip takes a_min and a_max, or min and max, not both")
    return ops.clip(a, a_min if min is None else min, a_max if max is None else max)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    x = named_tensor(x, "nan_to_num")
    if x.dtype.kind != "f":
        return x
    info, dtype = np.finfo(x.dtype), x.dtype
    x = without_nans(x, nan)
    x = ops.where(ops.equal(x, math.inf), float(info.max) if posinf is None else posinf, x)
    x = ops.where(ops.equal(x, -math.inf), float(info.min) if neginf is None else neginf, x)
    return ops.cast(x, dtype)


def fix(x: Any) -> Any:
    return trunc(x)


def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    a, b = named_tensor(a, "isclose"), named_tensor(b, "isclose")
    within = ops.less_equal(ops.abs(ops.sub(a, b)), ops.add(atol, ops.mul(rtol, ops.abs(b))))
    close = ops.logical_or(ops.logical_and(within, ops.isfinite(b)), ops.equal(a, b))
    return ops.logical_or(close, ops.logical_and(ops.isnan(a), ops.isnan(b))) if equal_nan else close


def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    return ops.all(isclose(a, b, rtol, atol, equal_nan))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    a1, a2 = named_tensor(a1, "array_equal"), named_tensor(a2, "array_equal")
    if a1.shape != a2.shape:
        return as_tensor(np.asarray(False))
    same = ops.equal(a1, a2)
    return ops.all(ops.logical_or(same, ops.logical_and(ops.isnan(a1), ops.isnan(a2))) if equal_nan else same)


def isposinf(x: Any) -> Any:
    return ops.logical_and(ops.isinf(x), ops.greater(x, 0))


def isneginf(x: Any) -> Any:
    return ops.logical_and(ops.isinf(x), ops.less(x, 0))


# --- what kind of array it is -----------------------------------------------------------------------------------------


def shape(a: Any) -> tuple[int, ...]:
    return tuple(a.shape)


def ndim(a: Any) -> int:
    return len(a.shape)


def size(a: Any, axis: int | None = None) -> int:
    return math.prod(a.shape) if axis is None else a.shape[axis]


def iscomplexobj(x: Any) -> bool:
    return False


def isrealobj(x: Any) -> bool:
    return True


def _dtype_of(x: Any) -> Any:
    return x.dtype


def result_type(*arrays_and_dtypes: Any) -> Any:
    return np.result_type(*[_dtype_of(x) if isinstance(x, (Tensor, Cell)) else x for x in arrays_and_dtypes])


def full_like(a: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Any:
    filled = ops.full_like(a, fill_value, dtype)
    return (
        filled if shape is None else ops.broadcast_to(ops.full_like(ops.sum(filled), fill_value, filled.dtype), shape)
    )


def zeros_like(a: Any, dtype: Any = None, shape: Any = None) -> Any:
    return full_like(a, 0, dtype, shape)


def ones_like(a: Any, dtype: Any = None, shape: Any = None) -> Any:
    return full_like(a, 1, dtype, shape)


def empty_like(prototype: Any, dtype: Any = None, shape: Any = None) -> Any:
    return full_like(prototype, 0, dtype, shape)


# --- products ---------------------------------------------------------------------------------------------------------


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    a, b = ops.moveaxis(operand(a, "cross"), axisa, -1), ops.moveaxis(operand(b, "cross"), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError("numpy.cross takes vectors of three components on tensors")
    first = ops.mul(ops.roll(a, -1, -1), ops.roll(b, -2, -1))
    return ops.moveaxis(ops.sub(first, ops.mul(ops.roll(a, -2, -1), ops.roll(b, -1, -1))), -1, axisc)


def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = named_tensor(a, "correlate"), named_tensor(v, "correlate")
    if len(a.shape[0:]) != 1 or v.ndim != 1 or not a.shape[0] or not v.shape[0]:
        raise ValueError("numpy.correlate and convolve take vectors that are not empty")
    return convolve(a, ops.flip(v), mode) if a.shape[0] >= v.shape[0] else ops.flip(convolve(ops.flip(a), v, mode))


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = named_tensor(a, "convolve"), named_tensor(v, "convolve")
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    n, m = a.shape[0], v.shape[0]
    before, count = {"full": (m - 1, n + m - 1), "same": (m // 2, n), "valid": (0, n - m + 1)}[mode]
    windows = np.arange(count)[:, None] + np.arange(m)[None] + (m - 1 - before)
    return ops.matmul(ops.take(ops.pad(a, (m - 1, m - 1)), windows), ops.expand_dims(ops.flip(v), 1))[:, 0]


def polyval(p: Any, x: Any) -> Any:
    p = named_tensor(operand(p, "polyval"), "polyval")
    value = ops.zeros_like(named_tensor(operand(x, "polyval"), "polyval"))
    for i in range(p.shape[0]):
        value = ops.add(ops.mul(value, x), getitem(p, i))
    return value
