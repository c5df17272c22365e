"""Random programs cut into checkpoint regions, nested up to three deep: the bits of the plain run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import gradcore as gc
from gradcore.testing.compare import assert_all, assert_same_bits

from .checks import tangents
from .drawing import reads
from .fuzzing import fuzz
from .ours import CPU
from .programs import BLOCKS, Env, Program, Step, apply, replaced, weighted

POLICIES = (None, gc.memory.save_ops("sin", "matmul"), gc.memory.recompute_ops("mul", "reshape"))


class Cut:
    """Runs programs in regions that `rng` chooses."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def region(self, function: Any) -> Any:
        policy = POLICIES[self.rng.integers(len(POLICIES))]
        return gc.checkpoint(function, policy, check=bool(self.rng.random() < 0.2))

    def run(self, steps: Sequence[Step], env: Env, needed: set[int], depth: int = 0) -> Env:
        """All values; those that neither a later step nor anyone in `needed` reads are dropped at once."""
        env = list(env)
        while steps:
            count = int(self.rng.integers(1, len(steps) + 1))
            part, steps = steps[:count], steps[count:]
            later = needed.union(*[reads(step) for step in steps])
            if depth < 3 and self.rng.random() < 0.6:
                env = self.region(lambda env, part=part, later=later: self.run(part, env, later, depth + 1))(env)
            else:
                for position, step in enumerate(part):
                    env.append(self.apply(step, env))
                    still = later.union(*[reads(other) for other in part[position + 1 :]])
                    env = [x if k in still else None for k, x in enumerate(env)]
        return env

    def apply(self, step: Step, env: Env) -> Any:
        if not step.body or self.rng.random() < 0.3:
            return apply(CPU, step, env)
        first = step.operands[0]

        def body(x: Any) -> Any:
            start = replaced(env, first, x)
            return self.run(step.body, start, {len(start) + len(step.body) - 1}, 1)[-1]

        return BLOCKS[step.name](CPU, self.region(body), env[first], *step.params)

    def values(self, program: Program, arguments: Sequence[Any]) -> list[Any]:
        moving = iter(arguments)
        env = [CPU.constant(x.array) if x.constant else next(moving) for x in program.inputs]
        env = self.run(program.steps, env, set(program.results))
        return [env[k] for k in program.results]


def derivatives(values: Any, program: Program) -> list[Any]:
    """Values, gradients by `backward()` and by `grad`, and products with the Hessian in two ways."""

    def loss(*xs: Any) -> Any:
        return weighted(CPU, [v for v in values(xs) if CPU.floating(v)])

    xs = [gc.tensor(x, requires_grad=True) for x in program.arguments]
    plain = [gc.tensor(x) for x in program.arguments]
    vs = [gc.tensor(v) for v in tangents(program)]
    found = list(values(plain))
    total = loss(*xs)
    if total.requires_grad:
        total.backward()
    found += [x.grad for x in xs if x.grad is not None]
    every = tuple(range(len(xs)))
    gradient = gc.grad(loss, every)
    found += gradient(*plain)
    found += gc.jvp(gradient, plain, vs)[1]
    found += gc.grad(lambda *xs: weighted(CPU, gradient(*xs)), every)(*plain)
    return found


def check(program: Program) -> None:
    seed = zlib.crc32(str(program).encode())
    want = derivatives(lambda xs: program.values(CPU, xs), program)
    got = derivatives(lambda xs: Cut(seed).values(program, xs), program)
    assert_all(assert_same_bits, got, want, f"regions {seed} of {program}")


def test_regions_give_the_bits_of_the_plain_run() -> None:
    fuzz(check, 40)
