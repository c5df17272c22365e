"""Random programs on a CUDA device, real or simulated, against the CPU."""

from __future__ import annotations

import pytest
from hypothesis import given

import gradcore as gc

from .checks import assert_agree, everything, fuzzing
from .drawing import programs
from .ours import CPU, Gradcore
from .programs import Program

pytestmark = [pytest.mark.cuda, pytest.mark.gpu, pytest.mark.slow]  # each program compiles about a hundred kernels


@pytest.fixture(autouse=True, scope="module")
def device() -> None:
    pytest.importorskip("cupy", reason="CuPy is not installed: pip install -e '.[cuda13]' on a machine with a GPU")
    try:
        gc.zeros(1, device="cuda")
    except gc.core.errors.DeviceError as error:
        pytest.skip(str(error))


@fuzzing(12)  # the first use of each kernel compiles it
@given(programs())
def test_values_and_derivatives_are_those_of_the_cpu(program: Program) -> None:
    assert_agree(program, everything(program, Gradcore("cuda")), everything(program, CPU), f"the CPU of {program}")
