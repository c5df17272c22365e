"""`backward_and_step`: the bits of `backward`, `step`, `zero_grad`; each gradient goes as soon as it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.compile import Program
from gradcore.core.errors import AnomalyError, AssignedError, GradcoreError, GraphFreedError
from gradcore.core.hooks import Hook, hooked
from gradcore.memory import account, checkpoint_chain

from .references import MAKERS


def values(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Network(nn.Module):
    """Blocks in regions, a weight that several ops read, and a parameter that nothing reads."""

    def __init__(self, region: Any = None, width: int = 6, depth: int = 3) -> None:
        super().__init__()
        gc.random.seed(0)
        self.region, self.drop = region or (lambda f: f), nn.Dropout(0.25)
        self.blocks = nn.ModuleList([nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(depth)])
        self.shared, self.unused = nn.Parameter(values(width, width)), nn.Parameter([1.0])

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = self.region(lambda x, block=block: x + self.drop(gc.tanh(block(x) @ self.shared)) * self.shared[0])(x)
        return x


def separate(optimizer: Any, loss: Any) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def fused(optimizer: Any, loss: Any) -> None:
    optimizer.backward_and_step(loss)


def bits(model: Any, optimizer: Any) -> list[bytes]:
    return [t.numpy().tobytes() for part in (model, optimizer) for t in part.state_dict().values()]


def trained(way: Any, make: Any = None, region: Any = None, steps: int = 3) -> list[bytes]:
    model = Network(region)
    optimizer = (make or (lambda ps: optim.AdamW(ps, lr=0.1)))(model.parameters())
    x = gc.tensor(values(4, 6))
    for _ in range(steps):
        loss = (model(x) ** 2).mean()
        way(optimizer, loss)
        assert all(p.grad is None for p in model.parameters())
    return bits(model, optimizer)


@pytest.mark.parametrize("make", MAKERS)
def test_every_optimiser(make: Any) -> None:
    assert trained(fused, make) == trained(separate, make)


def regions() -> dict[str, Any]:
    return {
        "one each": gc.checkpoint,
        "nested": lambda f: gc.checkpoint(gc.checkpoint(f)),
        "policy": lambda f: gc.checkpoint(f, gc.memory.save_ops("linear")),
    }


@pytest.mark.parametrize("region", regions().values(), ids=regions())
def test_regions(region: Any) -> None:
    assert trained(fused, region=region) == trained(separate)


def test_a_chain() -> None:
    def run(way: Any, slots: int | None) -> list[bytes]:
        model = Network(depth=8)
        chain = checkpoint_chain(list(model.blocks), slots=slots) if slots else None
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
        for _ in range(3):
            x = gc.tensor(values(4, 6))
            for block in model.blocks if chain is None else [chain]:
                x = block(x)
            way(optimizer, (x * x).sum())
        return bits(model, optimizer)

    assert run(fused, 2) == run(separate, None)


def test_groups_dtypes_and_a_schedule() -> None:
    def run(way: Any) -> list[bytes]:
        model = Network()
        more = nn.Linear(6, 2).to("float64")
        groups = [{"params": model.blocks.parameters(), "lr": 0.05}, {"params": [model.shared, *more.parameters()]}]
        optimizer = optim.Adam(groups, lr=0.01)
        schedule = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        for _ in range(5):
            way(optimizer, (more(model(gc.tensor(values(4, 6))).astype("float64")) ** 2).sum())
            schedule.step()
        return bits(model, optimizer) + bits(more, optimizer)

    assert run(fused) == run(separate)


def test_gradients_of_earlier_batches_are_added() -> None:
    """Also those of parameters that the last batch does not reach."""

    def run(way: Any) -> list[bytes]:
        model = Network()
        optimizer = optim.AdamW(model.parameters(), lr=0.1)
        (model(gc.tensor(values(4, 6))).sum() * model.unused).sum().backward()
        way(optimizer, (model(gc.tensor(values(4, 6, seed=1))) ** 2).mean())
        assert all(p.grad is None for p in model.parameters())
        return bits(model, optimizer)

    assert run(fused) == run(separate)


def test_a_group_that_nothing_reaches_counts_no_step() -> None:
    w, other = nn.Parameter([1.0]), nn.Parameter([2.0])
    optimizer = optim.Adam([{"params": [w]}, {"params": [other]}])
    optimizer.backward_and_step((w * w).sum())
    counts = [float(v) for name, v in optimizer.state_dict().items() if name.endswith("step")]
    assert counts == [1, 0] and float(other) == 2


def test_leaves_of_others_get_their_gradient() -> None:
    w, other = nn.Parameter([3.0]), nn.Parameter([2.0])
    x = gc.tensor([5.0], requires_grad=True)
    optim.SGD([w], lr=0.5).backward_and_step((w * other * x).sum())
    assert (float(w), w.grad) == (-2.0, None)
    assert other.grad.tolist() == [15] and x.grad.tolist() == [6]


def test_a_loss_that_is_a_parameter_and_a_gradient_that_is_given() -> None:
    w = nn.Parameter(3.0)
    optimizer = optim.SGD([w], lr=0.5)
    optimizer.backward_and_step(w.read(), 4.0)
    assert float(w) == 1
    v = nn.Parameter([1.0, 2.0])
    optim.SGD([v], lr=0.5).backward_and_step(v * v, gc.tensor([1.0, 0.0]))
    assert v.tolist() == [0, 2]


def test_where_nothing_flows_back() -> None:
    """Records that no cotangent comes to, and edges without one, keep no gradient waiting."""
    w, v = nn.Parameter([3.0]), nn.Parameter([2.0])
    optimizer = optim.SGD([w, v], lr=0.5)
    optimizer.backward_and_step((w * w * gc.sign(gc.exp(w)) + gc.sign(v * v)).sum())
    assert (float(w), float(v)) == (0, 2)


def test_old_values_that_others_hold_do_not_change() -> None:
    model = Network(width=64)  # large enough to be written in place
    old = [p.detach() for p in model.parameters()]
    before = [t.numpy().copy() for t in old]
    optim.AdamW(model.parameters(), lr=0.1).backward_and_step((model(gc.tensor(values(4, 64))) ** 2).mean())
    assert all(np.array_equal(t.numpy(), b) for t, b in zip(old, before, strict=True))
    assert not np.array_equal(model.shared.numpy(), before[-2])


@pytest.mark.parametrize("region", [None, gc.checkpoint], ids=["plain", "regions"])
def test_captured_steps(region: Any) -> None:
    def run(way: Any) -> list[bytes]:
        model = Network(region)
        optimizer = optim.AdamW(model.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            loss = (model(x) ** 2).mean()
            way(optimizer, loss)
            return loss

        x = gc.tensor(values(4, 6))
        program = Program(gc.make_graph(step)(x))
        for _ in range(3):
            program(x)
        return bits(model, optimizer)

    assert run(fused) == run(separate)


# --- memory -----------------------------------------------------------------------------------------------------------

WIDTH, DEPTH = 128, 6


def peak(way: Any, region: Any) -> tuple[int, int]:
    """Bytes of a step beyond what was live before it, and what has stayed."""
    model = Network(region, WIDTH, DEPTH)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = gc.tensor(values(4, WIDTH))
    way(optimizer, (model(x) ** 2).mean())
    with account() as counted:
        start = counted.live
        way(optimizer, (model(x) ** 2).mean())
        return counted.peak - start, counted.live - start


@pytest.mark.parametrize("region", [None, gc.checkpoint], ids=["plain", "regions"])
def test_gradients_are_not_there_at_once(region: Any) -> None:
    weight = WIDTH * WIDTH * 4
    (together, left), (single, rest) = peak(separate, region), peak(fused, region)
    assert left == rest <= 4  # the 1 that backward passes start from
    assert together > (DEPTH + 1) * weight  # a gradient of each weight, and of the shared one
    assert single < together - (DEPTH - 2) * weight


class Order(Hook):
    """Shapes of the parameters of each step, among the ops of the backward pass."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def before(self, op: Any, values: Any, params: Any) -> None:
        if op.name == "sgd":
            self.events.append([value.shape for value in values[1::2]])

    def pulling(self, record: Any, g: Any) -> None:
        self.events.append(record.pull.op.name)


def test_each_parameter_takes_its_step_after_the_last_op_that_reads_it() -> None:
    first, twice = nn.Parameter(values(4, 5)), nn.Parameter(values(5, 5))
    order = Order()
    with hooked(order):
        loss = gc.tanh(gc.tensor(values(3, 4)) @ first @ twice @ twice).sum()
        optim.SGD([first, twice], lr=0.1).backward_and_step(loss)
    pulls = ["sum", "tanh", "matmul", "matmul", [(5, 5)], "matmul", [(4, 5)]]
    assert order.events == pulls


def test_parameters_are_changed_in_place() -> None:
    """Where nothing else holds them: the record that read them last has let go by then."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    places = [p.read().data.ctypes.data for p in model.parameters()]
    optimizer.backward_and_step((model(gc.tensor(values(2, 64))) ** 2).sum())
    large = [p.read().data.nbytes > 4096 for p in model.parameters()]
    same = [p.read().data.ctypes.data == place for p, place in zip(model.parameters(), places, strict=True)]
    assert large == [True, False] * 2
    assert same[0] and same[2]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_graph_that_is_gone_changes_nothing() -> None:
    first, last = nn.Parameter([2.0]), nn.Parameter([3.0])
    optimizer = optim.SGD([first, last], lr=0.1)
    inner = gc.exp(first)
    inner.sum().backward()
    optimizer.zero_grad()
    with pytest.raises(GraphFreedError, match="reached 'exp'"):
        optimizer.backward_and_step((inner * last).sum())
    assert (float(first), float(last)) == (2, 3)


def test_a_parameter_that_was_assigned_changes_nothing() -> None:
    first, last = nn.Parameter([2.0]), nn.Parameter([3.0])
    optimizer = optim.SGD([first, last], lr=0.1)
    loss = (gc.exp(first) * last).sum()
    first.assign(gc.tensor([1.0]))
    with pytest.raises(AssignedError, match="read by 'exp'"):
        optimizer.backward_and_step(loss)
    assert (float(first), float(last)) == (1, 3)


def test_a_second_loss_over_changed_parameters() -> None:
    w = nn.Parameter([2.0])
    optimizer = optim.SGD([w], lr=0.1)
    one, other = (w * w).sum(), gc.exp(w).sum()
    optimizer.backward_and_step(one)
    with pytest.raises(AssignedError, match="forward pass again"):
        other.backward()


def test_bad_arguments() -> None:
    w = nn.Parameter([2.0, 1.0])
    optimizer = optim.SGD([w], lr=0.1)
    with pytest.raises(GradcoreError, match="records no gradient"):
        optimizer.backward_and_step(w.detach().sum())
    with pytest.raises(GradcoreError, match="needs a scalar"):
        optimizer.backward_and_step(w * w)
    loss = gc.exp(w.read().astype("float64")).sum()
    model = nn.Linear(2, 1)
    other = optim.SGD(model.parameters(), lr=0.1)
    model.to("float64")
    with pytest.raises(TypeError, match="make the optimiser after"):
        other.backward_and_step(loss)
    assert w.tolist() == [2, 1]


def test_detect_anomaly_looks_at_gradients_that_are_gone() -> None:
    w = nn.Parameter([1.0, 4.0])
    w.rename("w")
    optimizer = optim.SGD([w], lr=0.1)
    with (
        pytest.raises(AnomalyError, match="gradient of w was NaN or infinite in backward pass 2 of 2"),
        gc.detect_anomaly(deferred=True),
    ):
        optimizer.backward_and_step((w * w).sum())
        optimizer.backward_and_step(w.sum(), float("inf"))


class Fails(Hook):
    """Counts ops; one of them finds no memory."""

    def __init__(self, number: int) -> None:
        self.left = number

    def before(self, op: Any, values: Any, params: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise MemoryError


def test_out_of_memory_at_every_op() -> None:
    """What was changed stays so, all else is as it was, the error says it, and the next step works."""
    seen = set()
    for number in range(1, 1000):
        model = Network(gc.checkpoint)
        optimizer = optim.Adam(model.parameters(), lr=0.5)
        before = [p.read() for p in model.parameters()]
        loss = (model(gc.tensor(values(4, 6))) ** 2).mean()
        fails = Fails(number)
        try:
            with hooked(fails):
                optimizer.backward_and_step(loss)
        except MemoryError as error:
            changed = sum(p.read() is not old for p, old in zip(model.parameters(), before, strict=True))
            assert f"had changed {changed} of 14 parameters" in error.__notes__[-1]
            seen.add(changed)
        else:
            break
        assert all(p.grad is None for p in model.parameters())
        optimizer.backward_and_step((model(gc.tensor(values(4, 6))) ** 2).mean())
    assert fails.left > 0 and seen == set(range(13))  # one parameter is not reached
