"""Anomaly modes: the first NaN or infinity by op and line, flags that cost nothing, and checksums of saved values."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import AnomalyError, ChangedError
from gradcore.core.state import state, switch


@pytest.fixture(autouse=True)
def quiet_numpy():
    with np.errstate(all="ignore"):
        yield


def message(error):
    return str(error.value)


def test_forward_names_op_shapes_and_line():
    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        x = gc.tensor([1.0, 0.0])
        y = x * 2.0
        gc.log(y)  # here
    text = message(error)
    assert "'log' gave -inf at [1] of its result, float32[2] (operands: float32[2])" in text
    assert "gc.log(y)  # here" in text and "test_anomaly.py" in text
    assert not state.hooks and not switch.busy


def test_backward_names_both_lines():
    x = gc.tensor([4.0, 0.0], requires_grad=True)
    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        y = gc.sqrt(x)  # forward
        y.sum().backward()  # backward
    text = message(error)
    assert "vjp of 'sqrt'" in text and "inf at [1]" in text
    assert "gc.sqrt(x)  # forward" in text and "y.sum().backward()  # backward" in text


def test_transforms_are_searched():
    with pytest.raises(AnomalyError, match=r"vjp of 'sqrt'"), gc.detect_anomaly():
        gc.vmap(gc.grad(gc.sqrt))(gc.tensor([1.0, 0.0]))
    with pytest.raises(AnomalyError, match="'log'"), gc.detect_anomaly():
        gc.jvp(gc.log, (gc.tensor(-1.0),), (gc.tensor(1.0),))


def sloped(carry, x):
    """A body that takes a gradient."""
    carry = gc.grad(lambda c: (gc.sin(c) * x).sum())(carry)
    return carry, None


@pytest.mark.parametrize("mode", [gc.detect_anomaly, lambda: gc.detect_anomaly(deferred=True), gc.check_saved])
def test_bodies_that_take_derivatives_work_in_every_mode(mode):
    with mode():
        gc.scan(sloped, gc.ones(2), gc.ones(3))
        gc.grad(lambda c: gc.cond(c.sum() > 0, lambda c: gc.scan(sloped, c, gc.ones(3))[0].sum(), gc.sum, c))(
            gc.ones(2)
        )


def test_the_op_in_a_body_is_named_with_its_line():
    def step(c, x):
        return gc.cond(x > 0, lambda c: c * 2.0, gc.log, c), None  # body

    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        gc.scan(step, gc.tensor(0.0), gc.tensor([1.0, -1.0]))  # call
    text = message(error)
    assert text.startswith("'log' gave -inf at [] of its result, float32[] (operands: float32[])")
    assert "in a body: " in text and "# body" in text and "# call" in text
    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        gc.grad(lambda c: gc.scan(lambda c, x: (gc.sqrt(c) * x, None), c, gc.ones(1))[0])(gc.tensor(0.0))
    assert "vjp of 'scan_saving'" in message(error) and "'sqrt_vjp' gave inf" in message(error)


def test_masks_of_infinities_in_a_body_are_not_errors():
    def step(c, x):
        return c, gc.where(x > 0, x, -np.inf)

    with gc.detect_anomaly():
        ys = gc.scan(step, gc.tensor(0.0), gc.tensor([1.0, -1.0]))[1]
    assert ys.tolist() == [1.0, -np.inf]


def test_masks_of_infinities_are_not_errors_and_nan_always_is():
    with gc.detect_anomaly():
        x = gc.tensor([1.0, 2.0], requires_grad=True)
        masked = gc.where(gc.tensor([True, False]), x, -np.inf)
        gc.softmax(masked).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    with pytest.raises(AnomalyError, match=r"operands: float32\[1\] with NaN, 2.0"), gc.detect_anomaly():
        gc.tensor([np.nan]) * 2.0
    with pytest.raises(AnomalyError, match="nan"), gc.detect_anomaly():
        gc.tensor([np.inf]) - gc.tensor([np.inf])


def test_functions_with_their_own_derivative_are_searched():
    f = gc.custom_vjp(lambda x: gc.asarray(x.numpy() * 1.0))
    f.defvjp(lambda x: (f(x), None), lambda _, g: (gc.asarray(np.full(2, np.nan, np.float32)),))
    x = gc.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(AnomalyError, match=r"vjp of '<lambda>'"), gc.detect_anomaly():
        f(x).sum().backward()


def test_nothing_is_raised_and_nothing_changes_on_a_sound_program():
    rng = np.random.default_rng(0)
    model = gc.nn.Sequential(gc.nn.Linear(4, 8), gc.nn.Tanh(), gc.nn.Linear(8, 3))
    x, labels = rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 3, 5)

    def gradients():
        for p in model.parameters():
            p.zero_grad()
        gc.cross_entropy(model(gc.tensor(x)), gc.tensor(labels)).backward()
        return [p.grad.numpy().copy() for p in model.parameters()]

    plain = gradients()
    with gc.detect_anomaly():
        searched = gradients()
    for a, b in zip(plain, searched, strict=True):
        np.testing.assert_array_equal(a, b)


# --- deferred ---------------------------------------------------------------------------------------------------------


def test_deferred_names_the_step_and_the_gradient_and_keeps_the_fast_path():
    w = gc.Cell(gc.tensor([0.0, 4.0]), "w", requires_grad=True)
    with gc.detect_anomaly(deferred=True) as found:
        assert not switch.busy
        for power in (2.0, 0.5, 2.0):
            (w**power).sum().backward()
        with pytest.raises(AnomalyError, match=r"gradient of w .* backward pass 2 of 3.*detect_anomaly"):
            found.check()
        found.check()


def test_deferred_checks_at_the_end_and_sees_the_loss_and_transforms():
    x = gc.tensor([2.0], requires_grad=True)
    with pytest.raises(AnomalyError, match="the loss"), gc.detect_anomaly(deferred=True):
        (x.sum() + gc.tensor(np.inf, dtype="float32")).backward()
    with pytest.raises(AnomalyError, match="a gradient"), gc.detect_anomaly(deferred=True):
        gc.grad(gc.sqrt)(gc.tensor(0.0))
    assert state.watch is None
    with pytest.raises(KeyError), gc.detect_anomaly(deferred=True):
        gc.grad(gc.sqrt)(gc.tensor(0.0))
        raise KeyError


def test_deferred_lists_what_was_wrong_from_the_loss_down():
    first, last = (gc.Cell(gc.tensor([1.0]), name, requires_grad=True) for name in ("first", "last"))
    with gc.detect_anomaly(deferred=True) as found:
        gc.scan(sloped, gc.ones(2), gc.ones(3))  # passes inside a capture are none
        (gc.sqrt(first * 0.0) * last).sum().backward()
        with pytest.raises(AnomalyError) as error:
            found.check()
        assert message(error).startswith("the gradient of first was NaN or infinite in backward pass 1 of 1")
        (gc.log(first * 0.0) * last).sum().backward()
        with pytest.raises(AnomalyError) as error:
            found.check()
    assert message(error).startswith("the loss, the gradient of last, the gradient of first were NaN or infinite")
    assert "with the same parameters, data and random state in `with gradcore.detect_anomaly():`" in message(error)


def test_deferred_is_not_misled_by_large_gradients():
    with gc.detect_anomaly(deferred=True) as found:
        gc.grad(lambda x: (x * 3e38).sum())(gc.tensor([0.1, 0.1]))
        found.check()


# --- saved values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [gc.check_saved, gc.detect_anomaly])
@pytest.mark.parametrize("share", [gc.asarray, gc.from_dlpack])
def test_an_alias_that_changed_is_caught(mode, share):
    a = np.ones(2)
    x = gc.tensor(np.array([1.0, 2.0]), requires_grad=True)
    with pytest.raises(ChangedError) as error, mode():
        loss = (x * share(a)).sum()  # forward
        a[0] = 5.0
        loss.backward()
    text = message(error)
    assert "operand 'b' changed after 'mul'" in text and "# forward" in text and "loss.backward()" in text


def test_transforms_are_checked_and_unchanged_values_pass():
    a = np.ones(2)

    def f(x):
        y = gc.exp(x * gc.asarray(a))
        return y.sum()

    with gc.check_saved():
        gc.grad(gc.grad(lambda x: f(x)))(gc.tensor(2.0, dtype="float64"))
        _, pull = gc.vjp(f, gc.tensor(2.0, dtype="float64"))
        pull(gc.tensor(1.0, dtype="float64"))
        a[0] = 7.0
        with pytest.raises(ChangedError, match="'mul'"):
            pull(gc.tensor(1.0, dtype="float64"))


def test_outside_the_mode_nothing_is_compared():
    a = np.ones(2)
    x = gc.tensor(np.array([1.0, 2.0]), requires_grad=True)
    loss = (x * gc.asarray(a)).sum()
    a[0] = 5.0
    loss.backward()
    assert x.grad.tolist() == [5.0, 1.0]
