"""A function of the module (`gradcore` or `numpy`) and of arrays: the two agree, and so do all interpreters."""

import numpy as np

import gradcore as gc
from gradcore.testing import gradcheck
from gradcore.testing.batching import assert_vmapped, random_plan
from gradcore.testing.staging import assert_staged

DTYPES = ["bool", "int8", "uint8", "int64", "float16", "float32", "float64"]


def array_of(shape, dtype, seed=0):
    """Small numbers of either sign, where the dtype has one."""
    values = np.random.default_rng(seed).normal(size=shape) * 3
    return np.asarray(np.abs(values) if dtype == "uint8" else values).astype(dtype)


def as_list(results):
    return list(results) if isinstance(results, (tuple, list)) else [results]


def assert_values(function, *arrays, exact=True):
    """Shapes, dtypes and values are NumPy's: to the bit, or to the rounding of a product."""
    got, want = as_list(function(gc, *map(gc.asarray, arrays))), as_list(function(np, *arrays))
    assert [(g.shape, g.dtype) for g in got] == [(np.shape(w), np.asarray(w).dtype) for w in want]
    for g, w in zip(got, want, strict=True):
        tol = 0 if exact or g.dtype.kind != "f" else 40 * np.finfo(g.dtype).eps
        np.testing.assert_allclose(g.numpy(), w, rtol=tol, atol=tol * 10)


def assert_interpreters(function, *arrays, order=2):
    """Finite differences, forward = reverse, vmap = loop and Stage = eager."""

    def call(*xs):
        return tuple(as_list(function(gc, *map(gc.asarray, xs))))

    rng = np.random.default_rng(1)
    draws = [[x + i for x in arrays] for i in range(3)]
    gradcheck(call, arrays, order=order)
    for _ in range(2):
        assert_vmapped(call, draws, random_plan(rng, draws[0]), "vmap")
    assert_staged(call, arrays, "graph")


def assert_raises_alike(function, *arrays):
    """NumPy refuses this, and so do we, with the same kind of error."""
    kinds = []
    for module in (np, gc):
        try:
            function(module, *arrays)
            kinds.append(None)
        except (ValueError, TypeError, IndexError) as error:
            kinds.append(error)
    assert kinds[0] is not None and isinstance(kinds[0], type(kinds[1])), kinds
    return str(kinds[1])
