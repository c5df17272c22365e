"""checkpoint: forget what a function computes, and compute it again when a backward pass asks for it."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from functools import update_wrapper
from typing import Any, NamedTuple

import numpy as np

from gradcore.autodiff.regions import Region, Saves, opened
from gradcore.backend import is_cupy
from gradcore.backend.checksum import checksum
from gradcore.core.aval import aval_of
from gradcore.core.op import OPS, Op
from gradcore.core.tensor import Tensor


class Choice(Enum):
    """What a policy says of a result."""

    SAVE = "save"
    RECOMPUTE = "recompute"

    def __repr__(self) -> str:
        return self.name


SAVE, RECOMPUTE = Choice.SAVE, Choice.RECOMPUTE


class Made(NamedTuple):
    """A result in a checkpointed function, as a policy sees it; it is asked again when the result gets a name.

    Attributes:
        op: name of the op that made it.
        name: what `gradcore.name` called it, or None.
        shape, dtype: of the result.
        nbytes: its size.
    """

    op: str
    name: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int


Policy = Callable[[Made], Choice]


def checkpoint(
    function: Callable[..., Any], policy: Policy | None = None, *, check: bool = False
) -> Callable[..., Any]:
    """A function that gives the same results and gradients, bit for bit, and keeps next to nothing for backward.

    Of what happens in `function` only the ops are written down. Its inputs are kept, those that it closes over
    included; all other values go as soon as Python lets them go, and are computed again, once, when a backward pass
    comes there: by the ops that ran, not by your Python. Cells that it assigned (running statistics, random counters)
    are not assigned again, and random numbers are the same ones.

    It works under `grad`, `vjp`, `jvp` and `vmap` of any order, in captured programs (where the nodes that compute
    again are marked), and inside another checkpoint: the inner one then keeps its inputs only while the outer one is
    computed again.

    Args:
        function: any function of tensors, trees of them and other things, or a module.
        policy: says for each result whether it is kept: `gradcore.memory.save_ops`, `save_names`, `recompute_ops`,
            `recompute_names`, or a function of a `gradcore.memory.Made` that returns `gradcore.memory.SAVE` or
            `RECOMPUTE`. By default nothing is kept.
        check: compare what is computed again with the first results, bit by bit (by checksums; on a GPU this copies
            every result to the host).

    Raises:
        TypeError: the function cannot be called, or the policy does not answer SAVE or RECOMPUTE.
        ChangedError: with `check`, in the backward pass: names the first op that gave other numbers, and its line.

    Example:
        >>> import gradcore as gc
        >>> def block(x):
        ...     return gc.tanh(gc.exp(x) + 1)
        >>> x = gc.tensor([0.0, 1.0], requires_grad=True)
        >>> gc.checkpoint(block)(x).sum().backward()
        >>> bool((x.grad == gc.grad(lambda x: block(x).sum())(x)).all())
        True

    The idea is Griewank and Walther's (Evaluating Derivatives, 2008, chapter 12), and Chen's for networks (Training
    Deep Nets with Sublinear Memory Cost, 2016).
    """
    if not callable(function) or isinstance(function, Tensor):
        raise TypeError(
            f"checkpoint(function) takes a function and returns one, but got {type(function).__name__}; "
            "write checkpoint(f)(x)"
        )
    if policy is not None and not callable(policy):
        raise TypeError(f"a policy is a function such as gradcore.memory.save_ops('linear'), not {policy!r}")
    saves = None if policy is None else _decision(policy)

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        with opened(Region(saves, _checksum if check else None)):
            return function(*args, **kwargs)

    return update_wrapper(checkpointed, function, updated=())


def _decision(policy: Policy) -> Saves:
    def saves(op: Op, name: str | None, out: Any) -> bool:
        aval = aval_of(out)
        choice = policy(Made(op.name, name, aval.shape, aval.dtype, aval.size * aval.dtype.itemsize))
        if not isinstance(choice, Choice):
            raise TypeError(f"a policy answers gradcore.memory.SAVE or RECOMPUTE, not {choice!r}")
        return choice is SAVE

    return saves


def _checksum(array: Any) -> int | None:
    """Of the bytes; a variable of a graph has none."""
    return checksum(array) if type(array) is np.ndarray or is_cupy(array) else None


# --- policies ---------------------------------------------------------------------------------------------------------


def save_ops(*names: str) -> Policy:
    """The policy that keeps the results of these ops, such as the dear ones.

    Args:
        names: of ops, as in `docs/ops.md`.

    Raises:
        ValueError: there is no such op.

    Example:
        >>> import gradcore as gc
        >>> f = gc.checkpoint(lambda x, w: gc.tanh(x @ w), gc.memory.save_ops("matmul"))
    """
    known = _ops(names)
    return lambda made: SAVE if made.op in known else RECOMPUTE


def recompute_ops(*names: str) -> Policy:
    """The policy that keeps all but the results of these ops, such as the cheap ones.

    Args:
        names: of ops, as in `docs/ops.md`.

    Raises:
        ValueError: there is no such op.

    Example:
        >>> import gradcore as gc
        >>> f = gc.checkpoint(lambda x, w: gc.gelu(x @ w), gc.memory.recompute_ops("gelu"))
    """
    known = _ops(names)
    return lambda made: RECOMPUTE if made.op in known else SAVE


def save_names(*names: str) -> Policy:
    """The policy that keeps what `gradcore.name` gave one of these names.

    Args:
        names: labels.

    Example:
        >>> import gradcore as gc
        >>> f = gc.checkpoint(lambda x: gc.exp(gc.name(gc.sin(x), "s")), gc.memory.save_names("s"))
    """
    return lambda made: SAVE if made.name in names else RECOMPUTE


def recompute_names(*names: str) -> Policy:
    """The policy that keeps all but what `gradcore.name` gave one of these names.

    Args:
        names: labels.

    Example:
        >>> import gradcore as gc
        >>> f = gc.checkpoint(lambda x: gc.exp(gc.name(gc.sin(x), "s")), gc.memory.recompute_names("s"))
    """
    return lambda made: RECOMPUTE if made.name in names else SAVE


def _ops(names: tuple[str, ...]) -> frozenset[str]:
    for name in names:
        if name not in OPS:
            near = get_close_matches(str(name), OPS, 3)
            hint = f"; did you mean {', '.join(near)}?" if near else "; docs/ops.md has all of them"
            raise ValueError(f"there is no op named {name!r}{hint}")
    return frozenset(names)
