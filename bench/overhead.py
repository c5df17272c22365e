"""What one recorded op costs beyond its NumPy calls.

A chain of 50 ops on a (4, 8) float32 tensor and one `backward` over it, divided by 50, against the same NumPy kernels
called directly, in a plain loop over 50: the generated kernel for elementwise ops, `dot` and `add.reduce` for the
others.  So the difference per op is type tests, the record, the Tensor, and the op's share of the walk backward.  Only
the chain itself wants a gradient, except in the last row, where each `linear` has a weight and a bias of its own.
`sum` keeps the axis that it sums, so that it can be chained: after the first op its operand is (1, 8).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from timing import difference, interleave, median

import gradcore as gc
from gradcore.backend.numpy_backend import numpy_kernel
from gradcore.core.op import OPS, Op
from gradcore.ops.elementwise import backward_of

LENGTH = 50
SHAPE = (4, 8)
BUDGET = 2.5
Run: TypeAlias = Callable[[], Any]
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Case(NamedTuple):
    """A chain of recorded ops with its `backward`, and the bare NumPy calls of one op."""

    recorded: Run
    bare: Run


class Overhead(NamedTuple):
    """Microseconds per op, forward and backward."""

    recorded: float
    bare: float
    extra: float
    add: float  # one bare `np.add`, as a measure of the clock


def _array(*shape: int) -> Array:
    return np.random.default_rng(3).uniform(0.1, 0.9, shape).astype(np.float32)


def chain(apply: Callable[[Any], Any]) -> Run:
    """50 applications and one backward, each op once."""
    x = gc.tensor(_array(*SHAPE), requires_grad=True)
    seed = gc.ones(apply(x).shape)

    def run() -> None:
        y = x
        for _ in repeat(None, LENGTH):
            y = apply(y)
        y.backward(seed)
        x.zero_grad()

    return run


def _kernel(op: Op) -> Callable[..., Any]:
    kernel: Callable[..., Any] = numpy_kernel(op.spec.forward).typed(np.float32)
    return kernel


def elementwise(name: str, *others: Array) -> Case:
    """An elementwise op, of which only the first operand wants a gradient."""
    op, function = OPS[name], getattr(gc, name)
    back = backward_of(op, (True, *[False] * len(others)))
    forward = _kernel(op)
    backward = _kernel(back.op) if back.op else None
    x, g = _array(*SHAPE), np.ones(SHAPE, np.float32)
    saved = [*[(x, *others)[i] for i in back.saved.inputs], *[x for _ in back.saved.outputs]]

    def bare() -> None:
        forward(x, *others)
        if backward:
            backward(g, *saved)

    constants = [gc.tensor(other) for other in others]
    return Case(chain(lambda y: function(y, *constants)), bare)


def matmul() -> Case:
    """Product with a constant square matrix."""
    x, w, g = _array(*SHAPE), _array(8, 8) / 8, np.ones(SHAPE, np.float32)
    constant = gc.tensor(w)

    def bare() -> None:
        np.dot(x, w)
        np.dot(g, w.swapaxes(-1, -2))

    return Case(chain(lambda y: gc.matmul(y, constant)), bare)


def _affine(x: Array, w: Array, b: Array) -> None:
    y = np.dot(x, w.T)
    np.add(y, b, y)


def linear() -> Case:
    """Affine map with constant weight and bias."""
    x, w, b, g = _array(*SHAPE), _array(8, 8) / 8, _array(8), np.ones(SHAPE, np.float32)
    weight, bias = gc.tensor(w), gc.tensor(b)

    def bare() -> None:
        _affine(x, w, b)
        np.dot(g, w)

    return Case(chain(lambda y: gc.linear(y, weight, bias)), bare)


def linear_layers() -> Case:
    """Affine maps, each with a weight and a bias that want gradients, which are set aside after each run."""
    x, w, b, g = _array(*SHAPE), _array(8, 8) / 8, _array(8), np.ones(SHAPE, np.float32)
    layers = [(gc.tensor(w, requires_grad=True), gc.tensor(b, requires_grad=True)) for _ in range(LENGTH)]
    start, seed = gc.tensor(x, requires_grad=True), gc.tensor(g)

    def recorded() -> None:
        y = start
        for weight, bias in layers:
            y = gc.linear(y, weight, bias)
        y.backward(seed)
        for weight, bias in layers:
            weight.zero_grad()
            bias.zero_grad()
        start.zero_grad()

    def bare() -> None:
        _affine(x, w, b)
        np.dot(g, w)
        np.dot(g.T, x)
        np.add.reduce(g, 0)

    return Case(recorded, bare)


def summed() -> Case:
    """Sum over the first axis, which is kept."""
    x, g = _array(1, 8), np.ones((1, 8), np.float32)

    def bare() -> None:
        np.add.reduce(x, (0,), keepdims=True)
        np.broadcast_to(g, (1, 8))

    return Case(chain(lambda y: gc.sum(y, 0, True)), bare)


CASES: dict[str, Callable[[], Case]] = {
    "sigmoid": lambda: elementwise("sigmoid"),
    "mul": lambda: elementwise("mul", _array(*SHAPE)),
    "add": lambda: elementwise("add", _array(*SHAPE)),
    "matmul": matmul,
    "linear": linear,
    "sum": summed,
    "linear, 3 gradients": linear_layers,
}


def measure(name: str, rounds: int = 60) -> Overhead:
    """Microseconds per op: recorded, bare, and the median difference of the two."""
    case = CASES[name]()
    bare = case.bare

    def loop() -> None:
        for _ in repeat(None, LENGTH):
            bare()

    x = _array(*SHAPE)

    def add() -> None:
        for _ in repeat(None, LENGTH):
            np.add(x, x)

    times = interleave({"recorded": case.recorded, "bare": loop, "add": add}, 10, rounds)
    return Overhead(
        median(times["recorded"]) / LENGTH,
        median(times["bare"]) / LENGTH,
        difference(times, "recorded", "bare") / LENGTH,
        median(times["add"]) / LENGTH,
    )
