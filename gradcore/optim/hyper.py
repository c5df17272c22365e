"""Hyperparameters: 0-d cells, and so operands of a step; changing them recompiles nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.cell import Cell
from gradcore.core.errors import DeviceError
from gradcore.core.tensor import Tensor


class Hyper:
    """A hyperparameter as an attribute of an optimiser: reading gives a float, assigning changes every group.

    Args:
        below: it must be smaller than this.
    """

    def __init__(self, below: float = math.inf) -> None:
        self.below = below

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is None:
            return self
        values = [group.stored(self.name) for group in optimizer.param_groups]
        finest = _finest(values)
        if any(value != finest.astype(value.dtype) for value in values):
            raise ValueError(
                f"{self.name} differs between the parameter groups: {[_shortest(value) for value in values]}; read "
                f'optimizer.param_groups[0]["{self.name}"]'
            )
        return _shortest(finest)

    def __set__(self, optimizer: Any, value: Any) -> None:
        cells = [cell for group in optimizer.param_groups for cell in group.cells(self.name)]
        self.check(value, [cell.read().dtype for cell in cells])
        assign(cells, value)

    def check(self, value: Any, dtypes: Iterable[Any]) -> None:
        """Refuse what no step could use, as given or as rounded to one of these dtypes."""
        check_number(self.name, value, dtypes, self.below)


class ParamGroup(Mapping[str, Any]):
    """Parameters that share hyperparameters: an item of `optimizer.param_groups`, to be used like a dictionary.

    Example:
        >>> import gradcore as gc
        >>> optimizer = gc.optim.SGD(gc.nn.Linear(2, 1).parameters(), lr=0.1)
        >>> (group,) = optimizer.param_groups
        >>> group["lr"] = 0.05
        >>> group["lr"], list(group)
        (0.05, ['params', 'lr', 'momentum', 'weight_decay'])
    """

    def __init__(self, kind: type, params: Sequence[Cell], places: Sequence[Mapping[str, Cell]]) -> None:
        self._kind, self._params, self._places = kind, params, places
        self._names = [name for name in dir(kind) if isinstance(getattr(kind, name), Hyper)]

    def cells(self, name: str) -> list[Cell]:
        """The cells that hold a hyperparameter: one for each dtype of the parameters.

        Raises:
            KeyError: optimisers of this kind have no such hyperparameter.
            ValueError: this one was made without it.
        """
        self._known(name)
        cells = [place[name] for place in self._places if name in place]
        if not cells:
            kind = self._kind.__name__
            raise ValueError(f"this {kind} was made without {name}; make a new one: {kind}(..., {name}=...)")
        return cells

    def _known(self, name: str) -> None:
        if name not in self._names:
            raise KeyError(f"a parameter group of {self._kind.__name__} has {', '.join(self)}, not {name!r}")

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return list(self._params)
        return _shortest(self.stored(name))

    def stored(self, name: str) -> Any:
        """A hyperparameter in the finest dtype that holds it; 0 where the group was made without it.

        Raises:
            KeyError: optimisers of this kind have no such hyperparameter.
        """
        self._known(name)
        return _finest([place[name].read().numpy() for place in self._places if name in place] or [np.zeros(())])

    def check(self, name: str, value: Any) -> None:
        """Refuse what cannot be assigned.

        Raises:
            KeyError: optimisers of this kind have no such hyperparameter.
            TypeError: the value is not a number.
            ValueError: it is out of range, or the group was made without this hyperparameter.
        """
        getattr(self._kind, name).check(value, [cell.read().dtype for cell in self.cells(name)])

    def __setitem__(self, name: str, value: Any) -> None:
        cells = self.cells(name)
        self.check(name, value)
        assign(cells, value)

    def __iter__(self) -> Iterator[str]:
        return iter(["params", *self._names])

    def __len__(self) -> int:
        return 1 + len(self._names)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={self[name]}" for name in self._names)
        return f"ParamGroup({len(self._params)} parameters, {values})"


def check_number(name: str, value: Any, dtypes: Iterable[Any], below: float = math.inf) -> None:
    """Refuse what is not in [0, below), as given or rounded to one of these dtypes; of tensors see only the shape."""
    if isinstance(value, (Tensor, Cell, np.ndarray)):
        shape = value.read().shape if isinstance(value, Cell) else value.shape
        if shape != ():
            raise ValueError(f"{name} must be one number, not a tensor of shape {shape}")
        if not isinstance(value, np.ndarray):
            return
        value = value[()]
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    limits = "a finite number that is not negative" if below == math.inf else f"in [0, {below:g})"
    if not 0 <= value < below or value > sys.float_info.max:
        raise ValueError(f"{name} must be {limits}, not {value}")
    for dtype in dtypes:
        with np.errstate(over="ignore"):
            stored = np.asarray(value, dtype)
        if stored >= below:
            raise ValueError(f"{name} must be {limits}, not {value}, which is {stored} in {dtype}")


def _finest(values: Sequence[Any]) -> Any:
    return max(values, key=lambda value: value.dtype.itemsize)


def _shortest(value: Any) -> float:
    """The shortest number that stands for the stored one: 0.01, where float32 holds 0.0099999998."""
    return float(str(value))


def assign(cells: Iterable[Cell], value: Any) -> None:
    """Give 0-d cells one value, each in its own dtype."""
    for cell in cells:
        cell.assign(scalar(value, cell.read().dtype))


def scalar(value: Any, dtype: Any) -> Any:
    """A 0-d tensor of this dtype on the CPU.

    Raises:
        DeviceError: the value is on another device, and reading it would wait for that device.
    """
    value = value.read() if isinstance(value, Cell) else value
    if isinstance(value, Tensor) and value.aval.device != "cpu":
        raise DeviceError(
            f"hyperparameters and schedules are on the CPU, and this number is on {value.aval.device}; pass "
            "float(number), which waits for it"
        )
    return ops.cast(value, dtype) if isinstance(value, Tensor) else Tensor(np.asarray(value, dtype))


def pair(betas: Any) -> tuple[Any, Any]:
    """Two numbers from what was given as `betas`."""
    try:
        beta1, beta2 = betas
    except (TypeError, ValueError):
        raise ValueError(f"betas must be two numbers in [0, 1), such as (0.9, 0.999), not {betas}") from None
    return beta1, beta2
