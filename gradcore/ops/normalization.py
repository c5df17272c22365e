"""Layer normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.kernels.layer_norm import LAYER_NORM, LAYER_NORM_VJP
from gradcore.ops.arithmetic import add, div, mul, sqrt, square, sub
from gradcore.ops.fused import fused
from gradcore.ops.reductions import mean_op, sum_op
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import public


def _standardized(x: Any, eps: float) -> tuple[Any, Any, Any]:
    """(x - mean) / sqrt(variance + eps) over the last axis, the mean, and 1 / sqrt(variance + eps)."""
    last = (len(x.shape) - 1,)
    average = bind(mean_op, (x,), (last, True))
    centred = sub(x, average)
    rstd = div(1.0, sqrt(add(bind(mean_op, (square(centred),), (last, True)), eps)))
    return mul(centred, rstd), average, rstd


def _meaning(x: Any, w: Any, b: Any, eps: float) -> Any:
    z, average, rstd = _standardized(x, eps)
    return add(mul(z, w), b), average, rstd


def _impl(xp: Any, out: Any, x: Any, w: Any, b: Any, eps: float) -> Any:
    np = xp.np
    rows = (*x.shape[:-1], 1)
    y, average, rstd = (
        (xp.empty(x.shape, x.dtype), xp.empty(rows, x.dtype), xp.empty(rows, x.dtype)) if (out is None) else out
    )
    n = x.shape[-1]
    xp.reduce("add", x, -1, average, True)
    np.true_divide(average, n, average)
    centred = np.subtract(x, average, xp.scratch(x.shape, x.dtype))
    np.multiply(centred, centred, y)
    xp.reduce("add", y, -1, rstd, True)
    np.true_divide(rstd, n, rstd)
    np.add(rstd, eps, rstd)
    np.sqrt(rstd, rstd)
    np.true_divide(1.0, rstd, rstd)
    np.multiply(centred, rstd, y)
    np.multiply(y, w, y)
    np.add(y, b, y)
    return y, average, rstd


def _shape(x: Aval, w: Aval, b: Aval, eps: float) -> Any:
    if not x.shape or w.shape != x.shape[-1:] or b.shape != w.shape:
        raise ValueError(
            f"'layer_norm': weight {w.shape} and bias {b.shape} must have the shape {x.shape[-1:]} of the last axis of "
            f"x {x.shape}"
        )
    rows = x.update(shape=(*x.shape[:-1], 1), dtype=np.float32 if x.dtype.itemsize == 2 else x.dtype)
    return x.update(shape=x.shape), rows, rows


def _vjp_meaning(g: Any, x: Any, w: Any, average: Any, rstd: Any, eps: float) -> Any:
    """Recomputes mean and deviation from x: the auxiliary operands are for implementations only."""
    z, _, r = _standardized(x, eps)
    last = len(x.shape) - 1
    gz = mul(g, w)
    inner = sub(gz, bind(mean_op, (gz,), ((last,), True)))
    gx = mul(sub(inner, mul(z, bind(mean_op, (mul(gz, z),), ((last,), True)))), r)
    before = tuple(range(last))
    return gx, bind(sum_op, (mul(g, z),), (before, False)), bind(sum_op, (g,), (before, False))


def _vjp_impl(xp: Any, out: Any, g: Any, x: Any, w: Any, average: Any, rstd: Any, eps: float) -> Any:
    np = xp.np
    gx, gw, gb = (
        (xp.empty(x.shape, x.dtype), xp.empty(w.shape, x.dtype), xp.empty(w.shape, x.dtype)) if (out is None) else out
    )
    before = tuple(range(x.ndim - 1))
    n = x.shape[-1]
    rows = (*x.shape[:-1], 1)
    z = np.subtract(x, average, xp.scratch(x.shape, x.dtype))
    np.multiply(z, rstd, z)
    np.multiply(g, z, gx)
    xp.reduce("add", gx, before, gw)
    xp.reduce("add", g, before, gb)
    gz = np.multiply(g, w, xp.scratch(x.shape, x.dtype))
    row = xp.reduce("add", gz, -1, xp.scratch(rows, x.dtype), True)
    np.true_divide(row, n, row)
    np.subtract(gz, row, gx)
    np.multiply(gz, z, gz)
    xp.reduce("add", gz, -1, row, True)
    np.true_divide(row, n, row)
    np.multiply(z, row, z)
    np.subtract(gx, z, gx)
    np.multiply(gx, rstd, gx)
    return gx, gw, gb


def _vjp_shape(g: Aval, x: Aval, w: Aval, average: Aval, rstd: Aval, eps: float) -> Any:
    return x.update(shape=x.shape), w.update(shape=w.shape), w.update(shape=w.shape)


def _pull(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    parts = bind(layer_norm_vjp_op, (g, xs[0], xs[1], ys[1], ys[2]), params)
    return tuple([p if need else None for p, need in zip(parts, needed, strict=True)])


layer_norm_vjp_op: Op = fused(
    "layer_norm_vjp",
    ("g", "x", "w", "average", "rstd"),
    params=("eps",),
    outputs=3,
    differentiable=(True, True, True, False, False),
    meaning=_vjp_meaning,
    impl=_vjp_impl,
    kernels={"cuda": LAYER_NORM_VJP},
    abstract=_vjp_shape,
    internal=True,
    doc="Backward of layer_norm: gradients of x, weight and bias.",
)

layer_norm_op: Op = fused(
    "layer_norm",
    ("x", "w", "b"),
    params=("eps",),
    outputs=3,
    aux=2,
    promotion=Promotion.COMMON,
    meaning=_meaning,
    impl=_impl,
    kernels={"cuda": LAYER_NORM},
    abstract=_shape,
    vjp=_pull,
    saves=lambda needed, params: Saved((0, 1), (1, 2)),
    samples=(
        sample(normal(3, 4), normal(4), normal(4), params=(1e-5,)),
        sample(normal(5), normal(5), normal(5), params=(1e-5,)),
        sample(normal(2, 3, 4), normal(4), normal(4), params=(0.1,)),
        sample(normal(0, 4), normal(4), normal(4), params=(1e-5,)),
    ),
    doc="(x - mean) / sqrt(variance + eps) * w + b over the last axis (Ba, Kiros and Hinton, 2016, arXiv:1607.06450).",
)
_layer_norm = public(layer_norm_op, lambda needed: _raw(needed))


def _raw(needed: Any) -> Any:
    def raw(r: Any, g: Any) -> Any:
        parts = _vjp_impl(NUMPY, None, g, *r.saved, *r.params)
        return tuple([p if need else None for p, need in zip(parts, needed, strict=True)])

    return raw


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Any:
    """Normalise over the last axis, then scale and shift.

    Args:
        x: tensor of shape (..., n).
        weight: tensor of shape (n,).
        bias: tensor of shape (n,).
        eps: added to the variance.

    Example:
        >>> import gradcore as gc
        >>> gc.layer_norm(gc.tensor([[1.0, 3.0]]), gc.ones(2), gc.zeros(2), 0.0)
        tensor([[-1.,  1.]], dtype=float32, device='cpu')
    """
    return _layer_norm(x, weight, bias, eps)
