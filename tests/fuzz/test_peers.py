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
    tangents,
)
from .fuzzing import fuzz
from .instructions import TABLE
from .ours import CPU
from .peers import Jax, Torch, jax
from .programs import BLOCKS, Program, Step

Found = tuple[Arrays, list[Any]]  # of one example, and of many
JAX, TORCH = Jax(), Torch()
COMPARED: list[Program] = []
REFUSED: list[Program] = []  # by PyTorch
OUTVOTED: dict[str, list[Program]] = {"PyTorch": [], "JAX": []}  # gradcore and the other one agree


def with_torch(program: Program) -> Found | None:
    """None where PyTorch refuses, most often for its zero tangents of float32 scalars, which are float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return everything(program, TORCH), arrays(TORCH, batched(program, TORCH))
        except RuntimeError:
            REFUSED.append(program)
            return None


def with_jax(program: Program, mapped: bool) -> Found:
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
    for programs in OUTVOTED.values():
        programs.clear()
    start = time.perf_counter()
    yield
    rate = len(COMPARED) / (time.perf_counter() - start)
    with capsys.disabled():
        print(f"\n{request.node.name}: {len(COMPARED)} programs, {rate:.2f} per second{_apart()}")  # noqa: T201


def _apart() -> str:
    refused = f", {len(REFUSED)} refused by PyTorch" if REFUSED else ""
    outvoted = [f", in {len(programs)} only {peer} differs" for peer, programs in OUTVOTED.items() if programs]
    return refused + "".join(outvoted)


def compare(program: Program) -> None:
    COMPARED.append(program)
    got, many = everything(program, CPU), arrays(CPU, batched(program, CPU))
    if "stop_gradient" not in str(program):  # with it, no Hessian is symmetric
        count = len(program.arguments)
        twice = (got[0], [*got[1][:-count], *reverse_over_reverse(program)])
        assert_agree(program, twice, got, f"forward over reverse of {program}")
    for_jax = with_jax(program, mapped=len(COMPARED) % 2 == 0)
    peers = {peer: found for peer, found in (("PyTorch", with_torch(program)), ("JAX", for_jax)) if found}
    differences = {peer: differs(program, (got, many), found, peer) for peer, found in peers.items()}
    if None not in differences.values():
        raise next(error for error in differences.values() if error)
    for peer, error in differences.items():
        if error:
            OUTVOTED[peer].append(program)


def differs(program: Program, got: Found, want: Found, peer: str) -> AssertionError | None:
    """Where they differ, in all that was computed."""
    try:
        assert_agree(program, got[0], want[0], f"{peer} of {program}", peer == "JAX")
        if want[1]:
            assert_agree_first_order(program, got[1], want[1], f"vmap of {peer} of {program}")
    except AssertionError as error:
        return error
    return None


@pytest.mark.compare
def test_two_hundred_programs() -> None:
    fuzz(compare, 200)
    assert_few_apart()


@pytest.mark.slow
def test_two_thousand_programs() -> None:
    fuzz(compare, 2000)
    assert_few_apart()
    met = {step.name for program in COMPARED for step in every_step(program.steps)}
    assert met == {*TABLE, *BLOCKS}, f"never drawn: {sorted({*TABLE, *BLOCKS} - met)}"


def assert_few_apart() -> None:
    """A peer may refuse a program or, where the other one agrees with us, be wrong; but only in a few."""
    assert 50 * len(REFUSED) <= len(COMPARED)
    for peer, programs in OUTVOTED.items():
        assert 100 * len(programs) <= len(COMPARED), f"{peer} alone differs: {[*map(str, programs)]}"


def every_step(steps: Sequence[Step]) -> list[Step]:
    return [part for step in steps for part in (step, *every_step(step.body))]
