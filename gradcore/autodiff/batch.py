"""vmap: values with a mapped axis that the function does not see.  Inside, the mapped axis is always the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple, bind
from gradcore.core.errors import BatchError
from gradcore.core.op import Op
from gradcore.core.state import state
from gradcore.core.tensor import Traced


class BatchTensor(Traced):
    """A Tensor of the level below whose first axis is mapped."""

    __slots__ = ("value",)

    def __init__(self, level: Batch, value: Any) -> None:
        self.level = level
        self.value = value
        self.data = None
        self.node = None

    @property
    def aval(self) -> Aval:
        whole = self.value.aval
        strides = whole.strides and whole.strides[1:]
        return whole.update(shape=whole.shape[1:], strides=strides)  # type: ignore[no-any-return]

    def rebuilt(self, change: Callable[[Any], Any]) -> BatchTensor:
        return BatchTensor(self.level, change(self.value))  # type: ignore[arg-type]


class Batch:
    """Applies an op to all examples at once by its `batch` rule, or through its meaning; never in a loop.

    Attributes:
        size: number of examples.
        examples: each of them has random numbers of its own.
    """

    name = "vmap"

    def __init__(self, size: int, examples: bool = True) -> None:
        self.depth = len(state.levels)
        self.size = size
        self.examples = examples

    def process(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
        mapped = [self.owns(arg) for arg in args]
        values = [arg.value if own else arg for arg, own in zip(args, mapped, strict=True)]
        if not any(mapped):
            return bind(op, values, params)
        if op.batch is None:
            return self._through_meaning(op, args, params)
        outs = as_tuple(op.batch(self.size, mapped, values, params))
        boxes = tuple([BatchTensor(self, out) for out in outs])
        return boxes if op.multiple else boxes[0]

    def _through_meaning(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
        if op.meaning is None:
            raise BatchError(f"'{op.name}' has no batching rule; compute it outside vmap")
        return op.meaning(*args, *params)

    def owns(self, arg: Any) -> bool:
        return isinstance(arg, BatchTensor) and arg.level is self

    def primal(self, tensor: BatchTensor) -> Any:
        raise BatchError(
            f"a cell was assigned a value of shape {tensor.shape} for each of {self.size} examples of vmap; reduce it "
            "over the examples first, or return it from the function"
        )
