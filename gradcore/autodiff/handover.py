"""A backward pass that hands each gradient over as soon as it is complete.

The walk goes from new records to old ones, so the gradient of a leaf is complete once the walk has left the oldest
record that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import itemgetter
from typing import Any

from gradcore.autodiff.record import FREED, Port, Record, assigned_after, freed, walk
from gradcore.autodiff.tape import accumulate, add_base, is_raw, pull_base, seed_of
from gradcore.core.cell import Leaf
from gradcore.core.state import state
from gradcore.core.tensor import Tensor

Take = Callable[[Leaf, Any], None]


class Gradients(dict[Any, Any]):
    """What a walk collects; it gives away what is complete before it gives the walk the next cotangent."""

    def __init__(self, due: list[tuple[int, Leaf]], take: Take) -> None:
        self.due, self.take = due, take

    def pop(self, record: Any) -> Any:  # type: ignore[override]
        self.hand_over(record.serial)
        return super().pop(record)

    def hand_over(self, serial: int) -> None:
        """Give away the gradients of the leaves that only newer records than this one read."""
        while self.due and self.due[-1][0] > serial:
            _, leaf = self.due.pop()
            if leaf in self:
                g = super().pop(leaf)
                if state.watch is not None:
                    state.watch.look(leaf, g)
                self.take(leaf, g)


def backward_handing_over(tensor: Tensor, gradient: Any, leaves: Collection[Leaf], take: Take) -> None:
    """As `backward`, but gradients of `leaves` go to `take(leaf, raw gradient)` instead of `.grad`.

    Raises:
        GradcoreError: as `backward`; what is wrong with the graph is found before the first gradient is handed over.
    """
    seed = seed_of(tensor, gradient)
    grads = Gradients(_due(tensor.node, leaves), take)
    walk(((tensor.node, seed),), pull_base, add_base, raw=is_raw(seed), grads=grads)
    grads.hand_over(-1)
    accumulate(tensor, grads)


def _due(node: Any, leaves: Collection[Leaf]) -> list[tuple[int, Leaf]]:
    """Of each leaf that `node` was computed from the serial of its oldest reader; the newest of them comes last."""
    oldest = {node: 0} if node in leaves else {}
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        record = node.record if type(node) is Port else node
        if type(record) is not Record or record in seen:
            continue
        seen.add(record)
        if record.saved is FREED:
            raise freed(record)
        for parent in record.parents:
            if type(parent) is not Leaf:
                waiting.append(parent)
            elif parent.assigned > record.serial:
                raise assigned_after(record, parent)
            elif parent in leaves:
                oldest[parent] = min(record.serial, oldest.get(parent, record.serial))
    return sorted([(serial, leaf) for leaf, serial in oldest.items()], key=itemgetter(0))
