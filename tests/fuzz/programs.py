"""Random programs: values numbered in the order in which they are made, and transforms with bodies of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .instructions import TABLE

Env = list[Any]


@dataclass(frozen=True)
class Step:
    """One instruction, or a transform of a body in which value `operands[0]` is the variable.

    The other values that the body uses are closed over, those that were computed from the variable included.
    """

    name: str
    operands: tuple[int, ...]
    params: tuple[Any, ...] = ()
    body: tuple[Step, ...] = ()

    def lines(self, number: int) -> list[str]:
        names = ", ".join([f"v{k}" for k in self.operands] + [repr(p) for p in self.params])
        inner = [f"    {line}" for k, step in enumerate(self.body) for line in step.lines(number + k)]
        return [f"v{number} = {self.name}({names})" + (" of" if inner else ""), *inner]


@dataclass(frozen=True)
class Input:
    """An operand of the program; constants are closed over, never differentiated or mapped."""

    array: Any
    constant: bool

    def __str__(self) -> str:
        kind = "constant" if self.constant else "argument"
        return f"{kind} {self.array.dtype}{list(self.array.shape)} {self.array.tolist()}"


@dataclass(frozen=True)
class Program:
    """Inputs, steps, and which values are results: those that nothing uses."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    results: tuple[int, ...]

    def __str__(self) -> str:
        lines = [f"v{k} = {x}" for k, x in enumerate(self.inputs)]
        lines += [line for k, step in enumerate(self.steps) for line in step.lines(len(self.inputs) + k)]
        return "\n".join(["", *lines, f"results: {', '.join(f'v{k}' for k in self.results)}"])

    __repr__ = __str__

    @property
    def arguments(self) -> list[Any]:
        """Arrays to differentiate."""
        return [x.array for x in self.inputs if not x.constant]

    def values(self, lib: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """The results, computed with `lib` from arrays or tensors of `lib`."""
        moving = iter(arguments)
        env = run(lib, self.steps, [lib.constant(x.array) if x.constant else next(moving) for x in self.inputs])
        return tuple([env[k] for k in self.results])

    def loss(self, lib: Any) -> Callable[..., Any]:
        """A weighted sum of the floating results, as a function of the arguments."""
        return lambda *arguments: weighted(lib, [v for v in self.values(lib, arguments) if lib.floating(v)])


def weighted(lib: Any, values: Sequence[Any]) -> Any:
    """A float64 scalar in which every element counts differently."""
    total = lib.constant(np.zeros(()))
    for value in values:
        total = total + lib.cast(lib.sum(value * lib.weights(value)), "float64")
    return total


def weights(shape: tuple[int, ...], dtype: Any) -> Any:
    return (1 + np.cos(np.arange(np.prod(shape, dtype=int)))).reshape(shape).astype(dtype)


def run(lib: Any, steps: Sequence[Step], env: Env) -> Env:
    """All values, those of the steps after those of `env`."""
    env = list(env)
    for step in steps:
        env.append(apply(lib, step, env))
    return env


def apply(lib: Any, step: Step, env: Env) -> Any:
    if step.body:
        first = step.operands[0]
        return BLOCKS[step.name](
            lib, lambda x: run(lib, step.body, replaced(env, first, x))[-1], env[first], *step.params
        )
    instruction = TABLE[step.name]
    operands = lib.promoted(instruction.promotion, [env[k] for k in step.operands])
    return instruction.run(lib, *operands, *step.params)


def replaced(env: Env, position: int, x: Any) -> Env:
    return [*env[:position], x, *env[position + 1 :]]


def cond(lib: Any, body: Any, x: Any) -> Any:
    """Two branches; which one is taken depends on the variable."""
    return lib.cond(lib.sum(x) > 0, body, lambda x: lib.sin(body(x)) * 0.5, x)


def scan(lib: Any, body: Any, xs: Any) -> Any:
    """The body along the first axis, with a carry that every later step depends on."""

    def step(carry: Any, x: Any) -> Any:
        y = body(x)
        carry = lib.sin(carry) + weighted(lib, [y])
        return carry, y * lib.cast(lib.cos(carry), lib.dtype(y))

    return lib.scan(step, lib.constant(np.zeros(())), xs)[1]


BLOCKS: dict[str, Callable[..., Any]] = {
    "grad": lambda lib, body, x: lib.grad(lambda x: weighted(lib, [body(x)]))(x),
    "jvp": lambda lib, body, x: lib.jvp(body, (x,), (lib.cos(x),))[1],
    "vjp": lambda lib, body, x: lib.vjp(body, x, lib.sin),
    "vmap": lambda lib, body, x, axis, out_axis: lib.vmap(body, axis, out_axis)(x),
    "cond": cond,
    "scan": scan,
}
PER_EXAMPLE = ("vmap", "scan")  # the variable is a part of the operand
