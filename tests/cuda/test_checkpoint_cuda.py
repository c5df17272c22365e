"""Checkpoint regions on CUDA: the bits of the plain run, memory, launches."""

from __future__ import annotations

import gc as collector

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.compile import Program
from gradcore.core.errors import ChangedError, OutOfMemoryError

WIDTH = 32


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def plain(function):
    return function


def bits(*tensors):
    return [(t.dtype.str, t.shape, t.numpy().tobytes()) for t in tensors]


class Network(gc.nn.Module):
    """Blocks with layer norm, dropout, one shared weight and a running mean."""

    def __init__(self, region, depth=3):
        super().__init__()
        gc.random.seed(0)
        self.shared, self.norm, self.drop = gc.nn.Linear(WIDTH, WIDTH), gc.nn.LayerNorm(WIDTH), gc.nn.Dropout(0.25)
        self.mean = gc.nn.Buffer(np.zeros(WIDTH, np.float32))
        self.region, self.depth = region, depth

    def block(self, x):
        self.mean.assign(self.mean.read() * 0.9 + x.mean(0) * 0.1)
        return x + self.drop(gc.gelu(self.shared(self.norm(x)))) - self.mean.read()

    def forward(self, x):
        for _ in range(self.depth):
            x = self.region(self.block)(x)
        return x


def trained(region, steps=2, captured=False):
    network = Network(region).to("cuda")
    optimizer = gc.optim.AdamW(network.parameters(), lr=0.01)
    x, y = gc.tensor(values(8, WIDTH), device="cuda"), gc.tensor(values(8, WIDTH, seed=1), device="cuda")
    gc.random.seed(1)

    def step(x, y):
        network.zero_grad()
        loss = gc.mse(network(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = Program(gc.make_graph(step)(x, y)) if captured else step
    losses = [run(x, y) for _ in range(steps)]
    state = network.state_dict()
    return bits(*losses, *[state[key] for key in sorted(state)], *[p.grad for p in network.parameters()])


def test_training_steps_have_the_bits_of_the_plain_run():
    want = trained(plain)
    assert trained(gc.checkpoint) == want
    assert trained(lambda f: gc.checkpoint(gc.checkpoint(f), check=True)) == want
    assert trained(lambda f: gc.checkpoint(f, gc.memory.save_ops("linear"))) == want
    assert trained(gc.checkpoint, captured=True) == want


def block(x):
    return gc.tanh(gc.exp(gc.sin(x)) * x)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_derivatives(dtype):
    x = gc.tensor(values(3, 4), device="cuda").astype(dtype)

    def scalar(region):
        return lambda x: gc.sin(region(lambda x: region(block)(region(block)(x)))(x)).sum()

    for transform in (
        gc.grad,
        lambda f: gc.grad(lambda x: gc.grad(f)(x).sum()),
        lambda f: gc.vmap(gc.grad(f)),
        lambda f: lambda x: gc.jvp(gc.grad(f), (x,), (x,))[1],
    ):
        assert bits(transform(scalar(gc.checkpoint))(x)) == bits(transform(scalar(plain))(x))


def test_bytes_and_launches(counters):
    """A checkpoint keeps inputs of regions, runs once more what a rule reads, and neither copies nor waits."""
    x = gc.tensor(values(2**16), device="cuda", requires_grad=True)

    pool = cupy.get_default_memory_pool()

    def run(region):
        collector.collect()
        before, start = pool.used_bytes(), counters()
        y = x
        for _ in range(4):
            y = region(lambda y: block(block(y)))(y)
        loss = y.sum()
        del y
        kept = pool.used_bytes() - before - loss.data.data.mem.size
        loss.backward()
        end = counters()
        assert (end["d2h"], end["syncs"]) == (start["d2h"], start["syncs"])
        del loss
        x.zero_grad()
        return kept / x.data.nbytes, end["kernel_launches"] - start["kernel_launches"], pool.used_bytes() - before

    run(plain)
    launches = run(plain)[1]
    assert run(plain) == (16, launches, 0)  # exp and tanh save their results
    assert run(gc.checkpoint) == (3, launches + 32, 0)


@pytest.fixture
def limited():
    yield
    gc.cuda.set_memory_limit(None)


def test_out_of_memory_in_recomputation(limited):
    """The message names the op and its line; nothing is left, and the next step works."""
    x = gc.tensor(values(2**21), device="cuda", requires_grad=True)  # larger than holes between others' blocks
    pool = cupy.get_default_memory_pool()

    def forward():
        return gc.checkpoint(lambda x: block(block(block(x))))(x).sum()

    forward().backward()
    want = bits(x.grad)
    x.zero_grad()
    collector.collect()
    before = pool.used_bytes()
    loss = forward()
    gc.cuda.set_memory_limit(pool.used_bytes() + 4 * x.data.nbytes)
    pool.free_all_blocks()
    with pytest.raises(OutOfMemoryError) as caught:
        loss.backward()
    assert "of a checkpoint again; it ran first at" in "".join(caught.value.__notes__)
    assert "test_checkpoint_cuda.py" in "".join(caught.value.__notes__) and x.grad is None
    del loss, caught
    assert pool.used_bytes() == before
    gc.cuda.set_memory_limit(None)
    forward().backward()
    assert bits(x.grad) == want


def test_the_check_finds_a_changed_array():
    array = cupy.ones(3, np.float32)
    x = gc.tensor(values(3), device="cuda", requires_grad=True)
    loss = gc.checkpoint(lambda x: gc.exp(gc.sin(gc.asarray(array) * 2) * x), check=True)(x).sum()
    array[0] = 5.0
    with pytest.raises(ChangedError, match="'mul' gave other numbers"):
        loss.backward()


def test_a_step_overwrites_nothing_that_a_region_looks_for():
    def run(region):
        x = gc.tensor(values(2000), device="cuda", requires_grad=True)
        p = gc.nn.Parameter(gc.tensor(values(2000), device="cuda"))
        optimizer = gc.optim.SGD([p], lr=0.5)
        (p * 2).sum().backward()
        y = region(lambda x: gc.exp(gc.sin(x)))(x)
        p.assign(y)
        loss = y.sum()
        del y
        optimizer.step()
        loss.backward()
        return bits(p.read(), x.grad)

    assert run(gc.checkpoint) == run(plain)
