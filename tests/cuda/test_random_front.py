"""Random numbers on CUDA are those of the CPU for the same key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import random

SAME_BITS: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda device: random.uniform((3, 4), device=device),
    "uniform float64": lambda device: random.uniform((3, 4), "float64", device=device),
    "uniform float16": lambda device: random.uniform((3, 4), "float16", -1.0, 1.0, device=device),
    "uniform, one number": lambda device: random.uniform(device=device),
    "uniform, none": lambda device: random.uniform((0, 3), device=device),
    "uniform, tensors": lambda device: random.uniform(3, low=gc.arange(3.0, device=device), high=5.0),
    "bernoulli": lambda device: random.bernoulli(0.3, 100, device=device),
    "bernoulli, tensors": lambda device: random.bernoulli(gc.tensor([0.3, 0.6], device=device), (50, 2)),
    "randint": lambda device: random.randint(-5, 10, 100, "int32", device=device),
    "randint, wide": lambda device: random.randint(-(2**62), 2**62, 100, device=device),
    "permutation": lambda device: random.permutation(50, device=device),
    "permutation, tensors": lambda device: random.permutation(gc.arange(20, device=device)),
    "categorical": lambda device: random.categorical(gc.tensor([0.0, 2.0, 0.0], device=device), shape=50),
    "dropout": lambda device: gc.nn.functional.dropout(gc.ones(100, device=device), 0.3),
    "vmap": lambda device: gc.vmap(lambda x: x + random.uniform(2, device=device))(gc.arange(4.0, device=device)),
}


def drawn(draw: Callable[[Any], Any]) -> list[Any]:
    results = []
    for device in ("cpu", "cuda"):
        random.seed(5)
        results.append(draw(device))
        assert results[-1].device == gc.backend.Device(device)
        assert random.state_dict()["source"].tolist()[1] == 1  # one key was drawn
    assert (results[0].dtype, results[0].shape) == (results[1].dtype, results[1].shape)
    return [result.numpy() for result in results]


@pytest.mark.parametrize("name", SAME_BITS)
def test_the_same_bits(name: str) -> None:
    np.testing.assert_array_equal(*drawn(SAME_BITS[name]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_within_4_units_of_the_last_place(dtype: str) -> None:
    cpu, cuda = drawn(lambda device: random.normal(1000, dtype, device=device))
    assert (abs(cuda - cpu) <= 4 * np.spacing(abs(cpu))).all()


def test_parameters_of_a_distribution_decide_where() -> None:
    assert random.normal(2, mean=gc.zeros(2, device="cuda")).device == "cuda:0"
    assert random.uniform(2, key=random.key().to("cuda")).device == "cuda:0"
    assert random.uniform(2, key=random.key().to("cuda"), device="cpu").device == "cpu"


def test_gradients_flow_to_the_parameters() -> None:
    mean = gc.zeros(3, device="cuda", requires_grad=True)
    random.normal(3, mean=mean, std=2.0).sum().backward()
    assert (mean.grad.device, mean.grad.tolist()) == ("cuda:0", [1, 1, 1])


def test_keys_stay_on_the_cpu_and_a_draw_copies_16_bytes(counters: Any) -> None:
    before = counters()
    random.uniform(1000, device="cuda")
    after = counters()
    assert random.key().device == "cpu"
    assert after["h2d_bytes"] - before["h2d_bytes"] == 16
    assert (after["d2h"], after["syncs"]) == (before["d2h"], before["syncs"])


def test_probabilities_on_the_device_are_not_read(counters: Any) -> None:
    p = gc.tensor([0.0, 1.0], device="cuda")
    before = counters()
    drawn = random.bernoulli(p, (100, 2))
    after = counters()
    assert (after["d2h"], after["syncs"]) == (before["d2h"], before["syncs"])
    assert drawn.numpy().sum(0).tolist() == [0, 100]


def test_a_state_from_another_device() -> None:
    state = {name: value.to("cuda") for name, value in random.state_dict().items()}
    expected = random.uniform(2).tolist()
    random.load_state_dict(state)
    assert random.uniform(2).tolist() == expected
    assert random.key().device == "cpu"
