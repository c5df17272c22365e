"""What checkpoints hold, and how often each op runs: counted, not believed."""

import contextlib
import gc as collector
import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.hooks import Hook, hooked

from .test_checkpoint import plain, values

WIDE = 1 << 16  # float64: 512 KiB
KIB = 1024


@pytest.fixture(autouse=True)
def without_collector():
    """Reference counts alone must free everything."""
    collector.collect()
    collector.disable()
    yield
    assert collector.collect() < 500  # cycles of exceptions and of pytest
    collector.enable()


class Watch(Hook):
    """Counts ops, and knows which of their results are alive."""

    def __init__(self):
        self.runs, self.made, self.most = Counter(), [], 0

    def after(self, op, values, params, outputs):
        self.runs[op.name] += 1
        self.made += [weakref.ref(output) for output in outputs]
        self.most = max(self.most, len(self.alive()))

    def alive(self):
        """Arrays that own memory, each once."""
        arrays = [array for made in self.made if (array := made()) is not None]
        return list({id(owner): owner for a in arrays for owner in [a if a.base is None else a.base]}.values())

    def counted(self):
        found, self.runs = dict(self.runs), Counter()
        return found


def leaf(size=8):
    return gc.tensor(values(size), requires_grad=True)


def block(x):
    return gc.tanh(gc.exp(gc.sin(x)) * x)


# --- how often --------------------------------------------------------------------------------------------------------


def runs(region, f, backward=lambda loss: loss.backward()):
    """How often ops run, forward and backward."""
    watch, x = Watch(), leaf()
    with hooked(watch):
        loss = f(region, x)
        forward = watch.counted()
        backward(loss)
    return forward, watch.counted()


def added(f):
    """What the backward pass of a checkpoint runs besides the plain one; forward passes run the same."""
    forward, backward = runs(gc.checkpoint, f)
    plain_forward, plain_backward = runs(plain, f)
    assert forward == plain_forward
    return dict(Counter(backward) - Counter(plain_backward))


def test_only_what_is_needed_runs_again():
    """`tanh` saves its result and `abs` its operand; sums save nothing, so they do not run again."""
    found = added(lambda region, x: region(lambda x: (block(x) + gc.abs(gc.cos(x))).sum())(x))
    assert found == {"sin": 1, "exp": 1, "mul": 1, "tanh": 1, "cos": 1}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_each_level_runs_once_more(depth):
    """A region runs its first half for the input of its second inner region, and then both inner ones again."""

    def f(region, x, depth=depth):
        if depth == 0:
            return block(x)
        return region(lambda x: f(region, f(region, x, depth - 1), depth - 1))(x)

    def level(depth):
        return 2 if depth == 1 else 2 ** (depth - 1) + 2 * level(depth - 1)

    found = added(lambda region, x: f(region, x).sum())
    assert found == dict.fromkeys(("sin", "exp", "mul", "tanh"), level(depth)) and level(3) == 16


def test_what_is_alive_is_not_computed_again():
    kept = []

    def f(region, x):
        def keeping(x):
            kept.append(gc.exp(gc.sin(x)))
            return gc.tanh(kept[-1] * x)

        return region(keeping)(x).sum()

    assert added(f) == {"mul": 1, "tanh": 1}
    kept.clear()


def test_each_pull_runs_the_region_once():
    watch = Watch()
    x = gc.tensor(values(8))
    with hooked(watch):
        y, pull = gc.vjp(gc.checkpoint(block), x)
        for count in (1, 2, 3):
            pull(y)
            assert watch.runs["sin"] == watch.runs["exp"] == 1 + count and watch.runs["tanh"] == 1  # y is alive


# --- how much ---------------------------------------------------------------------------------------------------------


def test_after_the_forward_pass_only_results_are_alive():
    watch, x = Watch(), leaf()
    with hooked(watch):
        y = gc.checkpoint(lambda x: block(block(x)))(x)
        assert [a is y.data for a in watch.alive()] == [True]
        z = gc.checkpoint(lambda x: block(block(x)))(y)
        assert len(watch.alive()) == 2
        del y, z
    assert watch.alive() == []


def test_values_go_as_soon_as_python_lets_them_go():
    """Two at a time in a chain of sixty ops: what an op reads, and what it makes."""
    watch = Watch()

    def chain(x):
        for _ in range(60):
            x = gc.tanh(x)
        return x

    with hooked(watch):
        y = gc.checkpoint(lambda x: gc.checkpoint(chain)(x * 2))(leaf())
    assert watch.most <= 3 and y.requires_grad


def traced(work):
    """Bytes that stay, and the most on the way."""
    collector.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = work()
    after, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept, after - before, most - before


@pytest.mark.parametrize(
    ("region", "stay", "forward_peak", "backward_peak"), [(plain, 100, 100, 2), (gc.checkpoint, 9, 11, 12)]
)
def test_bytes(region, stay, forward_peak, backward_peak):
    """Ten blocks of ten ops: plain keeps what a hundred ops save, a checkpoint the inputs of nine regions."""
    x = leaf(WIDE)

    def ten(x):
        for _ in range(10):
            x = gc.tanh(x)
        return x

    def forward():
        y = x
        for _ in range(10):
            y = region(ten)(y)
        return y.sum()

    forward().backward()
    loss, kept, most = traced(forward)
    _, _, peak = traced(loss.backward)
    unit = 8 * WIDE
    assert [round(n / unit, 1) for n in (kept, most, peak)] == pytest.approx(
        [stay, forward_peak, backward_peak], abs=0.4
    )


def test_backward_frees_each_region_as_it_passes():
    watch, x = Watch(), leaf()
    with hooked(watch):
        y = x
        for _ in range(10):
            y = gc.checkpoint(block)(y)
        loss = y.sum()
        del y
        watch.most = 0
        loss.backward()
        assert watch.most == 14  # nine inputs, three values that a block saves, and two cotangents
        del loss
    assert [a is x.grad.data for a in watch.alive()] == [True]


@pytest.mark.parametrize("pulled", [True, False])
def test_inner_regions_let_their_inputs_go(pulled):
    """Also where the records stay for another pull."""
    watch, alive = Watch(), []

    def outer(x):
        for _ in range(10):
            x = gc.checkpoint(block)(x)
        return x.sum()

    class Each(Hook):
        def pulling(self, record, g):
            if record.pull.op.name == "sin":
                alive.append(len(watch.alive()))

    with hooked(watch):
        if pulled:
            y, pull = gc.vjp(gc.checkpoint(outer), gc.tensor(values(8)))
            backward, one = pull, gc.tensor(np.array(1.0))
        else:
            y = gc.checkpoint(outer)(leaf())
            backward, one = y.backward, None
        assert len(watch.alive()) == 1
        with hooked(Each()):
            backward(one)
        assert alive == [*range(12, 2, -1)]


def test_recomputation_lets_go_of_what_it_passed():
    watch, x = Watch(), leaf()

    def f(x):
        for _ in range(60):
            x = x + 1.0
        return gc.tanh(x)

    with hooked(watch):
        loss = gc.checkpoint(f)(x).sum()
        watch.most = 0
        loss.backward()
    assert watch.most <= 4


def test_of_what_a_policy_keeps_only_what_a_rule_needs_stays():
    watch, x = Watch(), leaf()
    with hooked(watch):
        y = gc.checkpoint(block, gc.memory.recompute_ops("exp"))(x)
        assert len(watch.alive()) == 2 and y.requires_grad  # sin, from which exp is computed again, and tanh


def test_a_pull_leaves_nothing_behind():
    watch = Watch()
    with hooked(watch):
        y, pull = gc.vjp(gc.checkpoint(lambda x: gc.checkpoint(block)(block(x))), gc.tensor(values(8)))
        assert len(watch.alive()) == 1
        for _ in range(2):
            pull(y)
            assert len(watch.alive()) == 1
        del pull, y
    assert watch.alive() == []


def test_what_a_walk_does_not_reach_is_let_go():
    watch, x = Watch(), leaf()
    with hooked(watch):
        one, other = gc.checkpoint(lambda x: (gc.checkpoint(block)(gc.exp(x)), gc.checkpoint(block)(gc.cos(x))))(x)
        one.sum().backward()
        x.zero_grad()
        assert len(watch.alive()) == 2
        del one, other
    assert watch.alive() == []


@pytest.mark.parametrize("name", ["sin", "mul"])
def test_an_exception_leaves_nothing_behind(name):
    watch = Watch()

    class Failing(Hook):
        def pulling(self, record, g):
            if record.pull.op.name == name:
                raise KeyboardInterrupt

    with hooked(watch):
        y, pull = gc.vjp(gc.checkpoint(lambda x: gc.checkpoint(block)(gc.checkpoint(block)(x))), gc.tensor(values(8)))
        with hooked(Failing()), contextlib.suppress(KeyboardInterrupt):
            pull(y)
        assert len(watch.alive()) == 1


TRANSFORMS = {
    "grad": lambda f, x: gc.grad(f)(x),
    "grad of grad": lambda f, x: gc.grad(lambda x: gc.grad(f)(x).sum())(x),
    "jvp": lambda f, x: gc.jvp(f, (x,), (x,)),
    "vmap of grad": lambda f, x: gc.vmap(gc.grad(f))(gc.stack([x, x])),
    "make_graph": lambda f, x: gc.make_graph(gc.grad(f))(x),
    "hessian": lambda f, x: gc.hessian(f)(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_leave_nothing(name):
    watch = Watch()
    with hooked(watch):
        result = TRANSFORMS[name](gc.checkpoint(lambda x: gc.checkpoint(block)(block(x)).sum()), gc.tensor(values(8)))
        del result
    assert watch.alive() == []
