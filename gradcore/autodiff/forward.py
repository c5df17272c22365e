"""Forward mode: values that carry a tangent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple, bind
from gradcore.core.op import Family, Op
from gradcore.core.state import state
from gradcore.core.tensor import Traced


class ForwardTensor(Traced):
    """A primal and its tangent, both of the level below."""

    __slots__ = ("primal", "tangent")

    def __init__(self, level: Forward, primal: Any, tangent: Any) -> None:
        self.level = level
        self.primal = primal
        self.tangent = tangent
        self.data = None
        self.node = None

    @property
    def aval(self) -> Aval:
        return self.primal.aval  # type: ignore[no-any-return]

    def rebuilt(self, change: Callable[[Any], Any]) -> ForwardTensor:
        return ForwardTensor(self.level, change(self.primal), change(self.tangent))  # type: ignore[arg-type]


class Forward:
    """Pushes tangents through each op by its `jvp` rule, or through its meaning."""

    name = "jvp"

    def __init__(self) -> None:
        self.depth = len(state.levels)

    def process(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
        tangents = [self.tangent(arg) if op.can_differentiate(i) else None for i, arg in enumerate(args)]
        primals = [self.primal(arg) for arg in args]
        if all(t is None for t in tangents):
            return bind(op, primals, params)
        if op.jvp is None and op.meaning is not None:
            return op.meaning(*args, *params)
        assert op.jvp is not None, f"'{op.name}' has neither a jvp nor a meaning"
        if op.family is Family.CALL:  # its rule gives the outputs as well, from one pass over the graph
            outs, pushed = op.jvp(tangents, primals, (), params)
        else:
            outs = as_tuple(bind(op, primals, params))
            pushed = as_tuple(op.jvp(tangents, primals, outs, params))
        pushed = tuple(pushed)
        pushed += (None,) * (len(outs) - len(pushed))  # auxiliary outputs carry no derivative
        boxes = [self.box(out, tangent) for out, tangent in zip(outs, pushed, strict=True)]
        return tuple(boxes) if op.multiple else boxes[0]

    def box(self, primal: Any, tangent: Any) -> Any:
        """A tensor of this level; what has no tangent, or cannot have one (integers), stays as it is."""
        return primal if tangent is None or primal.dtype.kind != "f" else ForwardTensor(self, primal, tangent)

    def primal(self, arg: Any) -> Any:
        return arg.primal if isinstance(arg, ForwardTensor) and arg.level is self else arg

    def tangent(self, arg: Any) -> Any:
        return arg.tangent if isinstance(arg, ForwardTensor) and arg.level is self else None
