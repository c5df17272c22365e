"""What all optimisers share: parameter groups, the step, and the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gradcore.core.cell import Cell
from gradcore.core.errors import DeviceError
from gradcore.core.op import Op
from gradcore.core.state import diverted, switch
from gradcore.core.tensor import Tensor
from gradcore.io.state_dict import restore, snapshot
from gradcore.ops.optimizers import slots_of
from gradcore.optim.fused import backward_and_step
from gradcore.optim.group import Group, computing
from gradcore.optim.hyper import Hyper, ParamGroup, pair


class Optimizer:
    """Base class: a subclass declares its hyperparameters and says which op makes a step with them.

    Learning rate and the like are 0-d cells, and so operands of the step: changing them recompiles nothing.

    Parameters may come in groups with hyperparameters of their own, as dictionaries: `[{"params": a, "lr": 0.1},
    {"params": b}]`.  What a dictionary leaves out is as for the optimiser.  A step runs one op for each dtype in each
    group.  With several of them all but the one with the most elements are computed into new arrays before anything is
    assigned, so that running out of memory changes nothing.

    A group's parameters are on one device, and so is what a step keeps for them; hyperparameters are on the CPU, and
    nothing is copied for a step.

    float16 parameters have float16 slots, as in PyTorch: a step computes in float32, but what it keeps of small squares
    is 0.  Keep parameters in float32 for optimisers that divide by mean squares.

    Attributes:
        param_groups: a `ParamGroup` for each dictionary, to read and assign its hyperparameters.

    Example:
        >>> import gradcore as gc
        >>> first, second = gc.nn.Linear(2, 3), gc.nn.Linear(3, 1)
        >>> groups = [{"params": first.parameters(), "lr": 0.1}, {"params": second.parameters()}]
        >>> optimizer = gc.optim.SGD(groups, lr=0.01)
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 0.01]
        >>> optimizer.lr = 0.05
        >>> optimizer.state_dict()
        {'group.0.float32.lr': tensor(0.05, dtype=float32, device='cpu'),
         'group.1.float32.lr': tensor(0.05, dtype=float32, device='cpu')}
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.parameters: list[Any] = []
        self.param_groups: list[ParamGroup] = []
        self._by_dtype: list[Group] = []
        self._prefixes: list[str] = []
        for group in _dictionaries(params):
            self.add_param_group(group)

    def _op(self, options: Mapping[str, Any]) -> Op:
        """The step of a parameter group with these options."""
        raise NotImplementedError

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with hyperparameters of their own.

        Args:
            group: a dictionary with `params`, and what is not as for the optimiser.

        Raises:
            DeviceError: the parameters are on several devices.
            TypeError: something is not a parameter.
            ValueError: no parameters, one twice, an unknown name, or a hyperparameter out of its range.
        """
        number, kind = len(self.param_groups), type(self).__name__
        options = self._options(group, number)
        parameters = _checked(group["params"], self.parameters, number)
        _check_place(parameters, number)
        by_dtype: dict[Any, list[Any]] = {}
        for p in parameters:
            by_dtype.setdefault(p.read().dtype, []).append(p)
        self._check(options, [computing(dtype) for dtype in by_dtype])
        op = self._op(options)
        name = f"{kind}.{number}" if number else kind
        groups = [Group(name, members, op, options) for members in by_dtype.values()]
        self.parameters += parameters
        self._by_dtype += groups
        self._prefixes += [f"group.{number}.{dtype}" for dtype in by_dtype]
        self.param_groups.append(ParamGroup(type(self), parameters, [g.hyper for g in groups]))

    def _options(self, group: Mapping[str, Any], number: int) -> dict[str, Any]:
        """All options of a group."""
        if "params" not in group:
            raise ValueError(f"parameter group {number} has no 'params': {list(group)}")
        unknown = [name for name in group if name not in self.defaults and name != "params"]
        if unknown:
            raise ValueError(
                f"parameter group {number} has {unknown}, but {type(self).__name__} takes {list(self.defaults)}"
            )
        options = {**self.defaults, **group}
        if "betas" in options:
            options["beta1"], options["beta2"] = pair(options["betas"])
        return options

    def _check(self, options: Mapping[str, Any], dtypes: list[Any]) -> None:
        for name, value in options.items():
            declared = getattr(type(self), name, None)
            if isinstance(declared, Hyper):
                declared.check(value, dtypes)

    def step(self) -> None:
        """Change every parameter that has a gradient.

        Raises:
            DeviceError: a parameter is on another device than when the optimiser was made, or than its gradient.
            MemoryError: parameters and state are as they were.
            TypeError: a parameter has another dtype than when the optimiser was made.
            ValueError: a gradient has another shape or dtype than its parameter.
        """
        ready = [group for group in self._by_dtype if group.refresh()]
        if len(ready) == 1:
            ready[0].step()
        elif ready:
            _step_together(ready)

    def backward_and_step(self, loss: Tensor, gradient: Any = None) -> None:
        """What `loss.backward()`, `step()` and `zero_grad()` do, bit for bit, in less memory.

        Each parameter is changed, and its gradient freed, as soon as the backward pass has left the last op that reads
        the parameter.  So the gradients are never all there at once.  What needs them all, such as clipping by their
        common norm or looking for an infinity before the step, needs `backward()` and `step()`.

        A gradient that is there already (of other batches, by `backward()`) is added first.  Leaves that are no
        parameters of this optimiser get their `.grad` as from `backward()`.  Inside a checkpoint the old value of a
        parameter stays until the backward pass has left the checkpoint, since it may be computed again.

        Args:
            loss: what to differentiate.
            gradient: the cotangent, a Tensor or array of the shape of `loss`; 1 by default, where there is one element.

        Raises:
            AssignedError, GraphFreedError: the graph cannot be gone through; nothing has changed then.
            GradcoreError: nothing is recorded, or the gradient does not fit.
            DeviceError, TypeError, ValueError: as `step`.
            MemoryError: some parameters may have taken their step; a note says how many.

        Example:
            >>> import gradcore as gc
            >>> w = gc.nn.Parameter([1.0])
            >>> gc.optim.SGD([w], lr=0.25).backward_and_step((w * w).sum())
            >>> float(w), w.grad
            (0.5, None)
        """
        backward_and_step(self._by_dtype, loss, gradient)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        plain = not (switch.busy and diverted())
        for group in self._by_dtype:
            for grad in group.grads:
                if plain:
                    grad.tensor = None
                else:
                    grad.assign(None)

    def _cells(self) -> dict[str, Cell]:
        """Every cell of the optimiser by a name that does not depend on the parameters' names."""
        cells: dict[str, Cell] = {}
        numbers = {id(parameter): number for number, parameter in enumerate(self.parameters)}
        for prefix, group in zip(self._prefixes, self._by_dtype, strict=True):
            cells |= {f"{prefix}.{name}": cell for name, cell in group.hyper.items()}
            if group.count is not None:
                cells[f"{prefix}.step"] = group.count
            for parameter, slots in zip(group.parameters, group.slots, strict=True):
                number = numbers[id(parameter)]
                cells |= {f"slots.{number}.{name}": cell for name, cell in zip(slots_of(group.op), slots, strict=True)}
        return cells

    def state_dict(self) -> dict[str, Tensor]:
        """Hyperparameters, step counts and slots as tensors; later steps do not change them."""
        return snapshot(self._cells())

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Assign what `state_dict` gave, of an optimiser of the same kind on parameters of the same shapes.

        Raises:
            KeyError: it comes from another kind of optimiser, other groups, or other parameters.
            ValueError: a shape or dtype differs. Nothing has been assigned then.
        """
        restore(self._cells(), values)


def _step_together(groups: list[Group]) -> None:
    """All groups or none: what may run out of memory comes before the first assignment."""
    *others, largest = sorted(groups, key=lambda group: group.size)
    changes = [change for group in others for change in group.computed()]
    largest.step()
    for cell, value in changes:
        cell.assign(value)


def _dictionaries(params: Any) -> list[Mapping[str, Any]]:
    """What was passed as `params`, as a list of dictionaries."""
    if not isinstance(params, Iterable):
        raise TypeError(f"the optimiser got {type(params).__name__}; pass model.parameters()")
    given: list[Any] = [params] if isinstance(params, (Cell, Mapping)) else list(params)
    if not given:
        raise ValueError("the optimiser got no parameters; pass model.parameters()")
    if not any(isinstance(group, Mapping) for group in given):
        return [{"params": given}]
    for group in given:
        if not isinstance(group, Mapping):
            raise TypeError(f"the optimiser got dictionaries and {type(group).__name__} in one list; pass one kind")
    return given


def _checked(params: Any, known: list[Any], number: int) -> list[Any]:
    """The parameters of a group that require a gradient."""
    parameters = [params] if isinstance(params, Cell) else list(params)
    for p in parameters:
        if not isinstance(p, Cell):
            raise TypeError(f"the optimiser got {type(p).__name__} instead of a parameter; pass model.parameters()")
    places = {id(p) for p in [*known, *parameters]}
    if len(places) != len(known) + len(parameters):
        raise ValueError("a parameter was passed to the optimiser twice")
    trained = [p for p in parameters if p.leaf is not None]
    if not trained:
        what = "has no parameter that requires a gradient" if parameters else "is empty"
        raise ValueError(f"parameter group {number} {what}; leave it out")
    return trained


def _check_place(parameters: list[Any], number: int) -> None:
    places = {p.read().aval.device: p.name or "without a name" for p in reversed(parameters)}
    if len(places) > 1:
        found = " and ".join([f"{name} on {device}" for device, name in sorted(places.items())])
        raise DeviceError(f"parameter group {number} has parameters on several devices: {found}; make a group for each")
