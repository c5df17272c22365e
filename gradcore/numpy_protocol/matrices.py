"""`numpy.linalg` on tensors, where its functions differ from those of `gradcore.linalg`."""

from __future__ import annotations

import math
from typing import Any

from gradcore import ops
from gradcore.linalg import cholesky, det, inv, matrix_power, multi_dot, slogdet, solve
from gradcore.numpy_protocol import composed
from gradcore.ops.structural import normal_axes

__all__ = ["cholesky", "det", "inv", "matrix_power", "multi_dot", "slogdet", "solve"]


def matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Any:
    return ops.norm(x, ord, (-2, -1), keepdims)


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Of several axes, those elements are one vector."""
    if axis is not None and not hasattr(axis, "__iter__"):
        return ops.norm(x, ord, axis, keepdims)
    axes = normal_axes(None if axis is None else tuple(axis), len(x.shape))
    rest = [a for a in range(len(x.shape)) if a not in axes]
    turned = ops.transpose(x, (*rest, *axes))
    flat = ops.reshape(turned, (*[x.shape[a] for a in rest], math.prod([x.shape[a] for a in axes])))
    shape = tuple([1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes])
    return ops.reshape(ops.norm(flat, ord, -1), shape)


def matrix_transpose(x: Any) -> Any:
    return ops.swapaxes(x, -1, -2)


def diagonal(x: Any, offset: int = 0) -> Any:
    return ops.diagonal(x, offset, -2, -1)


def trace(x: Any, offset: int = 0) -> Any:
    return ops.trace(x, offset, -2, -1)


def vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    return ops.sum(ops.mul(x1, x2), axis)


def cross(x1: Any, x2: Any, axis: int = -1) -> Any:
    return composed.cross(x1, x2, axis=axis)
