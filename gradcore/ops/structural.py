"""Constructors for structural ops.  Each says which law holds; the rules follow.

linear: the jvp is the op itself, the vjp its transpose, and nothing is saved.
bilinear: linear in each of two operands; each cotangent is a bilinear op on `g` and the other operand.
indexed: reads indices or keys that carry no derivative; states its own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index as as_integer
from typing import Any

import numpy as np

from gradcore.autodiff.eager import Eager, generate
from gradcore.autodiff.record import add, zeros
from gradcore.backend import NUMPY
from gradcore.core.aval import Aval, aval_of, contiguous_strides
from gradcore.core.bind import bind
from gradcore.core.op import Family, Mask, Op, Saved
from gradcore.ops.operands import bind_general

Raw = Callable[[Mask], Any]


def linear(name: str, inputs: tuple[str, ...], *, transpose: Callable[..., Any], **fields: Any) -> Op:
    """A linear op.

    `transpose(g, avals, params, position)` is the cotangent of operand `position`, written in ops.
    """

    def vjp(needed: Mask, g: Any, xs: Any, ys: Any, params: tuple[Any, ...]) -> Any:
        avals = [aval_of(x) for x in xs]
        return tuple([transpose(g, avals, params, i) if need else None for i, need in enumerate(needed)])

    def jvp(tangents: Sequence[Any], xs: Any, ys: Any, params: tuple[Any, ...]) -> Any:
        return bind(op, [zeros(aval_of(x), x) if t is None else t for t, x in zip(tangents, xs, strict=True)], params)

    op = Op(name=name, family=Family.LINEAR, inputs=inputs, vjp=vjp, **{"jvp": jvp, **fields})
    return op


def bilinear(name: str, inputs: tuple[str, str], *, transpose: Callable[..., Any], **fields: Any) -> Op:
    """An op linear in each operand.

    `transpose(g, other, aval, params, position)` is the cotangent of operand `position`, of that Aval.
    """

    def vjp(needed: Mask, g: Any, xs: Any, ys: Any, params: tuple[Any, ...]) -> Any:
        parts = [(xs[1 - i], aval_of(xs[i]), i) for i in (0, 1)]
        return tuple([transpose(g, *p[:2], params, p[2]) if n else None for p, n in zip(parts, needed, strict=True)])

    def jvp(tangents: Sequence[Any], xs: Any, ys: Any, params: tuple[Any, ...]) -> Any:
        a, b = tangents
        left = None if a is None else bind(op, (a, xs[1]), params)
        right = None if b is None else bind(op, (xs[0], b), params)
        return left if right is None else right if left is None else add(left, right)

    op = Op(
        name=name,
        family=Family.BILINEAR,
        inputs=inputs,
        vjp=vjp,
        jvp=jvp,
        saves=lambda needed, params: Saved(tuple([1 - i for i in (1, 0) if needed[i]])),
        **fields,
    )
    return op


def indexed(name: str, inputs: tuple[str, ...], **fields: Any) -> Op:
    """An op that reads indices, a key, or the place of an extreme."""
    return Op(name=name, family=Family.INDEXED, inputs=inputs, **fields)


def public(
    op: Op,
    raw: Raw = lambda needed: None,
    call: Callable[..., Any] | None = None,
    slow: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """The function that users call: generated, with operands and then parameters as positional arguments.

    `raw` makes backward functions on raw NumPy arrays; `call` stands in for `impl` there, with the same bits; `slow`
    gets the operands and parameters of every call that the short cut refuses, or in which it raises.
    """

    def make() -> Eager:
        impl = op.impl
        short = call or (lambda *args: impl(NUMPY, None, *args))
        return Eager(op, short, raw, slow or (lambda args, params: bind_general(op, args, params)))

    return generate(make, op.name, (*op.inputs, *op.params), op.doc)


def viewed(view: Callable[..., Any]) -> Callable[..., Aval]:
    """The `abstract` of a view: the view itself, tried on an array without memory, tells shape and strides."""

    def abstract(aval: Aval, *params: Any) -> Aval:
        result = view(hollow(aval), *params)
        strides = result.strides if result.size and not result.flags.c_contiguous else None
        return aval.update(shape=result.shape, strides=strides)

    return abstract


def hollow(aval: Aval) -> Any:
    """An array of this Aval whose elements must not be touched."""
    strides = aval.strides or contiguous_strides(aval.shape, aval.dtype.itemsize)
    if aval.size == 0:
        return np.empty(aval.shape, aval.dtype)
    return np.lib.stride_tricks.as_strided(np.empty((1,), aval.dtype), aval.shape, strides)


def first_operand(*avals_and_params: Any) -> int:
    """The `alias` of an op that always returns a view of its first operand."""
    return 0


def normal_axis(axis: int, ndim: int, what: str = "axis") -> int:
    """`axis` in [0, ndim); negative ones count from the end."""
    try:
        axis = as_integer(axis)
    except TypeError:
        raise TypeError(f"{what} must be an integer, not {axis!r}") from None
    if not -ndim <= axis < ndim:
        raise ValueError(f"{what} {axis} is out of bounds for a tensor of {ndim} axes")
    return axis % ndim if ndim else 0


def normal_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Sorted, without negatives; None means all."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple(axis) if hasattr(axis, "__iter__") else (axis,)
    normal = sorted([normal_axis(a, ndim) for a in axes])
    if len(set(normal)) != len(normal):
        raise ValueError(f"axis {axes} names an axis twice")
    return tuple(normal)
