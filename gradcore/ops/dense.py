"""The fused op under `nn.Linear`: product, transposed weight and bias in one record."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.ops.arithmetic import add
from gradcore.ops.fused import fused, raw_vjp
from gradcore.ops.matmul import matmul, matmul_impl
from gradcore.ops.operands import named_tensor
from gradcore.ops.reductions import sum_op
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import reshape, swapaxes, transpose
from gradcore.ops.structural import public


def _impl(xp: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
    _check(x.shape, w.shape, b.shape)
    y = xp.affine(None if out is None else _flat(out), _flat(x), w, b)
    return y.reshape((*x.shape[:-1], w.shape[0])) if out is None else out


def _flat(x: Any) -> Any:
    """A matrix with the last axis of x as its rows."""
    return x if x.ndim == 2 else x.reshape(_rows(x.shape))


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows, and their length (a -1 would not be found where that is 0)."""
    return math.prod(shape[:-1]), shape[-1]


def _check(x: Any, w: Any, b: Any) -> None:
    if not x or len(w) != 2 or x[-1] != w[1] or b != w[:1]:
        raise ValueError(f"'linear': x {x}, weight {w} and bias {b} do not fit; expected (..., n), (m, n) and (m,)")


def _shape(x: Aval, w: Aval, b: Aval) -> Aval:
    _check(x.shape, w.shape, b.shape)
    return x.update(shape=(*x.shape[:-1], w.shape[0]))


def _vjp_impl(xp: Any, out: Any, *operands: Any) -> Any:
    """Cotangents of x, w and b: two products and a column sum."""
    g, *saved, needed = operands
    outs = iter(out if isinstance(out, tuple) else (out,))
    flat = _flat(g)
    results = []
    if needed[0]:
        w = saved[-1]
        gx = matmul_impl(xp, _out(outs, out), flat, w)
        results.append(gx if out is not None or g.ndim == 2 else gx.reshape((*g.shape[:-1], w.shape[1])))
    if needed[1]:
        results.append(matmul_impl(xp, _out(outs, out), flat.T, _flat(saved[0])))
    if needed[2]:
        results.append(xp.reduce("add", flat, 0, _out(outs, out)))
    return tuple(results) if len(results) > 1 else results[0]


def _out(outs: Any, out: Any) -> Any:
    return None if out is None else _flat_out(next(outs))


def _flat_out(out: Any) -> Any:
    return out if out.ndim < 3 else _flat(out)


def _vjp_meaning(*operands: Any) -> Any:
    g, *saved, needed = operands
    rows = reshape(g, _rows(g.shape)) if len(g.shape) != 2 else g
    results = []
    if needed[0]:
        results.append(matmul(g, saved[-1]))
    if needed[1]:
        x = saved[0]
        results.append(matmul(transpose(rows), reshape(x, _rows(x.shape)) if len(x.shape) != 2 else x))
    if needed[2]:
        results.append(bind(sum_op, (rows,), ((0,), False)))
    return tuple(results) if len(results) > 1 else results[0]


def _vjp_shape(*operands: Any) -> Any:
    g, *saved, needed = operands
    results = []
    if needed[0]:
        results.append(g.update(shape=(*g.shape[:-1], saved[-1].shape[1])))
    if needed[1]:
        results.append(g.update(shape=(g.shape[-1], saved[0].shape[-1])))
    if needed[2]:
        results.append(g.update(shape=g.shape[-1:]))
    return tuple(results) if len(results) > 1 else results[0]


def _saves(needed: Any, params: Any) -> Saved:
    return Saved((*((0,) if needed[1] else ()), *((1,) if needed[0] else ())))


_BACK: dict[Any, Any] = {}


def _vjp_op(needed: Any, params: Any) -> Any:
    """One internal op per mask: what it reads and returns depends on the mask."""
    if needed not in _BACK:
        saved = [n for n, on in (("x", needed[1]), ("w", needed[0])) if on]
        op = fused(
            "linear_vjp",
            ("g", *saved),
            params=("needed",),
            meaning=_vjp_meaning,
            impl=_vjp_impl,
            abstract=_vjp_shape,
            outputs=int(needed[0]) + int(needed[1]) + int(needed[2]),
            cuda_half=True,
            internal=True,
        )
        _BACK[needed] = op, (needed,)
    return _BACK[needed]


linear_op: Op = fused(
    "linear",
    ("x", "w", "b"),
    promotion=Promotion.COMMON,
    meaning=lambda x, w, b: add(matmul(x, swapaxes(w, 0, 1)), b),
    impl=_impl,
    cuda_half=True,
    abstract=_shape,
    vjp_op=_vjp_op,
    saves=_saves,
    samples=(
        sample(normal(3, 4), normal(2, 4), normal(2)),
        sample(normal(4), normal(2, 4), normal(2)),
        sample(normal(2, 3, 4), normal(5, 4), normal(5)),
        sample(normal(0, 4), normal(2, 4), normal(2)),
    ),
    doc="x @ w.T + b.",
)


def _call(x: Any, w: Any, b: Any) -> Any:
    if x.ndim == w.ndim == 2 and b.ndim == 1 and len(b) == len(w):
        y = x.dot(w.T)
        return np.add(y, b, y)
    return _impl(NUMPY, None, x, w, b)


def _raw(needed: Any) -> Any:
    """The calls of `_vjp_impl` on matrices, and nothing else."""
    general = raw_vjp(linear_op)(needed)
    for_x, for_w, for_b = needed
    column_sum = np.add.reduce

    def raw(r: Any, g: Any) -> Any:
        if g.ndim != 2:
            return general(r, g)
        saved = r.saved
        return (
            g.dot(saved[-1]) if for_x else None,
            g.T.dot(saved[0]) if for_w else None,
            column_sum(g, 0) if for_b else None,
        )

    return raw


_linear = public(linear_op, _raw, _call)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """Affine map x @ weight.T + bias.

    Args:
        x: tensor of shape (..., n).
        weight: tensor of shape (m, n).
        bias: tensor of shape (m,), or None.

    Returns:
        Tensor of shape (..., m).

    Example:
        >>> import gradcore as gc
        >>> gc.linear(gc.tensor([1.0, 2.0]), gc.tensor([[10.0, 1.0]]), gc.tensor([0.5]))
        tensor([12.5], dtype=float32, device='cpu')
    """
    if bias is None:
        return matmul(x, swapaxes(named_tensor(weight, "linear"), 0, 1))
    return _linear(x, weight, bias)
