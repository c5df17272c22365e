"""Ops that put elements side by side: pad, concatenate, stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import OPS, Op, Promotion
from gradcore.ops.operands import as_operand, as_tensor, bind_general, common_dtype
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import broadcast_to_op, cast, expand_dims
from gradcore.ops.structural import linear, normal_axis, public

# --- pad --------------------------------------------------------------------------------------------------------------


def _pad_impl(xp: Any, out: Any, x: Any, widths: Any, value: Any) -> Any:
    if out is None:
        out = xp.empty(tuple([n + low + high for n, (low, high) in zip(x.shape, widths, strict=True)]), x.dtype)
    out.fill(value)
    out[tuple([slice(low, low + n) for n, (low, _) in zip(x.shape, widths, strict=True)])] = x
    return out


def _pad_shape(x: Aval, widths: Any, value: Any) -> Aval:
    return x.update(shape=tuple([n + low + high for n, (low, high) in zip(x.shape, widths, strict=True)]))


def _unpad(g: Any, avals: Any, params: Any, i: int) -> Any:
    index = tuple([(low, low + n, 1) for n, (low, _) in zip(avals[0].shape, params[0], strict=True)])
    return bind(OPS["slice"], (g,), (index,))


pad_op: Op = linear(
    "pad",
    ("x",),
    params=("widths", "value"),
    impl=_pad_impl,
    abstract=_pad_shape,
    transpose=_unpad,
    jvp=lambda tangents, xs, ys, params: bind(pad_op, tangents, (params[0], 0)),
    batch=lambda size, mapped, xs, params: bind(pad_op, xs, (((0, 0), *params[0]), params[1])),
    half=False,
    samples=(
        sample(normal(3, 4), params=(((1, 0), (2, 3)), 0)),
        sample(normal(2), params=(((0, 2),), 1.5)),
        sample(normal(0), params=(((1, 1),), 0)),
    ),
    doc="A border of one value.",
)
_pad = public(pad_op)


def pad(x: Any, pad_width: Any, constant_values: float = 0) -> Any:
    """A border of one value around a tensor.

    Args:
        x: tensor of any shape.
        pad_width: `(before, after)` for each axis, one such pair for all axes, or one number; not negative.
        constant_values: the value, a number.

    Raises:
        TypeError: a width is not an integer, or the value is not a number.
        ValueError: the widths are negative, or do not fit the axes.

    Example:
        >>> import gradcore as gc
        >>> gc.pad(gc.tensor([1, 2]), (1, 2))
        tensor([0, 1, 2, 0, 0], dtype=int64, device='cpu')
    """
    x = as_tensor(as_operand(x, pad_op))
    if not isinstance(constant_values, (int, float, np.generic)):
        raise TypeError(f"'pad': constant_values must be one number, not {type(constant_values).__name__}")
    return _pad(x, _widths(pad_width, len(x.shape)), constant_values)


def _widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    try:
        given = np.asarray(pad_width)
        widths = np.broadcast_to(given, (ndim, 2))
    except ValueError:
        raise ValueError(
            f"'pad': pad_width {pad_width} does not fit a tensor of {ndim} axes; give a number, a pair (before, "
            "after), or one such pair for each axis"
        ) from None
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"'pad': pad_width must be integers, not {pad_width}")
    if (widths < 0).any():
        raise ValueError(f"'pad': pad_width {pad_width} has negative entries; use slicing to cut")
    return tuple([(int(a), int(b)) for a, b in widths])


# --- concatenate and stack --------------------------------------------------------------------------------------------


def _concatenate_impl(xp: Any, out: Any, *operands: Any) -> Any:
    *arrays, axis = operands
    if out is not None:
        return xp.np.concatenate(arrays, axis, out=out)
    return xp.np.ascontiguousarray(xp.np.concatenate(arrays, axis))


def _concatenate_shape(*operands: Any) -> Aval:
    *avals, axis = operands
    shapes = [a.shape for a in avals]
    rests = {(*s[:axis], *s[axis + 1 :]) for s in shapes}
    if len(rests) > 1:
        raise ValueError(f"'concatenate': shapes {shapes} differ on another axis than {axis}")
    total = sum(s[axis] for s in shapes)
    return avals[0].update(shape=(*shapes[0][:axis], total, *shapes[0][axis + 1 :]))  # type: ignore[no-any-return]


def _piece(g: Any, avals: Any, params: Any, i: int) -> Any:
    (axis,) = params
    start = sum(a.shape[axis] for a in avals[:i])
    index = [(0, n, 1) for n in g.shape]
    index[axis] = (start, start + avals[i].shape[axis], 1)
    return bind(OPS["slice"], (g,), (tuple(index),))


def _concatenate_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    whole = [x if own else bind(broadcast_to_op, (x,), ((size, *x.shape),)) for x, own in zip(xs, mapped, strict=True)]
    return bind(concatenate_op, whole, (params[0] + 1,))


concatenate_op: Op = linear(
    "concatenate",
    ("tensors",),
    params=("axis",),
    variadic=True,
    impl=_concatenate_impl,
    abstract=_concatenate_shape,
    transpose=_piece,
    batch=_concatenate_batch,
    half=False,
    samples=(
        sample(normal(2, 3), normal(2, 1), normal(2, 0), params=(1,)),
        sample(normal(2), normal(3), params=(0,)),
    ),
    doc="Tensors joined along an axis.",
)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along an axis on which alone their shapes may differ.

    Args:
        tensors: at least one; their dtypes meet in a common one.
        axis: the axis along which they are joined.

    Raises:
        ValueError: there is no tensor, or shapes differ on another axis.

    Example:
        >>> import gradcore as gc
        >>> gc.concatenate([gc.tensor([1, 2]), gc.tensor([3])])
        tensor([1, 2, 3], dtype=int64, device='cpu')
    """
    if not len(tensors):
        raise ValueError("'concatenate' needs at least one tensor")
    operands = [as_tensor(as_operand(t, concatenate_op)) for t in tensors]
    dtype = common_dtype(operands, Promotion.COMMON)
    operands = [t if t.dtype == dtype else cast(t, dtype) for t in operands]
    return bind_general(concatenate_op, operands, (normal_axis(axis, len(operands[0].shape)),))


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis.

    >>> import gradcore as gc
    >>> gc.stack([gc.tensor([1, 2]), gc.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]], dtype=int64, device='cpu')
    """
    return concatenate([expand_dims(t, axis) for t in tensors], axis)
