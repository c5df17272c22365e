"""Optimisers against loops in NumPy; state, memory, captures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradcore as gc
from gradcore import nn, optim

from .references import (
    CASES,
    MAKERS,
    adagrad,
    adam,
    check_steps,
    give_gradients,
    lion,
    parameters,
    rmsprop,
    sgd,
)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5), (np.float16, 1e-2)])
@pytest.mark.parametrize(("make", "reference"), CASES)
def test_steps_follow_the_formula(make: Any, reference: Any, dtype: Any, tolerance: float) -> None:
    check_steps(make, reference, dtype, tolerance)


RATES, SHARES, DECAYS, EPS = (st.floats(*limits) for limits in ((1e-4, 1.0), (0.0, 0.99), (0.0, 0.5), (1e-8, 1.0)))
BETAS = st.tuples(SHARES, SHARES)


def follows(make: Any, reference: Any) -> None:
    check_steps(make, reference, np.float64, 1e-9, 5)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(RATES, SHARES, DECAYS, st.booleans(), st.booleans())
def test_sgd_with_any_values(lr: float, momentum: float, decay: float, nesterov: bool, apart: bool) -> None:
    nesterov = nesterov and momentum > 0
    follows(
        lambda ps: optim.SGD(ps, lr, momentum, decay, nesterov=nesterov, decoupled_weight_decay=apart),
        sgd(lr, momentum, decay, nesterov, apart),
    )


@settings(derandomize=True, deadline=None, max_examples=20)
@given(RATES, BETAS, EPS, DECAYS, st.booleans())
def test_adam_with_any_values(lr: float, betas: Any, eps: float, decay: float, apart: bool) -> None:
    reference = adam(lr, *betas, eps, decay, apart)
    follows(lambda ps: optim.Adam(ps, lr, betas, eps, decay, decoupled_weight_decay=apart), reference)
    if apart:
        follows(lambda ps: optim.AdamW(ps, lr, betas, eps, decay), reference)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(RATES, st.floats(0.5, 0.99), st.floats(1e-3, 1.0), DECAYS, SHARES, st.booleans())
def test_rmsprop_with_any_values(
    lr: float, alpha: float, eps: float, decay: float, momentum: float, centered: bool
) -> None:
    follows(
        lambda ps: optim.RMSprop(ps, lr, alpha, eps, decay, momentum, centered),
        rmsprop(lr, alpha, eps, decay, momentum, centered),
    )


@settings(derandomize=True, deadline=None, max_examples=20)
@given(RATES, DECAYS, DECAYS, st.floats(0.0, 1.0), EPS)
def test_adagrad_with_any_values(lr: float, lr_decay: float, decay: float, first: float, eps: float) -> None:
    follows(lambda ps: optim.Adagrad(ps, lr, lr_decay, decay, first, eps), adagrad(lr, lr_decay, decay, first, eps))


@settings(derandomize=True, deadline=None, max_examples=20)
@given(RATES, BETAS, DECAYS)
def test_lion_with_any_values(lr: float, betas: Any, decay: float) -> None:
    follows(lambda ps: optim.Lion(ps, lr, betas, decay), lion(lr, *betas, decay))


def test_centered_rmsprop_bears_a_constant_gradient() -> None:
    """The mean square minus the squared mean is 0 there, and rounding may take it below."""
    p = nn.Parameter(np.zeros(100, np.float32))
    optimizer = optim.RMSprop([p], lr=1e-3, alpha=0.5, centered=True, eps=1.0)
    for _ in range(50):
        p.grad = gc.tensor(np.linspace(0.1, 3.0, 100, dtype=np.float32))
        optimizer.step()
    assert np.isfinite(p.numpy()).all()


@pytest.mark.parametrize("make", MAKERS)
def test_a_detached_tensor_keeps_its_values(make: Any) -> None:
    cells = parameters()
    optimizer = make(cells)
    for number in range(2):
        old = [p.detach() for p in cells]
        before = [value.numpy().copy() for value in old]
        give_gradients(cells, number)
        optimizer.step()
        for value, expected, p in zip(old, before, cells, strict=True):
            np.testing.assert_array_equal(value.numpy(), expected)
            assert (p.numpy() != expected).any() or not expected.size


@pytest.mark.parametrize("make", MAKERS)
def test_memory_is_used_again_where_nothing_else_holds_it(make: Any) -> None:
    cells = [nn.Parameter(np.ones((40, 50), np.float32)), nn.Parameter(np.ones(2000, np.float32))]  # not small ones
    optimizer = make(cells)
    slots = [slot for group in optimizer._by_dtype for row in group.slots for slot in row]
    places = [cell.read().data.ctypes.data for cell in [*cells, *slots]]
    for number in range(3):
        give_gradients(cells, number)
        optimizer.step()
    assert [cell.read().data.ctypes.data for cell in [*cells, *slots]] == places


@pytest.mark.parametrize("make", MAKERS)
def test_parameters_without_a_gradient_are_skipped(make: Any) -> None:
    cells = parameters()
    optimizer = make([*cells, nn.Parameter([1.0], requires_grad=False)])
    optimizer.step()
    give_gradients(cells)
    cells[1].grad = None
    before = [p.numpy().copy() for p in cells]
    optimizer.step()
    changed = [bool((p.numpy() != old).any()) for p, old in zip(cells, before, strict=True)]
    assert changed == [True, False, True, False]  # the last one is empty
    optimizer.zero_grad()
    assert all(p.grad is None for p in cells)
    before = [p.numpy().copy() for p in cells]
    optimizer.step()
    for p, old in zip(cells, before, strict=True):
        np.testing.assert_array_equal(p.numpy(), old)


@pytest.mark.parametrize("make", MAKERS)
def test_dtypes_may_be_mixed(make: Any) -> None:
    single, double = parameters(np.float32), parameters(np.float64)
    apart = parameters(np.float32)
    for cells in (single, double, apart):
        give_gradients(cells)
    make([*single, *double]).step()
    make(apart).step()
    for p, q, wide in zip(single, apart, double, strict=True):
        assert (p.dtype, wide.dtype) == (np.float32, np.float64)
        np.testing.assert_array_equal(p.numpy(), q.numpy())


@pytest.mark.parametrize("make", MAKERS)
def test_state_continues_bit_for_bit(make: Any) -> None:
    first = parameters()
    optimizer = make(first)
    for number in range(2):
        give_gradients(first, number)
        optimizer.step()
    second = [nn.Parameter(p.read().detach()) for p in first]
    resumed = make(second)
    resumed.load_state_dict(optimizer.state_dict())
    for number in range(2, 4):
        for cells, one in ((first, optimizer), (second, resumed)):
            give_gradients(cells, number)
            one.step()
    for p, q in zip(first, second, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_state_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyError, match="does not fit"):
        optim.AdamW(parameters()).load_state_dict(optim.SGD(parameters()).state_dict())


def test_learning_rate_can_be_set_by_number_and_tensor() -> None:
    p = nn.Parameter([1.0, 2.0])
    optimizer = optim.SGD([p], lr=0.5)
    assert optimizer.lr == 0.5
    optimizer.lr = 0.01
    assert optimizer.lr == 0.01
    optimizer.lr = gc.tensor(2.0, dtype=np.float64)
    p.grad = gc.tensor([1.0, 1.0])
    optimizer.step()
    assert p.numpy().tolist() == [-1.0, 0.0]
    with pytest.raises(ValueError, match="lr must be a finite number"):
        optimizer.lr = -1.0


def test_hyperparameters_that_were_left_out() -> None:
    optimizer = optim.SGD(parameters())
    assert optimizer.momentum == 0.0
    with pytest.raises(ValueError, match=r"made without momentum; make a new one: SGD\(\.\.\., momentum=\.\.\.\)"):
        optimizer.momentum = 0.9
    assert (optim.AdamW(parameters()).beta2, optim.AdamW(parameters()).eps) == (0.999, 1e-8)


def test_wrong_arguments() -> None:
    p = nn.Parameter([1.0])
    with pytest.raises(ValueError, match="got no parameters"):
        optim.SGD([])
    with pytest.raises(ValueError, match="twice"):
        optim.SGD([p, p])
    with pytest.raises(TypeError, match="got Tensor instead of a parameter"):
        optim.SGD([gc.ones(2)])
    for betas in ((0.9, 1.0), (0.9, -0.1), (0.9, float("nan"))):
        with pytest.raises(ValueError, match=r"beta2 must be in \[0, 1\), not"):
            optim.AdamW([p], betas=betas)
    for betas in ((0.9,), 0.9, (0.9, 0.9, 0.9)):
        with pytest.raises(ValueError, match=r"betas must be two numbers in \[0, 1\)"):
            optim.AdamW([p], betas=betas)  # type: ignore[arg-type]
    optimizer = optim.AdamW([p])
    with pytest.raises(ValueError, match="beta1 must be in"):
        optimizer.beta1 = 1.5
    with pytest.raises(TypeError, match="lr must be a number, not 'fast'"):
        optim.SGD([p], lr="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"lr must be one number, not a tensor of shape \(2,\)"):
        optim.SGD([p], lr=gc.ones(2))
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight_decay must be"):
            optim.AdamW([p], weight_decay=value)
    optim.SGD(p, lr=0.1)


MISFITS = [
    pytest.param(np.ones((1, 2), np.float32), r"w is float32\[2\] .* gradient of float32\[1, 2\]", id="shape"),
    pytest.param(np.ones(2), r"w is float32\[2\] .* gradient of float64\[2\]", id="dtype"),
]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("gradient", "words"), MISFITS)
@pytest.mark.parametrize("make", MAKERS)
def test_a_gradient_that_does_not_fit_is_refused(make: Any, gradient: Any, words: str, warm: bool) -> None:
    v, w = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2, np.float32))
    w.rename("w")
    optimizer = make([v, w])
    if warm:
        give_gradients([v, w])
        optimizer.step()
    give_gradients([v])
    before = v.numpy().copy(), w.numpy().copy()
    for _ in range(2):
        optimizer.zero_grad()
        give_gradients([v])
        w.leaf.grad.assign(gc.tensor(gradient))
        with pytest.raises(ValueError, match=words):
            optimizer.step()
        assert (w.shape, w.dtype) == ((2,), np.float32)
        np.testing.assert_array_equal(v.numpy(), before[0])  # no parameter of any dtype has moved
        np.testing.assert_array_equal(w.numpy(), before[1])
    optimizer.zero_grad()
    give_gradients([w])
    optimizer.step()
    assert (w.numpy() != before[1]).any()


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("make", MAKERS)
def test_a_module_that_was_cast_needs_a_new_optimiser(make: Any, warm: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 1))
    optimizer = make(model.parameters())
    if warm:
        model(gc.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.to(np.float64)
    model(gc.ones(1, 2, dtype=np.float64)).sum().backward()
    with pytest.raises(TypeError, match=r"parameter 0\.weight was float32 .* is float64 now; make the optimiser after"):
        optimizer.step()
    make(model.parameters()).step()
    assert model[0].weight.dtype == np.float64


def test_backward_after_a_step_names_the_parameter() -> None:
    layer = nn.Sequential(nn.Linear(2, 1))
    loss = layer(gc.ones(1, 2)).sum()
    loss2 = layer(gc.ones(1, 2)).sum()
    loss.backward()
    optim.SGD(layer.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match=r"parameter 0\.(weight|bias) was assigned after the forward pass"):
        loss2.backward()


def capture(optimizer_of: Callable[[Any], Any]) -> Any:
    gc.random.seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))
    optimizer = optimizer_of(model.parameters())

    def train_step(x: Any, y: Any) -> Any:
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    before = model.state_dict()
    graph = gc.make_graph(train_step)(gc.ones(4, 2), gc.ones(4, 1))
    for name, value in model.state_dict().items():  # nothing was computed, no cell changed
        assert value.data is before[name].data
    return graph


PATHS = ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("make", "slots", "changed", "constant"),
    [
        (lambda ps: optim.SGD(ps, lr=0.1), [], [], ["SGD.lr"]),
        (
            lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
            ["momentum_buffer"],
            [],
            ["SGD.lr", "SGD.momentum", "SGD.weight_decay"],
        ),
        (
            lambda ps: optim.AdamW(ps),
            ["exp_avg", "exp_avg_sq"],
            ["AdamW.step"],
            [f"AdamW.{name}" for name in ("lr", "beta1", "beta2", "eps", "weight_decay")],
        ),
    ],
    ids=["sgd", "momentum", "adamw"],
)
def test_a_captured_step(make: Any, slots: list[str], changed: list[str], constant: list[str]) -> None:
    graph = capture(make)
    donated = {slot.cell.name for slot in graph.cells if slot.donated}
    read = {slot.cell.name for slot in graph.cells if slot.before is not None and not slot.assigned}
    expected = {*PATHS, *changed, "random", *[f"{path}.{slot}" for path in PATHS for slot in slots]}
    assert donated == expected
    assert read == set(constant)
    assert sum(node.op.name in ("sgd", "sgd_momentum", "adamw") for node in graph.nodes) == 1


def test_a_step_makes_no_reference_cycles() -> None:
    import gc as collector

    cells = parameters(np.float32)
    optimizer = optim.AdamW(cells)
    give_gradients(cells)
    optimizer.step()
    collector.collect()
    for _ in range(3):
        give_gradients(cells)
        optimizer.step()
        optimizer.zero_grad()
    assert collector.collect() == 0
