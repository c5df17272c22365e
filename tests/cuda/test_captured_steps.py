"""Programs on CUDA: the bits of eager execution, in memory that is allocated once, without a look at the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.compile import Program
from gradcore.core.errors import DeviceError, StageError
from gradcore.core.op import OPS
from gradcore.testing.cases import cases_of
from gradcore.testing.compare import assert_same_bits

Step = Callable[[Any, Any], Any]


def make_step(width: int = 48) -> tuple[Step, nn.Module]:
    """Linear, layer norm, relu, dropout, cross entropy, clip, AdamW."""
    gc.random.seed(0)
    model = nn.Sequential(
        nn.Linear(20, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10)
    ).to("cuda")
    opt = optim.AdamW(model.parameters(), lr=1e-2)

    def step(x: Any, labels: Any) -> Any:
        loss = nn.functional.cross_entropy(model(x), labels)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()
        return loss

    return step, model


def batches(count: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(size=(16, 20)).astype(np.float32), rng.integers(0, 10, 16)) for _ in range(count)]
    return [(gc.tensor(x, device="cuda"), gc.tensor(y, device="cuda")) for x, y in pairs]


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: p.numpy().tobytes() for name, p in model.named_parameters()}


def test_a_captured_step_gives_the_bits_of_eager() -> None:
    data = batches(8)
    eager, eager_model = make_step()
    eager_losses = [eager(x, y).item() for x, y in data]
    captured, model = make_step()
    program = Program(gc.make_graph(captured)(*data[0]))
    losses = [program(x, y) for x, y in data]
    assert {str(loss.device) for loss in losses} == {"cuda:0"}
    assert [loss.item() for loss in losses] == eager_losses
    assert bits(model) == bits(eager_model)
    assert losses[-1].item() != losses[0].item()


def test_a_step_neither_looks_at_the_host_nor_asks_for_memory(counters: Any) -> None:
    import cusim

    step, _ = make_step()
    data = batches(3)
    program = Program(gc.make_graph(step)(*data[0]))
    for x, y in data:
        loss = program(x, y)
    cusim.reset()
    loss = program(*data[0])
    stats = counters()
    assert {name: stats[name] for name in ("h2d", "d2h", "syncs", "mallocs")} == dict.fromkeys(
        ("h2d", "d2h", "syncs", "mallocs"), 0
    )
    float(loss)
    assert counters()["d2h"] == 1  # so the counters would have shown it


def test_keys_and_rates_stay_on_the_host() -> None:
    step, _ = make_step()
    graph = gc.make_graph(step)(*batches(1)[0])
    devices = {slot.cell.name: slot.before.aval.device for slot in graph.cells if slot.before is not None}
    assert (devices["AdamW.lr"], devices["0.weight"]) == ("cpu", "cuda:0")


def test_views_and_other_layouts() -> None:
    def function(x: Any) -> Any:
        return gc.sum(x.T[1:] * 2.0, axis=0), x.reshape(-1)[::2], gc.broadcast_to(x[0], (2, 4)) + x

    x = gc.tensor(np.arange(8.0, dtype=np.float32).reshape(2, 4), device="cuda")
    transposed = gc.tensor(np.arange(8.0, dtype=np.float32).reshape(4, 2), device="cuda").T
    for operand in (x, transposed):
        program = Program(gc.make_graph(function)(operand))
        for value in (operand, operand + 1.0):
            for got, expected in zip(program(value), function(value), strict=True):
                assert_same_bits(got.numpy(), expected.numpy(), "a program")


def test_another_program_s_memory_is_its_own() -> None:
    x = gc.tensor([1.0, 2.0], device="cuda")
    program = Program(gc.make_graph(lambda x: x * 2.0)(x))
    first = program(x)
    program(x + 1.0)
    assert first.numpy().tolist() == [2.0, 4.0]


def test_tensors_of_another_device_are_refused() -> None:
    x = gc.tensor([1.0, 2.0], device="cuda")
    program = Program(gc.make_graph(lambda x: x * 2.0)(x))
    with pytest.raises(StageError, match=r"is on cpu, but .* on cuda:0; move it with \.to\(device\)"):
        program(gc.tensor([1.0, 2.0]))
    with pytest.raises(DeviceError, match="'mul' got tensors on cpu and cuda:0"):
        gc.make_graph(lambda a, b: a * b)(x, gc.tensor([1.0, 2.0]))


def test_from_one_device_to_the_other() -> None:
    program = Program(gc.make_graph(lambda x: (x.to("cuda") * 2.0).to("cpu") + 1.0)(gc.tensor([1.0, 2.0])))
    assert program(gc.tensor([3.0, 4.0])).numpy().tolist() == [7.0, 9.0]
    assert str(program(gc.tensor([3.0, 4.0])).device) == "cpu"


def test_a_cupy_array_is_an_input() -> None:
    x = gc.tensor([1.0, 2.0], device="cuda")
    program = Program(gc.make_graph(lambda x: x * 2.0)(x.data))
    assert program(x.data).numpy().tolist() == [2.0, 4.0]


FIRST = {case.op.name: case for case in reversed([*cases_of()])}


@pytest.mark.parametrize("name", sorted(FIRST))
def test_every_op(name: str) -> None:
    """The first sample of each op, in a program that runs twice."""
    case = FIRST[name]
    operands = [
        gc.tensor(x) if i in OPS[name].host else gc.tensor(x, device="cuda") for i, x in enumerate(case.operands())
    ]
    program = Program(gc.make_graph(case.call)(*operands))
    for _ in range(2):
        got, expected = program(*operands), case.call(*operands)
        got, expected = (x if isinstance(x, tuple) else (x,) for x in (got, expected))
        for one, other in zip(got, expected, strict=True):
            assert_same_bits(one.numpy(), other.numpy(), name)
