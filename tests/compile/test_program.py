"""The gate for the compiler: a captured training step runs in preallocated memory with the bits of eager execution."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.compile import Program
from gradcore.core.errors import StageError

Step = Callable[[Any, Any], Any]


def make_step(seed: int, width: int, optimizer: str = "adamw") -> tuple[Step, nn.Module]:
    """Forward with layer norm and dropout, loss, backward, clip, optimiser step."""
    gc.random.seed(seed)
    first = [nn.Linear(64, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(0.2)]
    model = nn.Sequential(*first, nn.Linear(width, 32), nn.GELU(), nn.Linear(32, 10))
    make = {"adamw": lambda p: optim.AdamW(p, lr=1e-3), "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9)}
    opt = make[optimizer](list(model.parameters()))

    def train_step(x: Any, labels: Any) -> Any:
        loss = nn.functional.cross_entropy(model(x), labels)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()
        return loss

    return train_step, model


def batches(count: int, size: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    return [(rng.normal(size=(size, 64)).astype(np.float32), rng.integers(0, 10, size)) for _ in range(count)]


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: p.numpy().tobytes() for name, p in model.named_parameters()}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_captured_step_gives_the_bits_of_eager_for_100_steps(optimizer: str) -> None:
    data = batches(100, 32)
    eager, eager_model = make_step(0, 48, optimizer)
    eager_losses = [eager(gc.asarray(x), gc.asarray(y)).item() for x, y in data]
    captured, model = make_step(0, 48, optimizer)
    program = Program(gc.make_graph(captured)(*data[0]))
    losses = [program(x, y).item() for x, y in data]
    assert losses == eager_losses
    assert bits(model) == bits(eager_model)
    assert losses[-1] != losses[0]


def test_a_step_allocates_no_array() -> None:
    step, _ = make_step(0, 512)
    data = batches(3, 1024)  # activations of 2 MiB
    program = Program(gc.make_graph(step)(*data[0]))
    for x, y in data:
        program(x, y)
    tracemalloc.start()
    try:
        program(*data[0])
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        program(*data[1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 256 * 1024


def test_eager_would_not_pass_that_test() -> None:
    step, _ = make_step(0, 512)
    (x, y), *_ = batches(1, 1024)
    step(gc.asarray(x), gc.asarray(y))
    tracemalloc.start()
    try:
        step(gc.asarray(x), gc.asarray(y))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > 2**20


def test_the_graph_shows_what_a_step_changes() -> None:
    step, model = make_step(0, 48)
    graph = gc.make_graph(step)(*batches(1, 8)[0])
    donated = {slot.cell.name for slot in graph.cells if slot.donated}
    names = {name for name, _ in model.named_parameters()}
    assert names <= donated
    slots = [slot for slot in graph.cells if slot.donated and slot.cell.name not in names]
    assert len(slots) == 2 * len(names) + 2  # two moments each, the step count, the random counter
    text = str(graph)
    assert all(f"cell {name}:" in text for name in names)
    assert {"adamw", "dropout", "layer_norm", "cross_entropy_vjp"} <= {node.op.name for node in graph.nodes}


def test_capturing_changes_nothing() -> None:
    step, model = make_step(0, 48)
    before = bits(model)
    gc.make_graph(step)(*batches(1, 8)[0])
    assert bits(model) == before
    assert all(p.grad is None for p in model.parameters())


def test_a_value_that_somebody_holds_is_not_overwritten() -> None:
    step, model = make_step(0, 48)
    program = Program(gc.make_graph(step)(*batches(1, 8)[0]))
    held = next(iter(model.parameters())).detach()
    copy = held.numpy().copy()
    program(*batches(1, 8)[0])
    assert np.array_equal(held.numpy(), copy)


def test_other_shapes_are_refused() -> None:
    step, _ = make_step(0, 48)
    program = Program(gc.make_graph(step)(*batches(1, 8)[0]))
    with pytest.raises(StageError, match=r"captured with float32\[8, 64\]"):
        program(*batches(1, 9)[0])


LAYOUTS = [lambda x: x, lambda x: x.T, lambda x: x[::2], lambda x: x[:, ::-1], lambda x: x.T[1:]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_any_layout(layout: Callable[[Any], Any]) -> None:
    x = layout(np.random.default_rng(0).normal(size=(6, 4)))
    step = lambda x: gc.exp(gc.reshape(x, -1)) * 2 + gc.sum(x, 0).sum()  # noqa: E731
    program = Program(gc.make_graph(step)(x))
    for values in (x, x + 1):
        assert np.array_equal(program(values).numpy(), step(gc.asarray(values)).numpy())


def test_a_gradient_that_was_empty_at_capture_must_be_empty_again() -> None:
    p = nn.Parameter(np.ones(2, np.float32))

    def accumulate(x: Any) -> Any:
        loss = (p * x).sum()
        loss.backward()
        return loss

    x = np.array([2.0, 4.0], np.float32)
    program = Program(gc.make_graph(accumulate)(x))
    program(x)
    with pytest.raises(StageError, match=r"was empty when the graph was captured.*zero_grad"):
        program(x)
    p.zero_grad()
    program(x)
    assert p.grad.numpy().tolist() == [2.0, 4.0]


def test_numbers_are_constants_of_a_graph() -> None:
    x = np.ones(2)
    program = Program(gc.make_graph(lambda x, s: x * s)(x, 2.0))
    assert program(x, 2.0).numpy().tolist() == [2.0, 2.0]
    with pytest.raises(StageError, match=r"the number 2\.0 and got 3\.0"):
        program(x, 3.0)


def test_hooks_see_the_steps() -> None:
    from gradcore.core.hooks import Hook, hooked

    class Names(Hook):
        def __init__(self) -> None:
            self.names: list[str] = []

        def after(self, op: Any, values: Any, params: Any, outputs: Any) -> None:
            self.names.append(op.name)

    program = Program(gc.make_graph(lambda x: gc.tanh(x).sum())(np.ones(3)))
    names = Names()
    with hooked(names):
        program(np.ones(3))
    assert names.names == ["tanh", "sum"]


def test_capturing_between_forward_and_backward_disturbs_nothing() -> None:
    step, model = make_step(0, 48)
    x, labels = batches(1, 8)[0]
    loss = nn.functional.cross_entropy(model(gc.asarray(x)), gc.asarray(labels))
    gc.make_graph(step)(x, labels)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
