"""Random programs in gradcore alone: eager execution, graphs, vmap and finite differences agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume

import gradcore as gc

from .checks import assert_agree, check_differences, check_graph, check_vmap, everything, single
from .fuzzing import fuzz
from .ours import CPU, Gradcore
from .programs import Input, Program, Step


def test_graphs_give_the_bits_of_eager_execution() -> None:
    fuzz(check_graph, 40)


def test_vmap_is_the_loop() -> None:
    fuzz(check_vmap, 40, dtypes=("float64",))


def test_derivatives_are_finite_differences() -> None:
    def check(program: Program) -> None:
        assume(not single(program) and "stop_gradient" not in str(program))  # rounding, and a derivative that is none
        check_differences(program)

    fuzz(check, 40, dtypes=("float64",))


class Lossy(Gradcore):
    """A library with a mistake."""

    def sin(self, x: Any) -> Any:
        return gc.sin(gc.stop_gradient(x))


def test_a_lost_gradient_is_noticed() -> None:
    program = Program((Input(np.ones(2), False),), (Step("sin", (0,)),), (1,))
    with pytest.raises(AssertionError, match="jvp against the truth"):
        assert_agree(program, everything(program, Lossy()), everything(program, CPU), "the truth")
