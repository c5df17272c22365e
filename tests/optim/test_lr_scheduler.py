"""Schedules against their formulas; state, captures, groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.compile import Program
from gradcore.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR


def optimizer_of(lr: float = 0.3, dtype: Any = np.float64) -> optim.SGD:
    """Two groups; the second has another rate."""
    first, second = nn.Parameter(np.ones(2, dtype)), nn.Parameter(np.ones(3, dtype))
    return optim.SGD([{"params": first}, {"params": second, "lr": 2 * lr}], lr=lr)


def step(count: int, base: float) -> float:
    return base * 0.5 ** (count // 7)


def cosine(count: int, base: float) -> float:
    if count < 5:
        return base * (count + 1) / 6
    return 0.01 + (base - 0.01) * (1 + math.cos(math.pi * min((count - 5) / 25, 1))) / 2


def one_cycle(count: int, base: float) -> float:
    """The base is the highest rate; it comes at 0.4 * 30 - 1."""
    first, count = base / 10, min(count, 29)
    if count < 11:
        return base + (first - base) * (1 + math.cos(math.pi * count / 11)) / 2
    return first / 100 + (base - first / 100) * (1 + math.cos(math.pi * (count - 11) / 18)) / 2


CASES: list[Any] = [
    pytest.param(lambda o: StepLR(o, 7, 0.5), step, id="step"),
    pytest.param(lambda o: CosineAnnealingLR(o, 30, 5, 0.01), cosine, id="cosine"),
    pytest.param(lambda o: OneCycleLR(o, [0.3, 0.6], 30, 0.4, 10, 100), one_cycle, id="one cycle"),
]
MAKERS: list[Any] = [pytest.param(case.values[0], id=case.id) for case in CASES]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-7), (np.float16, 1e-7)])
@pytest.mark.parametrize(("make", "formula"), CASES)
def test_rates_follow_the_formula(make: Any, formula: Any, dtype: Any, tolerance: float) -> None:
    optimizer = optimizer_of(dtype=dtype)
    schedule = make(optimizer)
    for count in range(40):
        expected = [formula(count, 0.3), formula(count, 0.6)]
        np.testing.assert_allclose(schedule.get_last_lr(), expected, rtol=tolerance, atol=0)
        assert [group["lr"] for group in optimizer.param_groups] == schedule.get_last_lr()
        schedule.step()


@pytest.mark.parametrize("make", MAKERS)
def test_state_continues_bit_for_bit(make: Any) -> None:
    optimizer = optimizer_of()
    schedule = make(optimizer)
    for _ in range(9):
        schedule.step()
    again = optimizer_of(lr=0.001)
    resumed = make(again)
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(20):
        assert resumed.get_last_lr() == schedule.get_last_lr()
        schedule.step()
        resumed.step()


@pytest.mark.parametrize("make", MAKERS)
def test_a_state_that_does_not_fit_changes_nothing(make: Any) -> None:
    schedule = make(optimizer_of())
    schedule.step()
    state, rates = schedule.state_dict(), schedule.get_last_lr()
    with pytest.raises(ValueError, match=r"float32\[\] for base\.1, which holds float64"):
        schedule.load_state_dict({**state, "count": gc.tensor(np.float64(5)), "base.1": gc.tensor(1.0)})
    with pytest.raises(KeyError, match=r"missing \['base\.1'\]"):
        schedule.load_state_dict({"count": state["count"], "base.0": state["base.0"]})
    assert schedule.get_last_lr() == rates
    assert schedule.state_dict()["count"].item() == 1


@pytest.mark.parametrize(("make", "formula"), CASES)
def test_counts_are_exact_beyond_single_precision(make: Any, formula: Any) -> None:
    schedule = make(optimizer_of(dtype=np.float32))
    schedule.load_state_dict({**schedule.state_dict(), "count": gc.tensor(np.float64(2**24))})
    for _ in range(3):
        schedule.step()
    assert schedule.state_dict()["count"].item() == 2**24 + 3


def test_long_step_sizes_end_where_they_should() -> None:
    size = 2**26 + 1
    schedule = StepLR(optimizer_of(), size)
    for count, rate in ((size - 2, 0.3), (size - 1, 0.03), (3 * size - 2, 0.003), (3 * size - 1, 0.0003)):
        schedule.load_state_dict({**schedule.state_dict(), "count": gc.tensor(np.float64(count))})
        schedule.step()
        assert schedule.get_last_lr()[0] == pytest.approx(rate, rel=1e-14)


@pytest.mark.parametrize("make", MAKERS)
def test_a_captured_step_gives_the_bits_of_eager(make: Any) -> None:
    eager, captured = optimizer_of(dtype=np.float32), optimizer_of(dtype=np.float32)
    first, second = make(eager), make(captured)
    graph = gc.make_graph(second.step)()
    assert second.state_dict()["count"].item() == 0  # a capture computes nothing
    names = {slot.cell.name for slot in graph.cells if slot.assigned}
    assert names == {"SGD.lr", "SGD.1.lr", "schedule.count"}
    program = Program(graph)
    for _ in range(35):
        first.step()
        program()
        assert first.get_last_lr() == second.get_last_lr()


def test_a_step_needs_all_rates_before_it_assigns_any(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = StepLR(optimizer_of(), 1)
    rates, calls = schedule.get_last_lr(), []

    def failing(count: Any, base: Any) -> Any:
        calls.append(base)
        if len(calls) == 2:
            raise MemoryError
        return base * 0

    monkeypatch.setattr(schedule, "_rate", failing)
    with pytest.raises(MemoryError):
        schedule.step()
    assert schedule.get_last_lr() == rates
    assert schedule.state_dict()["count"].item() == 0


def test_one_cycle_may_only_fall() -> None:
    for share in (0.0, 0.1):
        schedule = OneCycleLR(optimizer_of(), 1.0, total_steps=10, pct_start=share)
        assert schedule.get_last_lr() == [1.0, 1.0]
        for _ in range(9):
            schedule.step()
        np.testing.assert_allclose(schedule.get_last_lr(), 1 / 25 / 1e4, rtol=1e-12)


def test_one_cycle_may_only_rise() -> None:
    schedule = OneCycleLR(optimizer_of(), 1.0, total_steps=10, pct_start=1.0)
    for _ in range(20):
        schedule.step()
        assert all(0.04 < rate <= 1.0 for rate in schedule.get_last_lr())
    assert OneCycleLR(optimizer_of(), 1.0, total_steps=1).get_last_lr() == [1.0, 1.0]


def plateau(metrics: list[float], **options: Any) -> list[float]:
    """The first group's rate after each metric."""
    schedule = ReduceLROnPlateau(optimizer_of(lr=1.0), **options)
    rates = []
    for metric in metrics:
        schedule.step(metric)
        rates.append(schedule.get_last_lr()[0])
    return rates


def test_plateau() -> None:
    assert plateau([3, 2, 2, 2, 2, 1], factor=0.5, patience=1) == [1, 1, 1, 0.5, 0.5, 0.5]
    assert plateau([3, 2, 2, 2, 2, 2], factor=0.5, patience=0) == [1, 1, 0.5, 0.25, 0.125, 0.0625]
    assert plateau([2, 2, 2, 2, 2, 2], factor=0.5, patience=0, cooldown=2) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert plateau([2, 2, 2, 2], factor=0.5, patience=0, min_lr=[0.3, 0]) == [1, 0.5, 0.3, 0.3]
    assert plateau([1, 2, 3, 3], mode="max", factor=0.5, patience=0) == [1, 1, 1, 0.5]
    assert plateau([2, 1.95, 1.7], factor=0.5, patience=0, threshold=0.1) == [1, 0.5, 0.5]
    assert plateau([2, math.nan, math.inf, 1], factor=0.5, patience=1) == [1, 1, 0.5, 0.5]
    assert plateau([2, 2, 2], factor=0.5, patience=0, eps=0.4) == [1, 0.5, 0.5]


def test_plateau_takes_tensors_and_keeps_no_record() -> None:
    p = nn.Parameter([2.0])
    schedule = ReduceLROnPlateau(optimizer_of())
    schedule.step((p * p).sum())
    assert schedule.best.read().node is None
    assert schedule.state_dict()["best"].item() == 4.0
    with pytest.raises(ValueError, match=r"must be one number, not a tensor of shape \(2,\)"):
        schedule.step(gc.ones(2))


def test_plateau_continues_and_can_be_captured() -> None:
    generator = np.random.default_rng(0)
    metrics = generator.normal(size=40).cumsum() + 20

    def make(optimizer: Any) -> ReduceLROnPlateau:
        return ReduceLROnPlateau(optimizer, factor=0.7, patience=1, cooldown=1, min_lr=1e-3)

    eager_optimizer, captured_optimizer, resumed_optimizer = (optimizer_of() for _ in range(3))
    eager, captured, resumed = map(make, (eager_optimizer, captured_optimizer, resumed_optimizer))
    program = Program(gc.make_graph(captured.step)(gc.tensor(metrics[0], dtype=np.float64)))
    for number, metric in enumerate(metrics):
        eager.step(metric)
        program(gc.tensor(metric, dtype=np.float64))
        assert eager.get_last_lr() == captured.get_last_lr()
        if number == 17:
            resumed.load_state_dict(eager.state_dict())
            resumed_optimizer.load_state_dict(eager_optimizer.state_dict())
        elif number > 17:
            resumed.step(float(metric))
            assert eager.get_last_lr() == resumed.get_last_lr()
    assert eager.get_last_lr()[0] < 0.1
    assert {name: value.item() for name, value in eager.state_dict().items()} == {
        name: value.item() for name, value in captured.state_dict().items()
    }


WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda o: StepLR(o, 0), "step_size must be an integer of at least 1, not 0"),
    (lambda o: StepLR(o, 1.5), "step_size must be an integer"),
    (lambda o: StepLR(o, 1, -1.0), "gamma must be a finite number of at least 0, not -1.0"),
    (lambda o: CosineAnnealingLR(o, 10, 10), r"warmup_steps must be smaller than total_steps \(10\), not 10"),
    (lambda o: CosineAnnealingLR(o, 10, -1), "warmup_steps must be an integer of at least 0"),
    (lambda o: CosineAnnealingLR(o, 10, final_lr=math.nan), "final_lr must be a finite number"),
    (lambda o: OneCycleLR(o, 1.0, 10, pct_start=1.5), r"pct_start must be in \[0, 1\], not 1.5"),
    (lambda o: OneCycleLR(o, 1.0, 10, div_factor=0), "div_factor must be a finite number above 0, not 0"),
    (lambda o: OneCycleLR(o, [1.0], 10), "max_lr has 1 rates for 2 parameter groups; give one for each"),
    (lambda o: ReduceLROnPlateau(o, mode="least"), "mode must be 'min' or 'max', not 'least'"),
    (lambda o: ReduceLROnPlateau(o, factor=1.0), r"factor must be in \(0, 1\), not 1.0"),
    (lambda o: ReduceLROnPlateau(o, patience=-1), "patience must be an integer of at least 0"),
    (lambda o: ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr has 1 rates for 2 parameter groups"),
]


@pytest.mark.parametrize(("make", "words"), WRONG)
def test_wrong_arguments(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(optimizer_of())


def test_groups_that_are_added_keep_their_rate() -> None:
    optimizer = optimizer_of()
    schedule = StepLR(optimizer, 1)
    optimizer.add_param_group({"params": nn.Parameter([1.0]), "lr": 0.5})
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.03, 0.06, 0.5]
