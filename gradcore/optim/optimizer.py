"""What all optimisers share: cells for state and hyperparameters, and the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.cell import Cell, update
from gradcore.core.op import Op
from gradcore.core.tensor import Tensor
from gradcore.io.state_dict import restore, snapshot


class Hyper:
    """A hyperparameter as an attribute: reading gives a float, assigning changes its cells."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is None:
            return self
        cells = self._cells(optimizer)
        return _shortest(cells[0]) if cells else 0.0

    def __set__(self, optimizer: Any, value: Any) -> None:
        _check_hyper(self.name, value)
        cells = self._cells(optimizer)
        if not cells:
            kind = type(optimizer).__name__
            raise ValueError(f"this {kind} was made without {self.name}; make a new one: {kind}(..., {self.name}=...)")
        for cell in cells:
            cell.assign(_scalar(value, cell.read().dtype))

    def _cells(self, optimizer: Any) -> list[Cell]:
        return [group.hyper[self.name] for group in optimizer.groups if self.name in group.hyper]


def _shortest(cell: Cell) -> float:
    """The shortest number that the stored one stands for: 0.01, where float32 holds 0.0099999998."""
    return float(str(cell.read().numpy()))


def _scalar(value: Any, dtype: Any) -> Any:
    return ops.cast(value, dtype) if isinstance(value, Tensor) else Tensor(np.asarray(value, dtype))


def _check_hyper(name: str, value: Any) -> None:
    """Refuse numbers that no step could use; tensors are taken as they are."""
    if isinstance(value, (int, float)) and not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number that is not negative, not {value}")


class Group:
    """The parameters of one dtype, with the cells that their steps read and write.

    Attributes:
        parameters, grads: their cells, and those of their gradients.
        slots: for each parameter its state, such as the running mean of gradients.
        hyper: 0-d cells by name, in the op's order; "step" counts the steps.
        written, operands: what `update` takes, for the parameters that have a gradient.
    """

    def __init__(self, name: str, parameters: list[Cell], slots: tuple[str, ...], hyper: Mapping[str, float]) -> None:
        self.parameters = parameters
        dtype = parameters[0].read().dtype
        wide = np.float32 if dtype == np.float16 else dtype  # a float16 step computes in float32
        self.hyper = {key: Cell(_scalar(value, wide), f"{name}.{key}") for key, value in hyper.items()}
        self.grads = [p.leaf.grad for p in parameters if p.leaf is not None]
        self.slots = [[_slot(p, slot) for slot in slots] for p in parameters]
        self.present: list[bool] = []
        self.written: list[Cell] = []
        self.operands: list[Any] = []

    def rebuild(self, present: list[bool]) -> None:
        """Make the lists for the parameters that have a gradient."""
        self.present = present
        every = zip(self.parameters, self.grads, self.slots, present, strict=True)
        chosen = [(p, grad, slots) for p, grad, slots, on in every if on]
        self.written = [cell for p, _, slots in chosen for cell in (p, *slots)]
        self.operands = [*self.hyper.values(), *[cell for p, grad, slots in chosen for cell in (p, grad, *slots)]]


def _slot(parameter: Cell, name: str) -> Cell:
    value = parameter.read()
    return Cell(Tensor(np.zeros(value.shape, value.dtype)), f"{parameter.name}.{name}" if parameter.name else name)


class Optimizer:
    """Base class: a subclass names its op, the op's hyperparameters in order, and the slots of a parameter.

    Learning rate and the like are 0-d cells, and so operands of the step: changing them recompiles nothing.
    """

    def __init__(self, params: Iterable[Any], op: Op, slots: tuple[str, ...], hyper: Mapping[str, float]) -> None:
        for key, value in hyper.items():
            _check_hyper(key, value)
        self.op = op
        self.parameters = _checked(params)
        self.names = slots
        dtypes = dict.fromkeys(p.read().dtype for p in self.parameters)
        name = type(self).__name__
        self.groups = [
            Group(name, [p for p in self.parameters if p.read().dtype == dtype], slots, hyper) for dtype in dtypes
        ]

    def step(self) -> None:
        """Change every parameter that has a gradient.

        Raises:
            MemoryError: parameters and state are as they were.
        """
        for group in self.groups:
            present = [grad.read() is not None for grad in group.grads]
            if present != group.present:
                group.rebuild(present)
            if group.written:
                self._step_group(group)

    def _step_group(self, group: Group) -> None:
        update(self.op, group.written, group.operands)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for grad in group.grads:
                grad.assign(None)

    def _cells(self) -> dict[str, Cell]:
        """Every cell of the optimiser by a name that does not depend on the parameters' names."""
        cells: dict[str, Cell] = {}
        for group in self.groups:
            dtype = group.parameters[0].read().dtype
            cells |= {f"hyper.{dtype}.{name}": cell for name, cell in group.hyper.items()}
            for parameter, slots in zip(group.parameters, group.slots, strict=True):
                number = self.parameters.index(parameter)
                cells |= {f"slots.{number}.{name}": cell for name, cell in zip(self.names, slots, strict=True)}
        return cells

    def state_dict(self) -> dict[str, Tensor]:
        """Hyperparameters, step count and slots as tensors; later steps do not change them."""
        return snapshot(self._cells())

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Assign what `state_dict` gave, of an optimiser of the same kind on parameters of the same shapes.

        Raises:
            KeyError: it comes from another kind of optimiser, or other parameters.
            ValueError: a shape or dtype differs. Nothing has been assigned then.
        """
        restore(self._cells(), values)


def _checked(params: Iterable[Any]) -> list[Any]:
    parameters = [params] if isinstance(params, Cell) else list(params)
    if not parameters:
        raise ValueError("the optimiser got no parameters; pass model.parameters()")
    for p in parameters:
        if not isinstance(p, Cell):
            raise TypeError(
                f"the optimiser got {type(p).__name__} instead of a parameter; pass model.parameters(), and make "
                "one optimiser for each set of hyperparameters"
            )
    if len(set(parameters)) != len(parameters):
        raise ValueError("a parameter was passed to the optimiser twice")
    return [p for p in parameters if p.leaf is not None]
