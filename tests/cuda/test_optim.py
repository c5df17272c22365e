"""Optimisers on CUDA: a training step copies nothing, waits for nothing, and computes what it does on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.core.errors import DeviceError
from gradcore.optim import lr_scheduler

MAKERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, eps=1e-3),
    "rmsprop with all": lambda p: optim.RMSprop(p, lr=0.01, eps=1e-3, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1, eps=1e-3),
    "lion": lambda p: optim.Lion(p, lr=0.01),
}


def network(device: str, dtype: str = "float32") -> nn.Sequential:
    gc.random.seed(0)
    layers = nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
    return nn.Sequential(*layers).to(dtype).to(device)


def batches(device: str, count: int, dtype: str = "float32") -> list[tuple[Any, Any]]:
    random = np.random.default_rng(0)
    x = random.standard_normal((count, 16, 8)).astype(dtype)
    y = random.integers(0, 3, (count, 16))
    return [(gc.tensor(a, device=device), gc.tensor(b, device=device)) for a, b in zip(x, y, strict=True)]


class Training:
    """A whole step: forward, loss, backward, clip, optimiser, schedule."""

    def __init__(self, name: str, device: str, dtype: str = "float32") -> None:
        self.model = network(device, dtype)
        self.optimizer = MAKERS[name](self.model.parameters())
        self.schedule = lr_scheduler.CosineAnnealingLR(self.optimizer, 20, warmup_steps=2)

    def step(self, x: Any, y: Any) -> Any:
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        nn.utils.clip_grad_value_(self.model.parameters(), 0.5)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_copies_nothing_and_waits_for_nothing(name: str, counters: Any) -> None:
    training, data = Training(name, "cuda"), batches("cuda", 6)
    for x, y in data[:3]:
        training.step(x, y)
    before = counters()
    for x, y in data[3:]:
        training.step(x, y)
    after = counters()
    for counter in ("d2h", "h2d", "syncs", "mallocs"):
        assert after[counter] == before[counter], counter
    assert after["kernel_launches"] > before["kernel_launches"]


@pytest.mark.parametrize("name", MAKERS)
def test_steps_are_those_of_the_cpu(name: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        training = Training(name, device)
        losses = [training.step(x, y).numpy() for x, y in batches(device, 5)]
        found.append([np.array(losses), *[value.numpy() for value in training.model.state_dict().values()]])
    for cpu, cuda in zip(*found, strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_memory_is_used_again(name: str) -> None:
    training, data = Training(name, "cuda"), batches("cuda", 4)
    cells = [*training.model.parameters(), *[slot for g in training.optimizer._by_dtype for s in g.slots for slot in s]]
    places = []
    for x, y in data:
        training.step(x, y)
        places.append([cell.read().data.data.ptr for cell in cells])
    assert places[1:] == places[:-1]


@pytest.mark.parametrize("name", MAKERS)
def test_state_is_beside_the_parameters_and_numbers_on_the_cpu(name: str) -> None:
    training = Training(name, "cuda")
    training.step(*batches("cuda", 1)[0])
    for key, value in training.optimizer.state_dict().items():
        assert value.device == ("cuda:0" if key.startswith("slots.") else "cpu"), key


@pytest.mark.parametrize("name", ["momentum", "adam", "rmsprop", "lion"])
def test_float16_parameters(name: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        p = nn.Parameter(gc.tensor(np.linspace(-1, 1, 50).astype(np.float16), device=device))
        optimizer = MAKERS[name]([p])
        for number in range(3):
            p.grad = gc.tensor(np.linspace(-0.5, 1, 50).astype(np.float16) * (number + 1), device=device)
            optimizer.step()
        assert (p.dtype, p.device) == (np.float16, gc.backend.Device(device))
        found.append(p.numpy().astype(np.float64))
    np.testing.assert_allclose(found[1], found[0], atol=2e-3)


def test_several_dtypes_and_parameters_without_gradients() -> None:
    found = []
    for device in ("cpu", "cuda"):
        cells = [nn.Parameter(gc.ones(3, dtype=d, device=device)) for d in ("float32", "float64", "float32")]
        optimizer = optim.Adam(cells, lr=0.1)
        for cell in cells[:2]:
            cell.grad = gc.full((3,), 0.5, cell.dtype, device)
        optimizer.step()
        found.append([cell.numpy() for cell in cells])
    assert found[1][2].tolist() == [1, 1, 1]
    for cpu, cuda in zip(*found, strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-6)


# --- devices that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_module_that_moved_after_the_optimiser_was_made(first: str, then: str) -> None:
    model = nn.Linear(2, 1, device=first)
    optimizer = optim.AdamW(model.parameters())
    for _ in range(2):
        model(gc.ones(1, 2, device=first)).sum().backward()
        optimizer.step()
    model.to(then)
    with pytest.raises(DeviceError, match=r"and is on \S+ now; make the optimiser after module.to\(device\)"):
        optimizer.step()
    before = model.weight.numpy()
    optimizer = optim.AdamW(model.parameters())
    optimizer.step()
    assert (model.weight.numpy() != before).all()


def test_a_gradient_on_another_device() -> None:
    p = nn.Parameter(gc.ones(2, device="cuda"))
    optimizer = optim.SGD([p], lr=0.5)
    for device in ("cuda", "cpu"):
        assert p.leaf is not None
        p.leaf.grad.assign(None)
        p.leaf.grad.assign(gc.ones(2, device=device))
        if device == "cuda":
            optimizer.step()
    with pytest.raises(DeviceError, match="without a name is on cuda:0 and its gradient on cpu"):
        optimizer.step()
    assert p.tolist() == [0.5, 0.5]


def test_a_group_has_one_device() -> None:
    cells = [nn.Parameter(gc.ones(2, device=device)) for device in ("cpu", "cuda")]
    with pytest.raises(DeviceError, match=r"group 0 has parameters on several devices: .* make a group for each"):
        optim.SGD(cells, lr=0.5)
    optimizer = optim.SGD([{"params": cell} for cell in cells], lr=0.5)
    for cell in cells:
        cell.grad = [1.0, 1.0]
    optimizer.step()
    assert [cell.tolist() for cell in cells] == [[0.5, 0.5], [0.5, 0.5]]


def test_hyperparameters_and_metrics_are_numbers_of_the_cpu() -> None:
    p = nn.Parameter(gc.ones(2, device="cuda"))
    optimizer = optim.SGD([p], lr=0.5)
    with pytest.raises(DeviceError, match=r"this number is on cuda:0; pass float\(number\)"):
        optimizer.lr = gc.tensor(0.1, device="cuda")
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(DeviceError, match=r"this number is on cuda:0; pass float\(number\)"):
        schedule.step(gc.tensor(0.1, device="cuda"))
    schedule.step(0.1)
    assert optimizer.lr == 0.5


@pytest.mark.parametrize(("source", "target"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_a_state_goes_on_on_another_device(source: str, target: str) -> None:
    first, second = Training("adamw", source), Training("adamw", target)
    data = {device: batches(device, 6) for device in ("cpu", "cuda")}
    for x, y in data[source][:3]:
        first.step(x, y)
    for part in ("model", "optimizer", "schedule"):
        getattr(second, part).load_state_dict(getattr(first, part).state_dict())
    assert second.optimizer.lr == first.optimizer.lr
    seed = gc.random.state_dict()
    for training, device in ((first, source), (second, target)):
        gc.random.load_state_dict(seed)
        for x, y in data[device][3:]:
            training.step(x, y)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert b.device == gc.backend.Device(target)
        if source == target:
            np.testing.assert_array_equal(b.numpy(), a.numpy())
        else:
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-5)


SECOND_DEVICE = """
import pytest, numpy as np, gradcore as gc
from gradcore import nn, optim
from gradcore.core.errors import DeviceError

model = nn.Linear(3, 2, device="cuda:0")
optimizer = optim.AdamW(model.parameters())
model(gc.ones(4, 3, device="cuda:0")).sum().backward()
optimizer.step()
model.to("cuda:1")
with pytest.raises(DeviceError, match="was on cuda:0 when the optimiser was made and is on cuda:1 now"):
    optimizer.step()
optimizer = optim.AdamW(model.parameters())
optimizer.step()
model.weight.leaf.grad.tensor = gc.ones(2, 3, device="cuda:0")
with pytest.raises(DeviceError, match="weight is on cuda:1 and its gradient on cuda:0"):
    optimizer.step()
with pytest.raises(DeviceError, match="cannot take a gradient on cuda:0"):
    model.weight.grad = gc.ones(2, 3, device="cuda:0")
with pytest.raises(DeviceError, match="is on cuda:1 and cannot take a tensor on cuda:0"):
    model.weight.assign(gc.ones(2, 3, device="cuda:0"))
model.zero_grad()
batch = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
optimizer = optim.SGD(model.parameters(), lr=0.1)
first, second = gc.train.fit(model, nn.functional.mse_loss, optimizer, [batch], 2)
assert second.loss < first.loss
assert {str(value.device) for value in (*model.parameters(), gc.random.normal(3, device="cuda:1"))} == {"cuda:1"}
"""


def test_a_second_device() -> None:
    pytest.importorskip("cusim", reason="makes two devices; needs simulated CUDA")
    environment = {**os.environ, "CUSIM_DEVICES": "2"}
    command = [sys.executable, "-P", "-W", "error", "-c", SECOND_DEVICE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
