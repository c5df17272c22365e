"""Activation functions.  Each `meaning` is finite wherever the function is."""

from __future__ import annotations

import math
from typing import Any

from gradcore.kernels import expr as e
from gradcore.ops.elementary import logistic
from gradcore.ops.elementwise import elementwise
from gradcore.ops.samples import normal, sample, unary


def _sigmoid(x: e.Expr) -> e.Expr:
    return e.exp(e.minimum(x, 0)) / (1 + e.exp(-e.abs(x)))


sigmoid = elementwise(
    "sigmoid",
    lambda x: _sigmoid(x),
    partials=lambda y, x: y * (1 - y),
    samples=unary(),
    doc="Logistic function, 1 / (1 + exp(-x)), without overflow for any x.",
    example=("[0.0, 1000.0]", "[0.5, 1. ]"),
)
log_sigmoid = elementwise(
    "log_sigmoid",
    lambda x: e.minimum(x, 0) - e.log1p(e.exp(-e.abs(x))),
    partials=lambda y, x: -e.expm1(y),
    samples=unary(),
    doc="log(sigmoid(x)), accurate for any x.",
    example=("[-1000.0, 1000.0]", "[-1000.,     0.]"),
)
softplus = elementwise(
    "softplus",
    lambda x: e.maximum(x, 0) + e.log1p(e.exp(-e.abs(x))),
    partials=lambda y, x: -e.expm1(-y),
    samples=unary(),
    doc="log(1 + exp(x)), without overflow for any x.",
    example=("[-1000.0, 1000.0]", "[   0., 1000.]"),
)
softsign = elementwise(
    "softsign",
    lambda x: x / (1 + e.abs(x)),
    partials=lambda y, x: (1 - e.abs(y)) * (1 - e.abs(y)),
    samples=unary(away=0.2),
    doc="x / (1 + abs(x)).",
    example=("[-1.0, 3.0]", "[-0.5 ,  0.75]"),
)

# --- rectifiers -------------------------------------------------------------------------------------------------------

relu = elementwise(
    "relu",
    lambda x: e.maximum(x, 0),
    partials=lambda y, x: e.where(y > 0, 1, 0),
    samples=unary(away=0.2),
    doc="Rectified linear unit, max(x, 0); its derivative at 0 is 0.",
    example=("[-1.0, 2.0]", "[0., 2.]"),
)
leaky_relu = elementwise(
    "leaky_relu",
    lambda x, negative_slope=0.01: e.where(x > 0, x, negative_slope * x),
    partials=lambda y, x, negative_slope: (e.where(x > 0, 1, negative_slope), e.where(x > 0, 0, x)),
    samples=(
        sample(normal(3, 4, away=0.2), normal(), label="one slope"),
        sample(normal(3, 1, away=0.2), normal(2, 1, 4), label="broadcast"),
        sample(normal(away=0.2), normal(), label="()"),
        sample(normal(0, 3), normal(3), label="empty"),
    ),
    doc="x where positive, else negative_slope * x (Maas, Hannun and Ng, 2013); its derivative at 0 is the slope.",
    example=("[-1.0, 2.0]", "[-0.01,  2.  ]"),
)
elu = elementwise(
    "elu",
    lambda x, alpha=1.0: e.where(x > 0, x, alpha * e.expm1(_below(x))),
    partials=lambda y, x, alpha: (e.where(x > 0, 1, alpha * e.exp(_below(x))), e.expm1(_below(x))),
    samples=(
        sample(normal(3, 4, away=0.2), normal(), label="one alpha"),
        sample(normal(3, 1, away=0.2), normal(2, 1, 4), label="broadcast"),
        sample(normal(away=0.2), normal(), label="()"),
        sample(normal(0, 3), normal(3), label="empty"),
    ),
    doc="x where positive, else alpha * (exp(x) - 1) (Clevert, Unterthiner and Hochreiter, 2015, arXiv:1511.07289).",
    example=("[-1000.0, 2.0]", "[-1.,  2.]"),
)

SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717  # of SELU, from the paper


def _below(x: e.Expr) -> e.Expr:
    """The minimum of x and 0, but with one derivative at 0."""
    return e.where(x > 0, 0, x)


selu = elementwise(
    "selu",
    lambda x: e.where(x > 0, SCALE * x, SCALE * ALPHA * e.expm1(_below(x))),
    partials=lambda y, x: e.where(y > 0, SCALE, y + SCALE * ALPHA),
    samples=unary(away=0.2),
    doc="Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al., 2017, arXiv:1706.02515).",
    example=("[-1000.0, 2.0]", "[-1.7580993,  2.101402 ]"),
)
hardtanh = elementwise(
    "hardtanh",
    lambda x, min_val=-1.0, max_val=1.0: e.minimum(e.maximum(x, min_val), max_val),
    partials=lambda y, x, min_val, max_val: (
        e.where((x > min_val) & (x < max_val), 1, 0),
        e.where((x <= min_val) & (min_val < max_val), 1, 0),
        e.where((x >= max_val) | (min_val >= max_val), 1, 0),
    ),
    samples=(
        sample(normal(3, 4), normal(low=-0.9, high=-0.2), normal(low=0.2, high=0.9), label="numbers"),
        sample(normal(3, 1), normal(2, 1, 4), normal(4), label="broadcast"),
        sample(normal(), normal(), normal(), label="()"),
        sample(normal(0, 3), normal(), normal(3), label="empty"),
    ),
    doc="x, but at least min_val and at most max_val; its derivative at a bound is 0.",
    example=("[-2.0, 0.5, 2.0]", "[-1. ,  0.5,  1. ]"),
)

# --- x times a gate ---------------------------------------------------------------------------------------------------

_gelu = elementwise(
    "gelu",
    lambda x: 0.5 * x * e.erfc(-math.sqrt(0.5) * x),
    partials=lambda y, x: 0.5 * e.erfc(-math.sqrt(0.5) * x) + x * (math.sqrt(0.5 / math.pi) * e.exp(-0.5 * (x * x))),
    samples=unary(),
    doc="Gaussian error linear unit, x * Phi(x), exact (Hendrycks and Gimpel, 2016, arXiv:1606.08415).",
)
CUBIC = 0.044715
GATE = 2 * math.sqrt(2 / math.pi)


def _gelu_tanh_slope(y: e.Expr, x: e.Expr) -> e.Expr:
    """The derivative s + x * u' * s * (1 - s), s = logistic(u); where s is 0 or 1, u' may have overflown."""
    u = GATE * x * (1 + CUBIC * (x * x))
    tail = e.exp(-e.abs(u))
    bump = x * (GATE + 3 * GATE * CUBIC * (x * x)) * tail / ((1 + tail) * (1 + tail))
    return logistic(u) + e.where(tail > 0, bump, 0)


_gelu_tanh = elementwise(
    "gelu_tanh",
    lambda x: x * _sigmoid(GATE * x * (1 + CUBIC * (x * x))),
    partials=_gelu_tanh_slope,
    samples=unary(),
    doc="x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))) / 2, an approximation of gelu.",
)


def gelu(x: Any, approximate: str = "none") -> Any:
    """Gaussian error linear unit, x * Phi(x) (Hendrycks and Gimpel, 2016, arXiv:1606.08415).

    Works element by element.

    Args:
        x: tensor of any shape.
        approximate: "none" for the exact function, "tanh" for x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2.

    Raises:
        ValueError: `approximate` is neither.

    Example:
        >>> import gradcore as gc
        >>> gc.gelu(gc.tensor([0.0, 1000.0]))
        tensor([   0., 1000.], dtype=float32, device='cpu')
        >>> gc.gelu(gc.tensor([0.0, 1000.0]), "tanh")
        tensor([   0., 1000.], dtype=float32, device='cpu')
    """
    if approximate == "none":
        return _gelu(x)
    if approximate == "tanh":
        return _gelu_tanh(x)
    raise ValueError(f"'gelu': approximate must be 'none' or 'tanh', not {approximate!r}")


def _silu_slope(y: e.Expr, x: e.Expr) -> e.Expr:
    """The derivative s + x * s * (1 - s), s = logistic(x), without the difference."""
    below, above = e.where(x < 0, x, 0), e.where(x < 0, 0, x)
    tail = e.exp(below - above)
    return (e.exp(below) + x * (tail / (1 + tail))) / (1 + tail)


silu = elementwise(
    "silu",
    lambda x: x * _sigmoid(x),
    partials=_silu_slope,
    samples=unary(),
    doc="Sigmoid linear unit or swish, x * sigmoid(x) (Elfwing, Uchibe and Doya, 2017, arXiv:1702.03118).",
    example=("[0.0, 1000.0]", "[   0., 1000.]"),
)


def _mish(x: e.Expr) -> e.Expr:
    """With b / a = exp(x), one of them 1: tanh(log(1 + b / a)) = n / (n + 2 * a * a) with n = b * (b + 2 * a)."""
    a, b = e.exp(-e.maximum(x, 0)), e.exp(e.minimum(x, 0))
    n = b * (b + 2 * a)
    return x * (n / (n + 2 * (a * a)))


def _mish_slope(y: e.Expr, x: e.Expr) -> e.Expr:
    a, b = e.exp(-e.where(x > 0, x, 0)), e.exp(_below(x))
    n = b * (b + 2 * a)
    d = n + 2 * (a * a)
    return n / d + x * (4 * (a * a) * b * (a + b) / (d * d))


mish = elementwise(
    "mish",
    _mish,
    partials=_mish_slope,
    samples=unary(),
    doc="x * tanh(softplus(x)) (Misra, 2019, arXiv:1908.08681).",
    example=("[0.0, 1000.0]", "[   0., 1000.]"),
)
