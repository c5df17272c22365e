"""cond: the branch that was chosen, under every interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.compile import Program
from gradcore.core.errors import StageError
from gradcore.core.hooks import Hook, hooked
from gradcore.testing import gradcheck

X, W = np.array([0.3, -0.7, 0.9]), np.array([1.0, 2.0, -0.5])


def f(x: Any, w: Any) -> Any:
    return gc.cond(
        x.sum() > 0,
        lambda t: {"y": gc.sin(t["x"] * w), "n": gc.ones((), dtype="int64")},
        lambda t: {"y": t["x"] ** 3, "n": t["n"]},
        {"x": x, "n": 5},
    )["y"]


def plain(x: Any, w: Any) -> Any:
    return gc.sin(x * w) if float(np.sum(np.asarray(x))) > 0 else x**3


@pytest.mark.parametrize("x", [X, -X])
def test_value_and_derivatives(x: Any) -> None:
    x, w = gc.tensor(x), gc.tensor(W)
    assert np.array_equal(f(x, w).numpy(), plain(x, w).numpy())
    gradcheck(f, (x, w), order=3)
    leaf = gc.tensor(x, requires_grad=True)
    f(leaf, w).sum().backward()
    assert np.array_equal(leaf.grad.numpy(), gc.grad(lambda x: f(x, w).sum())(x).numpy())


def test_a_condition_for_each_example() -> None:
    rows = np.stack([X, -X, 2 * X])
    got = gc.vmap(f, in_axes=(0, None))(rows, W)
    gradients = gc.vmap(gc.grad(lambda x, w: f(x, w).sum(), argnums=(0, 1)), in_axes=(0, None))(rows, W)
    for i, row in enumerate(rows):
        np.testing.assert_allclose(got[i], plain(gc.tensor(row), W).numpy(), rtol=1e-14)
        want = gc.grad(lambda x, w: f(x, w).sum(), argnums=(0, 1))(row, W)
        for part, one in zip(gradients, want, strict=True):
            np.testing.assert_allclose(part[i], one, rtol=1e-13)
    gradcheck(gc.vmap(f, in_axes=(0, None)), (gc.tensor(rows), gc.tensor(W)), order=2)


def test_one_condition_for_all_examples() -> None:
    def g(pred: Any, x: Any) -> Any:
        return gc.cond(pred, lambda x: (x, gc.tensor(W)), lambda x: (gc.tensor(W), x * 2.0), x)

    for pred in (True, False):
        one, other = gc.vmap(g, in_axes=(None, 0))(np.array(pred), np.stack([X, -X]))
        want = (np.stack([X, -X]), np.stack([W, W])) if pred else (np.stack([W, W]), np.stack([X, -X]) * 2)
        np.testing.assert_array_equal(one, want[0])
        np.testing.assert_array_equal(other, want[1])


def test_one_node_of_a_graph_that_chooses_when_it_runs() -> None:
    program = Program(gc.make_graph(lambda x, w: f(x, w))(X, W))
    assert [node.op.name for node in program.graph.nodes].count("cond") == 1
    slope = Program(gc.make_graph(gc.grad(lambda x, w: f(x, w).sum()))(X, W))
    for x in (X, -X):
        assert np.array_equal(program(x, W).numpy(), plain(gc.tensor(x), W).numpy())
        assert np.array_equal(slope(x, W).numpy(), gc.grad(lambda x: f(x, W).sum())(x))


class Names(Hook):
    def __init__(self) -> None:
        self.names: list[str] = []

    def after(self, op: Any, values: Any, params: Any, outputs: Any) -> None:
        self.names.append(op.name)


def test_only_the_chosen_branch_counts() -> None:
    root = lambda x: gc.cond(x > 0, gc.sqrt, lambda x: x * 0.0, x)  # noqa: E731
    assert gc.grad(root)(np.array(-1.0)) == 0.0
    assert gc.grad(gc.grad(root))(np.array(-1.0)) == 0.0
    names = Names()
    with hooked(names):
        root(gc.tensor(1.0))
    assert names.names == ["greater", "cond"]


def test_inside_a_scan_and_around_it() -> None:
    def step(c: Any, x: Any) -> Any:
        c = gc.cond(x > 0, lambda c: gc.sin(c) + x, lambda c: c * x, c)
        return c, c

    def loop(c: Any, xs: Any, signs: Any) -> Any:
        for x, sign in zip(xs, signs, strict=True):
            c = gc.sin(c) + x if sign else c * x
        return c

    got = gc.grad(lambda c, xs: gc.scan(step, c, xs)[0], argnums=(0, 1))(np.array(0.5), X)
    want = gc.grad(lambda c, xs: loop(c, xs, X > 0), argnums=(0, 1))(np.array(0.5), X)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-14)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-14)
    gradcheck(lambda c, xs: gc.scan(step, c, xs), (gc.tensor(np.array(0.5)), gc.tensor(X)), order=3)
    around = lambda x: gc.cond(x[0] > 0, lambda x: gc.scan(step, x[0], x)[0], lambda x: x.sum(), x)  # noqa: E731
    gradcheck(around, (gc.tensor(X),), order=2)
    assert gc.vmap(around)(np.stack([X, -X]))[1] == pytest.approx(-X.sum())


def test_parameters_in_a_branch() -> None:
    weight = nn.Parameter(W)
    gc.cond(True, lambda x: (x * weight).sum(), lambda x: x.sum(), gc.tensor(X)).backward()
    np.testing.assert_array_equal(weight.grad.numpy(), X)


def test_refusals() -> None:
    with pytest.raises(TypeError, match=r"one boolean as its condition.*float64\[3\]"):
        gc.cond(X, gc.sin, gc.cos, X)
    with pytest.raises(TypeError, match=r"not bool\[3\]; where\(\)"):
        gc.cond(X > 0, gc.sin, gc.cos, X)
    with pytest.raises(TypeError, match=r"true returns \* of float64\[3\], false \* of float64\[\]; reshape or cast"):
        gc.cond(True, gc.sin, gc.sum, X)
    with pytest.raises(TypeError, match="must return the same"):
        gc.cond(True, lambda x: (x, x), lambda x: x, X)
    cell = gc.Cell(gc.tensor(1.0), "count")
    with pytest.raises(StageError, match="assigned cell count"):
        gc.cond(True, lambda x: cell.assign(x), lambda x: None, gc.tensor(1.0))
