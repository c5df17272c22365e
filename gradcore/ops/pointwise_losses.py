"""Losses of predictions and targets of one shape.

`mse` is one fused op with one backward kernel.  The others are one elementwise kernel, then one reduction.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.autodiff.record import is_ones
from gradcore.backend import NUMPY
from gradcore.backend.numpy_backend import numpy_kernel
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.kernels import expr as e
from gradcore.kernels.spec import ReductionSpec
from gradcore.ops.arithmetic import div, mul, square, sub
from gradcore.ops.elementary import logistic
from gradcore.ops.elementwise import elementwise, make_op
from gradcore.ops.fused import fused
from gradcore.ops.losses import check_reduction, reduced
from gradcore.ops.operands import as_operand, named_tensor
from gradcore.ops.reductions import mean
from gradcore.ops.reductions import sum as sum_
from gradcore.ops.samples import binary, normal, sample
from gradcore.ops.scalar import Scalar
from gradcore.ops.structural import public

# --- mean squared error -----------------------------------------------------------------------------------------------


def _mse_impl(xp: Any, out: Any, x: Any, target: Any) -> Any:
    np = xp.np
    _check_targets("mse", x, target)
    d = np.subtract(x, target, xp.scratch(x.shape, x.dtype))
    np.multiply(d, d, d)
    total = xp.reduce("add", d, None, out)
    return np.true_divide(total, x.size, out)


def _mse_call(x: Any, target: Any) -> Any:
    _check_targets("mse", x, target)
    if not x.ndim or not x.flags.c_contiguous or not target.flags.c_contiguous:
        return _mse_impl(NUMPY, None, x, target)
    d = np.subtract(x, target)
    return np.add.reduce(np.multiply(d, d, d), None) / d.size


def _check_targets(name: str, x: Any, target: Any) -> None:
    if x.shape != target.shape:
        raise ValueError(f"'{name}': predictions {x.shape} and targets {target.shape} must have one shape")


def _mse_shape(x: Aval, target: Aval) -> Aval:
    _check_targets("mse", x, target)
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
    factor = 2.0 / _size(x)
    gx = bind(mse_gradient_op, (factor if is_ones(g) else mul(g, factor), x, target))
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
        return gx if first else None, np.asarray(np.negative(gx)) if second else None

    return raw


X, TARGET = e.var("x"), e.var("target")
mse_op: Op = fused(
    "mse",
    ("x", "target"),
    promotion=Promotion.FLOAT,
    meaning=lambda x, target: mean(square(sub(x, target))),
    impl=_mse_impl,
    kernels={"cuda": ReductionSpec("mse", ("x", "target"), (X - TARGET) * (X - TARGET), mean=True)},
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
        reduction: "mean", "sum" or "none" over the elements.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import gradcore as gc
        >>> gc.mse(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 4.0]))
        tensor(2., dtype=float32, device='cpu')
    """
    if reduction == "mean":
        return _mse(x, target)
    check_reduction("mse", reduction)
    return reduced(square(sub(*_pair("mse", x, target))), reduction)


# --- elementwise kernels ----------------------------------------------------------------------------------------------


def _gap(x: e.Expr, target: e.Expr, delta: e.Expr) -> e.Expr:
    """The difference, but between -delta and delta."""
    return e.minimum(e.maximum(x - target, -delta), delta)


def _huber(x: e.Expr, target: e.Expr, delta: e.Expr) -> e.Expr:
    size = e.abs(x - target)
    near = e.minimum(size, delta)
    return near * (size - 0.5 * near)


def _softplus(x: e.Expr) -> e.Expr:
    """The logarithm log(1 + exp(x)), with derivatives that are right at 0 in every order, as for `logistic`."""
    below, above = e.where(x < 0, x, 0), e.where(x < 0, 0, x)
    return above + e.log1p(e.exp(below - above))


def _excess(x: e.Expr, target: e.Expr) -> e.Expr:
    """The difference log(target) - x where the target is possible, else 0 (but a NaN stays)."""
    possible = e.not_equal(target, 0)
    return e.where(possible | e.isnan(x), e.log(e.where(possible, target, 1)) - x, 0)


def _excess_of_logs(x: e.Expr, target: e.Expr) -> e.Expr:
    return e.where(e.not_equal(target, -math.inf) | e.isnan(x), target - x, 0)


absolute_error = elementwise(
    "absolute_error",
    lambda x, target: e.abs(x - target),
    partials=lambda y, x, target: (e.sign(x - target), -e.sign(x - target)),
    samples=binary(),
    doc="abs(x - target); its derivative at 0 is 0.",
)
huber_error = elementwise(
    "huber_error",
    _huber,
    partials=lambda y, x, target, delta: (
        _gap(x, target, delta),
        -_gap(x, target, delta),
        e.abs(x - target) - e.minimum(e.abs(x - target), delta),
    ),
    samples=(
        sample(normal(3, 4), normal(3, 4), normal(low=0.5, high=1.5), label="one delta"),
        sample(normal(3, 1), normal(4), normal(3, 4, low=0.5, high=1.5), label="broadcast"),
        sample(normal(), normal(), normal(low=0.5, high=1.5), label="()"),
        sample(normal(0, 3), normal(0, 3), normal(low=0.5, high=1.5), label="empty"),
    ),
    doc="d * d / 2 for d = abs(x - target) up to delta, and delta * (d - delta / 2) above.",
)
logit_error = elementwise(
    "logit_error",
    lambda x, target: e.maximum(x, 0) * (1 - target) - e.minimum(x, 0) * target + e.log1p(e.exp(-e.abs(x))),
    partials=lambda y, x, target: (logistic(x) - target, -x),
    samples=binary(),
    doc="Cross entropy between sigmoid(x) and the probability target.",
)
weighted_logit_error = elementwise(
    "weighted_logit_error",
    lambda x, target, weight: (1 - target) * _softplus(x) + weight * target * _softplus(-x),
    partials=lambda y, x, target, weight: (
        (1 - target) * logistic(x) - weight * target * logistic(-x),
        weight * _softplus(-x) - _softplus(x),
        target * _softplus(-x),
    ),
    samples=(
        sample(normal(3, 4), normal(3, 4), normal(4), label="a weight per class"),
        sample(normal(3, 1), normal(4), normal(3, 4), label="broadcast"),
        sample(normal(), normal(), normal(), label="()"),
        sample(normal(0, 3), normal(0, 3), normal(3), label="empty"),
    ),
    doc="Cross entropy between sigmoid(x) and the probability target, whose positive part has a weight.",
)
divergence = elementwise(
    "divergence",
    lambda x, target: target * _excess(x, target),
    partials=lambda y, x, target: (-target, e.where(e.not_equal(target, 0), _excess(x, target) + 1, 0)),
    samples=binary(low=0.1, high=0.9),
    doc="target * (log(target) - x); 0 where the target is 0.",
)
log_divergence = elementwise(
    "log_divergence",
    lambda x, target: e.exp(target) * _excess_of_logs(x, target),
    partials=lambda y, x, target: (-e.exp(target), e.exp(target) * (_excess_of_logs(x, target) + 1)),
    samples=binary(),
    doc="exp(target) * (target - x); 0 where the target is -inf.",
)

# --- losses -----------------------------------------------------------------------------------------------------------


def _pair(name: str, x: Any, target: Any) -> tuple[Any, Any]:
    x, target = [named_tensor(each, name) for each in (x, target)]
    _check_targets(name, x, target)
    return x, target


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """Absolute error between predictions and targets of one shape.

    Args:
        x: predictions.
        target: targets.
        reduction: "mean", "sum" or "none" over the elements.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.functional.l1_loss(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 4.0]))
        tensor(1., dtype=float32, device='cpu')
    """
    check_reduction("l1_loss", reduction)
    return reduced(absolute_error(*_pair("l1_loss", x, target)), reduction)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: Any = 1.0) -> Any:
    """Huber's loss: d * d / 2 for errors d up to delta, delta * (d - delta / 2) above (Huber, 1964).

    Args:
        x: predictions.
        target: targets of the same shape.
        reduction: "mean", "sum" or "none" over the elements.
        delta: positive; a number, or a tensor without axes.

    Raises:
        ValueError: the shapes differ, or delta is not positive.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.functional.huber_loss(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 4.0]), reduction="none")
        tensor([0. , 1.5], dtype=float32, device='cpu')
    """
    check_reduction("huber_loss", reduction)
    if isinstance(delta, (int, float)) and not delta > 0:
        raise ValueError(f"'huber_loss': delta must be positive, not {delta}")
    return reduced(huber_error(*_pair("huber_loss", x, target), delta), reduction)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean", pos_weight: Any = None) -> Any:
    """Cross entropy between sigmoid(x) and probabilities, without overflow for any x.

    Args:
        x: logits.
        target: probabilities of the same shape.
        reduction: "mean", "sum" or "none" over the elements.
        pos_weight: factor of the terms of positive targets, in a shape that broadcasts to that of x; 1 if None.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import gradcore as gc
        >>> x, target = gc.tensor([-1000.0, 1000.0]), gc.tensor([1.0, 1.0])
        >>> gc.nn.functional.binary_cross_entropy_with_logits(x, target, reduction="none")
        tensor([1000.,    0.], dtype=float32, device='cpu')
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    x, target = _pair(name, x, target)
    if pos_weight is None:
        return reduced(logit_error(x, target), reduction)
    weight = as_operand(pos_weight, name)
    if np.broadcast_shapes(getattr(weight, "shape", ()), x.shape) != x.shape:
        raise ValueError(f"'{name}': pos_weight {weight.shape} does not broadcast to the logits {x.shape}")
    return reduced(weighted_logit_error(x, target, weight), reduction)


def kl_div(x: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Any:
    """Kullback-Leibler divergence of the distribution x from the target, element by element.

    Args:
        x: logarithms of probabilities.
        target: probabilities of the same shape, or their logarithms.
        reduction: "mean", "sum" or "none" over the elements; "batchmean" (the sum over the first size) is what the
            mathematical definition asks for.
        log_target: the target holds logarithms.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> import gradcore as gc
        >>> x, target = gc.tensor([[-2.0, -3.0]]), gc.tensor([[1.0, 0.0]])
        >>> gc.nn.functional.kl_div(x, target, reduction="batchmean")
        tensor(2., dtype=float32, device='cpu')
    """
    if reduction != "batchmean":
        check_reduction("kl_div", reduction)
    x, target = _pair("kl_div", x, target)
    terms = log_divergence(x, target) if log_target else divergence(x, target)
    if reduction != "batchmean":
        return reduced(terms, reduction)
    if not x.shape:
        raise ValueError("'kl_div': a tensor without axes has no batch; use reduction='mean' or 'sum'")
    return div(sum_(terms), x.shape[0])
