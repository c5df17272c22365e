"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.autodiff.record import sum_to
from gradcore.backend import NUMPY
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion
from gradcore.ops.elementwise import align, unbroadcast
from gradcore.ops.operands import bind_general, named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import expand_dims, reshape, swapaxes
from gradcore.ops.structural import bilinear, public


def matmul_impl(xp: Any, out: Any, a: Any, b: Any) -> Any:
    """`dot` for matrices (its call costs NumPy less than `matmul`'s), `matmul` for stacks of them.

    A stack of low matrices times one matrix, or any stack times a large one, is a single product of all rows; between
    these, kernels for small matrices make NumPy's loop up to twice as fast.
    """
    if a.ndim == 2 and b.ndim == 2:
        return a.dot(b) if out is None else a.dot(b, out)
    if b.ndim == 2 and a.flags.c_contiguous and (a.shape[-2] < 8 or b.size >= 2**14):
        product = _rows(a).dot(b) if out is None else _rows(a).dot(b, _rows(out))
        return product.reshape((*a.shape[:-1], b.shape[1]))
    return xp.np.ascontiguousarray(xp.np.matmul(a, b)) if out is None else xp.np.matmul(a, b, out=out)


def _rows(stack: Any) -> Any:
    """The rows of all matrices of a stack as one matrix."""
    return stack.reshape((math.prod(stack.shape[:-1]), stack.shape[-1]))


def _check(a: Aval, b: Aval) -> None:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"'matmul': {a} and {b} do not fit, since {a.shape[-1]} != {b.shape[-2]}")


def _shape(a: Aval, b: Aval) -> Aval:
    _check(a, b)
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.update(shape=(*stack, a.shape[-2], b.shape[-1]))


def _one_for_all(g: Any, shape: tuple[int, ...], i: int) -> bool:
    """Was operand i one matrix for a whole stack?  A single product then adds its gradient up over the stack."""
    return i == 1 and len(shape) == 2 < len(g.shape)


def _transpose(g: Any, other: Any, aval: Aval, params: Any, i: int) -> Any:
    if _one_for_all(g, aval.shape, i):
        other, g = [reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])) for x in (other, g)]
    turned = swapaxes(other, -1, -2)
    product = bind(matmul_op, (g, turned) if i == 0 else (turned, g))
    return sum_to(product, aval.shape)


def _raw(needed: Any) -> Any:
    """Both cotangents on raw arrays."""
    first, second = needed

    def raw(r: Any, g: Any) -> Any:
        if g.ndim == 2:
            a, b = r.saved[0], r.saved[-1]
            return g.dot(b.T) if first else None, a.T.dot(g) if second else None
        shape_a, shape_b = r.avals
        a, b = r.saved[0], r.saved[-1]
        of_a = unbroadcast(matmul_impl(NUMPY, None, g, b.swapaxes(-1, -2)), shape_a) if first else None
        if second and _one_for_all(g, shape_b, 1):
            a, g = [_rows(np.asarray(x, order="C")) for x in (a, g)]
        return of_a, unbroadcast(matmul_impl(NUMPY, None, a.swapaxes(-1, -2), g), shape_b) if second else None

    return raw


def _batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    return bind(matmul_op, align(mapped, xs))


matmul_op: Op = bilinear(
    "matmul",
    ("a", "b"),
    promotion=Promotion.COMMON,
    cuda_half=True,
    impl=matmul_impl,
    abstract=_shape,
    transpose=_transpose,
    batch=_batch,
    samples=(
        sample(normal(3, 4), normal(4, 2)),
        sample(normal(2, 3, 4), normal(4, 2)),
        sample(normal(2, 8, 2), normal(2, 2), label="too high for a single product"),
        sample(normal(2, 0, 3, 4), normal(4, 2)),
        sample(normal(2, 3, 0), normal(0, 2)),
        sample(normal(2, 1, 3, 4), normal(5, 4, 2)),
        sample(normal(0, 4), normal(4, 2)),
        sample(normal(3, 0), normal(0, 2)),
    ),
    doc="Matrix product of the last two axes; the others broadcast.",
)


def _call(a: Any, b: Any) -> Any:
    if a.ndim == 2 == b.ndim:
        return a.dot(b)
    if a.ndim < 2 or b.ndim < 2:
        raise TypeError("vectors take the general path")
    return matmul_impl(NUMPY, None, a, b)


def _general(args: tuple[Any, Any], params: tuple[Any, ...]) -> Any:
    """A vector becomes a matrix of one row or column, which the product loses again."""
    a, b = [named_tensor(arg, "matmul") for arg in args]
    if not a.shape or not b.shape:
        raise ValueError(f"'matmul' needs at least one axis on each side, got {a.shape} and {b.shape}; use a * b")
    left = expand_dims(a, 0) if len(a.shape) == 1 else a
    right = expand_dims(b, 1) if len(b.shape) == 1 else b
    _check(left.aval, right.aval)
    y = bind_general(matmul_op, (left, right), ())
    if left is a and right is b:
        return y
    rows = () if len(a.shape) == 1 else (y.shape[-2],)
    columns = () if len(b.shape) == 1 else (y.shape[-1],)
    return reshape(y, (*y.shape[:-2], *rows, *columns))


matmul = public(matmul_op, _raw, _call, _general)
matmul.__doc__ = """Matrix product by NumPy's rules.

    Args:
        a: tensor of shape (..., n, k), or (k,).
        b: tensor of shape (..., k, m), or (k,).

    Returns:
        Tensor of shape (..., n, m), where the axes before the matrices broadcast; a one-dimensional operand drops its
        axis.

    Raises:
        ValueError: the sizes k differ, the other axes do not broadcast, or an operand is a number.

    Example:
        >>> import gradcore as gc
        >>> gc.matmul(gc.tensor([[1.0, 2.0], [3.0, 4.0]]), gc.tensor([1.0, 10.0]))
        tensor([21., 43.], dtype=float32, device='cpu')
    """
