"""Checkpoints in training: shared weights, cells, modules, several losses, captured steps."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.compile import Program
from gradcore.core.cell import Cell
from gradcore.core.errors import GraphFreedError
from gradcore.core.graph import Graph
from gradcore.core.state import state, switch

from .test_checkpoint import assert_same, plain, values


@pytest.fixture(autouse=True)
def no_region_left():
    yield
    assert state.regions == [] and switch.busy == 0


def leaf(*shape, seed=0, dtype=np.float64):
    return gc.tensor(values(*shape, seed=seed, dtype=dtype), requires_grad=True)


def exp_sin(x):
    return gc.exp(gc.sin(x))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_recurrence_of_100_steps_in_10_regions(dtype):
    """Done when 3: one weight in all of them; its gradient is summed in the order of the plain run."""
    xs = gc.tensor(values(100, 4, 8, dtype=dtype, seed=1))

    def run(region):
        w, h = leaf(8, 8, dtype=dtype), leaf(4, 8, dtype=dtype, seed=2)
        state = h
        for start in range(0, 100, 10):

            def ten(state, start=start):
                for x in xs[start : start + 10]:
                    state = gc.tanh(state @ w * 0.5 + x)
                return state

            state = region(ten)(state)
        (state * state).sum().backward()
        return state, w.grad, h.grad

    assert_same(run(gc.checkpoint), run(plain))


class Standardise(gc.nn.Module):
    """Batch statistics with running ones in cells, and a count that Python reads."""

    def __init__(self, width):
        super().__init__()
        self.scale = gc.nn.Parameter(np.full(width, 1.25, np.float32))
        self.mean = gc.nn.Buffer(np.zeros(width, np.float32))
        self.var = gc.nn.Buffer(np.ones(width, np.float32))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        mean = x.mean(0)
        var = ((x - mean) ** 2).mean(0)
        self.mean.assign(0.9 * self.mean.read() + 0.1 * mean)
        self.var.assign(0.9 * self.var.read() + 0.1 * var)
        return (x - mean) * gc.rsqrt(var + 1e-5) * self.scale + 0.1 * gc.tanh(x) * self.mean.read()


class Network(gc.nn.Module):
    def __init__(self, region):
        super().__init__()
        gc.random.seed(0)
        width = 6
        self.first, self.shared = gc.nn.Linear(width, width), gc.nn.Linear(width, width)
        self.norm, self.layer_norm = Standardise(width), gc.nn.LayerNorm(width)
        self.drop = gc.nn.Dropout(0.3)
        self.region = region

    def block(self, x):
        x = self.norm(self.shared(gc.relu(self.layer_norm(x))))
        return self.drop(x) + self.shared(x)

    def forward(self, x):
        x = self.region(self.first)(x)
        for _ in range(3):
            x = self.region(self.block)(x)
        return x


def trained(region, steps=3, wrap=lambda step: step):
    """Three steps of Adam: losses, parameters, gradients, buffers, the random counter."""
    network = Network(region)
    optimizer = gc.optim.Adam(network.parameters(), lr=0.01)
    x, y = gc.tensor(values(5, 6, dtype=np.float32)), gc.tensor(values(5, 6, seed=1, dtype=np.float32))
    gc.random.seed(1)

    def step(x, y):
        network.zero_grad()
        loss = gc.mse(network(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = wrap(step)
    losses = [run(x, y) for _ in range(steps)]
    found = network.state_dict()
    grads = [p.grad for p in network.parameters()]
    return [losses, [found[key] for key in sorted(found)], grads, gc.random.key()], network


def test_dropout_norms_running_statistics_and_shared_weights():
    """Running statistics and random counters move once per forward pass, and Python runs once."""
    (want, one), (got, other) = trained(plain), trained(gc.checkpoint)
    assert_same(got, want)
    assert one.norm.calls == other.norm.calls == 9
    nested, _ = trained(lambda f: gc.checkpoint(gc.checkpoint(f), check=True))
    assert_same(nested, want)


def test_a_captured_training_step():
    """A Program of the whole step gives the eager bits; nodes that compute again are marked."""
    graphs = []

    def compiled(step):
        made = []

        def run(x, y):
            if not made:
                graphs.append(gc.make_graph(step)(x, y))
                made.append(Program(graphs[-1]))
            return made[0](x, y)

        return run

    want, _ = trained(plain)
    got, network = trained(gc.checkpoint, wrap=compiled)
    assert_same(got, want)
    assert network.norm.calls == 3
    again = [node.op.name for node in graphs[0].nodes if node.recomputed]
    assert {"relu", "layer_norm"} <= set(again) and not {"mse", "dropout"} & set(again)  # no vjp reads what these give
    assert str(graphs[0]).count("(recomputed)") == len(again)
    trained(plain, wrap=compiled)
    assert "(recomputed)" not in str(graphs[1])
    assert len(graphs[0].nodes) == len(graphs[1].nodes) + len(again)


def test_the_text_of_a_graph_keeps_the_mark():
    f = gc.grad(lambda x: gc.checkpoint(exp_sin)(x).sum())
    x = gc.tensor([0.5, 1.0])
    graph = gc.make_graph(f)(x)
    again = Graph.from_text(graph.to_text())
    assert [node.recomputed for node in again.nodes] == [node.recomputed for node in graph.nodes]
    assert str(again) == str(graph) and str(graph).count("(recomputed)") == 2
    assert again.to_text() == graph.to_text()
    assert graph.dot().count("exp\\n(recomputed)") == graph.dot().count("sin\\n(recomputed)") == 1
    assert_same(Program(again)(x), f(x))


# --- gradients of parts -----------------------------------------------------------------------------------------------


def two_outputs(region, x):
    y, z = region(lambda x: (exp_sin(x), gc.tanh(x * x)))(x)
    return y.sum(), z.sum()


@pytest.mark.parametrize("first", [0, 1])
def test_two_losses_one_after_the_other(first):
    def run(region):
        x, grads = leaf(3), []
        losses = two_outputs(region, x)
        for k in (first, 1 - first):
            losses[k].backward()
            grads.append(x.grad)
        return grads

    assert_same(run(gc.checkpoint), run(plain))


def test_backward_twice_raises():
    x = leaf(3)
    loss = gc.checkpoint(exp_sin)(x).sum()
    loss.backward()
    with pytest.raises(GraphFreedError, match="a second time"):
        loss.backward()


def test_under_no_grad_nothing_is_recorded():
    x = leaf(3)
    with gc.no_grad():
        y = gc.checkpoint(exp_sin)(x)
    assert not y.requires_grad

    def partly(x):
        with gc.no_grad():
            y = gc.exp(x)
        return gc.sin(x) * gc.tanh(y)

    grads = []
    for region in (plain, gc.checkpoint):
        x = leaf(3)
        region(partly)(x).sum().backward()
        grads.append(x.grad)
    assert_same(grads[1], grads[0])


def test_backward_inside():
    """Of the whole graph so far, in nested regions that are still open, and of another graph."""

    def run(region):
        x, w = leaf(4), leaf(4, seed=1)
        other = region(exp_sin)(w * 2).sum()

        def inner(h):
            y = gc.sin(h) * gc.exp(h)
            (y * y).sum().backward()
            other.backward()
            return gc.tanh(h) * 2

        def outer(x):
            h = gc.exp(w * 0.5) * gc.tanh(gc.stop_gradient(x))
            return region(inner)(h.detach() * gc.sin(w * 3)) * x * x.grad if x.grad is not None else region(inner)(x)

        region(outer)(x)
        return x.grad, w.grad

    assert_same(run(gc.checkpoint), run(plain))


def test_what_an_open_region_took_from_the_outer_one_and_dropped():
    def run(region):
        x = leaf(4)

        def outer(x):
            parts = [gc.exp(x)]

            def inner():
                y = gc.sin(gc.tanh(parts.pop()))
                y.sum().backward()
                return x

            return region(inner)()

        region(outer)(x)
        return x.grad

    assert_same(run(gc.checkpoint), run(plain))


def test_a_result_that_python_stashed():
    def run(region):
        x, stash = leaf(4), []

        def inner(x):
            stash.append(gc.sin(gc.exp(x)))
            raise ValueError

        def outer(x):
            y = gc.cos(x)
            try:
                return region(inner)(gc.tanh(y))
            except ValueError:
                return y

        y = region(outer)(x)
        (stash.pop() * y).sum().backward()
        return x.grad

    assert_same(run(gc.checkpoint), run(plain))


# --- cells ------------------------------------------------------------------------------------------------------------


def test_cells_are_assigned_once_and_read_as_they_were():
    def run(region):
        cell, x = Cell(gc.tensor(np.ones(3))), leaf(3)

        def f(x):
            y = gc.sin(cell.read() * x)
            cell.assign(gc.exp(y) + cell.read())
            return y * gc.tanh(cell.read() * x)

        y = region(f)(region(f)(x))
        middle = cell.read()
        cell.assign(cell.read() * 100)
        y.sum().backward()
        return middle, cell.read(), x.grad

    assert_same(run(gc.checkpoint), run(plain))


def test_a_result_in_a_cell_is_not_overwritten_in_place():
    """A step writes into an array that only the cell holds; one that a region looks for is not such an array."""

    def run(region):
        x, p = leaf(1000), gc.nn.Parameter(values(1000))
        optimizer = gc.optim.SGD([p], lr=0.5)
        (p * 2).sum().backward()
        y = region(lambda x: gc.exp(gc.sin(x)))(x)
        p.assign(y)
        loss = y.sum()
        del y
        optimizer.step()
        loss.backward()
        return p.read(), x.grad

    assert_same(run(gc.checkpoint), run(plain))


def test_functional_call():
    layer = gc.nn.Linear(3, 3)
    x = gc.tensor(values(2, 3, dtype=np.float32))

    def loss(region, cells):
        out, _ = gc.nn.functional_call(layer, cells, x)
        return gc.sin(region(gc.exp)(out)).sum()

    cells = {name: gc.tensor(np.full(p.shape, 0.1, np.float32)) for name, p in layer.named_parameters()}
    assert_same(
        gc.grad(gc.checkpoint(lambda c: loss(gc.checkpoint, c)))(cells), gc.grad(lambda c: loss(plain, c))(cells)
    )
