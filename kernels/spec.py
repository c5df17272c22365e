"""What a launch needs, for any device."""

from __future__ import annotations

from dataclasses import dataclass

from gradcore.kernels.expr import Expr, walk


@dataclass(frozen=True)
class ElementwiseSpec:
    """A kernel that computes each output element from the input elements at the same place.

    Every output has the broadcast shape of all `inputs`. All float inputs have one dtype;
    those named in `boolean_inputs` are conditions, those in `scalar_inputs` are always 0-d.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Expr, ...]
    doc: str = ""
    boolean_inputs: frozenset[str] = frozenset()
    scalar_inputs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        read = {node.value for node in walk(self.outputs) if node.leaf == "var"}
        if missing := (read | self.boolean_inputs | self.scalar_inputs) - set(self.inputs):
            raise ValueError(f"kernel {self.name} reads {sorted(missing)}, which are not its inputs")
        if not self.inputs or not self.outputs:
            raise ValueError(f"kernel {self.name} needs at least one input and one output")
