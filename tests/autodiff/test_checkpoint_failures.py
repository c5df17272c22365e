"""Checkpoints where something goes wrong or somebody watches: exceptions, modes, threads."""

import threading

import pytest

import gradcore as gc
from gradcore.core.errors import AnomalyError
from gradcore.core.hooks import Hook, hooked
from gradcore.core.state import state, switch
from gradcore.testing import gradcheck

from .test_checkpoint import assert_same, plain, values
from .test_checkpoint_training import exp_sin, leaf


@pytest.fixture(autouse=True)
def no_region_left():
    yield
    assert state.regions == [] and switch.busy == 0


# --- exceptions -------------------------------------------------------------------------------------------------------


def test_an_exception_in_the_function():
    def f(x):
        y = gc.exp(x)
        if fail:
            raise ValueError("mine")
        return gc.sin(y)

    x = leaf(3)
    outer = gc.checkpoint(lambda x: gc.checkpoint(f)(gc.tanh(x)) * x)
    fail = True
    with pytest.raises(ValueError, match="mine"):
        outer(x)
    assert state.regions == []
    fail = False
    outer(x).sum().backward()
    assert_same(x.grad, gc.grad(lambda x: (f(gc.tanh(x)) * x).sum())(gc.tensor(x.numpy())))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_exception_in_recomputation(error):
    """It passes unchanged, a MemoryError says where it was, nothing stays behind, and the next step works."""
    count = 0

    class Failing(Hook):
        def before(self, op, values, params):
            nonlocal count
            count += op.name == "sin"
            if count == 2:
                raise error

    x = leaf(3)
    f = gc.checkpoint(lambda x: gc.exp(gc.checkpoint(lambda x: gc.tanh(gc.sin(x)))(x * 2)))
    with hooked(Failing()):
        loss = f(x).sum()
        with pytest.raises(error) as caught:
            loss.backward()
    notes = "".join(getattr(caught.value, "__notes__", []))
    if error is MemoryError:
        assert "computed 'sin' of a checkpoint again; it ran first at" in notes and "gc.tanh(gc.sin(x))" in notes
    assert x.grad is None
    f(x).sum().backward()
    assert_same(x.grad, gc.grad(lambda x: gc.exp(gc.tanh(gc.sin(x * 2))).sum())(gc.tensor(x.numpy())))


def test_pull_again_after_an_exception():
    x = gc.tensor(values(3))
    y, pull = gc.vjp(gc.checkpoint(exp_sin), x)

    class Failing(Hook):
        def pulling(self, record, g):
            if record.pull.op.name == "sin":
                raise KeyboardInterrupt

    with hooked(Failing()), pytest.raises(KeyboardInterrupt):
        pull(y)
    assert_same(pull(y), gc.vjp(exp_sin, x)[1](y))


# --- modes and threads ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_modes_that_watch():
    x = leaf(3)
    with gc.detect_anomaly(), gc.check_saved():
        gc.checkpoint(lambda x: gc.sqrt(gc.exp(x)))(x).sum().backward()
    with gc.detect_anomaly(), pytest.raises(AnomalyError, match="'log' gave"):
        gc.checkpoint(lambda x: gc.log(gc.sin(x) * 0))(x)
    with gc.detect_anomaly(), pytest.raises(AnomalyError, match=r"vjp of 'sqrt'[^$]*gc.sqrt\(gc.exp\(x\)"):
        gc.checkpoint(lambda x: gc.sqrt(gc.exp(x) * 0))(x).sum().backward()


def test_gradcheck():
    gradcheck(gc.checkpoint(lambda x, y: gc.exp(gc.checkpoint(gc.sin)(x) * y).sum()), [values(3), values(3, seed=1)])


def test_explain_shows_the_values():
    x = leaf(3)
    texts = []
    for region in (plain, gc.checkpoint):
        with gc.keep_values():
            texts.append(str(gc.explain(region(exp_sin)(x).sum())))
    assert "exp" in texts[0] and texts[0] == texts[1]


def test_two_threads():
    results, barrier = {}, threading.Barrier(2)

    def work(number):
        barrier.wait()
        for _ in range(20):
            x = leaf(50, seed=number)
            gc.checkpoint(lambda x: gc.checkpoint(exp_sin)(gc.tanh(x)) * x)(x).sum().backward()
            results.setdefault(number, []).append(x.grad)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    [t.start() for t in threads], [t.join() for t in threads]
    for number in range(2):
        x = leaf(50, seed=number)
        (exp_sin(gc.tanh(x)) * x).sum().backward()
        assert_same(results[number], [x.grad] * 20)


def test_one_pull_in_two_threads():
    x = gc.tensor(values(200))
    y, pull = gc.vjp(gc.checkpoint(lambda x: gc.checkpoint(exp_sin)(gc.tanh(exp_sin(x))) * x), x)
    want, found, barrier = pull(y), [], threading.Barrier(2)

    def work():
        barrier.wait()
        found.extend([pull(y) for _ in range(30)])

    threads = [threading.Thread(target=work) for _ in range(2)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert_same(found, [want] * 60)
