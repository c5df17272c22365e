"""Activation functions.  Each `meaning` is finite wherever the function is."""

from __future__ import annotations

import math

from gradcore.kernels import expr as e
from gradcore.ops.elementwise import elementwise
from gradcore.ops.samples import unary

sigmoid = elementwise(
    "sigmoid",
    lambda x: e.exp(e.minimum(x, 0)) / (1 + e.exp(-e.abs(x))),
    partials=lambda y, x: y * (1 - y),
    samples=unary(),
    doc="Logistic function, 1 / (1 + exp(-x)), without overflow for any x.",
)
relu = elementwise(
    "relu",
    lambda x: e.maximum(x, 0),
    partials=lambda y, x: e.where(y > 0, 1, 0),
    samples=unary(away=0.2),
    doc="Rectified linear unit, max(x, 0); its derivative at 0 is 0.",
)
gelu = elementwise(
    "gelu",
    lambda x: 0.5 * x * e.erfc(-math.sqrt(0.5) * x),
    partials=lambda y, x: 0.5 * e.erfc(-math.sqrt(0.5) * x) + x * (math.sqrt(0.5 / math.pi) * e.exp(-0.5 * (x * x))),
    samples=unary(),
    doc="Gaussian error linear unit, x * Phi(x), exact (Hendrycks and Gimpel, 2016, arXiv:1606.08415).",
)
softplus = elementwise(
    "softplus",
    lambda x: e.maximum(x, 0) + e.log1p(e.exp(-e.abs(x))),
    partials=lambda y, x: e.exp(e.minimum(x, 0)) / (1 + e.exp(-e.abs(x))),
    samples=unary(),
    doc="log(1 + exp(x)), without overflow for any x.",
)
