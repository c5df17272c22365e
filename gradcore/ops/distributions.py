"""Random numbers of other distributions, from the 64-bit words of Philox (see `random.py`); the key is an operand.

Each number is computed from words at fixed places of the stream, so a kernel can compute any of them by itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.kernels.normal import NORMAL, fill_normal
from gradcore.kernels.philox import RANDINT, RANDOM_BITS
from gradcore.ops.random import Shape
from gradcore.ops.samples import key as key_sample
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import indexed


def _rows(xp: Any, out: Any, key: Any, shape: Shape, dtype: Any) -> tuple[Any, Any, Any]:
    """The result, its elements with one row per key, and the keys."""
    y = xp.empty((*key.shape[:-1], *shape), dtype) if out is None else out
    keys = key.reshape((-1, 2))
    return y, y.reshape((len(keys), math.prod(shape))), keys


# --- words ------------------------------------------------------------------------------------------------------------

UINT64 = np.dtype(np.uint64)


def _bits_impl(xp: Any, out: Any, key: Any, shape: Shape) -> Any:
    y, rows, keys = _rows(xp, out, key, shape, UINT64)
    for row, one in zip(rows, keys, strict=True):
        row[...] = xp.philox(one, row.size)
    return y


random_bits_op: Op = indexed(
    "random_bits",
    ("key",),
    params=("shape",),
    impl=_bits_impl,
    kernels={"cuda": RANDOM_BITS},
    abstract=lambda key, shape: key.update(shape=(*key.shape[:-1], *shape)),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(random_bits_op, xs, params),
    half=False,
    samples=(
        sample(key_sample(), params=((2, 3),)),
        sample(key_sample(), params=((),)),
        sample(key_sample(), params=((0,),)),
    ),
    doc="64 random bits per element: the Philox stream of the key.",
)

# --- normal numbers ---------------------------------------------------------------------------------------------------


def _normal_impl(xp: Any, out: Any, key: Any, shape: Shape, dtype: Any) -> Any:
    y, rows, keys = _rows(xp, out, key, shape, dtype)
    wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    pairs = (rows.shape[1] + 1) // 2
    z = xp.scratch((pairs, 2), wide)
    for row, one in zip(rows, keys, strict=True):
        fill_normal(xp.np, xp.philox(one, pairs * wide.itemsize // 4), z)
        xp.np.copyto(row, z.reshape(-1)[: row.size], casting="same_kind")
    return y


normal_op: Op = indexed(
    "normal",
    ("key",),
    params=("shape", "dtype"),
    impl=_normal_impl,
    kernels={"cuda": NORMAL},
    abstract=lambda key, shape, dtype: key.update(shape=(*key.shape[:-1], *shape), dtype=dtype),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(normal_op, xs, params),
    half=False,
    samples=(
        sample(key_sample(), params=((3, 4), np.dtype(np.float32))),
        sample(key_sample(), params=((3, 5), np.dtype(np.float64))),
        sample(key_sample(), params=((), np.dtype(np.float64))),
        sample(key_sample(), params=((7,), np.dtype(np.float16))),
        sample(key_sample(), params=((0, 3), np.dtype(np.float32))),
    ),
    doc="Standard normal numbers; each pair from a radius and an angle (Box and Muller, 1958).",
)

# --- integers ---------------------------------------------------------------------------------------------------------

MASK32, SHIFT32 = np.uint64(0xFFFFFFFF), np.uint64(32)


def _high(words: Any, factor: Any) -> Any:
    """The upper 64 bits of products of 64-bit words and a factor."""
    a, b = words >> SHIFT32, words & MASK32
    c, d = factor >> SHIFT32, factor & MASK32
    middle = (b * d >> SHIFT32) + (a * d & MASK32) + (b * c & MASK32)
    return a * c + (a * d >> SHIFT32) + (b * c >> SHIFT32) + (middle >> SHIFT32)


def _below(xp: Any, key: Any, count: int, span: int) -> Any:
    """`count` words in [0, span): floor(fraction * span), of a fraction with 64 bits, or 128 for a large span."""
    if span <= 2**32:
        return _high(xp.philox(key, count), np.uint64(span))
    words = xp.philox(key, 2 * count)
    first, second = words[0::2], words[1::2]
    if span == 2**64:
        return first
    low, carried = first * np.uint64(span), _high(second, np.uint64(span))
    return _high(first, np.uint64(span)) + (low + carried < low)


def _randint_impl(xp: Any, out: Any, key: Any, low: int, high: int, shape: Shape, dtype: Any) -> Any:
    y, rows, keys = _rows(xp, out, key, shape, dtype)
    for row, one in zip(rows, keys, strict=True):
        words = _below(xp, one, row.size, high - low) + np.uint64(low % 2**64)
        xp.np.copyto(row, words, casting="unsafe")  # the low bits are those of the signed number
    return y


randint_op: Op = indexed(
    "randint",
    ("key",),
    params=("low", "high", "shape", "dtype"),
    impl=_randint_impl,
    kernels={"cuda": RANDINT},
    abstract=lambda key, low, high, shape, dtype: key.update(shape=(*key.shape[:-1], *shape), dtype=dtype),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(randint_op, xs, params),
    half=False,
    samples=(
        sample(key_sample(), params=(0, 10, (2, 3), np.dtype(np.int64))),
        sample(key_sample(), params=(-(2**63), 2**63, (4,), np.dtype(np.int64))),
        sample(key_sample(), params=(-3, 2**40, (4,), np.dtype(np.int64))),
        sample(key_sample(), params=(-128, 128, (), np.dtype(np.int8))),
        sample(key_sample(), params=(5, 6, (0,), np.dtype(np.uint8))),
    ),
    doc="Integers in [low, high), a pure function of the key.",
)

# --- probabilities ----------------------------------------------------------------------------------------------------


def _probability_impl(xp: Any, out: Any, p: Any) -> Any:
    if xp.checks_values and not ((p >= 0) & (p <= 1)).all():
        raise ValueError("'bernoulli': probabilities must lie in [0, 1]")
    out = xp.empty(p.shape, p.dtype) if out is None else out
    xp.np.copyto(out, p)
    return out


probability_op: Op = indexed(
    "probability",
    ("p",),
    impl=_probability_impl,
    abstract=lambda p: p.update(shape=p.shape),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(probability_op, xs),
    half=False,
    samples=(
        sample(normal(3, 4, low=0.0, high=1.0)),
        sample(normal(low=0.0, high=1.0)),
        sample(normal(0, low=0.0, high=1.0)),
    ),
    doc="The same values, after a check that they are probabilities; as a constant.",
)
