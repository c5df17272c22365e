"""Softmax and the loss functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.backend.numpy_backend import numpy_kernel
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.core.tensor import Tensor
from gradcore.ops.arithmetic import div, equal, exp, log, mul, square, sub, where
from gradcore.ops.elementwise import Scalar, make_op
from gradcore.ops.fused import fused, raw_vjp
from gradcore.ops.operands import as_operand, as_tensor
from gradcore.ops.reductions import _finite, as_floating, logsumexp, max_op, mean, sum_op
from gradcore.ops.reductions import sum as sum_
from gradcore.ops.samples import integers, normal, sample
from gradcore.ops.shapes import broadcast_to, cast, expand_dims, moveaxis, stop_gradient
from gradcore.ops.structural import normal_axis, public

# --- softmax over the last axis ---------------------------------------------------------------------------------------


def _softmax_meaning(x: Any) -> Any:
    parts = exp(sub(x, _finite(stop_gradient(bind(max_op, (x,), ((len(x.shape) - 1,), True))))))
    return div(parts, bind(sum_op, (parts,), ((len(x.shape) - 1,), True)))


def _softmax_impl(xp: Any, out: Any, x: Any) -> Any:
    np = xp.np
    y = xp.empty(x.shape, x.dtype) if out is None else out
    row = xp.scratch((*x.shape[:-1], 1), x.dtype)
    _shifted(np, x, row, y)
    np.exp(y, y)
    np.add.reduce(y, -1, None, row, True)
    return np.true_divide(y, row, y)


def _shifted(np: Any, x: Any, row: Any, y: Any) -> None:
    """Write x - max(x) to y, where the maximum is finite; `row` holds the maximum afterwards."""
    np.maximum.reduce(x, -1, None, row, True)
    if not np.isfinite(row).all():
        np.copyto(row, 0, where=~np.isfinite(row))
    np.subtract(x, row, y)


def _softmax_vjp_impl(xp: Any, out: Any, g: Any, y: Any) -> Any:
    np = xp.np
    gx = xp.empty(y.shape, y.dtype) if out is None else out
    row = xp.scratch((*y.shape[:-1], 1), y.dtype)
    np.multiply(g, y, gx)
    np.add.reduce(gx, -1, None, row, True)
    np.subtract(g, row, gx)
    return np.multiply(gx, y, gx)


def _softmax_vjp_meaning(g: Any, y: Any) -> Any:
    return mul(sub(g, bind(sum_op, (mul(g, y),), ((len(y.shape) - 1,), True))), y)


softmax_vjp_op: Op = fused(
    "softmax_vjp",
    ("g", "y"),
    meaning=_softmax_vjp_meaning,
    impl=_softmax_vjp_impl,
    abstract=lambda g, y: y.update(shape=y.shape),
    batch=lambda size, mapped, xs, params: bind(softmax_vjp_op, _all_mapped(size, mapped, xs)),
    samples=(sample(normal(3, 4), normal(3, 4)), sample(normal(4), normal(4))),
    doc="Backward of softmax, (g - sum(g * y)) * y.",
)


def _all_mapped(size: int, mapped: Any, xs: Any) -> list[Any]:
    return [x if own else broadcast_to(x, (size, *x.shape)) for x, own in zip(xs, mapped, strict=True)]


softmax_op: Op = fused(
    "softmax",
    ("x",),
    promotion=Promotion.FLOAT,
    meaning=_softmax_meaning,
    impl=_softmax_impl,
    abstract=lambda x: x.update(shape=x.shape),
    vjp_op=lambda needed, params: (softmax_vjp_op, ()),
    saves=lambda needed, params: Saved((), (0,)),
    batch=lambda size, mapped, xs, params: bind(softmax_op, xs),
    samples=(sample(normal(3, 4)), sample(normal(4)), sample(normal(2, 1, 3)), sample(normal(0, 3))),
    doc="exp(x) / sum(exp(x)) over the last axis.",
)
_softmax = public(softmax_op, raw_vjp(softmax_op))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) over an axis, without overflow."""
    x = as_floating(x, softmax_op)
    axis = normal_axis(axis, len(x.shape))
    last = len(x.shape) - 1
    return _softmax(x) if axis == last else moveaxis(_softmax(moveaxis(x, axis, last)), last, axis)


# --- cross entropy ----------------------------------------------------------------------------------------------------

REDUCTIONS = ("mean", "sum", "none")


def _one_hot(labels: Any, classes: int) -> Any:
    return equal(expand_dims(labels, len(labels.shape)), Tensor(np.arange(classes)))


def _reduced(rows: Any, reduction: str) -> Any:
    return mean(rows) if reduction == "mean" else sum_(rows) if reduction == "sum" else rows


def _weights(g: Any, shape: tuple[int, ...], reduction: str) -> Any:
    """The cotangent of each row, with an axis of size 1 for the classes."""
    if reduction == "none":
        return expand_dims(g, len(g.shape))
    return div(g, int(np.prod(shape, dtype=np.int64))) if reduction == "mean" else g


def _cross_entropy_meaning(x: Any, labels: Any, reduction: str) -> Any:
    last = (len(x.shape) - 1,)
    z = sub(x, _finite(stop_gradient(bind(max_op, (x,), (last, True)))))
    picked = bind(sum_op, (where(_one_hot(labels, x.shape[-1]), z, 0.0),), (last, False))
    return _reduced(sub(log(bind(sum_op, (exp(z),), (last, False))), picked), reduction)


def _check_labels(labels: Any, classes: int) -> None:
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"'cross_entropy': labels must lie in [0, {classes}), got {labels.min()} to {labels.max()}")


def _cross_entropy_impl(xp: Any, out: Any, x: Any, labels: Any, reduction: str) -> Any:
    np = xp.np
    _check_labels(labels, x.shape[-1])
    row = xp.scratch((*x.shape[:-1], 1), x.dtype)
    z = xp.scratch(x.shape, x.dtype)
    _shifted(np, x, row, z)
    picked = np.take_along_axis(z, labels[..., None], -1)
    np.exp(z, z)
    np.add.reduce(z, -1, None, row, True)
    np.log(row, row)
    np.subtract(row, picked, row)
    rows = row.reshape(labels.shape)
    if reduction == "none":
        return rows.copy() if out is None else _copied(np, out, rows)
    total = np.add.reduce(rows, None, None, out)
    return total if reduction == "sum" else np.true_divide(total, rows.size, out)


def _copied(np: Any, out: Any, x: Any) -> Any:
    np.copyto(out, x)
    return out


def _cross_entropy_shape(x: Aval, labels: Aval, reduction: str) -> Aval:
    if not x.shape or x.shape[:-1] != labels.shape:
        raise ValueError(f"'cross_entropy': logits {x.shape} need labels of shape {x.shape[:-1]}, not {labels.shape}")
    return x.update(shape=labels.shape if reduction == "none" else ())


def _cross_entropy_vjp_meaning(g: Any, x: Any, labels: Any, reduction: str) -> Any:
    hits = cast(_one_hot(labels, x.shape[-1]), x.dtype)
    return mul(sub(_softmax_meaning(x), hits), _weights(g, labels.shape, reduction))


def _cross_entropy_vjp_impl(xp: Any, out: Any, g: Any, x: Any, labels: Any, reduction: str) -> Any:
    np = xp.np
    gx = _softmax_impl(xp, out, x)
    flat = gx.reshape((-1, gx.shape[-1]))
    flat[np.arange(flat.shape[0]), labels.reshape(-1)] -= 1
    if reduction == "mean":
        g = np.true_divide(g, labels.size)
    return np.multiply(gx, g[..., None] if reduction == "none" else g, gx)


cross_entropy_vjp_op: Op = fused(
    "cross_entropy_vjp",
    ("g", "x", "labels"),
    params=("reduction",),
    differentiable=(True, True, False),
    meaning=_cross_entropy_vjp_meaning,
    impl=_cross_entropy_vjp_impl,
    abstract=lambda g, x, labels, reduction: x.update(shape=x.shape),
    samples=(
        sample(normal(), normal(3, 4), integers(3), params=("mean",)),
        sample(normal(3), normal(3, 4), integers(3), params=("none",)),
    ),
    doc="Backward of cross_entropy, (softmax(x) - one_hot(labels)) * g.",
)


def _cross_entropy_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    x, labels = xs
    away = sub(_softmax_meaning(x), cast(_one_hot(labels, x.shape[-1]), x.dtype))
    return _reduced(sum_(mul(away, tangents[0]), -1), params[0])


def _cross_entropy_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    """All rows at once, so that labels are checked, then the reduction of each example."""
    rows = bind(cross_entropy_op, _all_mapped(size, mapped, xs), ("none",))
    axes = tuple(range(1, len(rows.shape)))
    return rows if params[0] == "none" else mean(rows, axes) if params[0] == "mean" else sum_(rows, axes)


cross_entropy_op: Op = fused(
    "cross_entropy",
    ("x", "labels"),
    params=("reduction",),
    differentiable=(True, False),
    meaning=_cross_entropy_meaning,
    impl=_cross_entropy_impl,
    abstract=_cross_entropy_shape,
    vjp_op=lambda needed, params: (cross_entropy_vjp_op, params),
    jvp=_cross_entropy_jvp,
    batch=_cross_entropy_batch,
    saves=lambda needed, params: Saved((0, 1)),
    samples=(
        sample(normal(3, 4), integers(3), params=("mean",)),
        sample(normal(3, 4), integers(3), params=("none",)),
        sample(normal(2, 3, 4), integers(2, 3), params=("sum",)),
        sample(normal(4), integers(), params=("mean",)),
    ),
    doc="log(sum(exp(x))) - x[label] over the last axis.",
)
_cross_entropy = public(cross_entropy_op, lambda needed: raw_vjp_of_first(cross_entropy_op, needed))


def raw_vjp_of_first(op: Any, needed: Any) -> Any:
    """The raw backward of an op whose second operand has no gradient."""
    inner = raw_vjp(op)((True,))
    return lambda r, g: (*inner(r, g), None)


def cross_entropy(logits: Any, labels: Any, reduction: str = "mean") -> Any:
    """Cross entropy between softmax(logits) and labels.

    Args:
        logits: tensor of shape (..., classes).
        labels: integers of shape (...), or probabilities of shape (..., classes).
        reduction: "mean", "sum" or "none" over the examples.

    Returns:
        A scalar, or a tensor of shape (...) for "none".

    Raises:
        ValueError: shapes do not fit, or a label is outside [0, classes).
    """
    _check_reduction(reduction)
    logits = as_floating(logits, cross_entropy_op)
    labels = as_tensor(as_operand(labels, cross_entropy_op))
    if labels.dtype.kind == "f":
        return _soft_cross_entropy(logits, labels, reduction)
    if not logits.shape or logits.shape[:-1] != labels.shape:
        _cross_entropy_shape(logits.aval, labels.aval, reduction)
    return _cross_entropy(logits, labels, reduction)


def _soft_cross_entropy(logits: Any, labels: Any, reduction: str) -> Any:
    if labels.shape != logits.shape:
        raise ValueError(f"'cross_entropy': probabilities {labels.shape} must have the shape of logits {logits.shape}")
    return _reduced(-sum_(mul(labels, log_softmax(logits)), -1), reduction)


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x)) over an axis, without overflow."""
    return sub(x, logsumexp(x, axis, keepdims=True))


# --- mean squared error -----------------------------------------------------------------------------------------------


def _mse_impl(xp: Any, out: Any, x: Any, target: Any) -> Any:
    np = xp.np
    _check_targets(x, target)
    d = np.subtract(x, target, xp.scratch(x.shape, x.dtype))
    np.multiply(d, d, d)
    total = np.add.reduce(d, None, None, out)
    return np.true_divide(total, x.size, out)


def _mse_call(x: Any, target: Any) -> Any:
    _check_targets(x, target)
    if not x.ndim or not x.flags.c_contiguous or not target.flags.c_contiguous:
        return _mse_impl(NUMPY, None, x, target)
    d = np.subtract(x, target)
    return np.add.reduce(np.multiply(d, d, d), None) / d.size


def _check_targets(x: Any, target: Any) -> None:
    if x.shape != target.shape:
        raise ValueError(f"'mse': predictions {x.shape} and targets {target.shape} must have one shape")


def _mse_shape(x: Aval, target: Aval) -> Aval:
    _check_targets(x, target)
    return x.update(shape=())


mse_gradient_op: Op = make_op(
    Scalar(
        "mse_gradient",
        ("scale", "x", "target"),
        lambda scale, x, target: scale * (x - target),
        doc="Gradient of the mean squared error for scale = g * 2 / N.",
        hyper=("scale",),
    ),
    Promotion.COMMON,
    (sample(normal(), normal(3, 4), normal(3, 4)),),
    "Gradient of the mean squared error, scale * (x - target) with scale = g * 2 / N.",
)


def _mse_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    x, target = xs
    gx = bind(mse_gradient_op, (mul(g, 2.0 / _size(x)), x, target))
    return gx if needed[0] else None, -gx if needed[1] else None


def _size(x: Any) -> int:
    return max(int(np.prod(x.shape, dtype=np.int64)), 1)


def _mse_raw(needed: Any) -> Any:
    kernel = numpy_kernel(mse_gradient_op.spec.forward).call
    first, second = needed
    scales: dict[Any, Any] = {}

    def raw(r: Any, g: Any) -> Any:
        x, target = r.saved
        key = x.size, x.dtype
        if key not in scales:
            scales[key] = np.asarray(2.0 / (x.size or 1), x.dtype)
        scale = np.multiply(g, scales[key])
        if x.ndim and x.flags.c_contiguous and target.flags.c_contiguous:
            gx = np.subtract(x, target)
            np.multiply(scale, gx, gx)
        else:
            gx = np.asarray(kernel(scale, x, target))
        return gx if first else None, np.negative(gx) if second else None

    return raw


mse_op: Op = fused(
    "mse",
    ("x", "target"),
    promotion=Promotion.FLOAT,
    meaning=lambda x, target: mean(square(sub(x, target))),
    impl=_mse_impl,
    abstract=_mse_shape,
    vjp=_mse_vjp,
    saves=lambda needed, params: Saved((0, 1)),
    samples=(sample(normal(3, 4), normal(3, 4)), sample(normal(), normal())),
    doc="Mean squared error.",
)
_mse = public(mse_op, _mse_raw, _mse_call)


def mse(x: Any, target: Any, reduction: str = "mean") -> Any:
    """Squared error between predictions and targets of one shape.

    Args:
        x: predictions.
        target: targets.
        reduction: "mean", "sum" or "none".
    """
    if reduction == "mean":
        return _mse(x, target)
    _check_reduction(reduction)
    _check_targets(as_tensor(x), as_tensor(target))
    return _reduced(square(sub(x, target)), reduction)
