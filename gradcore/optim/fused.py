"""Steps inside the backward pass: each parameter takes its step as soon as its gradient is complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcore.autodiff.handover import backward_handing_over
from gradcore.autodiff.tape import added_to
from gradcore.core.cell import Leaf, update
from gradcore.core.tensor import Tensor
from gradcore.optim.group import Group


class SingleSteps:
    """One step of a group, parameter by parameter, with one number."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.number: tuple[Any, ...] = ()  # as it is counted, and as the op takes it

    def step(self, place: int, g: Tensor) -> None:
        group = self.group
        parameter, slots, count = group.parameters[place], group.slots[place], group.count
        group.check(parameter, g.dtype, g.shape, g.aval.device)
        if count is not None and not self.number:
            self.number = group.numbered(count)
        update(group.op, [parameter, *slots], [*group.hyper.values(), *self.number[1:], parameter, g, *slots])
        if count is not None:
            count.assign(self.number[0])


class FusedSteps:
    """The steps of all groups during one backward pass."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.places: dict[Leaf, tuple[SingleSteps, int]] = {}
        self.done = 0
        for group in groups:
            steps = SingleSteps(group)
            for place, parameter in enumerate(group.parameters):
                group.check(parameter)
                if parameter.leaf is not None:
                    self.places[parameter.leaf] = steps, place

    def take(self, leaf: Leaf, g: Any) -> None:
        """Change the parameter of a leaf, by this gradient and what `.grad` holds."""
        self._step(leaf, Tensor(added_to(leaf.grad, g)))

    def finish(self) -> None:
        """Change the parameters that this backward pass did not reach, but an earlier one did."""
        for leaf in self.places:
            g = leaf.grad.read()
            if g is not None:
                self._step(leaf, g)

    def _step(self, leaf: Leaf, g: Tensor) -> None:
        steps, place = self.places[leaf]
        steps.step(place, g)
        leaf.grad.assign(None)
        self.done += 1


def backward_and_step(groups: Sequence[Group], loss: Tensor, gradient: Any) -> None:
    """See `Optimizer.backward_and_step`."""
    steps = FusedSteps(groups)
    try:
        backward_handing_over(loss, gradient, steps.places, steps.take)
        steps.finish()
    except BaseException as error:
        if steps.done or isinstance(error, MemoryError):
            error.add_note(
                f"backward_and_step() had changed {steps.done} of {len(steps.places)} parameters"
                + (": go on with the next batch, or load what you saved last" if steps.done else "")
            )
        raise
