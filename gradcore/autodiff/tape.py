"""Reverse mode: the Tape level of `grad` and `vjp`, and the permanent recorder below it for `Tensor.backward()`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from gradcore.autodiff.record import (
    Record,
    add,
    cotangents,
    make_record,
    nodes_of,
    ones,
    walk,
)
from gradcore.autodiff.regions import perform
from gradcore.backend import backend_of, backend_on, is_cupy
from gradcore.core.aval import Aval
from gradcore.core.bind import Permanent, as_tuple, bind, lower
from gradcore.core.cell import Cell
from gradcore.core.errors import DeviceError, GradcoreError
from gradcore.core.evaluate import evaluate
from gradcore.core.op import OPS, Op
from gradcore.core.state import diverted, replaced, state, switch, user_frame
from gradcore.core.tensor import Tensor, Traced


class Anchor:
    """Where a Tape's walk ends: one differentiated argument."""

    __slots__ = ()


class TapeTensor(Traced):
    """A Tensor of a Tape level: the Tensor of the level below, and its node there."""

    __slots__ = ("value",)

    def __init__(self, level: Tape, value: Any, node: Any) -> None:
        self.level = level
        self.value = value
        self.node = node
        self.data = None

    @property
    def aval(self) -> Aval:
        return self.value.aval  # type: ignore[no-any-return]

    def rebuilt(self, change: Callable[[Any], Any]) -> TapeTensor:
        return TapeTensor(self.level, change(self.value), self.node)  # type: ignore[arg-type]


class Tape:
    """Records the ops on its own tensors; everything else is a constant to it."""

    name = "grad or vjp"

    def __init__(self) -> None:
        self.depth = len(state.levels)

    def process(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
        nodes = [self.node(arg) if op.can_differentiate(i) else None for i, arg in enumerate(args)]
        if must_expand(op, nodes):
            return op.meaning(*args, *params)  # type: ignore[misc]
        values = [self.primal(arg) for arg in args]
        result = bind(op, values, params)
        outs = as_tuple(result)
        if not _differentiable(nodes, outs):
            return result
        record = make_record(op, params, nodes, values, outs, user_frame(), self.depth)
        boxes = [TapeTensor(self, out, node) for out, node in zip(outs, nodes_of(record), strict=False)]
        return _restore(op, (*boxes, *outs[len(boxes) :]))

    def node(self, arg: Any) -> Any:
        return arg.node if isinstance(arg, TapeTensor) and arg.level is self else None

    def primal(self, arg: Any) -> Any:
        return arg.value if isinstance(arg, TapeTensor) and arg.level is self else arg

    def backward(self, seeds: list[tuple[Any, Any]], free: bool) -> dict[Any, Any]:
        grads = walk(seeds, cotangents, add, free)
        if state.watch is not None:
            state.watch.note(None, grads)
        return grads


def must_expand(op: Op, nodes: Sequence[Any]) -> bool:
    """A fused op without a vjp of its own is differentiated through its meaning."""
    return op.vjp is None and op.vjp_op is None and op.meaning is not None and any(nodes)


def _differentiable(nodes: Sequence[Any], outs: Sequence[Any]) -> bool:
    return any(nodes) and any([out.dtype.kind == "f" for out in outs])  # noqa: C419 - cheaper


def _restore(op: Op, outs: tuple[Any, ...]) -> Any:
    return outs if op.multiple else outs[0]


# --- the permanent recorder -------------------------------------------------------------------------------------------


class Recorder:
    """Below all transforms: evaluates (or stages) the op, and records it for `Tensor.backward()`."""

    name = "backward()"
    depth = -1

    def process(self, op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
        nodes = self._nodes(op, args)
        if nodes and must_expand(op, nodes):
            return op.meaning(*args, *params)  # type: ignore[misc]
        values = [lower(arg) for arg in args]
        outs = perform(op, values, params)
        tensors = [Tensor(out) for out in outs]
        if nodes and _differentiable(nodes, outs):
            record = make_record(op, params, nodes, values, outs, user_frame(), self.depth)
            for tensor, node in zip(tensors, nodes_of(record), strict=False):
                tensor.node = node
        return _restore(op, tuple(tensors))

    def _nodes(self, op: Op, args: Sequence[Any]) -> list[Any]:
        """Of each operand; [] where nothing is recorded."""
        nodes = [arg.node if isinstance(arg, Tensor) else None for arg in args]
        if not any(nodes) or not state.recording:
            return []
        return [node if op.can_differentiate(i) else None for i, node in enumerate(nodes)]


Permanent.interpreter = Recorder()


def no_grad() -> AbstractContextManager[None]:
    """While the block runs, nothing is recorded for `backward()`; transforms such as `grad` are not affected.

    >>> import gradcore as gc
    >>> x = gc.tensor([1.0, 2.0], requires_grad=True)
    >>> with gc.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    return replaced("recording", False)


def backward(tensor: Tensor, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Accumulate d tensor / d leaf into the `.grad` of every leaf that `tensor` was computed from.

    A leaf that nothing flows back to (only through `sign`, say) keeps the `.grad` that it had, None at first.

    Args:
        tensor: what to differentiate; `loss.backward()` passes the loss.
        gradient: the cotangent, a Tensor or array of the shape of `tensor`; 1 by default, where there is one element.
        retain_graph: not supported; see Raises.
        create_graph: not supported; see Raises.

    Raises:
        GradcoreError: nothing is recorded, the gradient does not fit, or the graph was asked to stay: `vjp` gives a
            function that can be called again, and `grad` nests to any order.
        TypeError: the gradient is not a tensor or array of floating numbers.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).backward(gc.tensor([1.0, 10.0]))
        >>> x.grad
        tensor([ 2., 40.], dtype=float32, device='cpu')
    """
    if retain_graph or create_graph:
        raise GradcoreError(
            "backward() frees its graph as it goes, and its gradients are constants: for derivatives of a gradient "
            "(create_graph) nest gradcore.grad(f), to pull back several times (retain_graph) use gradcore.vjp(f, x)"
        )
    seed = seed_of(tensor, gradient)
    raw = is_raw(seed) if switch.busy else type(seed) is np.ndarray
    accumulate(tensor, walk(((tensor.node, seed),), pull_base, add_base, True, raw))


def is_raw(seed: Any) -> bool:
    """May a walk from this cotangent take the generated short cuts?"""
    if type(seed) is not np.ndarray or state.levels or state.regions or state.base is not None:
        return False
    return not any(hook.sees_into_pulls for hook in state.hooks)


def accumulate(tensor: Tensor, grads: dict[Any, Any]) -> None:
    """Add what a walk from `tensor` has found to the `.grad` of the leaves."""
    if state.watch is not None:
        state.watch.note(tensor, grads)
    plain = not (switch.busy and diverted())
    for leaf, g in grads.items():
        cell = leaf.grad
        if not plain or cell.tensor is not None:
            _accumulate(cell, g)
        else:
            cell.tensor = Tensor(g)


def seed_of(tensor: Tensor, gradient: Any) -> Any:
    """The raw cotangent that a backward pass from `tensor` starts with."""
    if isinstance(tensor, Traced):
        raise GradcoreError(
            f"backward() was called on a tensor inside {tensor.level.name}; return it and differentiate with grad() "
            "there, or call backward() outside the transform"
        )
    if tensor.node is None:
        raise GradcoreError(
            "backward() was called on a tensor that records no gradient: nothing that it was computed from has "
            "requires_grad=True (or it was computed under no_grad, or detached)"
        )
    if gradient is None:
        shape = tensor.data.shape
        if shape != () and math.prod(shape) != 1:
            raise GradcoreError(
                f"backward() needs a scalar, and this tensor has shape {tensor.shape}; reduce it with .sum() or "
                ".mean(), or pass backward(gradient) of that shape"
            )
        return ones(tensor.data)
    gradient = _as_cotangent(gradient, tensor.dtype, tensor.aval.device)
    if gradient.shape != tensor.shape:
        raise GradcoreError(f"the gradient has shape {gradient.shape}, the tensor {tensor.shape}")
    if gradient.aval.device != tensor.aval.device:
        raise DeviceError(f"the gradient is on {gradient.aval.device}, the tensor on {tensor.aval.device}; use .to()")
    return _contiguous(gradient.data)


def _as_cotangent(gradient: Any, dtype: Any, device: str) -> Tensor:
    """A Tensor of this floating dtype, from a floating tensor, cell or array, or from a Python number."""
    if isinstance(gradient, Cell):
        gradient = gradient.read()
    if type(gradient) in (int, float):
        gradient = backend_on(device).make("asarray", gradient, dtype)
    if isinstance(gradient, (np.ndarray, np.generic)):
        gradient = np.asarray(gradient)
    if isinstance(gradient, np.ndarray) or is_cupy(gradient):
        gradient = Tensor(gradient)
    if not isinstance(gradient, Tensor):
        raise TypeError(f"backward(gradient) takes a tensor or an array, not {type(gradient).__name__}")
    if isinstance(gradient, Traced):
        raise GradcoreError(f"backward() got a gradient inside {gradient.level.name}; use vjp() there")
    if gradient.dtype.kind != "f":
        raise TypeError(f"backward(gradient) takes floating numbers, not {gradient.dtype}")
    return gradient if gradient.dtype == dtype else bind(OPS["cast"], (gradient,), (dtype,))


def pull_base(record: Record, g: Any) -> tuple[Any, ...]:
    """Cotangents on raw values or graph variables, by the rule on Tensors."""
    parts = cotangents(_lifted(record), _lift(g))
    return tuple([None if part is None else _contiguous(part.data) for part in parts])


def _contiguous(g: Any) -> Any:
    """Generated backward functions rely on it: every cotangent on raw arrays is C-contiguous."""
    if type(g) is np.ndarray:
        return np.asarray(g, order="C")
    return backend_of(g).contiguous(g) if is_cupy(g) else g


def _lift(g: Any) -> Any:
    if isinstance(g, tuple):
        return tuple([None if c is None else Tensor(c) for c in g])
    return Tensor(g)


def _lifted(record: Record) -> Record:
    values = record.saved if type(record.saved) is tuple else record.saved.take()  # the latter in `explain`
    saved = tuple([v if isinstance(v, (bool, int, float)) else Tensor(v) for v in values])
    return record.with_saved(saved)


def add_base(a: Any, b: Any) -> Any:
    if type(a) is np.ndarray and type(b) is np.ndarray and not switch.busy:
        total = np.add(a, b, order="C")
        return total if type(total) is np.ndarray else np.asarray(total)
    return add(Tensor(a), Tensor(b)).data


def _accumulate(cell: Cell, g: Any) -> None:
    """Add to a gradient, in place where nothing but the cell holds it."""
    if cell.tensor is None or diverted():
        total = added_to(cell, g)
    else:
        out = cell.destination()
        total = evaluate(OPS["add"], (cell.tensor.data, g), (), out)
    cell.assign(Tensor(total))


def added_to(cell: Cell, g: Any) -> Any:
    """The sum of what a gradient's cell holds, if anything, and `g`."""
    old = cell.read()
    return g if old is None else add_base(old.data, g)
