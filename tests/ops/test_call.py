"""An op that holds a graph: every interpreter goes through it."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.compile import Program
from gradcore.core.errors import StageError
from gradcore.ops.call import call
from gradcore.testing import gradcheck

X = np.random.default_rng(0).normal(size=(3, 4))


def body(x, y):
    return gc.softmax(x @ y).sum(0), gc.tanh(x) * 2.0


held = call("held", body, X, X.T)


def test_value_and_derivatives():
    for got, want in zip(held(X, X.T), body(gc.tensor(X), gc.tensor(X.T)), strict=True):
        assert np.array_equal(got.numpy(), want.numpy())
    gradcheck(lambda x, y: held(x, y), (X, X.T.copy()), order=3)


def test_backward_and_batch():
    leaf, other = gc.tensor(X, requires_grad=True), gc.tensor(X.T)
    (held(leaf, other)[1] ** 2).sum().backward()
    want = gc.grad(lambda x: (body(x, other)[1] ** 2).sum())(gc.tensor(X))
    np.testing.assert_allclose(leaf.grad.numpy(), want.numpy(), rtol=1e-12)
    many = np.stack([X, X + 1, X * 2])
    first, _ = gc.vmap(held, in_axes=(0, None))(many, X.T)
    np.testing.assert_allclose(np.asarray(first)[2], np.asarray(held(X * 2, X.T)[0]), rtol=1e-12)


def test_one_node_of_a_graph():
    graph = gc.make_graph(lambda x: held(x, gc.tensor(X.T))[0] * 2)(X)
    assert [node.op.name for node in graph.nodes] == ["held", "mul"]
    assert np.array_equal(Program(graph)(X).numpy(), (held(X, X.T)[0] * 2).numpy())


def test_refusals():
    with pytest.raises(ValueError, match=r"'held' got float64\[4, 3\]"):
        held(X.T, X)
    weight = nn.Parameter(np.ones(3))
    with pytest.raises(StageError, match="uses cells"):
        call("closed", lambda x: x * weight, np.ones(3))
