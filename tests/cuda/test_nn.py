"""Modules and functions of gradcore.nn on CUDA: the same numbers as on the CPU, and what they hold stays there."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.core.errors import DeviceError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((6, 4)).astype(np.float32)


def network() -> nn.Sequential:
    gc.random.seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))


def gradients(model: nn.Module, device: str) -> list[Any]:
    """The output and the gradients of x and of all parameters, as NumPy arrays."""
    model.to(device)
    gc.random.seed(1)
    x = gc.tensor(X, device=device, requires_grad=True)
    y = model(x)
    (y * y).sum().backward()
    found = [y, x.grad, *[p.grad for p in model.parameters()]]
    assert {str(value.device) for value in found} == {str(gc.backend.Device(device))}
    return [value.numpy() for value in found]


ACTIVATIONS = [
    *(nn.ReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.ELU, nn.SELU),
    *(nn.LeakyReLU, nn.Hardtanh, nn.LogSigmoid, nn.Softmax, nn.LogSoftmax, nn.Identity, nn.Flatten),
]


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_layers_without_parameters(kind: Any) -> None:
    for cpu, cuda in zip(gradients(kind(), "cpu"), gradients(kind(), "cuda"), strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-5, atol=1e-6)


def test_a_network_gives_the_same_numbers() -> None:
    for cpu, cuda in zip(gradients(network(), "cpu"), gradients(network(), "cuda"), strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-4, atol=1e-5)


CLASSES, TARGETS = np.array([0, 2, 1, 1, 0, 2]), RANDOM.random((6, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (nn.CrossEntropyLoss(), CLASSES),
        (nn.MSELoss(), TARGETS),
        (nn.L1Loss(), TARGETS),
        (nn.HuberLoss(), TARGETS),
        (nn.NLLLoss(), CLASSES),
        (nn.KLDivLoss(reduction="batchmean"), TARGETS),
        (nn.BCEWithLogitsLoss(), TARGETS),
    ],
)
def test_losses(loss: Any, target: Any) -> None:
    found = []
    for device in ("cpu", "cuda"):
        x = gc.tensor(X, device=device, requires_grad=True)
        value = loss(x, gc.tensor(target, device=device))
        value.backward()
        found.append([value.numpy(), x.grad.numpy()])
    for cpu, cuda in zip(*found, strict=True):
        np.testing.assert_allclose(cuda, cpu, rtol=1e-5, atol=1e-6)


def test_layer_norm_without_weight_and_bias() -> None:
    on_cuda = nn.functional.layer_norm(gc.tensor(X, device="cuda"), 4)
    assert on_cuda.device == "cuda:0"
    np.testing.assert_allclose(on_cuda.numpy(), nn.functional.layer_norm(gc.tensor(X), 4).numpy(), rtol=1e-5, atol=1e-6)


FILLS = [
    *(nn.init.uniform_, nn.init.normal_, nn.init.zeros_, nn.init.ones_, nn.init.xavier_uniform_),
    *(nn.init.xavier_normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_),
]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_initial_values_are_the_same_bits_in_one_copy(fill: Any, dtype: str, counters: Any) -> None:
    cpu, cuda = (nn.Parameter(gc.zeros(3, 4, dtype=dtype, device=device)) for device in ("cpu", "cuda"))
    gc.random.seed(3)
    fill(cpu)
    gc.random.seed(3)
    before = counters()["h2d"]
    fill(cuda)
    assert counters()["h2d"] - before == 1
    assert (cuda.device, cuda.dtype) == ("cuda:0", np.dtype(dtype))
    np.testing.assert_array_equal(cuda.numpy(), cpu.numpy())


def test_layers_are_made_on_a_device() -> None:
    gc.random.seed(0)
    cpu = [nn.Linear(4, 3), nn.LayerNorm((2, 3))]
    gc.random.seed(0)
    cuda = [nn.Linear(4, 3, device="cuda"), nn.LayerNorm((2, 3), device="cuda:0")]
    for a, b in zip(cpu, cuda, strict=True):
        assert {str(p.device) for p in b.parameters()} == {"cuda:0"}
        for name, value in a.state_dict().items():
            np.testing.assert_array_equal(b.state_dict()[name].numpy(), value.numpy())


def test_modules_move_with_their_gradients_and_back() -> None:
    model = network()
    before = {name: value.numpy() for name, value in model.state_dict().items()}
    for p in model.parameters():
        p.grad = gc.ones(*p.shape)
    model.to("cuda")
    assert {str(p.device) for p in model.parameters()} == {str(p.grad.device) for p in model.parameters()} == {"cuda:0"}
    model.to("cpu")
    for name, value in model.state_dict().items():
        assert value.device == "cpu"
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_a_module_moves_as_a_whole_or_not_at_all() -> None:
    import cupy

    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(1024, 1024))
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(pool.total_bytes() + 2**20)
    try:
        with pytest.raises(MemoryError, match="cuda:0 ran out of memory"):
            model.to("cuda")
    finally:
        pool.set_limit(0)
    assert {str(p.device) for p in model.parameters()} == {"cpu"}
    assert {str(p.device) for p in model.to("cuda").parameters()} == {"cuda:0"}


@pytest.mark.parametrize(("source", "target"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_a_state_dict_goes_to_the_devices_of_the_module(source: str, target: str) -> None:
    gc.random.seed(1)
    given = nn.Linear(3, 2, device=source)
    taking = nn.Linear(3, 2, device=target)
    taking.load_state_dict(given.state_dict())
    assert {str(p.device) for p in taking.parameters()} == {str(gc.backend.Device(target))}
    np.testing.assert_array_equal(taking.weight.numpy(), given.weight.numpy())
    arrays = {name: value.numpy() + 1 for name, value in given.state_dict().items()}
    taking.load_state_dict(arrays)
    arrays["weight"][:] = 0
    np.testing.assert_array_equal(taking.weight.numpy(), given.weight.numpy() + 1)


def test_a_state_dict_keeps_its_values_while_training_goes_on() -> None:
    model = nn.Linear(3, 2, device="cuda")
    state = model.state_dict()
    before = state["weight"].numpy()
    optimizer = gc.optim.SGD(model.parameters(), lr=0.5)
    model(gc.ones(1, 3, device="cuda")).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(state["weight"].numpy(), before)
    assert (model.weight.numpy() != before).all()


def copied(model: Any) -> Any:
    return copy.deepcopy(model)


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("duplicate", [copied, pickled])
def test_copies_and_pickles_come_back_to_the_device(duplicate: Any) -> None:
    model = nn.Linear(3, 2, device="cuda")
    model(gc.ones(1, 3, device="cuda")).sum().backward()
    other = duplicate(model)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert (b.device, b.grad.device) == ("cuda:0", "cuda:0")
        assert a.read().data is not b.read().data
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())
    other(gc.ones(1, 3, device="cuda")).sum().backward()
    assert float(other.bias.grad.sum()) == 4
    assert float(model.bias.grad.sum()) == 2


def test_a_deepcopy_does_not_go_through_the_host(counters: Any) -> None:
    model = nn.Linear(3, 2, device="cuda")
    before = counters()
    copy.deepcopy(model)
    after = counters()
    assert (after["d2h"], after["h2d"]) == (before["d2h"], before["h2d"])


def test_gradients_that_are_assigned_follow_the_parameter_or_are_refused() -> None:
    p = nn.Parameter(gc.ones(2, device="cuda"))
    for value in ([1.0, 2.0], np.ones(2, np.float32), gc.ones(2, device="cuda")):
        p.grad = value
        assert p.grad.device == "cuda:0"
    with pytest.raises(DeviceError, match=r"cannot take a gradient on cpu; move it with .to\('cuda:0'\)"):
        p.grad = gc.ones(2)


def test_a_cell_keeps_its_device() -> None:
    p = nn.Parameter(gc.ones(2, device="cuda"))
    with pytest.raises(DeviceError, match="is on cuda:0 and cannot take a tensor on cpu"):
        p.assign(gc.ones(2))
    p.assign(gc.zeros(2, device="cuda"))
    assert p.tolist() == [0, 0]


def test_mixing_devices_is_refused_and_the_next_call_works() -> None:
    model = network().to("cuda")
    with pytest.raises(DeviceError, match=r"got tensors on cpu and cuda:0; move them to one device with .to\(device\)"):
        model(gc.tensor(X))
    assert model(gc.tensor(X, device="cuda")).shape == (6, 3)


def test_functional_call_with_gradients() -> None:
    def loss(cells: Any, model: Any, x: Any) -> Any:
        return (nn.functional_call(model, cells, x)[0] ** 2).sum()

    found = []
    for device in ("cpu", "cuda"):
        model = network().eval().to(device)
        found.append(gc.grad(loss)(model.state_dict(), model, gc.tensor(X, device=device)))
    for name, value in found[0].items():
        assert found[1][name].device == "cuda:0"
        np.testing.assert_allclose(found[1][name].numpy(), value.numpy(), rtol=1e-4, atol=1e-5)
