"""Nothing stays alive longer than it is needed, and nothing needs the garbage collector."""

import contextlib
import gc as collector
import tracemalloc
import weakref

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.hooks import Hook, hooked

KIB = 1024
WIDE = np.zeros((64, 1024))  # 512 KiB


@pytest.fixture(autouse=True)
def without_collector():
    """Reference counts alone must free everything: what the collector finds was in a cycle."""
    collector.collect()
    collector.disable()
    yield
    kinds = cycles()
    collector.enable()
    assert not kinds, f"reference cycles through {kinds}"


def cycles():
    """Types of what only the collector could free."""
    flags = collector.get_debug()
    collector.set_debug(collector.DEBUG_SAVEALL)
    try:
        collector.collect()
        return sorted({type(x).__name__ for x in collector.garbage})
    finally:
        collector.set_debug(flags)
        collector.garbage.clear()
        collector.collect()


def test_a_cycle_would_be_found():
    loop = [gc.tensor(1.0)]
    loop.append(loop)
    del loop
    assert "list" in cycles()


class Arrays(Hook):
    """Weak references to every array that an op made."""

    def __init__(self):
        self.made = []

    def after(self, op, values, params, outputs):
        self.made += [weakref.ref(output) for output in outputs]

    def alive(self):
        return [array for ref in self.made if (array := ref()) is not None]


def network(x, w, b):
    return gc.mse(gc.tanh(gc.linear(gc.sigmoid(gc.linear(x, w, b)), w, b)), x)


def operands(requires_grad=True):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 8)), rng.normal(size=(8, 8)), rng.normal(size=8)
    return [gc.tensor(value, requires_grad=requires_grad and k > 0) for k, value in enumerate(values)]


def test_backward_frees_every_activation():
    x, w, b = operands()
    arrays = Arrays()
    with hooked(arrays):
        loss = network(x, w, b)
        loss.backward()
    kept = {id(loss.data), id(w.grad.data), id(b.grad.data)}
    assert [a.shape for a in arrays.alive() if id(a) not in kept] == []


def test_dropping_the_loss_frees_every_activation():
    x, w, b = operands()
    arrays = Arrays()
    with hooked(arrays):
        loss = network(x, w, b)
    assert len(arrays.alive()) > 1
    node = weakref.ref(loss.node)
    del loss
    assert arrays.alive() == [] and node() is None


@pytest.mark.parametrize("general", [True, False])
def test_a_step_gives_back_its_memory(general):
    """The same on the short cut, which no hook sees: traced bytes after a step are those before it."""
    x, w = gc.tensor(WIDE), gc.tensor(np.zeros(1024), requires_grad=True)

    def step(backward):
        loss = gc.sum(gc.tanh(gc.sigmoid(x * w) * x))
        if backward:
            loss.backward()
            w.zero_grad()

    for backward in (True, False):
        if general:
            with hooked(Hook()):
                growth = grown(lambda backward=backward: step(backward))
        else:
            growth = grown(lambda backward=backward: step(backward))
        assert growth < 16 * KIB


def grown(step, repeat=3):
    """Bytes that are alive after some steps and were not after the first."""
    step()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(repeat):
        step()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def peak(work):
    """Most traced bytes while `work` runs."""
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_backward_frees_as_it_goes():
    """Each record lets its saved values go as it is passed: cotangents take the place of activations."""
    w = gc.tensor(WIDE, requires_grad=True)

    def chain():
        y = w
        for _ in range(10):
            y = gc.tanh(y)
        loss = gc.sum(y)
        del y
        loss.backward()
        w.zero_grad()

    chain()
    assert peak(chain) < 13.5 * WIDE.nbytes


def test_an_op_keeps_only_what_its_vjp_reads():
    """sigmoid reads its output, so its input goes as soon as nobody else holds it."""
    w = gc.tensor(WIDE, requires_grad=True)
    arrays = Arrays()
    with hooked(arrays):
        y = gc.sigmoid(w * 2.0)
    assert [a is y.data for a in arrays.alive()] == [True]


def test_no_grad_keeps_nothing():
    x, w, b = operands()
    arrays = Arrays()
    with hooked(arrays), gc.no_grad():
        loss = network(x, w, b)
    assert [a is loss.data for a in arrays.alive()] == [True]


TRANSFORMS = {
    "grad": lambda f, x: gc.grad(f)(x),
    "grad of grad": lambda f, x: gc.grad(lambda x: gc.sum(gc.grad(f)(x)))(x),
    "jvp": lambda f, x: gc.jvp(f, (x,), (x,)),
    "vmap of grad": lambda f, x: gc.vmap(gc.grad(f))(x),
    "make_graph": lambda f, x: gc.make_graph(gc.grad(f))(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_leave_nothing(name):
    x = gc.tensor(np.random.default_rng(0).normal(size=(3, 4)))
    arrays = Arrays()
    with hooked(arrays):
        result = TRANSFORMS[name](lambda x: gc.sum(gc.sigmoid(x) * gc.tanh(x)), x)
        del result
    assert arrays.alive() == []


def test_vjp_keeps_its_records_until_pull_is_dropped():
    arrays = Arrays()
    with hooked(arrays):
        _, pull = gc.vjp(lambda x: gc.exp(gc.sin(x)), gc.tensor(np.ones(3)))
        pull(gc.tensor(np.ones(3)))
        assert arrays.alive() != []
        del pull, _
    assert arrays.alive() == []


@pytest.mark.parametrize("failing", [True, False])
def test_an_exception_keeps_nothing_alive(failing):
    arrays = Arrays()

    def f(x):
        y = gc.sin(x)
        if failing:
            raise ValueError
        return gc.sum(y)

    with hooked(arrays), contextlib.suppress(ValueError):
        gc.grad(f)(gc.tensor(np.ones(3)))
    assert arrays.alive() == []


class Local:
    pass


def test_a_record_keeps_no_frame():
    def work():
        local = Local()
        refs.append(weakref.ref(local))
        return gc.sum(gc.sin(gc.tensor(np.ones(3), requires_grad=True)))

    refs = []
    loss = work()
    assert refs[0]() is None and loss.node is not None


@pytest.mark.parametrize("backward", [True, False])
def test_a_chain_of_50_000_ops(backward):
    """Neither the walk nor freeing recurses."""
    x = gc.tensor(np.array(1.0), requires_grad=True)
    y = x
    for _ in range(50_000):
        y = y * 1.0
    if backward:
        y.backward()
        assert float(x.grad) == 1
    first = weakref.ref(y.node)
    del y
    assert first() is None


def test_a_deep_chain_under_grad():
    def f(x):
        for _ in range(20_000):
            x = -x
        return x

    assert float(gc.grad(f)(np.array(2.0))) == 1


def test_a_second_backward_adds_in_place_unless_somebody_holds_the_gradient():
    x = gc.tensor(np.ones(100_000, np.float32), requires_grad=True)
    (x * 2).sum().backward()
    array = weakref.ref(x.grad.data)
    held = x.grad
    (x * 3).sum().backward()
    assert float(held[0]) == 2 and float(x.grad[0]) == 5 and x.grad.data is not array()
    del held
    before = id(x.grad.data)
    (x * 4).sum().backward()
    assert float(x.grad[0]) == 9 and id(x.grad.data) == before
    view = x.grad.numpy()
    (x * 5).sum().backward()
    assert view[0] == 9 and float(x.grad[0]) == 14
