"""Captured programs: transforms, backward() and assignments of cells become nodes that compute the eager bits."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import StageError
from gradcore.core.graph import Var
from gradcore.testing.compare import assert_same_bits
from gradcore.testing.staging import assert_staged, interpret

X = np.random.default_rng(0).normal(size=(3, 4))


def cells():
    rng = np.random.default_rng(1)
    return [gc.Cell(gc.tensor(rng.normal(size=n)), f"p{k}", requires_grad=True) for k, n in enumerate([(4, 4), 4])]


def step(parameters, x):
    """A training step: the loss is computed twice from shared parts, so that cotangents are added up."""
    w, b = parameters
    hidden = gc.tanh(gc.linear(x, w, b))
    loss = gc.mse(gc.linear(hidden, w, b), x) + gc.sum(gc.square(hidden))
    loss.backward()
    for cell in parameters:
        cell.assign(cell.read() - 0.1 * cell.leaf.grad.read())
        cell.leaf.grad.assign(None)
    return loss


def test_a_training_step():
    staged, eager = cells(), cells()
    before = [cell.tensor for cell in staged]
    graph = gc.make_graph(lambda x: step(staged, x))(X)
    assert all(cell.tensor is tensor for cell, tensor in zip(staged, before, strict=True))
    known = interpret(graph, [X], "step")
    loss = step(eager, gc.asarray(X))
    assert_same_bits(known[graph.outputs[0]], loss, "loss")
    slots = {slot.cell: slot for slot in graph.cells}
    for cell, other in zip(staged, eager, strict=True):
        assert slots[cell].donated and slots[cell].assigned
        assert_same_bits(known[slots[cell].after], other.tensor, cell.name)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (gc.grad(lambda x: gc.sum(gc.sin(x) * x))(x),),
        lambda x: (gc.vmap(gc.grad(lambda x: gc.sum(gc.exp(x))))(x),),
        lambda x: gc.jvp(gc.grad(lambda x: gc.sum(gc.tanh(x))), (x,), (x,)),
        lambda x: (gc.softmax(gc.transpose(x)), gc.max(x, axis=1)),
    ],
)
def test_transforms(function):
    assert_staged(function, [X], "graph")


def test_what_is_closed_over_is_a_constant():
    y = gc.asarray(X)
    graph = gc.make_graph(lambda x: x * y + y)(X)
    assert [array is y.data for array in graph.constants.values()] == [True]


def test_elements_are_not_there():
    for ask in (float, bool, lambda x: x.numpy(), lambda x: x.item()):
        with pytest.raises(StageError, match="only when the graph runs"):
            gc.make_graph(lambda x, ask=ask: ask(gc.sum(x)) and x)(X)


def test_captures_do_not_nest_and_return_tensors():
    with pytest.raises(StageError, match="inside another capture"):
        gc.make_graph(lambda x: gc.make_graph(gc.sin)(x))(X)
    with pytest.raises(StageError, match="inside another capture or transform"):
        gc.grad(lambda x: gc.make_graph(gc.sin)(x))(X)
    with pytest.raises(StageError, match="returned str"):
        gc.make_graph(lambda x: "text")(X)


def test_a_cell_that_is_only_read_or_only_assigned():
    read, assigned = gc.Cell(gc.tensor(np.ones(())), "read"), gc.Cell(gc.tensor(np.ones(())), "assigned")
    graph = gc.make_graph(lambda x: assigned.assign(gc.sum(x)) or read * 2.0)(X)
    first, second = sorted(graph.cells, key=lambda slot: slot.cell.name)
    assert first.assigned and first.before is None and isinstance(first.after, Var)
    assert not second.assigned and second.before is not None
    assert "cell read" in str(graph) and "cell assigned" in str(graph)
