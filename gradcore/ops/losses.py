"""Losses of labels: cross entropy and negative log-likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcore.autodiff.record import is_ones
from gradcore.backend import is_cupy
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.core.state import state
from gradcore.core.tensor import Tensor
from gradcore.kernels.cross_entropy import CROSS_ENTROPY, CROSS_ENTROPY_VJP, CROSS_ENTROPY_WITH_GRADIENT
from gradcore.ops.arithmetic import div, equal, exp, log, mul, sub, where
from gradcore.ops.conversion import cast, stop_gradient
from gradcore.ops.creation import arange_on, ones_like
from gradcore.ops.fused import fused, raw_vjp
from gradcore.ops.operands import bind_general, named_tensor
from gradcore.ops.reductions import as_floating, max_op, mean, sum_op
from gradcore.ops.reductions import sum as sum_
from gradcore.ops.samples import integers, normal, sample
from gradcore.ops.shapes import expand_dims
from gradcore.ops.softmax import all_mapped, finite, log_softmax, shifted, softmax_impl, softmax_meaning
from gradcore.ops.structural import public

REDUCTIONS = ("mean", "sum", "none")


def _one_hot(labels: Any, classes: int) -> Any:
    return equal(expand_dims(labels, len(labels.shape)), arange_on(labels, classes))


def reduced(rows: Any, reduction: str) -> Any:
    return mean(rows) if reduction == "mean" else sum_(rows) if reduction == "sum" else rows


def check_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"'{name}': reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")


def _weights(g: Any, shape: tuple[int, ...], reduction: str) -> Any:
    """The cotangent of each row, with an axis of size 1 for the classes."""
    if reduction == "none":
        return expand_dims(g, len(g.shape))
    return div(g, int(np.prod(shape, dtype=np.int64))) if reduction == "mean" else g


def _cross_entropy_meaning(x: Any, labels: Any, reduction: str) -> Any:
    last = (len(x.shape) - 1,)
    z = sub(x, finite(stop_gradient(bind(max_op, (x,), (last, True)))))
    picked = bind(sum_op, (where(_one_hot(labels, x.shape[-1]), z, 0.0),), (last, False))
    return reduced(sub(log(bind(sum_op, (exp(z),), (last, False))), picked), reduction)


def _check_labels(name: str, labels: Any, classes: int) -> None:
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"'{name}': labels must lie in [0, {classes}), got {labels.min()} to {labels.max()}")


def _cross_entropy_impl(xp: Any, out: Any, x: Any, labels: Any, reduction: str) -> Any:
    np = xp.np
    _check_labels("cross_entropy", labels, x.shape[-1])
    row = xp.scratch((*x.shape[:-1], 1), x.dtype)
    z = xp.scratch(x.shape, x.dtype)
    shifted(xp, x, row, z)
    picked = np.take_along_axis(z, labels[..., None], -1)
    np.exp(z, z)
    xp.reduce("add", z, -1, row, True)
    np.log(row, row)
    np.subtract(row, picked, row)
    rows = row.reshape(labels.shape)
    if reduction == "none":
        return rows.copy() if out is None else _copied(np, out, rows)
    total = xp.reduce("add", rows, None, out)
    return total if reduction == "sum" else np.true_divide(total, rows.size, out)


def _copied(np: Any, out: Any, x: Any) -> Any:
    np.copyto(out, x)
    return out


def _check_shapes(name: str, x: Any, labels: Any) -> None:
    if not x.shape or x.shape[:-1] != labels.shape:
        moved = x.shape and labels.shape == (x.shape[0], *x.shape[2:])
        cure = "; classes are on the last axis, so pass moveaxis(scores, 1, -1)" if moved else ""
        raise ValueError(f"'{name}': scores {x.shape} need labels of shape {x.shape[:-1]}, not {labels.shape}{cure}")


def _shape_rule(name: str) -> Any:
    def abstract(x: Aval, labels: Aval, reduction: str) -> Aval:
        _check_shapes(name, x, labels)
        return x.update(shape=labels.shape if reduction == "none" else ())

    return abstract


def _cross_entropy_vjp_meaning(g: Any, x: Any, labels: Any, reduction: str) -> Any:
    hits = cast(_one_hot(labels, x.shape[-1]), x.dtype)
    return mul(sub(softmax_meaning(x), hits), _weights(g, labels.shape, reduction))


def _cross_entropy_vjp_impl(xp: Any, out: Any, g: Any, x: Any, labels: Any, reduction: str) -> Any:
    np = xp.np
    gx = softmax_impl(xp, out, x)
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
    kernels={"cuda": CROSS_ENTROPY_VJP},
    abstract=lambda g, x, labels, reduction: x.update(shape=x.shape),
    samples=(
        sample(normal(), normal(3, 4), integers(3), params=("mean",)),
        sample(normal(3), normal(3, 4), integers(3), params=("none",)),
    ),
    doc="Backward of cross_entropy, (softmax(x) - one_hot(labels)) * g.",
)


def _cross_entropy_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    x, labels = xs
    away = sub(softmax_meaning(x), cast(_one_hot(labels, x.shape[-1]), x.dtype))
    return reduced(sum_(mul(away, tangents[0]), -1), params[0])


def _batch(op: Callable[[], Op]) -> Any:
    def batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
        """All rows at once, so that labels are checked, then the reduction of each example."""
        rows = bind(op(), all_mapped(size, mapped, xs), ("none",))
        axes = tuple(range(1, len(rows.shape)))
        return rows if params[0] == "none" else mean(rows, axes) if params[0] == "mean" else sum_(rows, axes)

    return batch


cross_entropy_op: Op = fused(
    "cross_entropy",
    ("x", "labels"),
    params=("reduction",),
    differentiable=(True, False),
    meaning=_cross_entropy_meaning,
    impl=_cross_entropy_impl,
    kernels={"cuda": CROSS_ENTROPY},
    abstract=_shape_rule("cross_entropy"),
    vjp_op=lambda needed, params: (cross_entropy_vjp_op, params),
    jvp=_cross_entropy_jvp,
    batch=_batch(lambda: cross_entropy_op),
    saves=lambda needed, params: Saved((0, 1)),
    samples=(
        sample(normal(3, 4), integers(3), params=("mean",)),
        sample(normal(3, 4), integers(3), params=("none",)),
        sample(normal(2, 3, 4), integers(2, 3), params=("sum",)),
        sample(normal(4), integers(), params=("mean",)),
    ),
    doc="log(sum(exp(x))) - x[label] over the last axis.",
)


# On CUDA, one kernel gives the loss and the gradient of the logits, in one read and one write, so `backward()` has
# nothing left to compute.  A gradient that was computed beforehand is a constant: only `Tensor.backward()`, which is of
# first order by definition, may use it; transforms see `cross_entropy`.  Nor is it for float16, where
# it would be rounded, or vanish, before the scale that a loss is given lest it does.


def _with_gradient_impl(xp: Any, out: Any, x: Any, labels: Any, reduction: str) -> Any:
    loss, gradient = (None, None) if out is None else out
    loss = _cross_entropy_impl(xp, loss, x, labels, reduction)
    g = xp.np.ones(labels.shape if reduction == "none" else (), x.dtype)
    return loss, _cross_entropy_vjp_impl(xp, gradient, g, x, labels, reduction)


def _with_gradient_meaning(x: Any, labels: Any, reduction: str) -> Any:
    loss = _cross_entropy_meaning(x, labels, reduction)
    return loss, _cross_entropy_vjp_meaning(ones_like(loss), x, labels, reduction)


def _scaled_gradient(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    if is_ones(g):
        return ys[1], None
    return mul(ys[1], expand_dims(g, len(g.shape)) if params[0] == "none" else g), None


cross_entropy_with_gradient_op: Op = fused(
    "cross_entropy_with_gradient",
    ("x", "labels"),
    params=("reduction",),
    outputs=2,
    aux=1,
    differentiable=(True, False),
    meaning=_with_gradient_meaning,
    impl=_with_gradient_impl,
    kernels={"cuda": CROSS_ENTROPY_WITH_GRADIENT},
    abstract=lambda x, labels, reduction: (_shape_rule("cross_entropy")(x, labels, reduction), x.update(shape=x.shape)),
    vjp=_scaled_gradient,
    saves=lambda needed, params: Saved((), (1,)),
    internal=True,
    doc="cross_entropy and its gradient, for backward() on CUDA.",
)


def _is_recorded_on_cuda(x: Any) -> bool:
    """Will `backward()`, and nothing else, differentiate what is computed from x?"""
    return type(x) is Tensor and is_cupy(x.data) and x.node is not None and state.recording


_cross_entropy = public(cross_entropy_op, lambda needed: raw_vjp_of_first(cross_entropy_op, needed))


def raw_vjp_of_first(op: Any, needed: Any) -> Any:
    """The raw backward of an op whose second operand has no gradient."""
    inner = raw_vjp(op)((True,))
    return lambda r, g: (*inner(r, g), None)


def cross_entropy(logits: Any, labels: Any, reduction: str = "mean") -> Any:
    """Cross entropy between softmax(logits) and labels.

    Classes are on the last axis. PyTorch has them on axis 1; for (examples, classes) that is the same, for more axes
    pass `moveaxis(logits, 1, -1)`. PyTorch's `weight`, `ignore_index` and `label_smoothing` are not there: weigh or
    select what reduction="none" gives, and pass smoothed labels as probabilities.

    Args:
        logits: tensor of shape (..., classes).
        labels: integers of shape (...), or probabilities of shape (..., classes).
        reduction: "mean", "sum" or "none" over the examples.

    Returns:
        A scalar, or a tensor of shape (...) for "none".

    Raises:
        TypeError: labels are booleans.
        ValueError: shapes do not fit, or a label is outside [0, classes). On CUDA a label outside gives a loss of NaN
            instead: to look at the labels, the CPU would have to wait for the GPU.

    Example:
        >>> import gradcore as gc
        >>> gc.cross_entropy(gc.tensor([[0.0, -1000.0], [0.0, -1000.0]]), gc.tensor([0, 1]), reduction="none")
        tensor([   0., 1000.], dtype=float32, device='cpu')
    """
    check_reduction("cross_entropy", reduction)
    logits = as_floating(logits, "cross_entropy")
    labels = named_tensor(labels, "cross_entropy")
    if labels.dtype.kind == "f":
        return _soft_cross_entropy(logits, labels, reduction)
    if labels.dtype.kind == "b":
        raise TypeError("'cross_entropy' needs integer labels or probabilities, not bool; cast with .astype('int64')")
    _check_shapes("cross_entropy", logits, labels)
    if _is_recorded_on_cuda(logits) and logits.dtype != np.float16:
        return bind_general(cross_entropy_with_gradient_op, (logits, labels), (reduction,))
    return _cross_entropy(logits, labels, reduction)


def _soft_cross_entropy(logits: Any, labels: Any, reduction: str) -> Any:
    if labels.shape != logits.shape:
        raise ValueError(f"'cross_entropy': probabilities {labels.shape} must have the shape of logits {logits.shape}")
    return reduced(-sum_(mul(labels, log_softmax(logits)), -1), reduction)


# --- negative log-likelihood ------------------------------------------------------------------------------------------


def _nll_meaning(x: Any, labels: Any, reduction: str) -> Any:
    picked = where(_one_hot(labels, x.shape[-1]), x, 0.0)
    return reduced(-bind(sum_op, (picked,), ((len(x.shape) - 1,), False)), reduction)


def _nll_impl(xp: Any, out: Any, x: Any, labels: Any, reduction: str) -> Any:
    np = xp.np
    if xp.checks_values:
        _check_labels("nll_loss", labels, x.shape[-1])
    rows = np.negative(np.take_along_axis(x, labels[..., None], -1)).reshape(labels.shape)
    if reduction == "none":
        return rows if out is None else _copied(np, out, rows)
    total = xp.reduce("add", rows, None, out)
    return total if reduction == "sum" else np.true_divide(total, rows.size, out)


def _nll_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    x, labels = xs
    return where(_one_hot(labels, x.shape[-1]), -_weights(g, labels.shape, params[0]), 0.0), None


nll_op: Op = fused(
    "nll_loss",
    ("x", "labels"),
    params=("reduction",),
    differentiable=(True, False),
    meaning=_nll_meaning,
    impl=_nll_impl,
    abstract=_shape_rule("nll_loss"),
    vjp=_nll_vjp,
    jvp=lambda tangents, xs, ys, params: bind(nll_op, (tangents[0], xs[1]), params),
    batch=_batch(lambda: nll_op),
    saves=lambda needed, params: Saved((1,)),
    samples=(
        sample(normal(3, 4), integers(3), params=("mean",)),
        sample(normal(3, 4), integers(3), params=("none",)),
        sample(normal(2, 3, 4), integers(2, 3), params=("sum",)),
        sample(normal(4), integers(), params=("mean",)),
        sample(normal(0, 4), integers(0), params=("none",), label="empty"),
    ),
    doc="-x[label] over the last axis.",
)
_nll = public(nll_op)


def nll_loss(log_probabilities: Any, labels: Any, reduction: str = "mean") -> Any:
    """Negative log-likelihood of labels.

    Classes are on the last axis, as for `cross_entropy`.

    Args:
        log_probabilities: tensor of shape (..., classes), as `log_softmax` gives them.
        labels: integers of shape (...).
        reduction: "mean", "sum" or "none" over the examples.

    Returns:
        A scalar, or a tensor of shape (...) for "none".

    Raises:
        TypeError: labels are not integers.
        ValueError: shapes do not fit, or a label is outside [0, classes). On CUDA such a label wraps around instead.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.functional.nll_loss(gc.tensor([[-1.0, -2.0], [-3.0, -4.0]]), gc.tensor([0, 1]))
        tensor(2.5, dtype=float32, device='cpu')
    """
    check_reduction("nll_loss", reduction)
    x, labels = as_floating(log_probabilities, "nll_loss"), named_tensor(labels, "nll_loss")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"'nll_loss' needs integer labels, not {labels.dtype}; cross_entropy takes probabilities")
    _check_shapes("nll_loss", x, labels)
    return _nll(x, labels, reduction)
