"""Counter-based random numbers: Philox4x64-10, the generator of `numpy.random.Philox`, with the key as an operand.

A key is uint64[2].  Whatever is drawn from a key is a pure function of it, so recomputation, capture and resumed runs
see the same numbers.  The friendly front (`gradcore.random.seed`, `nn.Dropout`) draws keys from a cell.

Floats are made from the stream of 64-bit words so that every device gets the same bits: float32 takes 24 bits of each
half of a word (the low half first), float64 takes 53 bits of a word, as NumPy's generators do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.kernels.philox import DROPOUT, SPLIT_KEY, UNIFORM
from gradcore.ops.arithmetic import less, mul, where
from gradcore.ops.conversion import to_device
from gradcore.ops.fused import fused
from gradcore.ops.operands import as_tensor, named_tensor
from gradcore.ops.samples import key as key_sample
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import indexed, public

Shape = tuple[int, ...]


def _fill_uniform(xp: Any, out: Any, key: Any) -> None:
    """Uniform numbers in [0, 1) for one key into `out` (float32 or float64)."""
    generator = np.random.Generator(np.random.Philox(key=key))
    generator.random(out=out, dtype=out.dtype)


def _uniform_impl(xp: Any, out: Any, key: Any, shape: Shape, dtype: Any) -> Any:
    y = xp.empty((*key.shape[:-1], *shape), dtype) if out is None else out
    wide = y if y.dtype != np.float16 else xp.scratch(y.shape, np.float32)
    keys = key.reshape((-1, 2))
    rows = wide.reshape((len(keys), math.prod(shape)))
    for row, one in zip(rows, keys, strict=True):
        _fill_uniform(xp, row, one)
    if wide is not y:
        np.multiply(wide, 2048, wide)
        np.floor(wide, wide)
        np.multiply(wide, 1 / 2048, y, casting="same_kind")
    return y


uniform_op: Op = indexed(
    "uniform",
    ("key",),
    params=("shape", "dtype"),
    impl=_uniform_impl,
    kernels={"cuda": UNIFORM},
    abstract=lambda key, shape, dtype: key.update(shape=(*key.shape[:-1], *shape), dtype=dtype),
    differentiable=(False,),
    half=False,
    batch=lambda size, mapped, xs, params: bind(uniform_op, xs, params),
    samples=(
        sample(key_sample(), params=((3, 4), np.dtype(np.float32))),
        sample(key_sample(), params=((), np.dtype(np.float64))),
        sample(key_sample(), params=((2, 3), np.dtype(np.float16))),
        sample(key_sample(), params=((0, 3), np.dtype(np.float32))),
    ),
    doc="Uniform numbers in [0, 1), a pure function of the key.",
)


def _split_impl(xp: Any, out: Any, key: Any, count: int) -> Any:
    words = np.array([xp.philox(one, 2 * count) for one in key.reshape((-1, 2))], np.uint64)
    keys = words.reshape((*key.shape[:-1], count, 2))
    if out is None:
        return keys
    np.copyto(out, keys)
    return out


split_key_op: Op = indexed(
    "split_key",
    ("key",),
    params=("count",),
    impl=_split_impl,
    kernels={"cuda": SPLIT_KEY},
    abstract=lambda key, count: key.update(shape=(*key.shape[:-1], count, 2)),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(split_key_op, xs, params),
    samples=(sample(key_sample(), params=(3,)),),
    doc="Independent keys from one key.",
)


def _next_impl(xp: Any, out: Any, state: Any) -> Any:
    y = xp.empty(state.shape, state.dtype) if out is None else out
    np.copyto(y, state)
    y[..., 1] += np.uint64(1)
    return y


next_key_op: Op = indexed(
    "next_key",
    ("state",),
    impl=_next_impl,
    abstract=lambda state: state.update(shape=state.shape),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(next_key_op, xs, params),
    samples=(sample(key_sample()),),
    doc="The state of a key source (seed, count) after one draw.",
)

# --- dropout ----------------------------------------------------------------------------------------------------------


def _keep(key: Any, shape: Shape, dtype: Any, rate: float) -> Any:
    return less(rate, bind(uniform_op, (key,), (shape, _drawn(dtype))))


def _drawn(dtype: Any) -> Any:
    """Dtype in which a mask is drawn: the same for float16 and float32, so that they drop the same elements."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _dropout_meaning(x: Any, key: Any, rate: float) -> Any:
    return where(_keep(to_device(key, x.aval.device), x.shape, x.dtype, rate), mul(x, 1.0 / (1.0 - rate)), 0.0)


def _dropout_impl(xp: Any, out: Any, x: Any, key: Any, rate: float) -> Any:
    u = _uniform_impl(xp, xp.scratch(x.shape, _drawn(x.dtype)), key, x.shape, None)
    keep = np.less(rate, u, xp.scratch(x.shape, np.bool_))
    y = xp.empty(x.shape, x.dtype) if out is None else out
    np.multiply(x, 1.0 / (1.0 - rate), y)
    np.logical_not(keep, keep)
    np.copyto(y, 0, where=keep)
    return y


def _dropout_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    return bind(dropout_op, (g, xs[1]), params), None


dropout_op: Op = fused(
    "dropout",
    ("x", "key"),
    params=("rate",),
    differentiable=(True, False),
    host=frozenset([1]),
    meaning=_dropout_meaning,
    impl=_dropout_impl,
    kernels={"cuda": DROPOUT},
    abstract=lambda x, key, rate: x.update(shape=x.shape),
    vjp=_dropout_vjp,
    jvp=lambda tangents, xs, ys, params: bind(dropout_op, (tangents[0], xs[1]), params),
    saves=lambda needed, params: Saved((1,)),
    samples=(
        sample(normal(3, 4), key_sample(), params=(0.5,)),
        sample(normal(), key_sample(), params=(0.1,)),
        sample(normal(0, 2), key_sample(), params=(0.5,)),
    ),
    doc="x with elements set to zero at a rate, the others scaled by 1 / (1 - rate); linear in x.",
)


def _dropout_raw(needed: Any) -> Any:
    return lambda r, g: (_dropout_impl(NUMPY, None, g, r.saved[0], r.params[0]), None)


_dropout = public(dropout_op, _dropout_raw)


def dropout(x: Any, key: Any, rate: float = 0.5) -> Any:
    """Set elements to zero at random and scale the others by 1 / (1 - rate).

    Saves the key, not the mask (Srivastava et al., 2014, JMLR 15).

    Args:
        x: floating tensor of any shape.
        key: uint64[2], as `gradcore.random.key()` gives; a key gives one mask.
        rate: probability of a zero, in [0, 1).

    Raises:
        TypeError: x is not floating, or the key is not one.
        ValueError: the rate lies outside.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(1)
        >>> gc.dropout(gc.ones(6), gc.random.key(), 0.5)
        tensor([0., 0., 2., 2., 0., 0.], dtype=float32, device='cpu')
    """
    if not 0 <= rate < 1:
        raise ValueError(f"'dropout': rate must lie in [0, 1), not {rate}")
    x = named_tensor(x, "dropout")
    if x.dtype.kind != "f":
        raise TypeError(f"'dropout': x must be floating, not {x.dtype}; cast it with .astype('float32')")
    key = checked_key(key, "dropout")
    return x if rate == 0 else _dropout(x, key, float(rate))


def checked_key(key: Any, name: str) -> Any:
    """The key of a function, as a Tensor."""
    made = as_tensor(key)
    if made.dtype != np.uint64 or made.shape != (2,):
        got = f"{made.dtype}{list(made.shape)}"
        raise TypeError(f"'{name}': key must be uint64[2], as gradcore.random.key() gives, not {got}")
    return made
