"""Ops that put elements side by side: pad, concatenate, stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import OPS, Op, Promotion
from gradcore.ops.along_axis import all_mapped
from gradcore.ops.conversion import cast
from gradcore.ops.indexing import as_indices, take_axis
from gradcore.ops.operands import bind_general, common_dtype, named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import expand_dims, ravel, reshape
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


MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Any:
    """A border around a tensor, of one value or of its own elements.

    Args:
        x: tensor of any shape.
        pad_width: `(before, after)` for each axis, one such pair for all axes, or one number; not negative.
        mode: "constant" for one value; "edge" repeats the outermost element, "reflect" mirrors x without it,
            "symmetric" mirrors x with it, and "wrap" goes on at the other end.
        constant_values: the value, a number.

    Raises:
        TypeError: a width is not an integer, or the value is not a number.
        ValueError: the widths are negative, or do not fit the axes; the mode is unknown, or an axis has no elements
            to repeat.

    Example:
        >>> import gradcore as gc
        >>> gc.pad(gc.tensor([1, 2]), (1, 2))
        tensor([0, 1, 2, 0, 0], dtype=int64, device='cpu')
        >>> gc.pad(gc.tensor([1, 2, 3]), 2, "reflect")
        tensor([3, 2, 1, 2, 3, 2, 1], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "pad")
    if not isinstance(constant_values, (int, float, np.generic)):
        raise TypeError(f"'pad': constant_values must be one number, not {type(constant_values).__name__}")
    widths = _widths(pad_width, len(x.shape))
    if mode == "constant":
        return _pad(x, widths, constant_values)
    if mode not in MODES:
        raise ValueError(f"'pad': mode {mode!r} is not among {', '.join(MODES)}")
    for axis, width in enumerate(widths):
        x = take_axis(x, as_indices(_repeated(x.shape[axis], width, mode), x), axis) if any(width) else x
    return x


def _repeated(size: int, width: tuple[int, int], mode: Any) -> Any:
    """Which elements of an axis make up its border, and the axis itself between."""
    if not size:
        raise ValueError(f"'pad': mode {mode!r} has nothing to repeat along an axis without elements")
    return np.pad(np.arange(size), width, mode)


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
    rests = {(len(s), s[:axis], s[axis + 1 :]) for s in shapes}
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


concatenate_op: Op = linear(
    "concatenate",
    ("tensors",),
    params=("axis",),
    variadic=True,
    impl=_concatenate_impl,
    abstract=_concatenate_shape,
    transpose=_piece,
    batch=lambda size, mapped, xs, params: bind(concatenate_op, all_mapped(size, mapped, xs), (params[0] + 1,)),
    half=False,
    samples=(
        sample(normal(2, 3), normal(2, 1), normal(2, 0), params=(1,)),
        sample(normal(2), normal(3), params=(0,)),
    ),
    doc="Tensors joined along an axis.",
)


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Any:
    """Tensors joined along an axis on which alone their shapes may differ.

    Args:
        tensors: at least one; their dtypes meet in a common one.
        axis: the axis along which they are joined; None joins all their elements in C order.

    Raises:
        ValueError: there is no tensor, or shapes differ on another axis.

    Example:
        >>> import gradcore as gc
        >>> gc.concatenate([gc.tensor([1, 2]), gc.tensor([3])])
        tensor([1, 2, 3], dtype=int64, device='cpu')
    """
    operands = meeting(tensors, "concatenate")
    if axis is None:
        operands, axis = [ravel(t) for t in operands], 0
    return bind_general(concatenate_op, operands, (normal_axis(axis, len(operands[0].shape)),))


def meeting(tensors: Sequence[Any], name: str) -> list[Any]:
    """At least one tensor; all in the dtype in which they meet."""
    operands = [named_tensor(t, name) for t in tensors]
    if not operands:
        raise ValueError(f"'{name}' needs at least one tensor")
    if len({t.dtype for t in operands}) == 1:
        return operands
    dtype = common_dtype(operands, Promotion.COMMON)
    return [t if t.dtype == dtype else cast(t, dtype) for t in operands]


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape joined along a new axis.

    Args:
        tensors: at least one, all of one shape; their dtypes meet in a common one.
        axis: the place of the new axis in the result.

    Raises:
        ValueError: there is no tensor, or shapes differ.

    Example:
        >>> import gradcore as gc
        >>> gc.stack([gc.tensor([1, 2]), gc.tensor([3, 4])])
        tensor([[1, 2],
                [3, 4]], dtype=int64, device='cpu')
    """
    operands = meeting(tensors, "stack")
    shapes = [t.shape for t in operands]
    if len(set(shapes)) > 1:
        raise ValueError(f"'stack': tensors must have one shape, got {shapes}; concatenate joins along an axis")
    return concatenate([expand_dims(t, axis) for t in operands], axis)


def hstack(tensors: Sequence[Any]) -> Any:
    """Tensors joined along the second axis; those of one axis along it.

    Example:
        >>> import gradcore as gc
        >>> gc.hstack([gc.tensor([1, 2]), gc.tensor([3])])
        tensor([1, 2, 3], dtype=int64, device='cpu')
    """
    operands = [_with_axes(t, 1) for t in meeting(tensors, "hstack")]
    return concatenate(operands, 0 if len(operands[0].shape) == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Tensors joined along the first axis; those of one axis are rows.

    Example:
        >>> import gradcore as gc
        >>> gc.vstack([gc.tensor([1, 2]), gc.tensor([3, 4])])
        tensor([[1, 2],
                [3, 4]], dtype=int64, device='cpu')
    """
    return concatenate([_with_axes(t, 2) for t in meeting(tensors, "vstack")])


def _with_axes(x: Any, ndim: int) -> Any:
    """At least so many axes; new ones of size 1 come first."""
    missing = ndim - len(x.shape)
    return x if missing <= 0 else reshape(x, (*(1,) * missing, *x.shape))
