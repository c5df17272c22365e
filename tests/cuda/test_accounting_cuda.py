"""Bytes in use on CUDA, against an independent hook of CuPy's memory pool."""

from __future__ import annotations

import gc as collector

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import OutOfMemoryError
from gradcore.memory.accounting import account
from gradcore.memory.owners import holders
from gradcore.nn.functional import cross_entropy

ROWS, WIDTH = 100, 37


@pytest.fixture(autouse=True)
def without_old_garbage():
    """What earlier tests have left in cycles would be freed while we count."""
    collector.collect()


class Independent(cupy.cuda.MemoryHook):
    """Bytes asked for and not given back, and the most of them."""

    name = "independent"

    def __init__(self):
        self.sizes, self.live, self.peak = {}, 0, 0

    def malloc_postprocess(self, **info):
        if info["mem_ptr"]:
            self.sizes[info["mem_ptr"]] = info["size"]
            self.live += info["size"]
            self.peak = max(self.peak, self.live)

    def free_postprocess(self, **info):
        self.live -= self.sizes.pop(info["mem_ptr"], 0)


class Block(gc.nn.Module):
    def __init__(self):
        self.norm, self.inner, self.drop = gc.nn.LayerNorm(WIDTH), gc.nn.Linear(WIDTH, WIDTH), gc.nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(gc.tanh(self.inner(self.norm(x))))


def training(checkpoint=False, batch=ROWS):
    """A step, after one that compiles and makes gradients."""
    gc.random.seed(0)
    random = np.random.default_rng(0)
    model = gc.nn.Sequential(Block(), Block(), gc.nn.Linear(WIDTH, 10)).to("cuda")
    optimizer = gc.optim.AdamW(model.parameters(), lr=1e-3)
    x = gc.tensor(random.normal(size=(batch, WIDTH)).astype(np.float32), device="cuda")
    y = gc.tensor(random.integers(0, 10, batch), device="cuda")

    def step():
        h = x
        for part in model.children():
            h = gc.memory.checkpoint(part)(h) if checkpoint else part(h)
        cross_entropy(h, y).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return model, step


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_peak_is_that_of_an_independent_hook(checkpoint):
    _, step = training(checkpoint)
    with Independent() as plain:
        step()
    with account("cuda") as a:
        start = a.live
        with Independent() as hook:
            step()
        assert a.live - start == hook.live
    assert a.peak - start == hook.peak == plain.peak > 6 * 4 * ROWS * WIDTH
    assert a.resident == start


def test_resident_is_what_the_pool_has_given_out():
    model, _ = training()
    with account("cuda") as a:
        used = cupy.get_default_memory_pool().used_bytes()
        assert used - 512 * len(holders("cuda")) < a.resident <= used
        del model, _
        assert a.live < a.resident


def test_temporaries_inside_ops_count():
    x = gc.transpose(gc.ones(ROWS, WIDTH, device="cuda"))
    gc.softmax(x)
    with account("cuda") as a, Independent() as hook:
        y = gc.softmax(x)  # its kernel reads a contiguous copy
        assert a.peak - a.resident == a.op_peak == hook.peak == 2 * y.data.nbytes
        assert a.live - a.resident == y.data.nbytes


def test_what_the_pool_holds():
    pool = cupy.get_default_memory_pool()
    gc.cuda.empty_cache()
    with account("cuda") as a:
        start = pool.total_bytes()
        assert a.reserved == a.peak_reserved == start
        x = gc.zeros(2**20, device="cuda")
        most = pool.total_bytes()
        del x
        gc.cuda.empty_cache()
        assert a.reserved == pool.total_bytes() < most == a.peak_reserved
        a.reset_peak()
        assert a.peak_reserved == a.reserved


def test_arrays_of_the_cpu_and_of_others():
    with account("cuda") as a:
        gc.exp(gc.ones(1000))
        assert a.live == a.peak == a.resident
        own = cupy.zeros(100)
        assert a.live == a.resident + 800
        shared = gc.from_dlpack(own)
        assert a.live == a.resident + 800
        del own, shared
        assert a.live == a.resident


def test_with_blocks_that_know_their_streams():
    gc.cuda.reset_peak_memory_stats()  # from now on the pool's blocks are wrapped
    _, step = training()
    with account("cuda") as a, Independent() as hook:
        step()
    assert a.peak - a.resident == hook.peak


def test_holders_and_their_kinds():
    model, step = training()
    step()
    kinds = {h.name: h.kind for h in holders("cuda") if h.name}
    assert kinds["0.inner.weight"] == "parameter"
    assert kinds["0.inner.weight.exp_avg"] == "optimiser state"
    loss = model(gc.ones(ROWS, WIDTH, device="cuda")).sum()
    saved = [h for h in holders("cuda") if h.kind == "saved activation" and h.op == "tanh"]
    assert [h.bytes for h in saved] == [4 * ROWS * WIDTH] * 2
    assert all(__file__ in h.line for h in saved)
    assert loss.shape == ()


def test_running_out_of_memory_names_the_largest_holders():
    big = gc.ones(1000, 1000, device="cuda")
    gc.cuda.empty_cache()
    gc.cuda.set_memory_limit(gc.cuda.memory_stats().reserved + 2**20)
    try:
        with pytest.raises(OutOfMemoryError, match=r"the largest holders on cuda:0:\n  3.8 MiB input float32\[1000, 1"):
            gc.exp(big)
    finally:
        gc.cuda.set_memory_limit(None)


# --- profile ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_profile_adds_up_and_copies_nothing(checkpoint, counters):
    model, step = training(checkpoint)
    with account("cuda") as a:
        step()
    before = counters()
    with gc.profile(model) as p:
        step()
    after = counters()
    assert (p.device, p.peak) == ("cuda:0", a.peak)
    assert p.peak == sum(h.bytes for h in p.holders_at_peak) == max(m.live for m in p.timeline)
    assert p.peak_reserved >= p.peak
    assert [after[name] - before[name] for name in ("d2h", "h2d", "d2d", "syncs")] == [0, 0, 0, 0]
    rows = {(row.op, row.phase): row for row in p.ops}
    assert rows["tanh", "forward"].allocated == 2 * 4 * ROWS * WIDTH
    assert rows["adamw", "optimiser"].calls == 1
    assert ("tanh", "recomputation") in rows or not checkpoint


def test_temporaries_are_workspace():
    x = gc.transpose(gc.ones(ROWS, WIDTH, device="cuda"))
    gc.softmax(x)
    with gc.profile(device="cuda") as p:
        y = gc.softmax(x)  # its kernel reads a contiguous copy
    assert p.by_kind()["workspace"] == p.ops[0].workspace == p.ops[0].allocated == y.data.nbytes
    seconds = [moment.seconds for moment in p.timeline]
    assert seconds == sorted(seconds)
    (_, copied, *_) = p.timeline
    assert (copied.op, copied.live) == ("softmax", p.resident + y.data.nbytes)
