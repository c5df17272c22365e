"""An op that is right, to be broken in one respect."""

import numpy as np

import gradcore as gc
from gradcore.core.op import Saved
from gradcore.ops.fused import fused
from gradcore.ops.samples import normal, sample

SAMPLES = (sample(normal(3, 4)),)


def good(**wrong):
    """A fused cube, with some fields replaced."""
    fields = {
        "meaning": lambda x: gc.mul(gc.square(x), x),
        "impl": cube,
        "abstract": lambda x: x.update(shape=x.shape),
        "vjp": lambda needed, g, xs, ys, params: (gc.mul(g, gc.mul(3.0, gc.square(xs[0]))),),
        "jvp": lambda tangents, xs, ys, params: gc.mul(tangents[0], gc.mul(3.0, gc.square(xs[0]))),
        "saves": lambda needed, params: Saved((0,)),
        "batch": lambda size, mapped, xs, params: gc.mul(gc.square(xs[0]), xs[0]),
        "samples": SAMPLES,
        "internal": True,
    }
    return fused("cube", ("x",), **{**fields, **wrong})


def cube(xp, out, x):
    y = xp.empty(x.shape, x.dtype) if out is None else out
    np.multiply(x, x, y)
    return np.multiply(y, x, y)
