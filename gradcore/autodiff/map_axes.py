"""Which axis of each leaf `vmap` maps: `in_axes` and `out_axes` against the trees that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.core.errors import BatchError
from gradcore.core.trees import Structure, flatten, split


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
        raise BatchError("vmap needs at least one mapped argument; every entry of in_axes is None")
    if len(sizes) > 1:
        raise BatchError(f"vmap got mapped axes of different sizes: {sorted(sizes)}")
    return sizes.pop()


def _size(value: Any, axis: int) -> int:
    if not -len(value.shape) <= axis < len(value.shape):
        raise BatchError(f"vmap was asked to map axis {axis} of an argument of shape {value.shape}")
    return int(value.shape[axis])
