"""vmap, and which axis of each leaf it maps: `in_axes` and `out_axes` against the trees that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import numpy as np

from gradcore.autodiff.arguments import Function, are_plain, as_plain, as_value
from gradcore.autodiff.batch import Batch, BatchTensor
from gradcore.core.bind import bind
from gradcore.core.errors import BatchError
from gradcore.core.op import OPS
from gradcore.core.state import pushed, state
from gradcore.core.trees import Structure, flatten, split, tree_map, unflatten


def vmap(function: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """Apply a function to every example along an axis, all at once.

    There is no loop: each op inside is performed once, on all examples. `vmap(grad(loss))` gives a gradient for each
    example.

    Args:
        function: written for one example; takes and returns trees of tensors.
        in_axes: for each positional argument the axis that holds the examples, or None where all examples share the
            argument (then it may be anything, such as a module); one number for all. An entry may be a tree like the
            argument. Keyword arguments are mapped along their first axis.
        out_axes: where the axis of examples goes in the results; one number, or a tree like the result. None says that
            a result is the same for all examples and comes without that axis.

    Returns:
        A function of the same arguments. Where all arguments are NumPy or CuPy arrays, so are the results.

    Raises:
        BatchError: no argument is mapped, sizes differ, the axes do not fit, or an op has no batching rule.
        TypeError: a mapped argument is not a tree of tensors, arrays and numbers.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> gc.vmap(gc.grad(lambda row: (row * row).sum()))(x)
        tensor([[2., 4.],
                [6., 8.]], dtype=float32, device='cpu')

        The gradient of a module's parameters for each example:

        >>> layer = gc.nn.Linear(2, 1, bias=False)
        >>> loss = lambda layer, row: layer(row).sum()
        >>> gc.vmap(gc.grad(loss), in_axes=(None, 0))(layer, x)["weight"].shape
        (2, 1, 2)
    """
    return _mapped(function, in_axes, out_axes, examples=True)


def over_directions(function: Function, out_axes: int = 0) -> Function:
    """As `vmap`, but over tangents or cotangents of one computation: what is random is the same for all."""
    return _mapped(function, 0, out_axes, examples=False)


def _mapped(function: Function, in_axes: Any, out_axes: Any, examples: bool) -> Function:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        axes = axes_of_arguments(in_axes, args) + axes_of("in_axes", 0, flatten(kwargs)[1])
        what = "an argument of vmap"
        values = [leaf if axis is None else as_value(leaf, what) for leaf, axis in zip(leaves, axes, strict=True)]
        level = Batch(common_size(values, axes), examples)
        with pushed(state.levels, level):
            boxes = [v if a is None else BatchTensor(level, _to_front(v, a)) for v, a in zip(values, axes, strict=True)]
            positional, named = unflatten(structure, boxes)
            result = function(*positional, **named)
        outputs, out_structure = flatten(result)
        places = axes_of("out_axes", out_axes, out_structure)
        outputs = [as_value(out, "the result of the function") for out in outputs]
        outputs = [_finish(level, out, place) for out, place in zip(outputs, places, strict=True)]
        tree = unflatten(out_structure, outputs)
        return tree_map(as_plain, tree) if are_plain(leaves) else tree

    return wrapped


def _to_front(value: Any, axis: int) -> Any:
    return value if axis == 0 else moved(value, axis % len(value.shape), 0)


def moved(value: Any, source: int, destination: int) -> Any:
    """The axis `source` goes to `destination`; the others keep their order."""
    order = [a for a in range(len(value.shape)) if a != source]
    order.insert(destination, source)
    return bind(OPS["transpose"], (value,), (tuple(order),))


def _finish(level: Batch, out: Any, place: int | None) -> Any:
    mapped = level.owns(out)
    if place is None:
        if mapped:
            raise BatchError("vmap was told out_axes=None for a result that differs between examples")
        return out
    value = out.value if mapped else bind(OPS["broadcast_to"], (out,), ((level.size, *out.shape),))
    if not -len(value.shape) <= place < len(value.shape):
        raise BatchError(f"vmap was told out_axes={place} for a result of shape {value.shape}, examples included")
    return value if place == 0 else moved(value, 0, place % len(value.shape))


# --- axes -------------------------------------------------------------------------------------------------------------


def axes_of_arguments(in_axes: Any, args: tuple[Any, ...]) -> list[Any]:
    """One axis (or None) per leaf of the positional arguments."""
    if isinstance(in_axes, (tuple, list)) and len(in_axes) != len(args):
        raise BatchError(f"vmap got {len(args)} arguments and in_axes for {len(in_axes)}")
    if not isinstance(in_axes, (tuple, list)):
        return axes_of("in_axes", in_axes, flatten(args)[1])
    return [a for axes, arg in zip(in_axes, args, strict=True) for a in axes_of("in_axes", axes, flatten(arg)[1])]


def axes_of(what: str, axes: Any, structure: Structure) -> list[Any]:
    """One axis per leaf: a number (or None) stands for the whole subtree at its place."""
    if axes is None or isinstance(axes, (int, np.integer)):
        return [axes] * structure.size
    parts = split(axes)
    if parts is None:
        raise BatchError(f"vmap takes integers, None, or trees of these as {what}, not {axes!r}")
    kind, children, rest = parts
    fits = _same_kind(kind, structure.kind) and (rest, len(children)) == (structure.rest, len(structure.children))
    if not fits:
        raise BatchError(f"vmap got {what} {axes!r}, which does not fit {structure} (* is a tensor)")
    return [a for c, s in zip(children, structure.children, strict=True) for a in axes_of(what, c, s)]


def _same_kind(kind: type, other: type | None) -> bool:
    return kind is other or {kind, other} == {list, tuple}


def common_size(values: Sequence[Any], axes: Sequence[Any]) -> int:
    """The number of examples."""
    sizes = {_size(v, a) for v, a in zip(values, axes, strict=True) if a is not None}
    if not sizes:
        raise BatchError(
            "vmap needs at least one mapped argument; they hold no tensors, or every entry of in_axes is None"
        )
    if len(sizes) > 1:
        raise BatchError(f"vmap got mapped axes of different sizes: {sorted(sizes)}")
    return sizes.pop()


def _size(value: Any, axis: int) -> int:
    if not -len(value.shape) <= axis < len(value.shape):
        raise BatchError(f"vmap was asked to map axis {axis} of an argument of shape {value.shape}")
    return int(value.shape[axis])
