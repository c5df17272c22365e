"""Order between streams.  The simulated device does everything at once, so a model counts in its place."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cupy
import numpy as np
import pytest
from stream_model import Model

import gradcore as gc
from gradcore.backend.cuda import memory, streams
from gradcore.backend.cuda.backend import CudaBackend
from gradcore.core.cell import update
from gradcore.core.errors import StreamError
from gradcore.ops.optimizers import sgd_op

LENGTH = 128  # 512 bytes, the pool's unit: blocks of two arrays are equal or apart


@pytest.fixture(autouse=True)
def one_stream():
    """Tests of other files find a program that has only one stream."""
    yield
    streams.leave()
    streams.order.active = False


def address(array):
    return array.data.mem.ptr


def here():
    return cupy.cuda.get_current_stream().ptr


@pytest.fixture
def model(monkeypatch):
    """What CuPy's streams and events, the pool and the backend are asked for, as the model sees it."""
    model = Model()
    stream, event, run, below = cupy.cuda.Stream, cupy.cuda.Event, CudaBackend._run, memory._below

    def record(self, e=None):
        e = e or cupy.cuda.Event()
        super(stream, self).record(e)
        e.clock = Counter(model.clock(self.ptr))
        return e

    def wait_event(self, e):
        model.waits += 1
        model.clocks[self.ptr] = model.clock(self.ptr) | e.clock
        super(stream, self).wait_event(e)

    def done(self):
        model.asked += 1
        if model.eager:
            model.done = Counter(model.done) | self.clock
        return model.eager

    def allocate(size):
        pointer = below(size)
        model.allocated(here(), pointer.mem.ptr)
        return pointer

    def watched(self, op, out, values, params):
        arrays = [value for value in values if type(value) is cupy.ndarray]
        outs = out or ()
        model.op(here(), [address(a) for a in arrays], [address(o) for o in outs])
        results = run(self, op, out, values, params)
        for result in streams._arrays(results):
            model.last_write.setdefault(address(result), (here(), model.clock(here())[here()]))
            model.uses.setdefault(address(result), [model.last_write[address(result)]])
        return results

    streams.activate()
    below = memory._below
    streams.leave()
    monkeypatch.setattr(stream, "record", record, raising=False)
    monkeypatch.setattr(stream, "wait_event", wait_event, raising=False)
    monkeypatch.setattr(event, "done", property(done), raising=False)
    monkeypatch.setattr(memory, "_below", allocate)
    monkeypatch.setattr(CudaBackend, "_run", watched)
    memory.reclaim()
    monkeypatch.setattr(streams, "_older", {})
    yield model
    memory.reclaim()
    streams.leave()


def ones():
    return gc.ones(LENGTH, device="cuda")


@pytest.fixture
def side():
    return cupy.cuda.Stream(non_blocking=True)


def test_the_other_stream_waits_once_for_the_end_of_the_block(model, side):
    with gc.cuda.stream(side):
        x, y = ones() + 1, ones() + 2
    assert model.waits == 0
    z = x * y
    assert model.waits == 1
    w = x * z
    assert model.waits == 1 and not model.trouble
    assert w.numpy()[0] == 12


def test_a_stream_waits_for_what_it_uses_only(model, side):
    with gc.cuda.stream(side):
        first = ones() + 1
    with gc.cuda.stream(side):
        ones() + 2
    known = model.clock(side.ptr)[side.ptr]
    first * 2
    assert 0 < model.clock(0)[side.ptr] < known


def test_what_is_read_elsewhere_is_not_used_again_before(model, side):
    with gc.cuda.stream(side):
        x = ones() + 1
    place = address(x.data)
    y = x * 2
    del x
    with gc.cuda.stream(side):
        z = ones()
        assert address(z.data) != place
    model.eager = True
    with gc.cuda.stream(side):
        places = {address(a.data) for a in [ones(), ones()]}
    assert place in places and not model.trouble
    assert y.numpy()[0] == 4


def test_running_out_of_memory_waits_for_deferred_blocks(model, side, monkeypatch):
    with gc.cuda.stream(side):
        x = ones() + 1
    x * 2
    del x
    assert len(memory._deferred) == 1
    below, waited = memory._below, []
    monkeypatch.setattr(cupy.cuda.Event, "synchronize", lambda self: waited.append(self), raising=False)

    def full(size):
        if memory._deferred:
            raise memory.OutOfMemory(size, 0)
        return below(size)

    monkeypatch.setattr(memory, "_below", full)
    model.trouble.clear()
    assert ones().shape == (LENGTH,)
    assert len(waited) == 1 and not memory._deferred


def test_writing_waits_for_readers(model, side):
    cell = gc.core.cell.Cell(ones())
    gradient, rate = ones(), gc.tensor(0.5)
    place = address(cell.read().data)
    with gc.cuda.stream(side):
        cell.read() * 2
    sgd(cell, gradient, rate)
    assert address(cell.read().data) == place, "not in place, so nothing is tested"
    assert model.knows(0, (side.ptr, 1)) and not model.trouble


def sgd(cell, gradient, rate):
    update(sgd_op, [cell], [rate, cell, gradient])


def test_arrays_that_are_older_than_order(model, side, monkeypatch):
    with cupy.cuda.using_allocator(cupy.get_default_memory_pool().malloc):
        old = gc.asarray(cupy.ones(LENGTH, np.float32))
    assert type(old.data.data.mem) is not memory.Storage
    with gc.cuda.stream(side):
        y = old + 1
    assert model.waits == 1
    kept = memory._kept[id(old.data.data.mem), (0, side.ptr)][0]
    del old
    ones()
    assert kept in [block for block, _ in memory._kept.values()]
    model.eager = True
    ones()
    assert not memory._kept and y.numpy()[0] == 2


def test_copies_to_the_host_wait(model, side):
    for read in (lambda x: x.numpy(), lambda x: x.sum().item(), lambda x: x.to("cpu")):
        with gc.cuda.stream(side):
            x = ones() + 1
        before = model.waits
        read(x)
        assert model.waits == before + 1


def test_other_libraries_wait(model, side):
    with gc.cuda.stream(side):
        x = ones() + 1
    assert bool((cupy.from_dlpack(x) == 2).all())
    assert model.waits >= 1 and model.knows(0, (side.ptr, 1))


def test_results_where_streams_run_at_once():
    """On a GPU, a wait that is missing or memory that is used too early gives other numbers; the simulator does not."""

    def chain(context):
        x, total = gc.full((256, 256), 1 / 256, device="cuda"), gc.zeros((), device="cuda")
        for _ in range(5):
            with context():
                y = x
                for _ in range(10):
                    y = y @ x
                z = gc.full((256, 256), -1.0, device="cuda") + y
            total = total + (y * 2).sum() + z.sum()
            del y, z
            with context():
                gc.full((256, 256), 7.0, device="cuda"), gc.full((256, 256), 9.0, device="cuda")
        return float(total)

    assert chain(gc.cuda.stream) == chain(lambda: cupy.cuda.Stream.null)


def test_threads_with_streams_of_their_own():
    def work(number):
        with gc.cuda.stream():
            x = gc.full((1000,), float(number), device="cuda")
            for _ in range(20):
                x = (x + shared) * 0.5
        return x

    shared = gc.ones(1000, device="cuda")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(work, range(8)))
    expected = []
    for number in range(8):
        x = np.full(1000, number, np.float32)
        for _ in range(20):
            x = (x + np.float32(1)) * np.float32(0.5)
        expected.append(x)
    assert all(np.array_equal(x.numpy(), y) for x, y in zip(made, expected, strict=True))


def test_exceptions_leave_the_stream(side):
    with pytest.raises(ZeroDivisionError), gc.cuda.stream(side):
        assert here() == side.ptr
        1 / 0  # noqa: B018
    assert here() == 0


def test_a_new_stream_does_not_block():
    with gc.cuda.stream() as new:
        assert here() == new.ptr != 0


def test_streams_of_the_user_are_seen(model, side):
    """A block of CuPy's own keeps order as well, once order is kept."""
    with side:
        x = ones() + 1
    assert (x * 2).numpy()[0] == 4
    assert model.waits == 1 and not model.trouble


def test_arrays_of_other_code_are_waited_for(model, side):
    with side:
        raw = cupy.ones(LENGTH, np.float32)
    model.op(side.ptr, [], [address(raw)])
    gc.asarray(raw) + 1
    assert model.waits == 1 and not model.trouble


def test_checking_finds_arrays_of_other_code(side):
    with side:
        raw = cupy.ones(LENGTH, np.float32)
    with gc.cuda.check_streams():
        with side:
            raw2 = cupy.ones(LENGTH, np.float32)
        with pytest.raises(StreamError, match=r"gradcore.cuda.stream\(s\)"):
            gc.asarray(raw2) + 1
        with gc.cuda.stream(side):
            assert (gc.asarray(raw2) + 1).numpy()[0] == 2
            ours = ones()
        assert (ours + 1).numpy()[0] == 2
    assert (gc.asarray(raw) + 1).numpy()[0] == 2


def test_training_in_a_side_stream_gives_the_same_bits(model, side):
    def train(context):
        gc.random.seed(0)
        model = gc.nn.Sequential(gc.nn.Linear(5, 7), gc.nn.ReLU(), gc.nn.Linear(7, 3)).to("cuda")
        optimizer = gc.optim.AdamW(model.parameters(), lr=0.1)
        x = gc.tensor(np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32), device="cuda")
        for _ in range(3):
            with context():
                optimizer.zero_grad()
                (model(x) ** 2).mean().backward()
            optimizer.step()
        return [p.numpy() for p in model.parameters()]

    plain = train(lambda: cupy.cuda.Stream.null)
    other = train(lambda: gc.cuda.stream(side))
    assert all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))
    assert model.waits > 0 and not model.trouble


@pytest.mark.parametrize("seed", range(20))
def test_any_program_is_in_order(model, seed):
    draw = random.Random(seed)
    places = [cupy.cuda.Stream.null, *[cupy.cuda.Stream(non_blocking=True) for _ in range(3)]]
    values = [ones()]
    cells = [gc.core.cell.Cell(ones()) for _ in range(2)]
    for _ in range(60):
        model.eager = draw.random() < 0.3
        with gc.cuda.stream(draw.choice(places)):
            for _ in range(draw.randrange(4)):
                act(draw, values, cells)
    assert not model.trouble
    assert model.waits > 20


def act(draw, values, cells):
    kind = draw.choice(["compute", "compute", "drop", "update", "read"])
    if kind == "compute":
        values.append(draw.choice(values) + draw.choice(values))
    elif kind == "drop" and len(values) > 1:
        values.pop(draw.randrange(len(values)))
    elif kind == "update":
        sgd(draw.choice(cells), draw.choice(values), gc.tensor(0.5))
    elif kind == "read":
        values.append(draw.choice(cells).read() * 2)


@pytest.mark.parametrize("broken", ["wait", "users"])
def test_the_model_finds_what_is_missing(model, monkeypatch, broken):
    """Without waits, or without memory of who uses what, the same programs go wrong."""
    if broken == "wait":
        monkeypatch.setattr(streams.Segment, "wait", lambda self, other: None)
    else:
        monkeypatch.setattr(memory.Storage, "users", property(lambda self: {}, lambda self, value: None), raising=False)
    with pytest.raises(AssertionError, match="too early"):
        test_any_program_is_in_order(model, 0)


def test_one_stream_pays_nothing():
    """Storage and Segment come into being only when they are asked for."""
    code = (
        "import gradcore as gc\n"
        "from gradcore.backend.cuda import memory, streams\n"
        "x = gc.ones(3, device='cuda', requires_grad=True)\n"
        "(x * x).sum().backward()\n"
        "assert type(x.data.data.mem) is not memory.Storage and not streams.order.active\n"
        "with gc.cuda.stream(): y = x * 2\n"
        "assert type(y.data.data.mem) is memory.Storage\n"
        "print(float(y.sum()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "6.0\n" and done.stderr == ""
