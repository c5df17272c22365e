"""The straight-through estimator: exact values, the gradient of another tensor."""

import numpy as np
import pytest

import gradcore as gc

X = np.array([0.1, 0.7, 1e9, -np.inf], np.float32)


def rounded(x):
    return gc.straight_through(x, gc.round(x))


def test_value_is_exact_and_the_gradient_is_that_of_x():
    assert rounded(X).numpy().tolist() == np.round(X).tolist()
    assert np.asarray(gc.grad(lambda x: (2.0 * rounded(x)).sum())(X)).tolist() == [2] * 4
    assert np.asarray(gc.jvp(rounded, (X,), (np.full(4, 3, np.float32),))[1]).tolist() == [3] * 4


def test_nothing_flows_back_to_the_value():
    x, value = gc.tensor([1.0, 2.0], requires_grad=True), gc.tensor([3.0, 4.0], requires_grad=True)
    (gc.straight_through(x, value) * value).sum().backward()
    assert x.grad.numpy().tolist() == [3, 4]
    assert value.grad.numpy().tolist() == [3, 4]  # of the factor alone


def test_under_vmap_and_on_scalars():
    assert np.asarray(gc.vmap(rounded)(X[None])).tolist() == [np.round(X).tolist()]
    assert np.asarray(gc.vmap(lambda x: gc.straight_through(x, gc.tensor([5.0])))(X[:2, None])).tolist() == [[5], [5]]
    assert gc.straight_through(0.5, 1.0).item() == 1


def test_bad_operands_raise():
    with pytest.raises(ValueError, match="must have one shape"):
        gc.straight_through(X, X[:2])
    with pytest.raises(TypeError, match="float32 and value bool; cast one"):
        gc.straight_through(X, X > 0)
