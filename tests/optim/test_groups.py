"""Parameter groups: own hyperparameters, one step that happens whole or not at all."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.backend import numpy_backend
from gradcore.compile import Program

from .references import MAKERS, give_gradients, parameters


def two(dtype: Any = np.float64) -> tuple[list[nn.Parameter], list[dict[str, Any]]]:
    """All parameters, and two groups of them of which the first has its own rate."""
    cells = parameters(dtype)
    return cells, [{"params": cells[:2], "lr": 0.03}, {"params": cells[2:]}]


@pytest.mark.parametrize("make", MAKERS)
def test_each_group_steps_as_if_alone(make: Any) -> None:
    cells, groups = two()
    optimizer = make(groups)
    apart = parameters()
    first, second = make(apart[:2]), make(apart[2:])
    first.lr = 0.03
    for number in range(3):
        give_gradients(cells, number)
        give_gradients(apart, number)
        optimizer.step()
        first.step()
        second.step()
    for p, q in zip(cells, apart, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("make", MAKERS)
def test_state_of_groups_continues_bit_for_bit(make: Any) -> None:
    cells, groups = two(np.float32)
    optimizer = make(groups)
    for number in range(2):
        give_gradients(cells, number)
        optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.07
    again = [nn.Parameter(p.read().detach()) for p in cells]
    resumed = make([{"params": again[:2]}, {"params": again[2:]}])
    resumed.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in resumed.param_groups] == [0.03, 0.07]
    for number in range(2, 4):
        for ps, one in ((cells, optimizer), (again, resumed)):
            give_gradients(ps, number)
            one.step()
    for p, q in zip(cells, again, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    for name, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), resumed.state_dict()[name].numpy(), err_msg=name)


def test_names_of_the_state() -> None:
    single, double = nn.Parameter(np.ones(2, np.float32)), nn.Parameter(np.ones(3))
    frozen = nn.Parameter(np.ones(2, np.float32), requires_grad=False)
    optimizer = optim.Lion([{"params": [double, frozen, single]}, {"params": nn.Parameter([1.0]), "lr": 1.0}])
    hyper = ("lr", "beta1", "beta2", "weight_decay")
    prefixes = ("group.0.float64", "group.0.float32", "group.1.float32")
    slots = {f"slots.{number}.exp_avg": size for number, size in enumerate((3, 2, 1))}
    state = optimizer.state_dict()
    assert set(state) == {f"{prefix}.{name}" for prefix in prefixes for name in hyper} | set(slots)
    assert {name: state[name].shape[0] for name in slots} == slots
    count = optim.AdamW(single).state_dict()["group.0.float32.step"]
    assert (count.dtype, count.shape) == (np.float64, ())


def test_groups_are_read_and_set_like_dictionaries() -> None:
    cells, groups = two()
    optimizer = optim.SGD(groups, lr=0.1, momentum=0.9)
    first, second = optimizer.param_groups
    assert dict(second) == {"params": cells[2:], "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}
    assert (first["lr"], len(first), "lr" in first, "slots" in first) == (0.03, 4, True, False)
    with pytest.raises(ValueError, match=r"lr differs between the parameter groups: \[0\.03, 0\.1\]; .*param_groups"):
        _ = optimizer.lr
    assert optimizer.momentum == 0.9
    first["lr"] = gc.tensor(0.1, dtype=np.float64)
    assert optimizer.lr == 0.1
    optimizer.lr = 0.2
    assert (first["lr"], second["lr"]) == (0.2, 0.2)
    with pytest.raises(KeyError, match=r"group of SGD has params, lr, momentum, weight_decay, not 'rate'"):
        first["rate"] = 1.0
    with pytest.raises(KeyError, match="not 'params'"):
        first["params"] = []
    with pytest.raises(ValueError, match="lr must be a finite number"):
        first["lr"] = -1.0
    assert repr(first) == "ParamGroup(2 parameters, lr=0.2, momentum=0.9, weight_decay=0.0)"


def test_one_rate_in_several_dtypes() -> None:
    """It reads as the finest dtype holds it, and does not differ from itself."""
    single, double = nn.Parameter(np.ones(1, np.float32)), nn.Parameter(np.ones(1))
    together = optim.SGD([single, double], lr=0.123456789)
    apart = optim.SGD([{"params": single}, {"params": double}], lr=0.123456789)
    assert together.lr == apart.lr == together.param_groups[0]["lr"] == 0.123456789
    assert [group["lr"] for group in apart.param_groups] == [0.12345679, 0.123456789]
    apart.param_groups[1]["lr"] = 0.1234568
    with pytest.raises(ValueError, match=r"lr differs between the parameter groups: \[0\.12345679, 0\.1234568\]"):
        _ = apart.lr
    apart.lr = 0.1
    schedule = optim.lr_scheduler.StepLR(apart, 1, 0.7)
    schedule.step()
    assert apart.lr == pytest.approx(0.07, rel=1e-15)


def test_a_group_may_have_another_algorithm() -> None:
    cells = parameters()
    optimizer = optim.SGD([{"params": cells[0], "momentum": 0.9}, {"params": cells[1:]}], lr=0.5)
    assert list(optimizer.state_dict())[-1] == "group.1.float64.lr"
    with pytest.raises(ValueError, match="made without momentum"):
        optimizer.momentum = 0.5  # nothing is set, not even where there is momentum
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.0]


def test_groups_can_be_added() -> None:
    cells = parameters()
    optimizer = optim.AdamW(cells[:2])
    optimizer.add_param_group({"params": cells[2:], "betas": (0.5, 0.6)})
    assert [group["beta2"] for group in optimizer.param_groups] == [0.999, 0.6]
    for bad, words in (
        ({"params": [cells[3]]}, "twice"),
        ({"lr": 0.1}, r"parameter group 2 has no 'params': \['lr'\]"),
    ):
        with pytest.raises(ValueError, match=words):
            optimizer.add_param_group(bad)
    assert len(optimizer.param_groups) == len(optimizer._by_dtype) == 2


def test_wrong_groups() -> None:
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    wrong: list[tuple[Any, type[Exception], str]] = [
        ([{"params": [p]}, {"params": [q, p]}], ValueError, "a parameter was passed to the optimiser twice"),
        ([{"params": [p]}, {"params": []}], ValueError, "parameter group 1 is empty"),
        (
            [{"params": nn.Parameter([1.0], requires_grad=False)}],
            ValueError,
            "has no parameter that requires a gradient",
        ),
        ([{"params": [p], "rate": 1.0}], ValueError, r"group 0 has \['rate'\], but SGD takes \['lr', 'momentum'"),
        ([{"params": [p], "lr": -1.0}], ValueError, "lr must be a finite number"),
        ([{"params": [p]}, {"params": [q], "nesterov": True}], ValueError, "nesterov needs momentum"),
        ([{"params": [p]}, q], TypeError, "got dictionaries and Parameter in one list"),
        ([{"params": [1.0]}], TypeError, "got float instead of a parameter"),
        ([{}], ValueError, "parameter group 0 has no 'params'"),
        (nn.Linear(1, 1), TypeError, r"the optimiser got Linear; pass model\.parameters\(\)"),
    ]
    for groups, error, words in wrong:
        with pytest.raises(error, match=words):
            optim.SGD(groups)
    with pytest.raises(ValueError, match=r"betas must be two numbers"):
        optim.Lion([{"params": [p], "betas": 0.9}])
    with pytest.raises(ValueError, match="initial_accumulator_value must be a finite number"):
        optim.Adagrad([p], initial_accumulator_value=-1.0)


def everything(optimizer: Any, cells: list[nn.Parameter]) -> dict[str, Any]:
    return {name: value.numpy().copy() for name, value in optimizer.state_dict().items()} | {
        f"p.{i}": p.numpy().copy() for i, p in enumerate(cells)
    }


def assert_unchanged(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name, value in before.items():
        np.testing.assert_array_equal(now[name], value, err_msg=name)


@pytest.mark.parametrize("make", MAKERS)
def test_a_wrong_gradient_in_any_group_changes_nothing(make: Any) -> None:
    cells, groups = two()
    optimizer = make(groups)
    give_gradients(cells)
    optimizer.step()
    before = everything(optimizer, cells)
    cells[2].leaf.grad.assign(None)
    cells[2].leaf.grad.assign(gc.ones(1, dtype=np.float64))
    with pytest.raises(ValueError, match="cannot take a step with a gradient"):
        optimizer.step()
    assert_unchanged(everything(optimizer, cells), before)


@pytest.mark.parametrize("largest", [0, 1, 2])
@pytest.mark.parametrize("make", MAKERS)
def test_running_out_of_memory_in_any_group_changes_nothing(
    make: Any, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every allocation of scratch memory in turn; the step after it works."""
    cells = [nn.Parameter(np.full(3000 + 10 * (k == largest), k + 1.0)) for k in range(3)]
    optimizer = make([{"params": p} for p in cells])
    give_gradients(cells)
    optimizer.step()
    before = everything(optimizer, cells)
    real, left = numpy_backend.NumpyBackend.scratch, 0

    def scratch(self: Any, shape: Any, dtype: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise MemoryError("no room")
        return real(self, shape, dtype)

    monkeypatch.setattr(numpy_backend.NumpyBackend, "scratch", scratch)
    failures = 0
    while True:
        left = failures
        try:
            optimizer.step()
            break
        except MemoryError:
            failures += 1
            assert_unchanged(everything(optimizer, cells), before)
    assert failures >= 3
    assert all((p.numpy() != before[f"p.{i}"]).all() for i, p in enumerate(cells))


@pytest.mark.parametrize("size", [3, 3000])
@pytest.mark.parametrize("make", MAKERS)
def test_groups_step_alike_while_something_is_open(make: Any, size: int) -> None:
    """The short way of a step, in new arrays and in place, and the general way inside `no_grad`."""
    found = []
    for mode in (nullcontext, gc.no_grad):
        cells = [nn.Parameter(np.linspace(0.1, k + 1, size + k)) for k in range(3)]
        optimizer = make([{"params": p, "lr": 0.01 * (k + 1)} for k, p in enumerate(cells)])
        for number in range(3):
            give_gradients(cells, number)
            with mode():
                optimizer.step()
        found.append(everything(optimizer, cells))
    assert_unchanged(*found)


@pytest.mark.parametrize("make", MAKERS)
def test_a_captured_step_of_groups_gives_the_bits_of_eager(make: Any) -> None:
    def training() -> Any:
        gc.random.seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2))
        wide = nn.Parameter(np.ones(2))
        weights = [p for p in model.parameters() if len(p.shape) > 1]
        others = [p for p in model.parameters() if len(p.shape) == 1]
        optimizer = make([{"params": [*weights, wide]}, {"params": others, "lr": 0.02}])
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, total_steps=12, warmup_steps=3)

        def step(x: Any, y: Any) -> Any:
            loss = nn.functional.mse_loss(model(x), y) + (wide * wide).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_([*model.parameters(), wide], 0.2)
            optimizer.step()
            schedule.step()
            return loss

        return step, optimizer, schedule, [*model.parameters(), wide]

    generator = np.random.default_rng(1)
    data = [generator.normal(size=(2, 5, 4)).astype(np.float32) for _ in range(15)]
    eager, optimizer, schedule, cells = training()
    losses = [eager(gc.tensor(x), gc.tensor(y[:, :2])).item() for x, y in data]
    step, *captured = training()
    program = Program(gc.make_graph(step)(data[0][0], data[0][1][:, :2]))
    assert [program(x, y[:, :2]).item() for x, y in data] == losses
    assert_unchanged(everything(captured[0], captured[2]), everything(optimizer, cells))
    for name, value in schedule.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), captured[1].state_dict()[name].numpy())
    assert schedule.get_last_lr() == [0.0, 0.0]
    assert losses[-1] != losses[0]
