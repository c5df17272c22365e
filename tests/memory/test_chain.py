"""Chains under a budget: the predicted peak is the measured one, and gradients have the bits of the plain run."""

from __future__ import annotations

import gc as collector
import pickle
import random
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from chain_models import Trial, random_plan, residual, trial, unequal

import gradcore as gc
from gradcore import nn
from gradcore.memory import (
    BudgetError,
    Chain,
    account,
    checkpoint_chain,
    extra_steps,
    front,
    measured_costs,
    peak_of,
    time_of,
)

MODELS = {"residual": residual, "unequal": unequal}


@pytest.fixture(scope="module", params=MODELS)
def on_cpu(request: pytest.FixtureRequest) -> Trial:
    return trial(MODELS[request.param], batch=256)


def measured_peak(function: Callable[[], Any]) -> int:
    with account() as counted:
        start = counted.live
        function()
        return counted.peak - start


def test_predicted_is_measured_and_bits_are_those_of_the_plain_run(on_cpu: Trial) -> None:
    plain = on_cpu.bits(on_cpu.model)
    chains = [on_cpu.chain(budget) for budget in on_cpu.budgets(12)]
    for chain in chains:
        on_cpu.model.zero_grad()
        assert measured_peak(lambda chain=chain: on_cpu.backward(chain)) == chain.predicted_peak <= chain.budget
        assert on_cpu.bits(chain) == plain
    for smaller, larger in pairwise(chains):
        assert smaller.predicted_peak <= larger.predicted_peak
        assert time_of(smaller.plan, on_cpu.costs) >= time_of(larger.plan, on_cpu.costs)
    assert extra_steps(chains[0].plan) > 0 == extra_steps(chains[-1].plan)


def test_tracemalloc_agrees_within_one_percent() -> None:
    """Activations are large against Python's own objects, of which tracemalloc sees some 0.3 MB."""
    large = trial(unequal, batch=8192)
    for budget in large.budgets(3)[1:]:
        chain = large.chain(budget)
        large.model.zero_grad()
        collector.collect()
        tracemalloc.start()
        try:
            large.backward(chain)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak == pytest.approx(chain.predicted_peak, rel=0.01)


def test_below_the_minimum_it_says_the_smallest_budget(on_cpu: Trial) -> None:
    least = front(on_cpu.costs)[0].peak
    with pytest.raises(BudgetError, match=f"{least} bytes .*held in the") as caught:
        on_cpu.chain(least - 1)
    assert caught.value.smallest == least == on_cpu.chain(least).predicted_peak


class Centred(nn.Module):
    """Has running statistics."""

    def __init__(self) -> None:
        self.mean = nn.Buffer(np.zeros(4, np.float32))

    def forward(self, x: Any) -> Any:
        mean = x.mean(axis=0)
        self.mean.assign(0.9 * self.mean + 0.1 * mean)
        return x - mean


def test_measuring_changes_no_cell_and_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Centred(), nn.Dropout(0.5))
    gc.random.seed(3)

    def content() -> list[bytes]:
        cells = [cell.read().detach() for cell in model.named_cells().values()]
        return [np.asarray(value).tobytes() for value in (*cells, gc.random.state_dict()["source"])]

    before = content()
    measured_costs(list(model), gc.ones(8, 4))
    assert content() == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_costs_serve_other_budgets_and_processes(on_cpu: Trial) -> None:
    costs = type(on_cpu.costs).from_json(on_cpu.costs.to_json())
    assert costs == on_cpu.costs == pickle.loads(pickle.dumps(costs))
    half = checkpoint_chain(list(on_cpu.model), budget="50%", costs=costs)
    assert half.predicted_peak <= half.budget == front(costs)[-1].peak // 2


@pytest.mark.parametrize("seed", range(12))
def test_any_plan_costs_what_is_predicted(on_cpu: Trial, seed: int) -> None:
    plan = random_plan(random.Random(seed), 0, len(on_cpu.costs.stages))
    chain = Chain(list(on_cpu.model), plan, on_cpu.costs, None, ())
    on_cpu.model.zero_grad()
    assert measured_peak(lambda: on_cpu.backward(chain)) == chain.predicted_peak


@pytest.mark.parametrize(("length", "slots", "extra"), [(24, 2, 88), (24, 5, 44), (24, 16, 30)])
def test_slots_execute_the_optimal_number_of_steps(length: int, slots: int, extra: int) -> None:
    runs = 0

    class Count(gc.core.hooks.Hook):
        def before(self, op: Any, values: Any, params: Any) -> None:
            nonlocal runs
            runs += op.name == "tanh"

    chain = checkpoint_chain([gc.tanh] * length, slots=slots)
    x = gc.tensor([0.5, -1.0], requires_grad=True)
    with gc.core.hooks.hooked(Count()):
        y = chain(x)
        assert runs == length
        y.sum().backward()
    assert runs == length + extra
    expected = gc.tensor([0.5, -1.0], requires_grad=True)
    y = expected
    for _ in range(length):
        y = gc.tanh(y)
    y.sum().backward()
    assert np.asarray(x.grad).tobytes() == np.asarray(expected.grad).tobytes()


def test_a_chain_of_a_thousand_stages_with_one_slot_does_not_recurse() -> None:
    chain = checkpoint_chain([lambda x: x * 1.01] * 1000, slots=1)
    assert chain(gc.ones(1)).shape == (1,)


def test_a_chain_under_transforms_has_the_bits_of_the_plain_one(on_cpu: Trial) -> None:
    chain = on_cpu.chain("40%")

    def gradient(function: Any) -> bytes:
        gc.random.seed(1)
        return np.asarray(gc.grad(lambda x: gc.sin(function(x)).sum())(on_cpu.x).detach()).tobytes()

    assert gradient(chain) == gradient(on_cpu.model)


def test_trees_between_stages() -> None:
    stages = [
        lambda x: {"a": gc.tanh(x), "b": gc.exp(x)},
        lambda t: (t["a"] * t["b"], t["b"]),
        lambda t: gc.sin(t[0]) + t[1],
    ]
    x = gc.tensor(np.linspace(-1, 1, 5000), requires_grad=True)
    chain = checkpoint_chain(stages, budget="100%", sample=x)
    smallest = checkpoint_chain(stages, budget=front(chain.costs)[0].peak, costs=chain.costs)
    grads = [np.asarray(gc.grad(lambda x, f=f: f(x).sum())(x.detach())).tobytes() for f in (chain, smallest)]
    assert grads[0] == grads[1]


def test_an_error_in_a_stage_leaves_no_region_open() -> None:
    def fail(x: Any) -> Any:
        raise RuntimeError("in a stage")

    chain = checkpoint_chain([gc.tanh, gc.tanh, fail, gc.tanh], slots=2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="in a stage"):
            chain(gc.ones(2))
    assert gc.core.state.state.regions == [] and gc.core.state.switch.busy == 0


def test_what_a_chain_refuses(on_cpu: Trial) -> None:
    stages = list(on_cpu.model)
    with pytest.raises(ValueError, match="at least one stage"):
        checkpoint_chain([], slots=2)
    with pytest.raises(ValueError, match="either slots"):
        checkpoint_chain(stages)
    with pytest.raises(ValueError, match="either slots"):
        checkpoint_chain(stages, slots=2, budget=100)
    with pytest.raises(ValueError, match="needs a sample"):
        checkpoint_chain(stages, budget="1 MiB")
    with pytest.raises(ValueError, match="or has a unit"):
        checkpoint_chain(stages, budget="lots", costs=on_cpu.costs)
    with pytest.raises(ValueError, match="not of 2"):
        checkpoint_chain(stages[:2], budget="1 MiB", costs=on_cpu.costs)
    with pytest.raises(TypeError, match="sample"):
        checkpoint_chain(stages, budget="1 MiB", sample=3)
    planned = checkpoint_chain([gc.tanh], budget="1 MiB", sample=gc.ones(4))
    with pytest.raises(ValueError, match=r"planned for an input of 16 B, but got 20 B"):
        planned(gc.ones(5))
    planned(gc.ones(3))


def test_a_chain_tells_what_it_will_do(on_cpu: Trial) -> None:
    chain = on_cpu.chain("40%")
    text = str(chain)
    assert f"{chain.predicted_peak:,} bytes" in text and "budget: " in text
    assert next(a for a in chain.schedule if a.kind == "backward").stage == len(chain.stages) - 1
    assert peak_of(chain.plan, chain.costs) == chain.predicted_peak
