"""The parameters of one dtype on one device, and their step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.autodiff.tape import no_grad
from gradcore.backend import is_cupy
from gradcore.core.bind import bind
from gradcore.core.cell import Cell, update
from gradcore.core.errors import DeviceError
from gradcore.core.op import Op
from gradcore.core.state import diverted, switch
from gradcore.ops.creation import full_like
from gradcore.ops.optimizers import hyper_of, slots_of
from gradcore.optim.hyper import check_number, scalar


class Slot(Cell):
    """What a step keeps for the next one."""

    __slots__ = ()

    role = "optimiser state"


class Group:
    """Parameters of one dtype and one parameter group, with the cells that their steps read and write.

    Slots are where the parameters are.  Hyperparameters and the count stay on the CPU: their values travel with the
    launch of a step.

    Attributes:
        parameters, grads: their cells, and those of their gradients.
        slots: for each parameter its state, such as the running mean of gradients.
        hyper: 0-d cells by name, in the op's order.
        count: how many steps there were, exact in float64; None where the op does not ask.
        kinds: dtype, shape and device of each gradient when the lists were made, None where there was none.
        expected: the gradients' cells, with what their arrays must be.
        written, operands: the lists that `update` takes, for the parameters that have a gradient.
        size: how many elements they have.
    """

    def __init__(self, name: str, parameters: list[Cell], op: Op, options: Mapping[str, Any]) -> None:
        self.op = op
        self.parameters = parameters
        self.dtype = dtype = parameters[0].read().dtype
        self.device = parameters[0].read().aval.device
        self.wide = computing(dtype)
        names = hyper_of(op)
        self.hyper = {key: Slot(scalar(options[key], self.wide), f"{name}.{key}") for key in names if key != "step"}
        self.count = Slot(scalar(0, np.float64), f"{name}.step") if "step" in names else None
        self.grads = [p.leaf.grad for p in parameters if p.leaf is not None]
        first = options.get("initial_accumulator_value", 0.0)
        check_number("initial_accumulator_value", first, [dtype])
        self.slots = [[_slot(p, slot, first) for slot in slots_of(op)] for p in parameters]
        self.kinds: list[Any] = []
        self.expected: list[Any] = [(grad, (), (), None, None) for grad in self.grads]
        self.written: list[Cell] = []
        self.operands: list[Any] = []
        self.size = 0

    def refresh(self) -> bool:
        """Make the lists anew if other parameters have a gradient now, or gradients have other shapes or dtypes.

        Returns:
            Whether any parameter has a gradient.
        """
        if (switch.busy and diverted()) or self._stale():
            values = [grad.read() for grad in self.grads]
            kinds = [NONE if g is None else (g.dtype, g.shape, g.aval.device) for g in values]
            if kinds != self.kinds:
                self._rebuild(kinds)
            self.expected = [_expected(*each) for each in zip(self.grads, values, kinds, strict=True)]
        return bool(self.written)

    def step(self) -> None:
        """Change parameters and slots, in place where nothing else holds them; the count last."""
        if self.count is None:
            update(self.op, self.written, self.operands)
        else:
            count = self._counted(self.count)
            update(self.op, self.written, self.operands)
            self.count.assign(count)

    def computed(self) -> list[tuple[Cell, Any]]:
        """What `step` would assign, as new values, with the cells that it would assign them to."""
        counted = [] if self.count is None else [(self.count, self._counted(self.count))]
        return [*zip(self.written, self._values(), strict=True), *counted]

    def _values(self) -> Any:
        if switch.busy and diverted():
            with no_grad():
                return bind(self.op, [o.read() if isinstance(o, Cell) else o for o in self.operands])
        made = [Cell(full_like(cell.read(), 0.0)) for cell in self.written]
        update(self.op, made, self.operands)
        return [cell.read() for cell in made]

    def _counted(self, cell: Cell) -> Any:
        """The number of this step, which becomes an operand: the last of the hyperparameters."""
        count, self.operands[len(self.hyper)] = self.numbered(cell)
        return count

    def numbered(self, cell: Cell) -> tuple[Any, Any]:
        """The number of the next step, as it is counted and as the op takes it."""
        count = ops.add(cell.read(), 1.0)
        return count, count if self.wide == count.dtype else ops.cast(count, self.wide)

    def _stale(self) -> bool:
        """The quick look before each step: is any gradient not as it was when the lists were made?"""
        for grad, dtype, shape, kind, device in self.expected:
            g = grad.tensor
            if g is None:
                if dtype is not None:
                    return True
            elif (
                (array := g.data).dtype is not dtype
                or array.shape != shape
                or type(array) is not kind
                or (device is not None and array.device != device)
            ):
                return True
        return False

    def _rebuild(self, kinds: list[Any]) -> None:
        every = list(zip(self.parameters, self.grads, self.slots, kinds, strict=True))
        for p, _, _, kind in every:
            self.check(p, *kind)
        self.kinds = kinds
        chosen = [(p, grad, slots) for p, grad, slots, (dtype, *_) in every if dtype is not None]
        self.written = [cell for p, _, slots in chosen for cell in (p, *slots)]
        shared = [*self.hyper.values(), *([] if self.count is None else [self.count])]
        self.operands = [*shared, *[cell for p, grad, slots in chosen for cell in (p, grad, *slots)]]
        self.size = sum(math.prod(p.read().shape) for p, _, _ in chosen)

    def check(self, parameter: Cell, dtype: Any = None, shape: Any = None, place: str | None = None) -> None:
        """A step computes in the dtype and on the device of the optimiser's state and keeps every shape."""
        value, name = parameter.read(), parameter.name or "without a name"
        device = value.aval.device
        if device != self.device:
            raise DeviceError(
                f"parameter {name} was on {self.device} when the optimiser was made and is on {device} now; make the "
                "optimiser after module.to(device)"
            )
        if place not in (None, device):
            raise DeviceError(f"parameter {name} is on {device} and its gradient on {place}; use .to('{device}')")
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


def computing(dtype: Any) -> Any:
    """The dtype in which a step of such parameters computes."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


NONE = (None, None, None)


def _expected(grad: Cell, value: Any, kind: Any) -> tuple[Any, ...]:
    """What `_stale` compares: in place of a device's name what an array tells at once."""
    array: Any = None if value is None else value.data
    return grad, *kind[:2], type(array), array.device if is_cupy(array) else None


def _slot(parameter: Cell, name: str, first: float) -> Cell:
    value = parameter.read()
    return Slot(full_like(value, first), f"{parameter.name}.{name}" if parameter.name else name)
