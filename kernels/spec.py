"""What a launch needs, for any device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

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


class ReductionSpec(NamedTuple):
    """A kernel that maps the elements at each place to one number and combines these along axes.

    Attributes:
        name: for the kernel.
        inputs: names of the operands, which broadcast.
        term: the expression that is combined.
        combine: the NumPy ufunc that does it: add, multiply, maximum, minimum, logical_or, logical_and.
        mean: divide the total by how many terms there were.
    """

    name: str
    inputs: tuple[str, ...]
    term: Expr
    combine: str = "add"
    mean: bool = False


# --- kernels written in CUDA ------------------------------------------------------------------------------------------

Argument = str | int | float


class Launch(NamedTuple):
    """One launch of one function of a kernel's text.

    Attributes:
        entry: the `extern "C" __global__` function.
        grid: number of blocks.
        block: threads in a block.
        arguments: names of operands, outputs (`out0`, ...) and scratch arrays pass pointers; an int passes as
            `long long`, a float as `double`.
        shared: bytes of dynamic shared memory.
    """

    entry: str
    grid: int
    block: int
    arguments: tuple[Argument, ...]
    shared: int = 0


class Plan(NamedTuple):
    """What one call of a kernel does, for operands of known shapes and dtypes.

    Attributes:
        types: C names that the text leaves open, such as `T`, and the dtype that each stands for.
        launches: in order; none where there is nothing to compute.
        scratch: shape and dtype of each array that the launches share; `tickets` is another matter: it names the
            device's counters (unsigned int, zero before, to be left zero), with which the last block of a grid finds
            out that it is the last.
    """

    types: Mapping[str, Any]
    launches: tuple[Launch, ...]
    scratch: Mapping[str, tuple[tuple[int, ...], Any]] = MappingProxyType({})


class RowSpec(NamedTuple):
    """A kernel written in CUDA, as data: its text, and how to launch it.

    All operands and outputs are C-contiguous.  Sums are taken in an order that depends on shapes alone, so the same
    call gives the same bits.

    Attributes:
        name: unique; also the name of the file that `print_kernels` writes.
        text: CUDA source with the types of each Plan left open.
        inputs: names of the operands, in the order of the op's.
        plan: `(operands, params)` to a Plan; operands have `shape` and `dtype`.  A pure function.
        examples: operands and params (shapes, dtypes) for which tests compile it.
    """

    name: str
    text: str
    inputs: tuple[str, ...]
    plan: Callable[[Sequence[Any], tuple[Any, ...]], Plan]
    examples: tuple[tuple[tuple[tuple[tuple[int, ...], str], ...], tuple[Any, ...]], ...] = ()
