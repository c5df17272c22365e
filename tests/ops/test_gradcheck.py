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
    with pytest.raises(ValueError, match="needs both modes"):
        gradcheck(gc.sin, (np.ones(2),), modes=("reverse",), finite=False)


def test_the_result_is_the_closest_comparison():
    result = gradcheck(lambda x: gc.exp(x) * gc.sin(x), (np.array([0.3, -0.7]),), order=2, modes="both")
    assert result and 0 < result.error <= result.allowed and result.op is None
    assert result.mode in ("reverse", "forward") and result.order in (1, 2)
    assert result.value == pytest.approx(result.expected, abs=1e-4)


def doubled(needed, g, xs, ys, params):
    return (gc.mul(gc.mul(g, gc.mul(3.0, gc.square(xs[0]))), gc.asarray(np.array([1.0, 2.0, 1.0]))),)


def test_a_wrong_reverse_rule_names_the_argument_its_index_and_the_op():
    op = good(vjp=doubled)

    def f(a, b):
        y = gc.sin(b)
        return a.sum() * bind(op, (gc.exp(y),))  # the op is here

    with pytest.raises(AssertionError) as error:
        gradcheck(f, (np.ones(2), np.array([0.1, 0.2, 0.3])), modes="reverse")
    result = error.value.result
    assert not result and (result.order, result.mode, result.index) == (1, "reverse", (1,))
    assert result.value == pytest.approx(2 * result.expected, rel=1e-6)
    text = str(error.value)
    assert "gradient of argument 1: entry [1]" in text
    assert "'cube' on float64[3]" in text and "# the op is here" in text


def test_a_wrong_second_derivative_is_found_at_its_order():
    @gc.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, g: (2.0 * gc.stop_gradient(x) * g,))
    assert gradcheck(square, (np.array([1.0, 2.0]),), order=1, modes="reverse")
    with pytest.raises(AssertionError, match=r"reverse mode of vjp\(f\), gradient of argument 0: entry") as error:
        gradcheck(square, (np.array([1.0, 2.0]),), order=2, modes="reverse")
    assert error.value.result.order == 2


def test_a_gradient_of_another_shape_or_of_nan_is_reported():
    op = good(jvp=lambda tangents, xs, ys, params: gc.mul(tangents[0], np.nan))
    with pytest.raises(AssertionError, match="is nan"):
        gradcheck(lambda x: bind(op, (x,)), (np.ones(3),), modes="forward")
    op = good(vjp=lambda needed, g, xs, ys, params: (gc.sum(g),))
    with pytest.raises(AssertionError, match=r"argument 0: it has shape \(\), expected \(3,\)"):
        gradcheck(lambda x: bind(op, (x,)), (np.ones(3),), modes="reverse")


def test_nothing_to_differentiate_is_refused():
    with pytest.raises(ValueError, match="no floating argument"):
        gradcheck(gc.sin, (np.array([1, 2]),))


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


def times(factor):
    """A product with a rule of its own: the cotangents, times `factor`."""
    f = gc.custom_vjp(lambda x, w: x * w)
    f.defvjp(lambda x, w: (x * w, (x, w)), lambda saved, g: (factor(g * saved[1]), g * saved[0]))
    return f


ENTRY = np.array([[1.0, 1.0, 1.0], [1.0, 1.0 + 1e-4, 1.0], [1.0, 1.0, 1.0]])
MUTATIONS = {
    "the sign": lambda g: -g,
    "a factor": lambda g: g * (1 + 1e-4),
    "one entry": lambda g: g * ENTRY,
    "the transpose": lambda g: g.T,
    "a sum": lambda g: g + 1e-4 * g.sum(),
    "nothing": lambda g: None,
    "zeros": lambda g: g * 0.0,
    "not a number": lambda g: g * np.nan,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutated_reverse_rules_are_found(name):
    x, w = np.random.default_rng(0).normal(size=(2, 3, 3))
    assert gradcheck(times(lambda g: g), (x, w), order=2, modes="reverse")
    with pytest.raises(AssertionError, match="argument 0"):
        gradcheck(times(MUTATIONS[name]), (x, w), order=1, modes="reverse")


@pytest.mark.parametrize("name", [name for name in MUTATIONS if name != "nothing"])
@pytest.mark.parametrize("modes", ["forward", "both"])
def test_mutated_forward_rules_are_found(name, modes):
    def square(mutation):
        f = gc.custom_jvp(lambda x: x * x)
        f.defjvp(lambda primals, tangents: (primals[0] * primals[0], mutation(2.0 * primals[0] * tangents[0])))
        return f

    x = np.random.default_rng(0).normal(size=(3, 3))
    assert gradcheck(square(lambda t: t), (x,), order=3, modes=modes)
    with pytest.raises(AssertionError, match="forward mode of f, output 0: entry"):
        gradcheck(square(MUTATIONS[name]), (x,), order=1, modes=modes)


@pytest.mark.parametrize("modes", ["forward", "reverse", "both"])
@pytest.mark.parametrize("order", [2, 3])
def test_wrong_derivatives_of_higher_order_are_found_in_every_mode(modes, order):
    """The rule is right up to the order before: what it should differentiate further is a constant there."""

    def power(depth):
        if depth == 1:
            return gc.stop_gradient
        f = gc.custom_jvp(lambda x: x**depth)
        below = power(depth - 1)
        f.defjvp(lambda primals, tangents: (primals[0] ** depth, depth * below(primals[0]) * tangents[0]))
        return f

    x = np.array([0.5, 2.0])
    assert gradcheck(power(order), (x,), order=order - 1, modes=modes)
    with pytest.raises(AssertionError) as error:
        gradcheck(power(order), (x,), order=order, modes=modes)
    assert error.value.result.order == order


def test_a_rule_that_computes_another_result_is_found():
    f = gc.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x + 1.0, x), lambda x, g: (2.0 * x * g,))
    with pytest.raises(AssertionError, match=r"value of f in reverse mode, output 0: entry \[\d\] is"):
        gradcheck(f, (np.array([1.0, 2.0]),), order=1, modes="reverse")
    f = gc.custom_jvp(lambda x: x * x)
    f.defjvp(lambda primals, tangents: (primals[0] * 3.0, 2.0 * primals[0] * tangents[0]))
    with pytest.raises(AssertionError, match="value of f in forward mode"):
        gradcheck(f, (np.array([1.0, 2.0]),), order=1)
