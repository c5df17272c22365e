"""Chains of any stages: the predicted peak is exact or an upper bound, and bits are those of the plain run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chain_models import random_plan

import gradcore as gc
from gradcore import nn
from gradcore.memory import Chain, account, checkpoint_chain, front, measured_costs

WIDTH = 16
OUTSIDE = gc.tensor(np.linspace(-0.3, 0.3, WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, WIDTH), requires_grad=True)
SHARED = nn.Linear(WIDTH, WIDTH)

# A new array in forward and backward, so that peaks are exact.
EXACT: dict[str, Callable[[], Any]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "linear and tanh": lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()),
    "norm": lambda: nn.LayerNorm(WIDTH),
    "gated": lambda: lambda x: x * gc.sigmoid(x) + gc.sin(x),
    "shared": lambda: SHARED,
    "outer": lambda: lambda x: gc.sin(x @ OUTSIDE) + x,
    "double": lambda: lambda x: gc.tanh(x.astype("float64")).astype("float32"),
}
BOUNDED = EXACT | {
    "same": lambda: lambda x: x,
    "view": lambda: lambda x: x[:, ::-1],
    "slice": lambda: lambda x: x[1:],
    "part of a large array": lambda: lambda x: gc.exp(gc.concatenate([x, x, x], axis=1))[:, :WIDTH],
    "shift": lambda: lambda x: x + 1,
    "mask": lambda: lambda x: x * (x > 0).astype("float32"),
    "constant": lambda: lambda x: x * x.detach(),
    "sorted": lambda: lambda x: gc.sort(x, axis=0),
}


def measured(chain: Chain, x: Any) -> int:
    with account() as counted:
        start = counted.live
        y = chain(x)
        y.backward(gc.ones(*y.shape))
        return counted.peak - start


def predicted(chain: Chain) -> int:
    assert chain.predicted_peak is not None
    return chain.predicted_peak


def chain_of(stages: list[Any], x: Any, plan: Any) -> Chain:
    return Chain(stages, plan, measured_costs(stages, x), None, ())


def leaf(rows: int, requires_grad: bool = True) -> Any:
    array = np.random.default_rng(rows).normal(size=(rows, WIDTH)).astype(np.float32)
    return gc.tensor(array, requires_grad=requires_grad)


def drawn(seed: int, kinds: dict[str, Callable[[], Any]]) -> tuple[list[Any], Any, Any]:
    draw = random.Random(seed)
    stages = [kinds[draw.choice(list(kinds))]() for _ in range(draw.randint(1, 6))]
    return stages, leaf(draw.choice([5, 80])), random_plan(draw, 0, len(stages))


def forget(stages: list[Any], x: Any) -> list[Any]:
    """Drop all gradients; returns what has them."""
    modules = [stage for stage in (*stages, SHARED) if isinstance(stage, nn.Module)]
    leaves = [*[p for module in modules for p in module.parameters()], OUTSIDE, x]
    for each in leaves:
        each.zero_grad() if hasattr(each, "zero_grad") else setattr(each, "grad", None)
    return leaves


@pytest.mark.parametrize("seed", range(30))
def test_peaks_of_random_networks_are_exact(seed: int) -> None:
    stages, x, plan = drawn(seed, EXACT)
    chain = chain_of(stages, x, plan)
    forget(stages, x)
    assert measured(chain, x) == predicted(chain)


@pytest.mark.parametrize("seed", range(40))
def test_peaks_of_random_networks_are_bounds_where_stages_return_views(seed: int) -> None:
    stages, x, plan = drawn(seed, BOUNDED)
    chain = chain_of(stages, x, plan)
    bits = []
    for function in (chain, chain_of(stages, x, tuple(range(len(stages))))):
        leaves = forget(stages, x)
        assert measured(function, x) <= predicted(function)
        bits.append([None if p.grad is None else np.asarray(p.grad).tobytes() for p in leaves])
    assert bits[0] == bits[1]


def test_a_stage_that_returns_a_small_part_of_a_large_array_is_counted_with_the_array() -> None:
    zeros = gc.zeros(500, WIDTH)
    stages = [gc.exp, lambda x: x[-1], lambda x: gc.sin(gc.sin(gc.exp(x + zeros) * 2) * 2), lambda x: x.sum()]
    chain = chain_of(stages, leaf(500), (((0, 1), 2), 3))
    assert measured(chain, leaf(500)) <= predicted(chain)


def test_first_stages_to_which_nothing_flows_back_are_counted_when_they_run_again() -> None:
    stages = [gc.tanh, lambda x: gc.tanh(x.astype("float64")).astype("float32"), gc.tanh, *[SHARED] * 2]
    x = leaf(80, requires_grad=False)
    chain = chain_of(stages, x, (((0, 1, 2), 3), 4))
    forget(stages, x)
    assert measured(chain, x) <= predicted(chain)


@pytest.mark.parametrize("rows", [3, 200])
def test_gradients_from_before_need_no_more(rows: int) -> None:
    stages, x = [SHARED, gc.tanh, nn.Linear(WIDTH, WIDTH)], leaf(rows)
    chain = chain_of(stages, x, ((0,), 1, 2))
    forget(stages, x)
    peaks = [measured(chain, x) for _ in range(3)]
    assert peaks[0] == predicted(chain)
    assert max(peaks) == peaks[0]


def test_whole_numbers_and_a_tensor_twice_between_stages() -> None:
    stages: list[Any] = [
        nn.Linear(WIDTH, WIDTH),
        lambda x: (gc.tanh(x), gc.argsort(x, axis=0), x),
        lambda t: (t[0] * (t[1] > 3).astype("float32") + t[2], t[1]),
        lambda t: (t[0], t[0]),
        lambda t: gc.sin(t[0] * t[1]) + t[0] * gc.exp(t[1]),
    ]
    x = leaf(20)

    def plain(x: Any) -> Any:
        for stage in stages:
            x = stage(x)
        return x

    plans = [(0, 1, 2, 3, 4), ((0, 1, 2, 3), 4), ((0, (1,), 2), (3,), 4), (((0, 1), 2), 3, 4)]
    chains = [chain_of(stages, x, plan) for plan in plans]
    found = []
    for function in (plain, *chains):
        leaves = forget(stages[:1], x)
        function(x).sum().backward()
        found.append([None if p.grad is None else np.asarray(p.grad).tobytes() for p in leaves])
    assert all(bits == found[0] for bits in found)
    for chain in chains:
        forget(stages[:1], x)
        assert measured(chain, x) <= predicted(chain)


def test_a_sample_tells_the_peak_of_a_chain_with_slots() -> None:
    chain = checkpoint_chain([gc.tanh] * 6, slots=2, sample=leaf(40))
    assert predicted(chain) == measured(chain, leaf(40))
    assert chain.costs is not None and front(chain.costs)[0].peak <= predicted(chain)


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="stage 1 returned float, not a tensor"):
        measured_costs([gc.tanh, lambda x: 1.0], leaf(3))
    with pytest.raises(ValueError, match=r"or has a unit .* got 'half%'"):
        checkpoint_chain([gc.tanh], budget="half%", sample=leaf(3))
