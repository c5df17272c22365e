"""Names for values, and holding on to them: ops that compute nothing."""

from __future__ import annotations

from typing import Any

from gradcore.core.bind import bind
from gradcore.core.op import Op, Saved
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import first_operand, linear, public, viewed

name_op: Op = linear(
    "name",
    ("x",),
    params=("label",),
    impl=lambda xp, out, x, label: x[...],
    abstract=viewed(lambda x, label: x[...]),
    alias=first_operand,
    transpose=lambda g, avals, params, i: g,
    batch=lambda size, mapped, xs, params: bind(name_op, xs, params),
    half=False,
    samples=(sample(normal(3, 4), params=("hidden",)), sample(normal(), params=("hidden",))),
    doc="The same values under a name, which policies of `checkpoint` see.",
)
_named = public(name_op, lambda needed: lambda r, g: (g,))

hold_op: Op = linear(
    "hold",
    ("x",),
    impl=lambda xp, out, x: x[...],
    abstract=viewed(lambda x: x[...]),
    alias=first_operand,
    transpose=lambda g, avals, params, i: g,
    saves=lambda needed, params: Saved(inputs=(0,)),
    batch=lambda size, mapped, xs, params: bind(hold_op, xs, params),
    half=False,
    internal=True,
    doc="The same values; its record holds them until a backward pass has gone past.",
)


def name(x: Any, label: str) -> Any:
    """The same values under a name, by which the policy of a `checkpoint` around it can tell them.

    Args:
        x: tensor of any shape.
        label: the name; any number of values may have the same.

    Returns:
        A view of `x`.

    Example:
        >>> import gradcore as gc
        >>> block = gc.checkpoint(lambda x: gc.name(gc.exp(x), "scores").sum(), gc.memory.save_names("scores"))
        >>> gc.grad(block)(gc.tensor([0.0]))
        tensor([1.], dtype=float32, device='cpu')
    """
    if not isinstance(label, str):
        raise TypeError(f"name(x, label) takes a string, not {type(label).__name__}")
    return _named(named_tensor(x, "name"), label)
