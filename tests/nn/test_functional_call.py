"""functional_call: other contents for a module's cells, under every transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.nn import functional_call


class Counter(nn.Module):
    def __init__(self) -> None:
        self.total = nn.Buffer([0.0])
        self.factor = nn.Parameter([3.0])

    def forward(self, x: Any) -> Any:
        self.total.assign(self.total + x)
        return x * self.factor


def mlp() -> nn.Sequential:
    gc.random.seed(0)
    return nn.Sequential(nn.Linear(3, 4, dtype=np.float64), nn.Tanh(), nn.Linear(4, 2, dtype=np.float64))


def loss_of(model: nn.Module, x: Any) -> Any:
    return lambda cells: (functional_call(model, cells, x)[0] ** 2).sum()


X = gc.tensor(np.random.default_rng(0).normal(size=(5, 3)))


def test_contents_are_replaced_and_restored() -> None:
    module = Counter()
    out, cells = functional_call(module, {"total": [1.0], "factor": np.array([10.0])}, gc.tensor([2.0]))
    assert out.numpy().tolist() == [20.0]
    assert cells["total"].numpy().tolist() == [3.0]
    assert module.total.numpy().tolist() == [0.0]
    assert module.factor.numpy().tolist() == [3.0]


def test_cells_without_an_entry_keep_their_content() -> None:
    module = Counter()
    out, cells = functional_call(module, {"total": [1.0]}, gc.tensor([2.0]))
    assert out.numpy().tolist() == [6.0]
    assert list(cells) == ["total"]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match=r"no parameters or buffers named \['weight'\]"):
        functional_call(Counter(), {"weight": [1.0]}, gc.tensor([2.0]))
    with pytest.raises(TypeError, match="takes a Module"):
        functional_call(gc.relu, {}, X)  # type: ignore[arg-type]


def test_contents_are_restored_after_an_error() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="linear"):
        functional_call(model, model.state_dict(), gc.ones(2, 7, dtype=np.float64))
    assert model(X).shape == (5, 2)


def test_grad_equals_backward() -> None:
    model = mlp()
    gradients = gc.grad(loss_of(model, X))(model.state_dict())
    (model(X) ** 2).sum().backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(gradients[name].numpy(), parameter.grad.numpy(), rtol=1e-12)


def test_jvp_equals_grad_along_a_direction() -> None:
    model = mlp()
    state = model.state_dict()
    direction = {name: gc.ones(*value.shape, dtype=np.float64) for name, value in state.items()}
    _, tangent = gc.jvp(loss_of(model, X), (state,), (direction,))
    gradients = gc.grad(loss_of(model, X))(state)
    assert float(tangent) == pytest.approx(sum(float(g.sum()) for g in gradients.values()), rel=1e-12)


def test_vmap_over_an_ensemble() -> None:
    models = [nn.Linear(3, 2, dtype=np.float64) for _ in range(4)]
    states = [model.state_dict() for model in models]
    stacked = {name: gc.stack([state[name] for state in states]) for name in states[0]}
    together = gc.vmap(lambda cells: functional_call(models[0], cells, X)[0])(stacked)
    for model, out in zip(models, together, strict=True):
        np.testing.assert_allclose(out.numpy(), model(X).numpy(), rtol=1e-13)


def test_gradients_of_each_example() -> None:
    model = mlp()
    state = model.state_dict()
    each = gc.vmap(lambda cells, x: gc.grad(loss_of(model, x))(cells), in_axes=(None, 0))(state, X)
    whole = gc.grad(loss_of(model, X))(state)
    for name in state:
        np.testing.assert_allclose(each[name].numpy().sum(0), whole[name].numpy(), rtol=1e-12)


def test_assigned_cells_come_out_of_transforms() -> None:
    module = Counter()

    def loss(cells: Any) -> Any:
        out, after = functional_call(module, cells, gc.tensor([2.0]))
        return out.sum(), after["total"]

    gradient, total = gc.grad(loss, has_aux=True)({"total": gc.tensor([1.0]), "factor": gc.tensor([5.0])})
    assert total.numpy().tolist() == [3.0]
    assert gradient["factor"].numpy().tolist() == [2.0]
    assert module.total.numpy().tolist() == [0.0]


def test_in_a_graph_the_given_contents_are_inputs() -> None:
    model = mlp()
    graph = gc.make_graph(lambda cells: functional_call(model, cells, X)[0])(model.state_dict())
    assert len(graph.inputs) == 4
    assert not graph.cells
