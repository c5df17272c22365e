"""Random numbers, each a function of a key: the next one of the source, or one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.factories import Place
from gradcore.ops.arithmetic import add, less, log, maximum, mul, neg
from gradcore.ops.conversion import to_device
from gradcore.ops.distributions import normal_op, probability_op, randint_op, random_bits_op
from gradcore.ops.indexing import take
from gradcore.ops.operands import as_tensor
from gradcore.ops.random import checked_key, uniform_op
from gradcore.ops.shapes import moveaxis
from gradcore.ops.sorting import argmax, argsort
from gradcore.random.source import key as next_key


def uniform(
    shape: int | Sequence[int] = (),
    dtype: Any = np.float32,
    low: Any = 0.0,
    high: Any = 1.0,
    key: Any = None,
    device: Place = None,
) -> Any:
    """Uniform numbers in [low, high); those in [0, 1) are the stream of `numpy.random.Philox` for the key.

    Args:
        shape: of the result; a number is the size of the only axis.
        dtype: float16, float32 or float64.
        low: lower bound, a number or a tensor that broadcasts to the shape; differentiable.
        high: upper bound, likewise; rounding may give the bound itself.
        key: uint64[2], as `key()` gives; the next key by default.
        device: where to draw; by default where a tensor among the arguments is, or else the key.

    Raises:
        TypeError: another dtype, a shape that is not made of integers, or bounds of a larger dtype.
        ValueError: low is above high, or the bounds do not broadcast to the shape.

    Example:
        >>> import gradcore as gc
        >>> gc.random.uniform((2, 3)).shape
        (2, 3)
        >>> gc.random.seed(0)
        >>> gc.random.uniform(3, low=-1.0, high=1.0)
        tensor([-0.93051624, -0.97690654,  0.22390044], dtype=float32, device='cpu')
    """
    params = _sizes(shape), _floating(dtype, "uniform")
    drawn = bind(uniform_op, (_chosen(key, "uniform", device, low, high),), params)
    if _is_number(low) and _is_number(high) and low > high:
        raise ValueError(f"'uniform': low must not be above high, got {low} and {high}")
    return _moved(drawn, low, high - low, "uniform")


def normal(
    shape: int | Sequence[int] = (),
    dtype: Any = np.float32,
    mean: Any = 0.0,
    std: Any = 1.0,
    key: Any = None,
    device: Place = None,
) -> Any:
    """Normal numbers, by the method of Box and Muller (1958).

    float64 numbers are made of 53 bits each, lie within 8.6 deviations, and are computed in float64. float32 numbers
    are made of 32 bits each, lie within 6.7 deviations, and are computed in float32: angle and squared radius of a pair
    have errors below 1e-6 (relative errors where they are above 1). float16 numbers are those of float32, rounded.

    Args:
        shape: of the result; a number is the size of the only axis.
        dtype: float16, float32 or float64.
        mean: a number or a tensor that broadcasts to the shape; differentiable.
        std: standard deviation, likewise.
        key: uint64[2], as `key()` gives; the next key by default.
        device: where to draw; by default where a tensor among the arguments is, or else the key.

    Raises:
        TypeError: another dtype, a shape that is not made of integers, or a mean or deviation of a larger dtype.
        ValueError: a number as deviation is negative, or mean and deviation do not broadcast to the shape.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(0)
        >>> [round(x, 2) for x in gc.random.normal(3, mean=10.0).numpy().tolist()]
        [7.41, 9.81, 9.95]
    """
    drawn = bind(normal_op, (_chosen(key, "normal", device, mean, std),), (_sizes(shape), _floating(dtype, "normal")))
    if _is_number(std) and std < 0:
        raise ValueError(f"'normal': std must not be negative, got {std}")
    return _moved(drawn, mean, std, "normal")


def bernoulli(p: Any = 0.5, shape: int | Sequence[int] | None = None, key: Any = None, device: Place = None) -> Any:
    """True with probability p: where a uniform number of 53 bits is below p.

    Args:
        p: probability, a number or a floating tensor that broadcasts to the shape; it gets no gradient.
        shape: of the result; that of p by default.
        key: uint64[2], as `key()` gives; the next key by default.
        device: where to draw; by default where a tensor among the arguments is, or else the key.

    Returns:
        Tensor of booleans.

    Raises:
        TypeError: p is not floating.
        ValueError: p lies outside [0, 1] (a tensor on a GPU is not looked at), or does not broadcast to the shape.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(0)
        >>> gc.random.bernoulli(0.5, 4)
        tensor([ True,  True,  True, False], dtype=bool, device='cpu')
    """
    limit = as_tensor(float(p) if _is_number(p) else p, np.float64 if _is_number(p) else None)
    if limit.dtype.kind != "f":
        raise TypeError(f"'bernoulli': p must be floating, not {limit.dtype}; cast it with .astype('float32')")
    sizes = _covering(shape, limit.shape, "bernoulli")
    drawn = bind(uniform_op, (_chosen(key, "bernoulli", device, p),), (sizes, np.dtype(np.float64)))
    limit = bind(probability_op, (limit,))
    return less(drawn, float(p) if _is_number(p) else limit)


def randint(
    low: int,
    high: int,
    shape: int | Sequence[int] = (),
    dtype: Any = np.int64,
    key: Any = None,
    device: Place = None,
) -> Any:
    """Integers in [low, high).

    A number is floor(f * (high - low)) + low for a random fraction f of 64 bits (128 bits where high - low is above
    2**32). So probabilities are equal up to a factor of 1 + 2**-32 (1 + 2**-64).

    Args:
        low: the smallest integer.
        high: one more than the largest.
        shape: of the result; a number is the size of the only axis.
        dtype: an integer dtype that holds them.
        key: uint64[2], as `key()` gives; the next key by default.
        device: where to draw; by default where a tensor among the arguments is, or else the key.

    Raises:
        TypeError: the bounds are not integers, or the dtype is none of integers.
        ValueError: there is no integer in [low, high), or the dtype does not hold them.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(0)
        >>> gc.random.randint(1, 7, 5)
        tensor([1, 2, 1, 4, 4], dtype=int64, device='cpu')
    """
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        raise TypeError(f"'randint': the dtype must be one of integers, not {kind}")
    try:
        low, high = index(low), index(high)
    except TypeError:
        raise TypeError(f"'randint': low and high must be integers, not {low!r} and {high!r}") from None
    limits = np.iinfo(kind)
    if not limits.min <= low < high <= limits.max + 1:
        raise ValueError(f"'randint': low must be below high, and both within {kind}, got {low} and {high}")
    return bind(randint_op, (_chosen(key, "randint", device),), (low, high, _sizes(shape), kind))


def permutation(x: Any, key: Any = None, device: Place = None) -> Any:
    """The integers below a number in random order, or the parts of a tensor along its first axis.

    The order is that of 64 random bits for each part; two of n parts have equal bits, and so keep their order, with a
    probability below n**2 / 2**65.

    Args:
        x: a number of integers, or a tensor of at least one axis, through which gradients flow.
        key: uint64[2], as `key()` gives; the next key by default.
        device: where to draw; by default where a tensor among the arguments is, or else the key.

    Raises:
        TypeError: x is neither.
        ValueError: the number is negative, or the tensor has no axes.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(0)
        >>> gc.random.permutation(5)
        tensor([0, 2, 1, 4, 3], dtype=int64, device='cpu')
        >>> gc.random.permutation(gc.tensor([1.0, 2.0, 3.0]))
        tensor([3., 2., 1.], dtype=float32, device='cpu')
    """
    whole = isinstance(x, (int, np.integer)) and not isinstance(x, bool)
    if not whole and not isinstance(x, (Tensor, Cell, np.ndarray)):
        raise TypeError(f"'permutation' takes a number or a tensor, not {type(x).__name__}")
    x = int(x) if whole else as_tensor(x)
    if (x < 0) if whole else not x.shape:
        raise ValueError(f"'permutation' takes a number of at least 0, or a tensor with an axis, not {x}")
    count = x if whole else x.shape[0]
    order = argsort(bind(random_bits_op, (_chosen(key, "permutation", device, x),), ((count,),)))
    return order if whole else take(x, order, 0)


def categorical(logits: Any, axis: int = -1, shape: int | Sequence[int] | None = None, key: Any = None) -> Any:
    """Classes drawn with probabilities softmax(logits): the argmax of logits plus Gumbel noise.

    The noise is made of 24 random bits for float32 (53 for float64), so classes less likely than about 1e-7 (1e-16)
    are not drawn in proportion. Nothing has a derivative. Source: Gumbel, Statistical theory of extreme values, 1954.

    Args:
        logits: floating tensor; -inf stands for probability 0.
        axis: the axis of the classes.
        shape: of the result; that of the logits without the axis, or one to which it broadcasts.
        key: uint64[2], as `key()` gives; the next key by default.

    Returns:
        Tensor of int64.

    Raises:
        TypeError: the logits are not floating.
        ValueError: the axis is none of the logits, or has no classes, or the shape does not fit.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(0)
        >>> gc.random.categorical(gc.tensor([0.0, 2.0, 0.0]), shape=8)
        tensor([2, 1, 1, 1, 1, 1, 2, 1], dtype=int64, device='cpu')
    """
    logits = as_tensor(logits)
    if logits.dtype.kind != "f":
        raise TypeError(
            f"'categorical': logits must be floating, not {logits.dtype}; cast them with .astype('float32')"
        )
    logits = moveaxis(logits, axis, -1)
    *examples, classes = logits.shape
    if classes == 0:
        raise ValueError("'categorical': there are no classes to draw from")
    sizes = _covering(shape, tuple(examples), "categorical")
    wide = np.dtype(np.float64 if logits.dtype == np.float64 else np.float32)
    drawn = bind(uniform_op, (_chosen(key, "categorical", None, logits),), ((*sizes, classes), wide))
    noise = neg(log(neg(log(maximum(drawn, 2.0**-54 if wide == np.float64 else 2.0**-25)))))  # 0 < drawn < 1
    return argmax(add(logits, noise), -1)


# --- what the functions share -----------------------------------------------------------------------------------------

FLOATS = (np.float16, np.float32, np.float64)


def _chosen(given: Any, name: str, device: Place, *arguments: Any) -> Any:
    """The key, on the device where the numbers are to be: they are the same everywhere."""
    chosen = next_key() if given is None else checked_key(given, name)
    tensors: list[Any] = [x for x in arguments if isinstance(x, (Tensor, Cell))]
    if device is None:
        device = next((x.device for x in tensors if x.device != "cpu"), None)
    return chosen if device is None else to_device(chosen, device)


def _floating(dtype: Any, name: str) -> Any:
    kind = np.dtype(dtype)
    if kind not in FLOATS:
        raise TypeError(f"{name} numbers are float16, float32 or float64, not {kind}; cast them with .astype(dtype)")
    return kind


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _moved(drawn: Any, offset: Any, scale: Any, name: str) -> Any:
    """`offset + scale * drawn`, where that changes anything."""
    if _is_number(scale) and _is_number(offset) and (offset, scale) == (0, 1):
        return drawn
    moved = add(mul(drawn, scale), offset)
    if moved.dtype != drawn.dtype:
        raise TypeError(
            f"'{name}': parameters of {moved.dtype} for numbers of {drawn.dtype}; pass dtype='{moved.dtype}'"
        )
    if moved.shape != drawn.shape:
        raise ValueError(f"'{name}': parameters of shape {moved.shape} do not broadcast to {drawn.shape}")
    return moved


def _covering(shape: int | Sequence[int] | None, least: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape of a result that has at least the axes of a parameter."""
    sizes = least if shape is None else _sizes(shape)
    try:
        fits = np.broadcast_shapes(sizes, least) == sizes
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"'{name}': a parameter of shape {least} does not broadcast to shape {sizes}")
    return sizes


def _sizes(shape: int | Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(map(index, shape if np.iterable(shape) else (shape,)))
    except TypeError:
        raise TypeError(f"a shape is an integer or several, not {shape!r}") from None
