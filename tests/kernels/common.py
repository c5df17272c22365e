"""Sample kernels that the tests of every emitter share, and inputs for them."""

from __future__ import annotations

import numpy as np
from gradcore.kernels import calculus, expr
from gradcore.kernels.expr import Expr, trace, var, where
from gradcore.kernels.leaves import LEAVES
from gradcore.kernels.spec import ElementwiseSpec

ABC = ("a", "b", "c")


def sigmoid(x):
    return where(x >= 0, 1, expr.exp(-abs(x))) / (1 + expr.exp(-abs(x)))


def adam(p, m, v, g, rate):
    m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
    return p - rate * m / (expr.sqrt(v) + 1e-8), m, v


def leaf_spec(name):
    names = ABC[: LEAVES[name].arity]
    conditions = frozenset("a") if name == "where" else frozenset()
    node = Expr(name, tuple(map(var, names)))
    return ElementwiseSpec(f"leaf_{name}", names, (node,), boolean_inputs=conditions)


def gradient_spec(name):
    spec = leaf_spec(name)
    wanted = [n for n in spec.inputs if n not in spec.boolean_inputs]
    partials = calculus.pullback(spec.outputs, wanted, [var("g")])
    return ElementwiseSpec(f"grad_{name}", (*spec.inputs, "g"), partials, boolean_inputs=spec.boolean_inputs)


def traced(function, **fields):
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    name = "kernel" if function.__name__ == "<lambda>" else function.__name__
    return ElementwiseSpec(name, names, trace(function, *names), **fields)


def samples():
    """One spec for every leaf and its gradient, and some that are compositions."""
    leaves = [leaf_spec(name) for name in LEAVES]
    gradients = [gradient_spec(name) for name in LEAVES]
    composed = [
        traced(sigmoid, doc="Logistic function."),
        traced(adam),
        traced(several),
        traced(choose, boolean_inputs=frozenset("c")),
        traced(keywords),
    ]
    return leaves + gradients + composed


def several(x, y):
    return x > y, x * y + x, y, 2, x * 3, x * y + x, where(x > 0, 1, 0) * where(y > 0, 0.1, 2)


def choose(c, x, y):
    return where(c, x, y), where(c & (x > y), where(y > 0, x, 1), y), where(c, 1, 0)


def keywords(double, n, t0, out0, exp, x_in):
    return double + n * t0, out0 * exp - x_in, (double + n) * (double + n)


DOMAINS = {
    "log": (0.1, 3), "log2": (0.1, 3), "log10": (0.1, 3), "log1p": (-0.9, 3), "sqrt": (0.1, 3),
    "arcsin": (-0.9, 0.9), "arccos": (-0.9, 0.9), "arctanh": (-0.9, 0.9), "arccosh": (1.1, 4),
    "power": (0.2, 3), "mod": (0.5, 3), "floor_divide": (0.5, 3), "tan": (-1.3, 1.3),
}  # fmt: skip


def inputs_for(spec, rng, shape=(5, 7), dtype=np.float64):
    low, high = DOMAINS.get(spec.name.partition("_")[2], (-2.5, 2.5))
    if spec.name == "adam":
        low, high = 0.1, 2
    return [
        rng.random(shape) > 0.5 if n in spec.boolean_inputs else rng.uniform(low, high, shape).astype(dtype)
        for n in spec.inputs
    ]
