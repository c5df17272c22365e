"""What functions that are no ops of their own do with their arguments."""

from __future__ import annotations

from operator import index as as_integer
from typing import Any

from gradcore.ops.structural import normal_axis


def as_integers(values: Any, name: str, what: str) -> tuple[int, ...]:
    """One integer or several, as a tuple."""
    try:
        return tuple(map(as_integer, values if hasattr(values, "__iter__") else (values,)))
    except TypeError:
        raise TypeError(f"'{name}': {what} must be integers, not {values!r}") from None


def distinct_axes(axes: Any, ndim: int, name: str) -> tuple[int, ...]:
    """Axes in [0, ndim), in the order given."""
    normal = tuple([normal_axis(axis, ndim) for axis in as_integers(axes, name, "axes")])
    if len(set(normal)) != len(normal):
        raise ValueError(f"'{name}': axes {axes} name an axis twice")
    return normal
