"""`bind` hands an op to the innermost interpreter to which an operand belongs.

The one hard idea of this library is that *levels recurse*.  `grad(grad(f))(x)` opens two Tape levels, one inside the
other, and `x` becomes a tensor of the inner level, which holds a tensor of the outer level, which holds a plain
tensor.  An op on it goes to the inner level.  That level takes off its own wrapping and binds the op again on what was
inside; so the outer level sees every op that the inner one performs, its derivative rules included, and at the bottom
there are only arrays.  No interpreter knows of any other, and still `vmap` of `grad` of `jvp` needs no further code.

Perturbation confusion (the classical mistake of mixing up the derivatives of two nested levels) cannot happen, since a
level unwraps only tensors of its own and treats all others as constants.

Below all transforms lies one permanent interpreter, which records for `Tensor.backward()`, and below that either Eval
(compute now, on raw arrays) or Stage (write the op into a graph).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gradcore.core.errors import LeakedTensorError
from gradcore.core.op import Op
from gradcore.core.state import state
from gradcore.core.tensor import Tensor, Traced


class Interpreter(Protocol):
    """What a level must do: apply an op to Tensors, some of which belong to it."""

    depth: int
    name: str

    def process(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any: ...


class Permanent:
    """Holds the interpreter below all transforms; `autodiff` fills it in when it is imported."""

    interpreter: Interpreter


def bind(op: Op, args: Sequence[Any], params: tuple[Any, ...] = ()) -> Any:
    """Apply `op` to Tensors and Python scalars: a Tensor, or a tuple of them where the op has several outputs."""
    top = innermost(args)
    return (top or Permanent.interpreter).process(op, args, params)


def innermost(args: Sequence[Any]) -> Interpreter | None:
    """The deepest open level among the operands; None when no transform is involved."""
    top: Interpreter | None = None
    for arg in args:
        if isinstance(arg, Traced) and (top is None or arg.level.depth > top.depth):
            top = arg.level
    if top is not None and top not in state.levels:
        raise LeakedTensorError(
            f"a tensor of a finished {top.name} (or of another thread's) was used; return it from the function that "
            f"{top.name} transforms instead of keeping it in an outer variable"
        )
    return top


def as_tuple(result: Any) -> tuple[Any, ...]:
    """Outputs of `bind`, `impl` or a rule as a tuple."""
    return result if type(result) is tuple else (result,)


def lower(value: Any) -> Any:
    """The array (or graph variable) of a plain Tensor; Python scalars pass."""
    return value.data if isinstance(value, Tensor) else value
