"""Random programs in gradcore alone: eager execution, graphs, vmap and finite differences agree."""

from __future__ import annotations

from hypothesis import assume, given

from .checks import check_differences, check_graph, check_vmap, fuzzing, single
from .drawing import programs
from .programs import Program


@fuzzing(40)
@given(programs())
def test_graphs_give_the_bits_of_eager_execution(program: Program) -> None:
    check_graph(program)


@fuzzing(40)
@given(programs(dtypes=("float64",)))
def test_vmap_is_the_loop(program: Program) -> None:
    check_vmap(program)


@fuzzing(40)
@given(programs(dtypes=("float64",)))
def test_derivatives_are_finite_differences(program: Program) -> None:
    assume(not single(program))
    check_differences(program)
