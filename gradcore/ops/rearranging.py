"""Functions that repeat, reorder or cut: flip, roll, repeat, tile, split, meshgrid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, product
from typing import Any

import numpy as np

from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.arguments import as_integers
from gradcore.ops.indexing import as_indices, take_axis
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import broadcast_to, ravel, reshape
from gradcore.ops.slicing import take_slice
from gradcore.ops.structural import linear, normal_axes, normal_axis, public

Shape = tuple[int, ...]

# --- flip and roll ----------------------------------------------------------------------------------------------------


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Elements in reverse order along axes; a view.

    Args:
        x: tensor of any shape.
        axis: an axis, several, or None for all.

    Example:
        >>> import gradcore as gc
        >>> gc.flip(gc.tensor([[1, 2], [3, 4]]), axis=1)
        tensor([[2, 1],
                [4, 3]], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "flip")
    axes = normal_axes(axis, len(x.shape))
    return take_slice(x, tuple([(n - 1, -1, -1) if a in axes else (0, n, 1) for a, n in enumerate(x.shape)]))


def _parts(size: int, shift: int) -> list[tuple[slice, slice]]:
    """Where the two parts of an axis come from and where they go."""
    if not shift:
        return [(slice(None), slice(None))]
    return [(slice(-shift, None), slice(shift)), (slice(size - shift), slice(shift, None))]


def _roll_impl(xp: Any, out: Any, x: Any, shifts: Shape) -> Any:
    if out is None:
        out = xp.empty(x.shape, x.dtype)
    for parts in product(*map(_parts, x.shape, shifts)):
        out[tuple([to for _, to in parts])] = x[tuple([source for source, _ in parts])]
    return out


roll_op: Op = linear(
    "roll",
    ("x",),
    params=("shifts",),
    impl=_roll_impl,
    abstract=lambda x, shifts: x.update(shape=x.shape),
    transpose=lambda g, avals, params, i: bind(roll_op, (g,), (_modulo([-s for s in params[0]], g.shape),)),
    batch=lambda size, mapped, xs, params: bind(roll_op, xs, ((0, *params[0]),)),
    half=False,
    samples=(
        sample(normal(5), params=((2,),)),
        sample(normal(3, 4), params=((0, 3),)),
        sample(normal(3, 2, 4), params=((1, 1, 3),)),
        sample(normal(), params=((),)),
        sample(normal(0, 3), params=((0, 1),)),
    ),
    doc="Elements shifted along each axis; those that leave at the end come in at the start.",
)
_roll = public(roll_op)


def _modulo(shifts: Sequence[int], shape: Shape) -> Shape:
    return tuple([s % n if n else 0 for s, n in zip(shifts, shape, strict=True)])


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """Elements shifted along axes; those that leave at the end come in at the start.

    Args:
        x: tensor of any shape.
        shift: by how many places, for all of the axes or for each; negative ones go to the start.
        axis: an axis or several, where shifts along the same one add up; None shifts in C order through all.

    Raises:
        ValueError: an axis is out of bounds, or there are neither as many shifts as axes nor one of them.

    Example:
        >>> import gradcore as gc
        >>> gc.roll(gc.tensor([1, 2, 3, 4]), 1)
        tensor([4, 1, 2, 3], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "roll")
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    shifts, axes = as_integers(shift, "roll", "shifts"), as_integers(axis, "roll", "axes")
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise ValueError(f"'roll': {len(shifts)} shifts do not fit {len(axes)} axes; give one for each axis, or one")
    total = [0] * len(x.shape)
    for s, a in np.broadcast(shifts, axes):
        total[normal_axis(a, len(total))] += int(s)
    return _roll(x, _modulo(total, x.shape))


# --- repeat and tile --------------------------------------------------------------------------------------------------


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """Each element repeated.

    Args:
        x: tensor of any shape.
        repeats: how often, for all positions along the axis or for each.
        axis: the axis along which elements are repeated; None repeats all elements, on one axis.

    Raises:
        TypeError: the repeats are not integers.
        ValueError: they are negative, or not one for each position.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[1, 2], [3, 4]])
        >>> gc.repeat(x, 2)
        tensor([1, 1, 2, 2, 3, 3, 4, 4], dtype=int64, device='cpu')
        >>> gc.repeat(x, [1, 2], axis=0)
        tensor([[1, 2],
                [3, 4],
                [3, 4]], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "repeat")
    if axis is None:
        x, axis = ravel(x), 0
    axis = normal_axis(axis, len(x.shape))
    counts = _counts(repeats, "repeat")
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if len(counts) == 1:
        wide = broadcast_to(reshape(x, (*before, n, 1, *after)), (*before, n, *counts, *after))
        return reshape(wide, (*before, n * counts[0], *after))
    if len(counts) != n:
        raise ValueError(f"'repeat': {len(counts)} repeats do not fit an axis of size {n}; give one number, or {n}")
    return take_axis(x, as_indices(np.repeat(np.arange(n), counts), x), axis)


def _counts(values: Any, name: str) -> Shape:
    counts = as_integers(values, name, "repeats")
    if any(c < 0 for c in counts):
        raise ValueError(f"'{name}': repeats must not be negative, got {values}")
    return counts


def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """The whole tensor repeated along each axis.

    Args:
        x: tensor of any shape.
        reps: how often along each axis; where there are fewer than axes they are those of the last ones, where there
            are more the result has more axes.

    Raises:
        TypeError: the repeats are not integers.
        ValueError: they are negative.

    Example:
        >>> import gradcore as gc
        >>> gc.tile(gc.tensor([1, 2]), (2, 2))
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "tile")
    counts = _counts(reps, "tile")
    ndim = max(len(counts), len(x.shape))
    counts, sizes = [(*(1,) * (ndim - len(s)), *s) for s in (counts, x.shape)]
    pairs = list(zip(counts, sizes, strict=True))
    wide = broadcast_to(reshape(x, [k for _, n in pairs for k in (1, n)]), [k for pair in pairs for k in pair])
    return reshape(wide, tuple([c * n for c, n in pairs]))


# --- split ------------------------------------------------------------------------------------------------------------


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Parts along an axis; views.

    Args:
        x: tensor of any shape but ().
        indices_or_sections: how many parts of equal size, or the positions at which to cut.
        axis: the axis that is cut.

    Raises:
        TypeError: the sections or positions are not integers.
        ValueError: the parts would not be equal (`array_split` allows that), or there are none.

    Example:
        >>> import gradcore as gc
        >>> first, second = gc.split(gc.tensor([1, 2, 3, 4]), 2)
        >>> second
        tensor([3, 4], dtype=int64, device='cpu')
        >>> [part.shape for part in gc.split(gc.zeros(2, 5), [1, 3], axis=1)]
        [(2, 1), (2, 2), (2, 2)]
    """
    x = named_tensor(x, "split")
    if not hasattr(indices_or_sections, "__iter__"):
        (sections,) = as_integers(indices_or_sections, "split", "sections")
        size = x.shape[normal_axis(axis, len(x.shape))] if x.shape else 0
        if sections > 0 and size % sections:
            raise ValueError(f"'split': an axis of size {size} has no {sections} equal parts; use array_split")
    return _split(x, indices_or_sections, axis, "split")


def array_split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Parts along an axis, of sizes that differ by at most one; views. Arguments as for `split`.

    Example:
        >>> import gradcore as gc
        >>> [part.shape for part in gc.array_split(gc.zeros(5), 3)]
        [(2,), (2,), (1,)]
    """
    return _split(named_tensor(x, "array_split"), indices_or_sections, axis, "array_split")


def _split(x: Any, indices_or_sections: Any, axis: int, name: str) -> list[Any]:
    if not x.shape:
        raise ValueError(f"'{name}' needs at least one axis, got shape ()")
    axis = normal_axis(axis, len(x.shape))
    cuts = _cuts(indices_or_sections, x.shape[axis], name)
    whole = [(0, n, 1) for n in x.shape]
    spans = [slice(*ends).indices(x.shape[axis]) for ends in zip((0, *cuts), (*cuts, x.shape[axis]), strict=True)]
    return [take_slice(x, (*whole[:axis], (a, max(a, b), 1), *whole[axis + 1 :])) for a, b, _ in spans]


def _cuts(indices_or_sections: Any, size: int, name: str) -> Shape:
    """The positions at which an axis is cut."""
    values = as_integers(indices_or_sections, name, "sections")
    if hasattr(indices_or_sections, "__iter__"):
        return values
    (sections,) = values
    if sections <= 0:
        raise ValueError(f"'{name}': there must be at least one part, got {sections}")
    small, larger = divmod(size, sections)
    sizes = [small + (i < larger) for i in range(sections)]
    return tuple(accumulate(sizes[:-1]))


# --- grids ------------------------------------------------------------------------------------------------------------


def broadcast_arrays(*tensors: Any) -> tuple[Any, ...]:
    """Tensors broadcast to the shape in which they meet, by NumPy's rules; views.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> import gradcore as gc
        >>> a, b = gc.broadcast_arrays(gc.zeros(3, 1), gc.zeros(4))
        >>> a.shape, b.shape
        ((3, 4), (3, 4))
    """
    operands = [named_tensor(t, "broadcast_arrays") for t in tensors]
    shapes = [t.shape for t in operands]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"'broadcast_arrays': shapes {shapes} do not broadcast to one shape") from None
    return tuple([broadcast_to(t, shape) for t in operands])


def meshgrid(*coordinates: Any, indexing: str = "xy", sparse: bool = False) -> tuple[Any, ...]:
    """Coordinates of the points of a grid; views.

    Args:
        coordinates: a vector of n_i coordinates for each axis i; tensors of other shapes are raveled.
        indexing: "ij" gives the shape (n_0, n_1, n_2, ...), "xy" the shape (n_1, n_0, n_2, ...).
        sparse: leave axes along which a coordinate does not change at size 1.

    Returns:
        One tensor for each axis.

    Raises:
        ValueError: the indexing has another name.

    Example:
        >>> import gradcore as gc
        >>> x, y = gc.meshgrid(gc.tensor([1, 2, 3]), gc.tensor([4, 5]))
        >>> x
        tensor([[1, 2, 3],
                [1, 2, 3]], dtype=int64, device='cpu')
        >>> y
        tensor([[4, 4, 4],
                [5, 5, 5]], dtype=int64, device='cpu')
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"'meshgrid': indexing must be 'xy' or 'ij', not {indexing!r}")
    places = list(range(len(coordinates)))
    if indexing == "xy":
        places[:2] = places[1::-1]
    vectors = [ravel(named_tensor(c, "meshgrid")) for c in coordinates]
    grids = [
        reshape(v, [-1 if a == p else 1 for a in range(len(vectors))]) for v, p in zip(vectors, places, strict=True)
    ]
    return tuple(grids) if sparse else broadcast_arrays(*grids)
