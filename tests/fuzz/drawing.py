"""The strategy that draws programs.

Every step runs as soon as it is drawn, so the strategy knows shapes, dtypes and values: a step whose operands lie
outside its domain, near a kink, or whose result is large, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from .instructions import MARGIN, TABLE
from .ours import CPU
from .programs import BLOCKS, PER_EXAMPLE, Env, Input, Program, Step, apply, replaced

LARGEST = 50.0
OFTEN = (
    "add",
    "sub",
    "mul",
    "less",
    "where",
    "where",
    "where",
    "at_set",
    "solve",
    "layer_norm",
)  # they join values, or rarely find operands
NAMES = [*TABLE, *OFTEN, *sorted(BLOCKS) * 3]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)


class UnsafeError(Exception):
    """A value is where the program should not go."""


@st.composite
def programs(draw: Any, dtypes: Sequence[str] = ("float64", "float32"), names: Sequence[str] = NAMES) -> Program:
    """Programs of up to 15 steps on operands of `dtypes` and integers."""
    inputs = [draw(floats(st.sampled_from(dtypes), st.just(False)))]
    inputs += draw(st.lists(floats(st.sampled_from(dtypes), st.booleans()) | integers(), min_size=1, max_size=3))
    env = [x.array for x in inputs]
    steps: list[Step] = []
    for _ in range(draw(st.integers(5, 15))):
        wanted = draw(st.none() | st.integers(0, len(env) - 1))
        step = draw(one_step(names, env, len(env) - 1 if wanted is None else wanted, depth=0))
        if step is not None:
            steps.append(step)
            env.append(traced(step, env))
    used = {k for n, step in enumerate(steps, len(inputs)) for k in reads(step) if k < n}
    results = tuple([k for k in range(len(inputs), len(env)) if k not in used]) or (0,)
    return Program(tuple(inputs), tuple(steps), results)


@st.composite
def floats(draw: Any, dtypes: Any, constant: Any) -> Input:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = np.asarray(rng.uniform(-1.5, 1.5, draw(SHAPES)), draw(dtypes))
    return Input(array, draw(constant))


@st.composite
def integers(draw: Any) -> Input:
    return Input(draw(hnp.arrays(np.int64, hnp.array_shapes(max_dims=2, max_side=3), elements=st.integers(0, 2))), True)


@st.composite
def one_step(draw: Any, names: Sequence[str], env: Env, wanted: int, depth: int) -> Step | None:
    """A step that can be made now, of value `wanted` if the instruction takes it; or None."""
    name = draw(st.sampled_from(names))
    step = draw(block(name, names, env, wanted, depth) if name in BLOCKS else plain(name, env, wanted))
    try:
        if step is not None:
            traced(step, env)
    except UnsafeError:
        return None
    return step


@st.composite
def plain(draw: Any, name: str, env: Env, wanted: int) -> Step | None:
    """One of the choices of operands that the instruction accepts."""
    instruction = TABLE[name]
    choices = [(k,) for k in range(len(env))]
    for _ in range(instruction.arity - 1):
        choices = [(*chosen, k) for chosen in choices for k in range(len(env))]
    choices = [chosen for chosen in choices if instruction.accepts(*[env[k] for k in chosen])]
    choices = [chosen for chosen in choices if wanted in chosen] or choices
    if not choices:
        return None
    chosen = draw(st.sampled_from(choices))
    return Step(name, chosen, draw(instruction.params(*[env[k] for k in chosen])))


@st.composite
def block(draw: Any, name: str, names: Sequence[str], env: Env, wanted: int, depth: int) -> Step | None:
    """A transform of one to three steps, which may be transforms in turn."""
    choices = [k for k, x in enumerate(env) if x.dtype.kind == "f" and (x.ndim or name not in PER_EXAMPLE)]
    if not choices or depth == 2:
        return None
    first = wanted if wanted in choices else draw(st.sampled_from(choices))
    axis = draw(st.integers(-env[first].ndim, env[first].ndim - 1)) if name == "vmap" else 0
    inner = replaced(env, first, np.take(env[first], 0, axis) if name in PER_EXAMPLE else env[first])
    body: list[Step] = []
    for _ in range(draw(st.integers(1, 3))):
        step = draw(one_step(names, inner, len(inner) - 1 if body else first, depth + 1))
        if step is not None:
            body.append(step)
            inner = [*inner, traced(step, inner)]
    if not body or inner[-1].dtype.kind != "f":
        return None
    return Step(name, (first,), (axis, draw(st.integers(0, inner[-1].ndim))) if name == "vmap" else (), tuple(body))


def traced(step: Step, env: Env) -> Any:
    """The value of a step, if all that it does is safe."""
    if step.body:
        check_body(step, env)
    elif not TABLE[step.name].accepts(*[env[k] for k in step.operands]):
        raise UnsafeError
    value = CPU.array(apply(CPU, step, [CPU.constant(x) for x in env]))
    if value.size > 200 or value.ndim > 5 or not (np.abs(value) <= LARGEST).all():
        raise UnsafeError
    return value


def safe(program: Program, arguments: Sequence[Any]) -> bool:
    """May the program be run at `arguments` too?"""
    moving = iter(arguments)
    env = [x.array if x.constant else next(moving) for x in program.inputs]
    try:
        for step in program.steps:
            env.append(traced(step, env))
    except UnsafeError:
        return False
    return True


def check_body(step: Step, env: Env) -> None:
    """The body is safe for every example, and no condition is near its threshold."""
    x = env[step.operands[0]]
    if step.name == "cond" and abs(x.sum()) < MARGIN:
        raise UnsafeError
    axis = step.params[0] if step.name == "vmap" else 0
    for example in np.moveaxis(x, axis, 0) if step.name in PER_EXAMPLE else [x]:
        inner = replaced(env, step.operands[0], example)
        for part in step.body:
            inner = [*inner, traced(part, inner)]


def reads(step: Step) -> set[int]:
    """Values that a step and its body use, the body's own included."""
    return {*step.operands}.union(*[reads(part) for part in step.body])
