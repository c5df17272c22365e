"""What reviews found; each case was wrong once."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.bind import bind
from gradcore.core.errors import RuleError
from gradcore.core.op import OPS


@pytest.mark.parametrize("condition", [[2, 0, 3], [0.5, 0.0, -1.0], [True, False, True]])
def test_where_takes_any_condition(condition):
    a, b = gc.tensor([1.0, 2.0, 3.0], requires_grad=True), gc.tensor([4.0, 5.0, 6.0], requires_grad=True)
    y = gc.where(gc.tensor(condition), a, b)
    y.sum().backward()
    assert y.numpy().tolist() == [1.0, 5.0, 3.0]
    assert a.grad.numpy().tolist() == [1.0, 0.0, 1.0]
    assert b.grad.numpy().tolist() == [0.0, 1.0, 0.0]
    assert gc.where(gc.tensor(condition), a, 0.0).dtype == np.float32


def test_forward_mode_stops_at_integers():
    function = lambda x: gc.cast(gc.cast(x, np.int32), np.float32)  # noqa: E731
    assert gc.jvp(function, (gc.tensor(1.7),), (gc.tensor(5.5),))[1].item() == 0.0
    assert gc.grad(function)(gc.tensor(1.7)).item() == 0.0


@pytest.mark.parametrize("transform", ["eager", "vmap", "jvp", "grad"])
def test_labels_are_checked_by_every_interpreter(transform):
    logits, labels = gc.zeros(2, 3), np.array([1, 5])
    run = {
        "eager": lambda: gc.cross_entropy(logits, labels),
        "vmap": lambda: gc.vmap(gc.cross_entropy)(logits, labels),
        "jvp": lambda: gc.jvp(lambda x: gc.cross_entropy(x, labels), (logits,), (logits,)),
        "grad": lambda: gc.grad(lambda x: gc.cross_entropy(x, labels))(logits),
    }[transform]
    with pytest.raises((ValueError, RuleError), match=r"labels must lie in \[0, 3\)"):
        run()


def test_logsumexp_gradient_at_infinity():
    gradient = gc.grad(lambda x: gc.logsumexp(x))
    assert gradient(gc.tensor([np.inf, 1.0])).numpy().tolist() == [1.0, 0.0]
    assert gradient(gc.tensor([-np.inf, 1.0])).numpy().tolist() == [0.0, 1.0]
    with np.errstate(divide="ignore"):
        assert gradient(gc.tensor([-np.inf, -np.inf])).numpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("weight", "bias"), [((2, 4), (1, 2)), ((4,), (4,)), ((2, 4), (1,)), ((2, 4), ())])
def test_linear_takes_no_other_shapes(weight, bias):
    """A bias of shape (1, 2) would broadcast, and get a gradient of shape (2,)."""
    with pytest.raises(ValueError, match=r"'linear': x .* do not fit"):
        gc.linear(gc.ones(4, 4), gc.ones(*weight), gc.ones(*bias) if bias else gc.tensor(1.0))


@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "tanh", "sqrt", "sigmoid", "reciprocal", "rsqrt"])
def test_what_can_be_told_from_the_result_saves_nothing_else(name):
    saved = OPS[name].saves((True,), ())
    assert (saved.inputs, saved.outputs) == ((), (0,))


@pytest.mark.parametrize(("shape", "rows"), [((2, 5, 0), 3), ((2, 5, 4), 0), ((0,), 3), ((4,), 0), ((2, 0, 4), 3)])
def test_linear_of_nothing(shape, rows):
    x, w, b = gc.ones(shape), gc.ones((rows, shape[-1])), gc.ones(rows)
    y, pull = gc.vjp(gc.linear, x, w, b)
    assert np.array_equal(y.numpy(), np.ones(shape) @ np.ones((shape[-1], rows)) + 1)
    assert [g.shape for g in pull(y)] == [x.shape, w.shape, b.shape]
    second = gc.grad(lambda x: gc.grad(lambda x: (gc.linear(x, w, b) ** 2).sum())(x).sum())(x)
    assert second.shape == x.shape


def test_labels_are_not_booleans():
    with pytest.raises(TypeError, match="integer labels"):
        gc.cross_entropy(gc.zeros(2, 3), np.array([True, False]))


def test_keys_from_no_keys():
    assert bind(OPS["split_key"], (gc.zeros((0, 2), dtype="uint64"),), (3,)).shape == (0, 3, 2)
