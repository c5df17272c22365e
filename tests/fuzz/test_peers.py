"""Random programs in gradcore, JAX and PyTorch: values, gradients, tangents and Hessian-vector products agree."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from .checks import (
    Arrays,
    assert_agree,
    assert_agree_first_order,
    batched,
    derivatives,
    everything,
    reverse_over_reverse,
    single,
    tangents,
)
from .fuzzing import fuzz
from .instructions import TABLE
from .ours import CPU
from .peers import Jax, Torch, jax
from .programs import BLOCKS, Program, Step

JAX, TORCH = Jax(), Torch()
COMPARED: list[Program] = []
REFUSED: list[Program] = []  # by PyTorch


def with_torch(program: Program) -> tuple[Arrays, list[Any]] | None:
    """None where PyTorch refuses: its zero tangents of float32 scalars are float64, and few functions take both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return everything(program, TORCH), arrays(TORCH, batched(program, TORCH))
        except RuntimeError as error:
            if not single(program) or "dtype" not in str(error):
                raise
            REFUSED.append(program)
            return None


def with_jax(program: Program, mapped: bool) -> tuple[Arrays, list[Any]]:
    """One compiled function: op by op, JAX would compile each op for each shape.  With vmap that takes long."""

    def function(xs: Any, vs: Any) -> Any:
        return program.values(JAX, xs), derivatives(program, JAX)(*xs, *vs), batched(program, JAX) if mapped else ()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values, found, many = jax.jit(function)(program.arguments, tangents(program))
    return (arrays(JAX, values), arrays(JAX, found)), arrays(JAX, many)


def arrays(lib: Any, values: Sequence[Any]) -> list[Any]:
    return [lib.array(v) for v in values]


@pytest.fixture(autouse=True)
def speed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Any:
    """Say how many programs were compared in a second."""
    COMPARED.clear()
    REFUSED.clear()
    start = time.perf_counter()
    yield
    rate = len(COMPARED) / (time.perf_counter() - start)
    with capsys.disabled():
        refused = f", {len(REFUSED)} refused by PyTorch" if REFUSED else ""
        print(f"\n{request.node.name}: {len(COMPARED)} programs, {rate:.2f} per second{refused}")  # noqa: T201


def compare(program: Program) -> None:
    COMPARED.append(program)
    got, many = everything(program, CPU), arrays(CPU, batched(program, CPU))
    if "stop_gradient" not in str(program):  # with it, no Hessian is symmetric
        count = len(program.arguments)
        twice = (got[0], [*got[1][:-count], *reverse_over_reverse(program)])
        assert_agree(program, twice, got, f"forward over reverse of {program}")
    for_jax = with_jax(program, mapped=len(COMPARED) % 2 == 0)
    for peer, theirs in {"PyTorch": with_torch(program), "JAX": for_jax}.items():
        if theirs is None:
            continue
        one, each = theirs
        assert_agree(program, got, one, f"{peer} of {program}", peer == "JAX")
        if each:
            assert_agree_first_order(program, many, each, f"vmap of {peer} of {program}")


@pytest.mark.compare
def test_two_hundred_programs() -> None:
    fuzz(compare, 200)
    assert 10 * len(REFUSED) <= len(COMPARED)


@pytest.mark.slow
def test_two_thousand_programs() -> None:
    fuzz(compare, 2000)
    assert 10 * len(REFUSED) <= len(COMPARED)
    met = {step.name for program in COMPARED for step in every_step(program.steps)}
    assert met == {*TABLE, *BLOCKS}, f"never drawn: {sorted({*TABLE, *BLOCKS} - met)}"


def every_step(steps: Sequence[Step]) -> list[Step]:
    return [part for step in steps for part in (step, *every_step(step.body))]
