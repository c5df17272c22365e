"""Binomial schedules: as few steps as any schedule, and never more kept than the slots."""

from __future__ import annotations

import time

import brute_force
import pytest

from gradcore.memory.revolve import revolve, revolve_extra, revolve_plan
from gradcore.memory.schedule import Action, actions, extra_steps, saved_plan, sqrt_plan, text, walk

PUBLISHED = {
    24: {2: 88, 3: 61, 5: 44, 8: 38, 16: 30},
    96: {2: 793, 3: 462, 5: 300, 8: 233, 16: 174, 32: 158},
    1000: {8: 4285, 16: 2860, 32: 2405},
}
CASES = [(length, slots, extra) for length, row in PUBLISHED.items() for slots, extra in row.items()]


def follow(schedule: list[Action], length: int) -> tuple[int, int]:
    """Execute a schedule, checking every action; the most activations kept at a time, and the runs of stages."""
    current, left, runs, most = 0, length, 0, 0
    kept: set[int] = set()
    saved: list[int] = []
    for kind, stage in schedule:
        if kind in ("forward", "save"):
            assert current == stage
            current, runs = stage + 1, runs + 1
            saved += [stage] if kind == "save" else []
        elif kind == "keep":
            assert current == stage and stage not in kept
            kept.add(stage)
        elif kind == "restore":
            assert stage in kept
            current = stage
        elif kind == "free":
            kept.remove(stage)
        else:
            assert kind == "backward" and stage == left - 1 == saved.pop()
            left = stage
        most = max(most, len(kept))
        assert len(saved) <= 1
    assert left == 0 and not kept and not saved
    return most, runs


@pytest.mark.parametrize(("length", "slots", "extra"), CASES)
def test_published_figures(length: int, slots: int, extra: int) -> None:
    assert extra_steps(revolve_plan(length, slots)) == revolve_extra(length, slots) == extra
    most, runs = follow(revolve(length, slots), length)
    assert most <= slots and runs == length + extra


@pytest.mark.parametrize("length", range(1, 25))
def test_as_few_steps_as_the_dynamic_programme(length: int) -> None:
    for slots in range(1, length + 2):
        fewest = brute_force.fewest_extra_steps(length, slots)
        most, runs = follow(revolve(length, slots), length)
        assert most <= slots and runs - length == fewest == revolve_extra(length, slots)


@pytest.mark.parametrize("length", range(1, 8))
def test_as_few_steps_as_any_schedule(length: int) -> None:
    for slots in range(1, length + 1):
        assert brute_force.fewest_advances(length, slots) == revolve_extra(length, slots)


def test_one_slot_nests_a_region_per_stage() -> None:
    plan = revolve_plan(1000, 1)
    assert extra_steps(plan) == 1000 * 999 // 2
    assert max(depth for _, depth in walk(plan)) == 999
    assert text(plan).count("(") == 999


def test_a_long_chain_is_quick() -> None:
    start = time.process_time()
    assert sum(kind in ("forward", "save") for kind, _ in revolve(1000, 8)) == 5285
    assert time.process_time() - start < 1


def test_any_plan_can_be_followed() -> None:
    for plan in brute_force.all_plans(0, 6):
        current, runs, left = 0, 0, 6
        for kind, stage in actions(plan):
            if kind in ("forward", "save"):
                assert current == stage
                current, runs = current + 1, runs + 1
            current = stage if kind == "restore" else current
            if kind == "backward":
                assert stage == left - 1
                left = stage
        assert left == 0 and runs == 6 + extra_steps(plan)


def test_plans_to_compare_with() -> None:
    assert saved_plan(2) == (0, 1)
    assert sqrt_plan(9) == ((0, 1, 2), (3, 4, 5), 6, 7, 8)
    assert [extra_steps(sqrt_plan(length)) for length in (1, 2, 10, 100)] == [0, 1, 9, 90]


def test_text_reads_well() -> None:
    assert text(revolve_plan(8, 3)) == "((0) 1) ((2) (3) 4) ((5) 6) 7"
    assert text(saved_plan(20)) == "0..19"


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="revolve_plan: slots must be at least 1, got 0"):
        revolve(5, 0)
    with pytest.raises(ValueError, match="length must be at least 1"):
        revolve(0, 5)
    with pytest.raises(TypeError, match="slots must be an int, got float"):
        revolve(5, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must end in a saved stage"):
        actions((0, (1,)))
    with pytest.raises(ValueError, match="in order"):
        actions(((1,), 0))
    with pytest.raises(ValueError, match="empty"):
        actions(((), 0))
