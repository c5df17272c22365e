"""Bytes in use, against what is known and against tracemalloc."""

from __future__ import annotations

import gc as collector
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import gradcore as gc
from gradcore.backend import NUMPY
from gradcore.memory.accounting import account
from gradcore.memory.owners import Label
from gradcore.nn.functional import cross_entropy

SIZE = 256 * 1024  # bytes of the arrays below


def array(seed=0):
    return gc.tensor(np.random.default_rng(seed).normal(size=(256, 256)).astype(np.float32))


class Block(gc.nn.Module):
    def __init__(self, width):
        self.norm = gc.nn.LayerNorm(width)
        self.first, self.second = gc.nn.Linear(width, width), gc.nn.Linear(width, width)
        self.drop = gc.nn.Dropout(0.1)

    def forward(self, x):
        return x + self.drop(self.second(gc.tanh(self.first(self.norm(x)))))


def training(optimizer, blocks=3, width=128, rows=1024, checkpoint=False):
    """One step of a residual network whose activations have half a megabyte each."""
    gc.random.seed(0)
    random = np.random.default_rng(0)
    parts = [Block(width) for _ in range(blocks)]
    head = gc.nn.Linear(width, 10)
    parameters = [p for part in [*parts, head] for p in part.parameters()]
    optimizer = optimizer(parameters, lr=1e-3)
    x = gc.tensor(random.normal(size=(rows, width)).astype(np.float32))
    y = gc.tensor(random.integers(0, 10, rows))

    def step():
        h = x
        for part in parts:
            h = gc.memory.checkpoint(part)(h) if checkpoint else part(h)
        loss = cross_entropy(head(h), y)
        del h
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def traced(step):
    """Most bytes that Python and NumPy asked for beyond what was there, on the short cuts that no hook sees."""
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def counted(step):
    with account() as a:
        start = a.live
        step()
    return a.peak - start


# --- what is counted --------------------------------------------------------------------------------------------------


def test_results_temporaries_and_what_is_left():
    x = array()
    with account() as a:
        start = a.live
        y = gc.exp(x) + gc.sin(x)
        assert (a.peak - start, a.live - start) == (3 * SIZE, SIZE)
        del y
        assert a.live == start


def test_views_and_results_that_are_operands_add_nothing():
    x = array()
    with account() as a:
        start = a.live
        views = [gc.reshape(x, (128, 512)), gc.transpose(x), x[3:7], gc.broadcast_to(x, (5, 256, 256))]
        assert a.live == start
        copy = views[1] * 1.0
        del views
        assert a.live == start + SIZE
        part = copy[:2]
        del copy
        assert a.live == start + SIZE, "a view holds all that it is a part of"
        del part
        assert a.live == start


def test_arrays_that_no_op_made():
    with account() as a:
        start = a.live
        x = gc.zeros(256, 256)
        assert a.live == start + SIZE
        y = gc.tensor(np.ones((256, 256), np.float32))
        assert a.live == a.peak == start + 2 * SIZE
        del x, y
        assert a.live == start


def test_resident_is_all_that_tensors_and_cells_hold():
    with account() as empty:
        pass
    model = Block(256)
    optimizer = gc.optim.AdamW(model.parameters(), lr=0.1)
    x = array()
    view = x[5:]
    loss = gc.sum(model(view))
    held = sum(p.data.nbytes for p in model.state_dict().values())
    held += sum(s.data.nbytes for s in optimizer.state_dict().values())
    with account() as a:
        saved = a.resident - empty.resident - held - x.data.nbytes
        assert saved > SIZE
        del loss
        assert a.live == a.resident - saved
        del x, view
        assert a.live == a.resident - saved - SIZE
    assert a.peak == a.resident


def test_the_search_keeps_nothing_alive(monkeypatch):
    x = array()
    monkeypatch.setattr(
        "gradcore.memory.accounting.alive", lambda device, found=[x.data]: [(found.pop(), Label("input"))]
    )
    with account() as a:
        assert a.live == SIZE
        del x
        assert a.live == 0


def test_without_the_search_operands_count_when_they_are_met():
    x, y = array(), array(1)
    with account(resident=False) as a:
        assert a.live == a.resident == 0
        z = x + y
        assert (a.live, a.op_peak) == (3 * SIZE, SIZE)
        del x
        assert a.live == 2 * SIZE
    assert z.shape == (256, 256)


def test_workspace_is_that_of_the_op():
    x, norm = array(), gc.nn.LayerNorm(256)
    norm(x)
    with account() as a:
        norm(x)
        most = a.op_peak
    assert most > 1.5 * SIZE
    assert most == pytest.approx(traced(lambda: norm(x)), rel=0.02)


def test_a_measurement_that_fails_breaks_nothing(monkeypatch):
    calls = []

    def fail(backend, op, out, values, params):  # the first run takes the short cut
        calls.append(op.name)
        raise MemoryError("no room for a second run")

    x = gc.tensor(np.ones((3, 911), np.float32))
    monkeypatch.setattr(type(NUMPY), "run", fail)
    with account(resident=False) as a:
        y = gc.exp(x)
    assert calls == ["exp"]
    assert a.peak == a.live == x.data.nbytes + y.data.nbytes


def test_what_other_threads_ask_for_is_no_workspace(monkeypatch):
    x, norm, stop = gc.tensor(np.ones((3, 913), np.float32)), gc.nn.LayerNorm(913), threading.Event()
    others = threading.Thread(target=stop.wait)
    measured = iter([5 * 2**20, 2048, 7 * 2**20])
    monkeypatch.setattr("gradcore.memory.workspace._measured", lambda *_: next(measured))
    others.start()
    try:
        with account() as a:
            before = a.live
            y = norm(x)
            most = a.op_peak
    finally:
        stop.set()
        others.join()
    assert most == a.live - before + 2048
    assert y.shape == x.shape


def test_reset_peak():
    x = array()
    with account() as a:
        gc.cos(gc.exp(x))
        a.reset_peak()
        assert a.peak == a.live
        gc.exp(x)
        assert a.peak == a.live + SIZE
    assert (a.reserved, a.peak_reserved) == (a.live, a.peak)


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [gc.optim.SGD, gc.optim.AdamW])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_training_step_is_what_tracemalloc_sees(optimizer, checkpoint):
    step = training(optimizer, checkpoint=checkpoint)
    step()
    most = counted(step)
    assert most > 5 * 2**20 / (2 if checkpoint else 1)
    assert most == pytest.approx(traced(step), rel=0.01)


def test_so_is_a_step_on_parameters_of_two_dtypes():
    """All groups or none: those but the largest take their step in new arrays, under hooks as without."""
    cells = [gc.nn.Parameter(np.ones(2**16, dtype)) for dtype in (np.float32, np.float64)]
    optimizer = gc.optim.AdamW(cells, lr=0.1)
    for cell in cells:
        cell.leaf.grad.assign(gc.ones(2**16, dtype=cell.read().dtype))
    optimizer.step()
    assert counted(optimizer.step) == pytest.approx(traced(optimizer.step), rel=0.02)


def test_a_checkpoint_needs_less():
    assert counted(training(gc.optim.SGD, checkpoint=True)) < 0.7 * counted(training(gc.optim.SGD))


def test_the_same_step_has_the_same_peak():
    step = training(gc.optim.AdamW)
    step()
    assert len({counted(step) for _ in range(3)}) == 1


def test_gradients_that_add_up():
    w = gc.tensor(np.ones((256, 256), np.float32), requires_grad=True)
    with account() as a:
        (w * 2.0).sum().backward()
        start = a.live
        (w * 3.0).sum().backward()
        assert a.live == start
        w.zero_grad()
        assert a.live == start - SIZE


def test_an_optimiser_writes_in_place_as_ever():
    w = gc.nn.Parameter(np.ones((256, 256), np.float32))
    optimizer = gc.optim.AdamW([w], lr=0.1)
    (w * 2.0).sum().backward()
    optimizer.step()
    place = id(w.read().data)
    with account() as a:
        (w * 2.0).sum().backward()
        start = a.live
        optimizer.step()
        assert a.live == start
    assert id(w.read().data) == place


# --- beside others ----------------------------------------------------------------------------------------------------


def test_accounts_nest():
    x = array()
    with account() as outer, account() as inner:
        y = gc.exp(x)
    assert outer.peak - outer.resident == inner.peak - inner.resident == SIZE
    assert y is not None


def test_other_threads_do_not_count():
    x = array()
    with account() as a:
        start = a.peak
        thread = threading.Thread(target=lambda: [gc.exp(x), gc.zeros(256, 256)])
        thread.start()
        thread.join()
        assert a.peak == start


def test_somebody_elses_tracing_goes_on():
    x = array()
    tracemalloc.start()
    try:
        big = np.ones(2**20)
        most = tracemalloc.get_traced_memory()[1]
        del big
        with account():
            gc.log_softmax(x * 1.25)
        assert tracemalloc.is_tracing()
        assert tracemalloc.get_traced_memory()[1] == most
    finally:
        tracemalloc.stop()


def test_under_somebody_elses_tracing_ops_that_set_its_peak_are_measured():
    def call():
        return gc.std(x * 1.0, axis=0)

    x = gc.tensor(np.random.default_rng(0).normal(size=(217, 301)))
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with account(resident=False) as a:
            call()
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert a.peak - x.data.nbytes == pytest.approx(most, rel=0.05)


def test_nothing_stays():
    x = array()
    references = []
    with pytest.raises(ValueError, match="stop"), account() as a:
        y = gc.exp(x)
        references.append(weakref.ref(y.data))
        raise ValueError("stop")
    assert "make" not in vars(NUMPY)
    collector.disable()
    try:
        del y
        assert references[0]() is None
        live = a.live
        gc.exp(x)
        assert a.live == live, "a closed account counts no more"
    finally:
        collector.enable()
