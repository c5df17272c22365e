"""Random programs in gradcore, JAX and PyTorch: values, gradients, tangents and Hessian-vector products agree."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pytest
from hypothesis import given

from .checks import Arrays, assert_agree, derivatives, everything, fuzzing, tangents
from .drawing import programs
from .ours import CPU
from .peers import Jax, Torch, jax
from .programs import Program

JAX, TORCH = Jax(), Torch()
COMPARED: list[Program] = []


def with_torch(program: Program) -> Arrays:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return everything(program, TORCH)


def with_jax(program: Program) -> Arrays:
    """One compiled function: op by op, JAX would compile each op for each shape."""

    def function(xs: Any, vs: Any) -> Any:
        return program.values(JAX, xs), derivatives(program, JAX)(*xs, *vs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values, found = jax.jit(function)(program.arguments, tangents(program))
    return [JAX.array(v) for v in values], [JAX.array(v) for v in found]


@pytest.fixture(autouse=True)
def speed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Any:
    """Say how many programs were compared in a second."""
    COMPARED.clear()
    start = time.perf_counter()
    yield
    rate = len(COMPARED) / (time.perf_counter() - start)
    with capsys.disabled():
        print(f"\n{request.node.name}: {len(COMPARED)} programs, {rate:.2f} per second")  # noqa: T201


def compare(program: Program) -> None:
    COMPARED.append(program)
    got = everything(program, CPU)
    assert_agree(program, got, with_torch(program), f"PyTorch of {program}", TORCH.same_dtypes)
    assert_agree(program, got, with_jax(program), f"JAX of {program}")


@pytest.mark.compare
@fuzzing(200)
@given(programs())
def test_two_hundred_programs(program: Program) -> None:
    compare(program)


@pytest.mark.slow
@fuzzing(2000)
@given(programs())
def test_two_thousand_programs(program: Program) -> None:
    compare(program)
