"""gradcheck: what it accepts, and what it says when a derivative is wrong."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.bind import bind
from gradcore.testing import gradcheck
from gradcore.testing.compare import assert_close, assert_near, assert_same_bits

from .common import good


def test_trees_and_constants():
    def model(parameters, labels):
        return {"loss": gc.cross_entropy(gc.matmul(parameters["x"], parameters["w"]), labels)}

    rng = np.random.default_rng(0)
    parameters = {"x": rng.normal(size=(3, 2)), "w": rng.normal(size=(2, 4))}
    gradcheck(model, (parameters, np.array([0, 3, 1])), order=3)


@pytest.mark.parametrize("modes", [("reverse",), ("forward",), ("reverse", "forward")])
def test_modes(modes):
    gradcheck(lambda x: gc.exp(x) * gc.sin(x), (gc.tensor([0.3, -0.7]),), order=4, modes=modes)


def test_a_wrong_gradient_names_the_worst_entry_and_both_values():
    op = good(jvp=lambda tangents, xs, ys, params: gc.mul(tangents[0], gc.asarray(np.array([3.0, 99.0, 3.0]))))
    number = r"-?\d+\.\d+"
    with pytest.raises(
        AssertionError, match=rf"forward mode of f, output 0: entry \[1\] is {number}, expected {number}"
    ):
        gradcheck(lambda x: bind(op, (x,)), (np.ones(3),), modes=("forward",))


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="backwards"):
        gradcheck(gc.sin, (np.ones(2),), modes=("backwards",))


def test_reverse_alone_needs_finite_differences():
    with pytest.raises(AssertionError, match="needs both modes"):
        gradcheck(gc.sin, (np.ones(2),), modes=("reverse",), finite=False)


def test_comparisons_name_the_difference():
    a, b = np.array([1.0, 2.0]), np.array([1.0, 2.5])
    with pytest.raises(AssertionError, match=r"it: entry \[1\] is .*2.0.*expected .*2.5"):
        assert_close(a, b, "it")
    with pytest.raises(AssertionError, match="shape"):
        assert_close(a, b[:1], "it")
    with pytest.raises(AssertionError, match="dtype"):
        assert_close(a, a.astype(np.float32), "it")
    with pytest.raises(AssertionError, match="sign of zero"):
        assert_same_bits(np.zeros(1), -np.zeros(1), "it")
    with pytest.raises(AssertionError, match="entry"):
        assert_near(np.array([np.nan]), np.array([1.0]), "it", 1.0)
    assert_near(np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), "it", 0.0)
