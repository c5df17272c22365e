"""Modules: registration, names, state, modes, text."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn


class Block(nn.Module):
    def __init__(self) -> None:
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2, bias=False))
        self.scale = nn.Parameter([2.0])
        self.count = nn.Buffer(np.zeros((), np.int64))
        self.nothing = None

    def forward(self, x: Any) -> Any:
        self.count.assign(self.count + 1)
        return self.inner(x) * self.scale


NAMES = ["scale", "inner.0.weight", "inner.0.bias", "inner.2.weight"]


def test_parameters_and_buffers_are_found_in_order_with_paths() -> None:
    block = Block()
    assert [name for name, _ in block.named_parameters()] == NAMES
    assert [name for name, _ in block.named_buffers()] == ["count"]
    assert [p.shape for p in block.parameters()] == [(1,), (4, 3), (4,), (2, 4)]
    assert [type(m).__name__ for m in block.modules()] == ["Block", "Sequential", "Linear", "Dropout", "Linear"]
    assert list(block.children()) == [block.inner]
    assert len(list(block.buffers())) == 1


def test_cells_show_their_paths_in_graphs_and_messages() -> None:
    block = Block()
    text = str(gc.make_graph(block)(gc.ones(1, 3)))
    for name in [*NAMES, "count"]:
        assert f"cell {name}: " in text
    assert block.inner[0].weight.leaf.grad.name == "inner.0.weight.grad"
    outer = nn.ModuleList([nn.Identity()])
    outer.append(block)
    assert block.scale.name == "1.scale"


def test_the_path_from_the_largest_module_stays() -> None:
    block = Block()
    list(block.inner.named_parameters())
    assert block.inner[0].weight.name == "inner.0.weight"


def test_a_shared_parameter_comes_once() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    assert len(list(nn.Sequential(first, second, first).parameters())) == 3


def test_forward_may_be_inherited_or_missing() -> None:
    class Child(Block):
        pass

    class Hollow(nn.Module):
        pass

    assert Child()(gc.ones(2, 3)).shape == (2, 2)
    with pytest.raises(NotImplementedError, match="Hollow does not define forward"):
        Hollow()(1)


def test_a_parameter_does_not_become_a_tensor_by_accident() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"change what it holds with \.weight\.assign"):
        layer.weight = gc.ones(2, 2)
    layer.bias = None
    assert layer(gc.ones(1, 2)).shape == (1, 2)


def test_state_dict_is_a_snapshot() -> None:
    layer = nn.Linear(2, 1)
    state = layer.state_dict()
    before = {name: value.numpy().copy() for name, value in state.items()}
    layer(gc.ones(1, 2)).sum().backward()
    gc.optim.SGD(layer.parameters(), lr=1.0).step()
    for name, value in state.items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert (layer.weight.numpy() != before["weight"]).all()
    assert layer.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(layer.weight.numpy(), before["weight"])


def test_load_state_dict_copies_arrays_and_keeps_tensors_apart() -> None:
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    array = np.ones((1, 2), np.float32)
    first.load_state_dict({"weight": array, "bias": first.state_dict()["bias"]})
    array[:] = 5
    assert first.weight.numpy().tolist() == [[1.0, 1.0]]
    second.load_state_dict(first.state_dict())
    first(gc.ones(1, 2)).sum().backward()
    gc.optim.SGD(first.parameters(), lr=1.0).step()
    assert second.weight.numpy().tolist() == [[1.0, 1.0]]
    assert first.weight.numpy().tolist() == [[0.0, 0.0]]


def test_load_state_dict_checks_before_it_assigns() -> None:
    layer = nn.Linear(2, 1)
    before = layer.weight.numpy().copy()
    good = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match=r"has float64\[1\] for bias, which holds float32\[1\]"):
        layer.load_state_dict({"weight": good, "bias": np.zeros(1)})
    with pytest.raises(KeyError, match=r"missing \['bias'\], unexpected \['scale'\]"):
        layer.load_state_dict({"weight": good, "scale": good})
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    assert layer.load_state_dict({"weight": good, "scale": good}, strict=False) == (["bias"], ["scale"])
    assert not layer.weight.numpy().any()


def test_modes_reach_all_modules() -> None:
    block = Block()
    assert block.eval() is block
    assert not any(module.training for module in block.modules())
    block.train()
    assert all(module.training for module in block.modules())


def test_zero_grad_and_assigning_grad() -> None:
    layer = nn.Linear(2, 1)
    layer(gc.ones(1, 2)).sum().backward()
    assert layer.weight.grad.numpy().tolist() == [[1.0, 1.0]]
    layer.zero_grad()
    assert layer.weight.grad is None
    layer.weight.grad = gc.ones(1, 2)
    layer.weight.grad = None
    assert layer.weight.grad is None


def test_assigned_gradients_are_converted() -> None:
    layer = nn.Linear(2, 1)
    array = np.ones((1, 2), np.float32)
    layer.weight.grad = array
    array[:] = 5
    assert layer.weight.grad.numpy().tolist() == [[1.0, 1.0]]
    layer.weight.grad = [[2, 3]]
    assert layer.weight.grad.dtype == np.float32
    layer.weight.grad = layer.weight
    np.testing.assert_array_equal(layer.weight.grad.numpy(), layer.weight.numpy())


@pytest.mark.parametrize("before", [None, gc.ones(2)])
@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.ones(2), r"float64\[2\]"),
        (gc.ones(1, 2), r"float32\[1, 2\]"),
        (gc.arange(2), r"int64\[2\]"),
        ([1.0], r"float32\[1\]"),
        (2.0, r"float32\[\]"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(before: Any, value: Any, got: str) -> None:
    parameter = nn.Parameter([1.0, 2.0])
    parameter.rename("w")
    parameter.grad = before
    with pytest.raises(ValueError, match=rf"parameter w is float32\[2\] and cannot take a gradient of {got}; cast"):
        parameter.grad = value
    assert (parameter.grad is None) == (before is None)


def test_frozen_parameters_have_no_gradient() -> None:
    layer = nn.Linear(2, 1)
    layer.weight = nn.Parameter(layer.weight.read().detach(), requires_grad=False)
    layer(gc.ones(1, 2)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    layer.zero_grad()
    with pytest.raises(ValueError, match="does not require a gradient"):
        layer.weight.grad = gc.ones(1, 2)


def test_to_casts_floating_cells_and_gradients() -> None:
    block = Block().eval()
    block(gc.ones(1, 3)).sum().backward()
    assert block.to("float64") is block
    assert {p.dtype for p in block.parameters()} == {np.dtype(np.float64)}
    assert block.scale.grad.dtype == np.float64
    assert block.count.dtype == np.int64
    assert block(gc.ones(1, 3, dtype=np.float64)).dtype == np.float64
    assert block.to("cpu").scale.dtype == np.float64
    with pytest.raises(TypeError, match="floating dtypes only"):
        block.to(np.int32)


def test_to_a_device_that_is_not_there() -> None:
    from gradcore.core import errors

    assert issubclass(errors.DeviceError, errors.GradcoreError)
    assert issubclass(errors.DeviceError, RuntimeError)
    for move in (lambda: nn.Linear(2, 1).to("cuda:99"), lambda: gc.ones(2).to("cuda:99")):
        with pytest.raises(errors.DeviceError, match=r"no CUDA device can be used|cuda:99 is not there"):
            move()


def test_to_leaves_what_fits_alone() -> None:
    layer = nn.Linear(2, 1)
    array = layer.weight.read().data
    assert layer.to(np.float32).weight.read().data is array


def test_repr_is_a_tree() -> None:
    assert repr(Block()) == (
        "Block(\n  (inner): Sequential(\n    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): Dropout(p=0.5)\n    (2): Linear(in_features=4, out_features=2, bias=False)\n  )\n)"
    )
    assert repr(nn.LayerNorm(3)) == "LayerNorm((3,), eps=1e-05)"
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"


def test_module_list_takes_modules_only() -> None:
    with pytest.raises(TypeError, match="takes modules, not function"):
        nn.Sequential(nn.Linear(1, 1), gc.relu)
    layers = nn.ModuleList([nn.Linear(1, 1)]).extend([nn.ReLU()])
    assert len(layers) == 2
    assert isinstance(list(layers)[1], nn.ReLU)


def test_parameters_hold_floats() -> None:
    with pytest.raises(TypeError, match="floating numbers, not int64"):
        nn.Parameter([1, 2])
    array = np.ones(2)
    parameter = nn.Parameter(array)
    array[:] = 3
    assert parameter.numpy().tolist() == [1.0, 1.0]


def test_a_deep_copy_has_cells_of_its_own() -> None:
    first = Block().eval()
    second = copy.deepcopy(first)
    second(gc.ones(1, 3)).sum().backward()
    gc.optim.SGD(second.parameters(), lr=1.0).step()
    assert first.scale.grad is None
    assert first.scale.numpy() == [2.0]
    assert second.scale.numpy() != [2.0]


def trained() -> Block:
    """A module whose cells know the lines that assigned them."""
    block = Block()
    block(gc.ones(1, 3)).sum().backward()
    gc.optim.AdamW(block.parameters(), lr=0.1).step()
    return block


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_used_module_can_be_pickled(protocol: int) -> None:
    first = trained()
    check_copy(first, pickle.loads(pickle.dumps(first, protocol)))


def test_a_used_module_can_be_copied() -> None:
    first = trained()
    check_copy(first, copy.deepcopy(first))


def check_copy(first: Block, second: Block) -> None:
    """The same content and names, and a life of its own."""
    assert [name for name, _ in second.named_parameters()] == NAMES
    before = first.state_dict()
    for (name, a), (_, b) in zip(first.named_cells().items(), second.named_cells().items(), strict=True):
        assert b.name == name
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert b.leaf.name == b.name
        np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
    np.testing.assert_array_equal(first.eval()(gc.ones(1, 3)).numpy(), second.eval()(gc.ones(1, 3)).numpy())
    second.zero_grad()
    second(gc.ones(1, 3)).sum().backward()
    gc.optim.AdamW(second.parameters(), lr=0.1).step()
    assert (second.scale.numpy() != first.scale.numpy()).all()
    np.testing.assert_array_equal(first.scale.numpy(), before["scale"].numpy())


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_a_pickled_module_trains_with_the_same_bits(dtype: Any) -> None:
    first = nn.Linear(3, 2, dtype=dtype)
    second = pickle.loads(pickle.dumps(first))
    x = gc.tensor(np.arange(6).reshape(2, 3) / 7, dtype)
    for layer in (first, second):
        optimizer = gc.optim.AdamW(layer.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            (layer(x) ** 2).mean().backward()
            optimizer.step()
    np.testing.assert_array_equal(first.weight.numpy(), second.weight.numpy())
    assert second.weight.dtype == dtype
