"""What all optimisers share: cells for state and hyperparameters, and the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.cell import Cell, update
from gradcore.core.op import Op
from gradcore.core.state import switch
from gradcore.core.tensor import Tensor
from gradcore.io.state_dict import restore, snapshot


class Hyper:
    """A hyperparameter as an attribute: reading gives a float, assigning changes its cells.

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
        cells = self._cells(optimizer)
        return _shortest(cells[0]) if cells else 0.0

    def __set__(self, optimizer: Any, value: Any) -> None:
        self.check(value)
        cells = self._cells(optimizer)
        if not cells:
            kind = type(optimizer).__name__
            raise ValueError(f"this {kind} was made without {self.name}; make a new one: {kind}(..., {self.name}=...)")
        for cell in cells:
            cell.assign(_scalar(value, cell.read().dtype))

    def check(self, value: Any) -> None:
        """Refuse what no step could use; of tensors only the shape is known."""
        if isinstance(value, (Tensor, Cell, np.ndarray)):
            shape = value.read().shape if isinstance(value, Cell) else value.shape
            if shape != ():
                raise ValueError(f"{self.name} must be one number, not a tensor of shape {shape}")
        elif not isinstance(value, (int, float, np.number)):
            raise TypeError(f"{self.name} must be a number, not {value!r}")
        elif not 0 <= value < self.below:
            limits = "a finite number that is not negative" if self.below == math.inf else f"in [0, {self.below:g})"
            raise ValueError(f"{self.name} must be {limits}, not {value}")

    def _cells(self, optimizer: Any) -> list[Cell]:
        return [group.hyper[self.name] for group in optimizer.groups if self.name in group.hyper]


def _shortest(cell: Cell) -> float:
    """The shortest number that the stored one stands for: 0.01, where float32 holds 0.0099999998."""
    return float(str(cell.read().numpy()))


def _scalar(value: Any, dtype: Any) -> Any:
    return ops.cast(value, dtype) if isinstance(value, Tensor) else Tensor(np.asarray(value, dtype))


class Group:
    """The parameters of one dtype, with the cells that their steps read and write.

    Attributes:
        parameters, grads: their cells, and those of their gradients.
        slots: for each parameter its state, such as the running mean of gradients.
        hyper: 0-d cells by name, in the op's order; "step" counts the steps.
        kinds: dtype and shape of each gradient when the lists were made, None where there was none.
        expected: the gradients' cells with their kinds.
        written, operands: the lists that `update` takes, for the parameters that have a gradient.
    """

    def __init__(self, name: str, parameters: list[Cell], slots: tuple[str, ...], hyper: Mapping[str, float]) -> None:
        self.parameters = parameters
        self.dtype = dtype = parameters[0].read().dtype
        wide = np.float32 if dtype == np.float16 else dtype  # a float16 step computes in float32
        self.hyper = {key: Cell(_scalar(value, wide), f"{name}.{key}") for key, value in hyper.items()}
        self.grads = [p.leaf.grad for p in parameters if p.leaf is not None]
        self.slots = [[_slot(p, slot) for slot in slots] for p in parameters]
        self.kinds: list[Any] = []
        self.expected: list[Any] = [(grad, (), ()) for grad in self.grads]
        self.written: list[Cell] = []
        self.operands: list[Any] = []

    def refresh(self) -> None:
        """Make the lists anew if other parameters have a gradient now, or gradients have other shapes or dtypes."""
        if switch.busy or self._stale():
            values = [grad.read() for grad in self.grads]
            kinds = [(None, None) if g is None else (g.dtype, g.shape) for g in values]
            if kinds != self.kinds:
                self._rebuild(kinds)

    def _stale(self) -> bool:
        """The quick look before each step: is any gradient not as it was when the lists were made?"""
        for grad, dtype, shape in self.expected:
            g = grad.tensor
            if g is None:
                if dtype is not None:
                    return True
            elif (array := g.data).dtype is not dtype or array.shape != shape:
                return True
        return False

    def _rebuild(self, kinds: list[Any]) -> None:
        every = list(zip(self.parameters, self.grads, self.slots, kinds, strict=True))
        for p, _, _, kind in every:
            self._check(p, *kind)
        self.kinds = kinds
        self.expected = [(grad, *kind) for grad, kind in zip(self.grads, kinds, strict=True)]
        chosen = [(p, grad, slots) for p, grad, slots, (dtype, _) in every if dtype is not None]
        self.written = [cell for p, _, slots in chosen for cell in (p, *slots)]
        self.operands = [*self.hyper.values(), *[cell for p, grad, slots in chosen for cell in (p, grad, *slots)]]

    def _check(self, parameter: Cell, dtype: Any, shape: Any) -> None:
        """A step computes in the dtype of the optimiser's state and keeps every shape."""
        value, name = parameter.read(), parameter.name or "without a name"
        if value.dtype != self.dtype:
            raise TypeError(
                f"parameter {name} was {self.dtype} when the optimiser was made and is {value.dtype} now; make the "
                "optimiser after module.to(dtype)"
            )
        if dtype is not None and (dtype, shape) != (value.dtype, value.shape):
            raise ValueError(
                f"parameter {name} is {value.dtype}{list(value.shape)} and cannot take a step with a gradient of "
                f"{dtype}{list(shape)}; cast or reshape the gradient first"
            )


def _slot(parameter: Cell, name: str) -> Cell:
    value = parameter.read()
    return Cell(Tensor(np.zeros(value.shape, value.dtype)), f"{parameter.name}.{name}" if parameter.name else name)


class Optimizer:
    """Base class: a subclass names its op, the op's hyperparameters in order, and the slots of a parameter.

    Learning rate and the like are 0-d cells, and so operands of the step: changing them recompiles nothing.

    Example:
        >>> import gradcore as gc
        >>> optimizer = gc.optim.SGD(gc.nn.Linear(2, 1).parameters(), lr=0.1)
        >>> optimizer.lr = 0.05
        >>> optimizer.state_dict()
        {'hyper.float32.lr': tensor(0.05, dtype=float32, device='cpu')}
    """

    def __init__(self, params: Iterable[Any], op: Op, slots: tuple[str, ...], hyper: Mapping[str, float]) -> None:
        for key, value in hyper.items():
            declared = getattr(type(self), key, None)
            if isinstance(declared, Hyper):
                declared.check(value)
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
            TypeError: a parameter has another dtype than when the optimiser was made.
            ValueError: a gradient has another shape or dtype than its parameter.
        """
        for group in self.groups:
            group.refresh()
        for group in self.groups:
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
