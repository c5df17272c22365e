"""Abstract values: everything about an array but its elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradcore.backend import backend_of

Shape = tuple[int, ...]


def contiguous_strides(shape: Shape, itemsize: int) -> Shape:
    """Strides in bytes of a C-contiguous array."""
    strides, step = [], itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def dense(aval: Aval) -> bool:
    """Whether the elements fill their memory without gaps, in some order of the axes (as a transposed matrix does)."""
    if aval.strides is None:
        return True
    pairs = [pair for pair in zip(aval.strides, aval.shape, strict=True) if pair[1] != 1]
    pairs.sort(key=lambda pair: -pair[0])
    return tuple(s for s, _ in pairs) == contiguous_strides(tuple(n for _, n in pairs), aval.dtype.itemsize)


class Aval:
    """Shape, dtype, weakness, device and strides of a value.

    `weak` marks a Python scalar, which takes the dtype of what it meets (NumPy 2).  `strides` is None for a
    C-contiguous array.  A rule that reads a value which it did not declare as saved gets an Aval and fails at once.
    """

    __slots__ = ("device", "dtype", "shape", "strides", "weak")

    def __init__(
        self,
        shape: Shape,
        dtype: Any,
        weak: bool = False,
        device: str = "cpu",
        strides: Shape | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.weak = weak
        self.device = device
        self.strides = strides

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(math.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return int(self.size * self.dtype.itemsize)

    @property
    def floating(self) -> bool:
        return bool(self.dtype.kind == "f")

    def update(self, **fields: Any) -> Aval:
        """A copy with other fields; a new shape or dtype makes it contiguous."""
        layout = {} if {"shape", "dtype"} & fields.keys() else {"strides": self.strides}
        known = {"shape": self.shape, "dtype": self.dtype, "weak": self.weak, "device": self.device}
        return Aval(**{**known, **layout, **fields})

    def _key(self) -> tuple[Any, ...]:
        return self.shape, self.dtype, self.weak, self.device, self.strides

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Aval) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        size = ",".join(map(str, self.shape))
        marks = ("*" if self.weak else "") + ("" if self.device == "cpu" else f"@{self.device}")
        return f"{self.dtype.name}[{size}]{marks}"


def aval_of(value: Any) -> Aval:
    """The Aval of an array, a Tensor, a graph variable or a Python scalar."""
    if type(value) is np.ndarray:
        return _numpy_aval(value)
    if isinstance(value, Aval):
        return value
    known = getattr(value, "aval", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    if isinstance(value, (bool, int, float)):
        return Aval((), np.result_type(type(value)), weak=True)
    strides = None if value.flags.c_contiguous else value.strides
    return Aval(value.shape, value.dtype, device=backend_of(value).name, strides=strides)


def _numpy_aval(array: Any) -> Aval:
    """Made a million times in a training run, so without a call of `__init__`."""
    aval = object.__new__(Aval)
    aval.shape, aval.dtype, aval.weak, aval.device = array.shape, array.dtype, False, "cpu"
    aval.strides = None if array.flags.c_contiguous else array.strides
    return aval
