"""`x.at[key].set(v)` and its kin: a new tensor with some elements changed (the interface is JAX's)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.autodiff.record import zeros
from gradcore.core.aval import aval_of
from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.kernels.indexing import LAST_INDEX, SCATTER_SET
from gradcore.ops.arithmetic import add, maximum, minimum, mul, where
from gradcore.ops.indexing import (
    held,
    positions_op,
    scatter_add_axis,
    scatter_batch,
    scatter_jvp,
    take_axis,
    take_op,
)
from gradcore.ops.samples import integers, normal, sample
from gradcore.ops.shapes import broadcast_to, reshape
from gradcore.ops.structural import indexed, public
from gradcore.ops.subscripts import Plan, getitem, plan_of

# --- which index is the last with its value ---------------------------------------------------------------------------


def _last_impl(xp: Any, out: Any, indices: Any, size: int, lead: int) -> Any:
    np = xp.np
    examples = indices.shape[:lead]
    starts = size * np.arange(math.prod(examples)).reshape((*examples, *(1,) * (indices.ndim - lead)))
    flat = (positions_op.impl(xp, None, indices, size, 0) + starts).reshape(-1)
    from_the_end = np.unique(flat[::-1], return_index=True)[1]
    out = xp.empty(indices.shape, np.bool_) if out is None else out
    out.fill(False)
    out.reshape(-1)[flat.size - 1 - from_the_end] = True
    return out


last_index_op: Op = indexed(
    "last_index",
    ("indices",),
    params=("size", "lead"),
    impl=_last_impl,
    kernels={"cuda": LAST_INDEX},
    abstract=lambda indices, size, lead: indices.update(shape=indices.shape, dtype=np.bool_),
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(last_index_op, xs, (params[0], params[1] + 1)),
    half=False,
    samples=(
        sample(integers(2, 3, low=-2), params=(3, 0)),
        sample(integers(3, 2), params=(3, 1)),
        sample(integers(), params=(3, 0)),
        sample(integers(0, 2), params=(3, 0)),
    ),
    doc="Does no later index of the same example name the same position? The first `lead` axes count examples.",
)
last_index = public(last_index_op)

# --- scatter_set ------------------------------------------------------------------------------------------------------


def _set_impl(xp: Any, out: Any, x: Any, indices: Any, updates: Any, axis: int, distinct: bool) -> Any:
    if distinct and updates.size and not _last_impl(xp, None, indices, x.shape[axis], 0).all():
        raise IndexError(
            "the key names an element twice; x.at[key].multiply, min and max take every element once: combine the "
            "values of equal positions first, or use add"
        )
    if out is None:
        out = xp.empty(x.shape, x.dtype)
    xp.np.copyto(out, x)
    flat = xp.np.asarray(indices.reshape(-1), order="C")  # in another layout, NumPy would go in the order of memory
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    out[(*[slice(None)] * axis, flat)] = updates.reshape((*before, flat.size, *after))
    return out


def _set_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    axis = params[0]
    gx = bind(scatter_set_op, (g, xs[1], zeros(aval_of(xs[2]), g)), (axis, False)) if needed[0] else None
    return gx, None, _of_last(g, xs[1], *params) if needed[2] else None


def _of_last(g: Any, indices: Any, axis: int, distinct: bool) -> Any:
    """The cotangent of the updates: one that a later one replaced gets none."""
    taken = bind(take_op, (g, indices), (axis,))
    if distinct:
        return taken
    last = last_index(indices, g.shape[axis], 0)
    return where(reshape(last, (*last.shape, *(1,) * (len(g.shape) - axis - 1))), taken, 0.0)


scatter_set_op: Op = indexed(
    "scatter_set",
    ("x", "indices", "updates"),
    params=("axis", "distinct"),
    impl=_set_impl,
    kernels={"cuda": SCATTER_SET},
    abstract=lambda x, indices, updates, axis, distinct: x.update(shape=x.shape),
    differentiable=(True, False, True),
    vjp=_set_vjp,
    jvp=scatter_jvp(lambda: scatter_set_op),
    saves=lambda needed, params: Saved((1,)),
    batch=scatter_batch(lambda: scatter_set_op),
    half=False,
    samples=(
        sample(normal(3, 4), integers(3, low=-3), normal(3, 4), params=(0, False)),
        sample(normal(3, 4), integers(2, 2), normal(3, 2, 2), params=(1, False)),
        sample(normal(3, 2), integers(1, low=-3), normal(1, 2), params=(0, True)),
        sample(normal(3), integers(), normal(), params=(0, False)),
        sample(normal(3), integers(0), normal(0), params=(0, False)),
    ),
    doc="x with updates at integer positions along an axis; the last of equal positions wins.",
)
scatter_set = public(scatter_set_op)

# --- x.at -------------------------------------------------------------------------------------------------------------


class At:
    """`x.at`; pick elements by `x.at[key]`, with every key that `x[key]` takes."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __getitem__(self, key: Any) -> Place:
        return Place(self.x, key)


class Place:
    """`x.at[key]`; each method returns a new tensor like x and leaves x as it is.

    Values broadcast to the shape of `x[key]` and are cast to the dtype of x where NumPy's same_kind rule allows it.
    Where a key names an element more than once, `add` adds all values in order and of `set` the last value wins (the
    others get no gradient); `multiply`, `min` and `max` refuse it (on CUDA, where nothing looks at positions, the last
    value wins there too).

    Raises:
        IndexError: as for `x[key]`; an element is named twice, and the method refuses it.
        TypeError: as for `x[key]`; the values have a dtype that x cannot hold.
        ValueError: the values do not broadcast to the shape of `x[key]`.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([1.0, 2.0, 3.0])
        >>> x.at[0].set(9.0)
        tensor([9., 2., 3.], dtype=float32, device='cpu')
        >>> x.at[[0, 0, 2]].add(gc.tensor([10.0, 20.0, 30.0]))
        tensor([31.,  2., 33.], dtype=float32, device='cpu')
        >>> x.at[x > 1].multiply(-1)
        tensor([ 1., -2., -3.], dtype=float32, device='cpu')
    """

    __slots__ = ("key", "x")

    def __init__(self, x: Any, key: Any) -> None:
        self.x = x
        self.key = key

    def get(self) -> Any:
        """The elements, `x[key]`."""
        return getitem(self.x, self.key)

    def set(self, values: Any) -> Any:
        """The elements replaced by values."""
        plan, part, values = self._parts(values)
        if plan.indices is None:
            return plan.put(self.x, values)
        return plan.put(self.x, scatter_set(part, plan.indices, values, plan.place, False))

    def add(self, values: Any) -> Any:
        """Values added to the elements."""
        plan, part, values = self._parts(values)
        if plan.indices is None:
            return plan.put(self.x, add(part, values))
        return plan.put(self.x, scatter_add_axis(part, plan.indices, values, plan.place))

    def multiply(self, values: Any) -> Any:
        """The elements times values."""
        return self._combined(mul, values)

    def min(self, values: Any) -> Any:
        """The smaller of each element and its value."""
        return self._combined(minimum, values)

    def max(self, values: Any) -> Any:
        """The larger of each element and its value."""
        return self._combined(maximum, values)

    def _combined(self, combine: Any, values: Any) -> Any:
        plan, part, values = self._parts(values)
        if plan.indices is None:
            return plan.put(self.x, combine(part, values))
        values = combine(take_axis(part, plan.indices, plan.place), values)
        return plan.put(self.x, scatter_set(part, plan.indices, values, plan.place, True))

    def _parts(self, values: Any) -> tuple[Plan, Any, Any]:
        plan = plan_of(self.x, self.key)
        part = plan.select(self.x)
        shape = part.shape
        if plan.indices is not None:
            shape = (*shape[: plan.place], *plan.indices.shape, *shape[plan.place + 1 :])
        return plan, part, _spread(held(values, self.x, "x.at[key]"), shape)


def _spread(values: Any, shape: tuple[int, ...]) -> Any:
    if values.shape == shape:
        return values
    try:
        return broadcast_to(values, shape)
    except ValueError:
        raise ValueError(f"x.at[key]: values of shape {values.shape} do not fit x[key] of shape {shape}") from None
