"""The planner against all plans, and the peak of a plan against a memory in which things live and die."""

from __future__ import annotations

import pickle
import random
import time
from itertools import pairwise

import brute_force
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradcore.backend.sizes import parse_size, size_text
from gradcore.memory.costs import BYTES, FLAGS, Costs, StageCosts
from gradcore.memory.peak import peak_event, peak_of, time_of
from gradcore.memory.plan import BudgetError, best_plan, front, plan_chain
from gradcore.memory.revolve import revolve_plan
from gradcore.memory.schedule import actions, saved_plan, sqrt_plan

ZERO = StageCosts(**dict.fromkeys(StageCosts._fields, 0))


def random_costs(length: int, seed: int, most: int, seconds: bool = False) -> Costs:
    """Any costs at all; times are whole numbers, or `seconds` as a clock gives them."""
    draw = random.Random(seed)
    sizes = [draw.randint(0, most) for _ in range(length + 1)]
    stages = []
    for number in range(length):
        figures = {name: draw.randint(0, most) for name in BYTES}
        figures |= {"input": sizes[number], "output": sizes[number + 1]}
        flags = {name: draw.random() < 0.5 for name in FLAGS}
        times = [draw.random() * 1e-3 if seconds else float(draw.randint(0, 5)) for _ in range(2)]
        stages.append(StageCosts(**figures, **flags, time_forward=times[0], time_backward=times[1]))
    return Costs(tuple(stages))


def network_costs(length: int, seed: int) -> Costs:
    """Costs like those of a network: what is kept outweighs what a stage needs at work."""
    draw = random.Random(seed)
    sizes = [16 * draw.randint(100, 4000) for _ in range(length + 1)]
    stages = []
    for size, output in pairwise(sizes):
        inner = draw.choice([0, 1, 2, 4]) * output + draw.choice([0, 8, 17])
        work = draw.choice([output, 2 * output])
        stage = ZERO._replace(input=size, output=output, captured=draw.choice([0, 16]), gradients=draw.choice([0, 640]))
        stage = stage._replace(inner_first=inner, inner_again=inner, inner_last=inner, keeps_output=draw.random() < 0.5)
        stage = stage._replace(peak_forward=work, peak_saved=work + inner, again_held=work, again_dropped=work)
        stage = stage._replace(
            again_saved=work + inner, again_last=work + inner, peak_backward=size, peak_backward_again=size
        )
        seconds = 1e-9 * (size + output) * draw.choice([1, 5, 20])
        stages.append(stage._replace(time_forward=seconds, time_backward=2 * seconds))
    return Costs(tuple(stages))


any_costs = st.builds(random_costs, st.integers(1, 6), st.integers(0, 2**32), st.sampled_from([1, 4, 20, 10**9]))


def pareto(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for point in sorted(points):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


def budgets_of(costs: Costs, count: int) -> list[int]:
    """Budgets from the smallest feasible one to that of saving everything."""
    low, high = front(costs)[0].peak, peak_of(saved_plan(len(costs.stages)), costs)
    return [low + (high - low) * step // (count - 1) for step in range(count)]


@given(any_costs)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_peak_is_that_of_a_simulated_run(costs: Costs) -> None:
    for plan in brute_force.all_plans(0, len(costs.stages)):
        assert peak_of(plan, costs) == brute_force.SimulatedMemory(costs).run(plan)


@given(any_costs)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_plan_at_all_is_better(costs: Costs) -> None:
    plans = brute_force.all_plans(0, len(costs.stages))
    points = [(peak_of(plan, costs), time_of(plan, costs)) for plan in plans]
    assert [(choice.peak, choice.time) for choice in front(costs)] == pareto(points)


@pytest.mark.parametrize("seed", range(3))
def test_just_below_the_smallest_budget_nothing_fits(seed: int) -> None:
    costs = random_costs(7, seed, most=10**9, seconds=True)
    smallest = front(costs)[0].peak
    assert smallest == min(peak_of(plan, costs) for plan in brute_force.all_plans(0, 7))
    with pytest.raises(BudgetError) as caught:
        best_plan(costs, smallest - 1)
    assert caught.value.smallest == smallest


@given(st.integers(8, 24), st.integers(0, 2**32), st.booleans())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_smaller_budget_is_never_exceeded_nor_quicker(length: int, seed: int, like_a_network: bool) -> None:
    costs = network_costs(length, seed) if like_a_network else random_costs(length, seed, most=10**8, seconds=True)
    budgets = budgets_of(costs, 25)
    plans = [best_plan(costs, budget) for budget in budgets]
    peaks = [peak_of(plan, costs) for plan in plans]
    times = [time_of(plan, costs) for plan in plans]
    assert all(peak <= budget for peak, budget in zip(peaks, budgets, strict=True))
    assert peaks == sorted(peaks) and times == sorted(times, reverse=True)
    assert plans[-1] == saved_plan(length)


@pytest.mark.parametrize("length", [9, 24, 48])
def test_better_than_plans_that_know_no_bytes(length: int) -> None:
    costs = network_costs(length, seed=length)
    for plan in (sqrt_plan(length), revolve_plan(length, 2), revolve_plan(length, 6)):
        assert time_of(best_plan(costs, peak_of(plan, costs)), costs) <= time_of(plan, costs)


def test_150_unequal_stages_take_seconds() -> None:
    costs = network_costs(150, seed=0)
    start = time.process_time()
    choices = front(costs)
    assert time.process_time() - start < 5
    assert len(choices) > 20 and choices[0].peak < choices[-1].peak / 5


def test_equal_stages_take_the_revolve_optimum() -> None:
    """The last stage gets a byte more, since its cotangent is that of the result and counts once."""
    stage = ZERO._replace(input=1, output=1, time_forward=1.0, peak_forward=1, peak_saved=1, again_held=1)
    stage = stage._replace(again_dropped=1, again_saved=1, inner_first=10**6, inner_again=10**6, inner_last=10**6)
    costs = Costs((*(stage,) * 23, stage._replace(inner_first=10**6 + 1)))
    for slots in (2, 3, 5, 8, 16):
        plan = revolve_plan(24, slots)
        assert time_of(best_plan(costs, peak_of(plan, costs)), costs) == time_of(plan, costs)


def test_stages_that_take_no_time_run_in_regions() -> None:
    costs = Costs((ZERO._replace(inner_first=5, inner_last=5),) * 4)
    assert peak_of(best_plan(costs, 100), costs) == 5


def test_schedule_is_that_of_the_plan() -> None:
    costs = network_costs(9, seed=1)
    budget = budgets_of(costs, 3)[1]
    assert plan_chain(costs, budget) == actions(best_plan(costs, budget)) == plan_chain(costs, f"{budget} B")


def test_too_small_a_budget_says_what_holds_the_least() -> None:
    mebi = 2**20
    stage = ZERO._replace(input=mebi, output=mebi, peak_forward=mebi, gradients=4 * mebi, time_forward=1.0)
    costs = Costs((stage._replace(inner_first=12 * mebi, inner_again=12 * mebi, inner_last=12 * mebi),) * 3)
    with pytest.raises(BudgetError) as caught:
        plan_chain(costs, "1 MiB")
    least = 12 + 1 + 8 + 2  # saved values, cotangent, gradients of two stages, the result and its cotangent
    assert caught.value.smallest == least * mebi
    assert str(caught.value) == (
        "plan_chain: a budget of 1048576 bytes (1.0 MiB) is too small; the smallest feasible one is 24117248 bytes "
        "(23.0 MiB). That is held in the backward of stage 0: its saved values 12.0 MiB, cotangent 1.0 MiB, "
        "gradients 8.0 MiB, the chain's result 1.0 MiB, the result's cotangent 1.0 MiB"
    )


@given(any_costs)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_byte_of_the_peak_has_a_name(costs: Costs) -> None:
    for plan in [*brute_force.all_plans(0, len(costs.stages))][::10]:
        event = peak_event(plan, costs)
        held = event.held(costs)
        assert sum(held.values()) == event.bytes == peak_of(plan, costs)


def test_costs_survive_json_and_pickle() -> None:
    costs = random_costs(5, seed=0, most=10**9, seconds=True)
    assert Costs.from_json(costs.to_json()) == costs == pickle.loads(pickle.dumps(costs))


def test_costs_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        front(Costs(()))
    with pytest.raises(ValueError, match="inner_first of stage 1"):
        front(Costs((ZERO, ZERO._replace(inner_first=-1))))
    with pytest.raises(ValueError, match="time_forward of stage 0"):
        front(Costs((ZERO._replace(time_forward=float("nan")),)))
    with pytest.raises(ValueError, match="stage 0 returns 4 bytes, but stage 1 reads 8"):
        front(Costs((ZERO._replace(output=4), ZERO._replace(input=8))))
    with pytest.raises(ValueError, match="not what to_json wrote"):
        Costs.from_json('{"stages": [{"input": 1}]}')
    with pytest.raises(ValueError, match="stages 0 to 1 in order"):
        peak_of((0, 1, 2), Costs((ZERO, ZERO)))


def test_sizes() -> None:
    assert [size_text(size) for size in (0, 1023, 1536, 3 * 2**40)] == ["0 B", "1023 B", "1.5 KiB", "3.0 TiB"]
    assert parse_size("2 GiB") == 2**31 and parse_size(" .5KB") == 500 and parse_size("64") == 64
    with pytest.raises(ValueError, match="or has a unit"):
        parse_size("12 parsecs")
    with pytest.raises(ValueError, match="negative"):
        parse_size(-1)
    with pytest.raises(TypeError, match="float"):
        parse_size(1.5)  # type: ignore[arg-type]
