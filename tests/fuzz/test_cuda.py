"""Random programs on a CUDA device, real or simulated, against the CPU."""

from __future__ import annotations

from typing import Any

import pytest

import gradcore as gc

from .checks import assert_agree_first_order, first_order
from .fuzzing import fuzz
from .ours import CPU, Gradcore
from .programs import Program

CUDA = Gradcore("cuda")
MENU = ("sin", "tanh", "add", "mul", "sum", "softmax", "transpose", "getitem", "matmul", "grad", "vmap", "scan")
pytestmark = [pytest.mark.cuda, pytest.mark.gpu]


@pytest.fixture(autouse=True, scope="module")
def device() -> None:
    pytest.importorskip("cupy", reason="CuPy is not installed: pip install -e '.[cuda13]' on a machine with a GPU")
    try:
        gc.zeros(1, device="cuda")
    except gc.core.errors.DeviceError as error:
        pytest.skip(str(error))


def check(program: Program) -> None:
    got, want = [on(program, lib) for lib in (CUDA, CPU)]
    assert_agree_first_order(program, got, want, f"the CPU of {program}")


def on(program: Program, lib: Gradcore) -> list[Any]:
    return [lib.array(y) for y in first_order(program, lib)(*[lib.constant(x) for x in program.arguments])]


def test_a_few_instructions() -> None:
    """Programs that share their kernels: on simulated CUDA each kernel is compiled for a third of a second."""
    fuzz(check, 20, dtypes=("float32",), names=MENU)


@pytest.mark.slow
def test_all_instructions() -> None:
    fuzz(check, 20)
