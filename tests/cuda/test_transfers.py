"""Copies between host and devices: how many, and who waits."""

from __future__ import annotations

import gc as garbage
import os
import subprocess
import sys

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.backend.cuda import transfers

COUNTED = ("h2d", "d2h", "d2d", "syncs", "kernel_launches")
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def spent(counters, **expected):
    assert {name: counters()[name] for name in COUNTED} == dict.fromkeys(COUNTED, 0) | expected


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ready(counters):
    """Kernels and pinned buffers are there; the counters are zero."""
    import cusim

    gc.tensor(ROWS, device="cuda").numpy()
    cusim.reset()


@pytest.mark.parametrize("non_blocking", [False, True])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_to_the_device_is_one_copy_and_no_wait(counters, non_blocking, layout):
    ready(counters)
    x = gc.asarray(np.asarray(ROWS, order=layout)).to("cuda", non_blocking=non_blocking)
    spent(counters, h2d=1)
    assert np.array_equal(x.numpy(), ROWS)


def test_a_device_and_a_dtype_at_once():
    x = gc.tensor(ROWS)
    for y in (x.to("cuda", "float64"), x.to("float64", "cuda"), x.to(device="cuda", dtype=np.float64)):
        assert (str(y.device), y.dtype) == ("cuda:0", np.float64)
        assert np.array_equal(y.numpy(), ROWS)
    assert str(x.cuda().device) == "cuda:0" and str(x.cuda("cuda:0").cpu().device) == "cpu"
    layer = gc.nn.Linear(2, 2)
    assert str(layer.cuda().weight.device) == "cuda:0" and str(layer.cpu().weight.device) == "cpu"


def test_the_source_may_change_once_the_call_returns():
    for source in (ROWS.copy(), transfers.pin(ROWS)):
        x = gc.asarray(source).to("cuda")
        source[:] = -1
        assert np.array_equal(x.numpy(), ROWS)


def test_pinned_memory_is_copied_by_the_device_itself(counters, monkeypatch):
    x = gc.cuda.pin(ROWS)
    assert transfers.is_pinned(x.data) and not transfers.is_pinned(ROWS)
    ready(counters)
    monkeypatch.setattr(cupy, "array", None)
    y = x.to("cuda", non_blocking=True)
    spent(counters, h2d=1)
    assert np.array_equal(y.numpy(), ROWS)


def test_a_pinned_source_lives_until_it_is_copied(monkeypatch):
    x = gc.cuda.pin(ROWS)
    raw = x.data
    monkeypatch.setattr(cupy.cuda.Event, "done", property(lambda self: False), raising=False)
    y = x.to("cuda", non_blocking=True)
    del x
    assert any(raw is held for _, held in transfers._copying)
    monkeypatch.undo()
    gc.cuda.pin(ROWS).to("cuda", non_blocking=True)
    assert not any(raw is held for _, held in transfers._copying)
    assert np.array_equal(y.numpy(), ROWS)


def test_pinning_takes_tensors_of_any_device_and_shape():
    assert gc.cuda.pin(gc.ones(2, device="cuda")).device == "cpu"
    for shape in [(), (0,), (2, 0, 3), (3, 2)]:
        x = gc.cuda.pin(np.ones(shape, np.float16))
        assert x.shape == shape and x.dtype == np.float16
        y = x.to("cuda", non_blocking=True)
        assert np.array_equal(y.numpy(), np.ones(shape))


@pytest.mark.parametrize(
    "read", [lambda x: x.numpy(), lambda x: x.to("cpu"), float, lambda x: x.item(), bool, lambda x: x.tolist(), repr]
)
def test_to_the_host_is_one_copy(counters, read):
    import cusim

    x = gc.tensor(2.0, device="cuda")
    cusim.reset()
    read(x)
    spent(counters, d2h=1, syncs=1)


def test_values_come_back():
    x = gc.tensor(2.5, device="cuda")
    assert (float(x), x.item(), x.tolist(), f"{x:.1f}") == (2.5, 2.5, 2.5, "2.5")
    assert not x.numpy().flags.writeable


def test_where_it_is_already(counters):
    x = gc.ones(3, device="cuda")
    assert x.to("cuda") is x and x.to("cuda:0") is x and gc.asarray(x, device="cuda") is x


def test_the_gradient_goes_back_to_the_host():
    x = gc.tensor(ROWS, requires_grad=True)
    (x.to("cuda", non_blocking=True) ** 2).sum().backward()
    assert x.grad.device == "cpu"
    assert np.array_equal(x.grad.numpy(), 2 * ROWS)


def test_a_training_step_copies_nothing_and_waits_for_nothing(counters):
    import cusim

    model = gc.nn.Linear(4, 2).to("cuda")
    optimizer = gc.optim.AdamW(model.parameters(), lr=0.1)

    def step(batch):
        optimizer.zero_grad()
        (model(batch) ** 2).mean().backward()
        optimizer.step()

    step(gc.cuda.pin(ROWS).to("cuda"))
    pinned = gc.cuda.pin(ROWS)
    cusim.reset()
    step(pinned.to("cuda", non_blocking=True))
    stats = counters()
    assert (stats["h2d"], stats["d2h"], stats["syncs"]) == (1, 0, 0)


SEVERAL = """
import cusim, cupy, numpy as np, gradcore as gc
assert gc.cuda.device_count() == 2
"""


def test_between_devices_is_one_copy():
    assert (
        run(
            SEVERAL
            + """
x = gc.tensor([1.0, 2.0], device="cuda:0")
x.to("cuda:1")
cusim.reset()
y = x.to("cuda:1", non_blocking=True)
s = cusim.stats()
assert (s["d2d"], s["h2d"], s["d2h"], s["syncs"]) == (1, 0, 0, 0), s
assert y.device == "cuda:1" and y.data.device.id == 1
assert (y * 2).device == "cuda:1" and (y * 2).numpy().tolist() == [2.0, 4.0]
t = gc.tensor(np.ones((3, 2), np.float32), device="cuda:1").T.to("cuda:0")
assert t.device == "cuda:0" and t.shape == (2, 3)
print("done")""",
            CUSIM_DEVICES="2",
        )
        == "done"
    )


def test_everything_stays_on_the_second_device():
    assert (
        run(
            SEVERAL
            + """
model = gc.nn.Sequential(gc.nn.Linear(3, 4), gc.nn.ReLU(), gc.nn.Linear(4, 2)).to("cuda:1")
optimizer = gc.optim.AdamW(model.parameters(), lr=0.1)
x = gc.ones(5, 3, device="cuda:1")
def step():
    optimizer.zero_grad()
    loss = gc.nn.functional.cross_entropy(model(x), gc.tensor([0, 1, 0, 1, 0], device="cuda:1"))
    loss.backward()
    gc.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss
step()
gc.cuda.reset_peak_memory_stats(1)
zero = gc.cuda.memory_stats(0).in_use
loss = step()
assert loss.device == "cuda:1" and all(p.device == "cuda:1" for p in model.parameters())
assert all(p.grad.data.device.id == 1 for p in model.parameters())
assert gc.cuda.memory_stats(0).in_use == zero and gc.cuda.memory_stats(0).peak is None
assert gc.cuda.memory_stats(1).peak > 0
assert cupy.cuda.runtime.getDevice() == 0
made = [gc.zeros(2, device="cuda:1"), gc.full((2,), 1.0, device="cuda:1"), gc.arange(3, device="cuda:1")]
made += [gc.zeros_like(x), gc.tensor([1.0], device="cuda:1"), gc.asarray(x.data), gc.from_dlpack(x.data)]
assert all(m.data.device.id == 1 for m in made), [m.device for m in made]
gc.cuda.synchronize(1)
print("done")""",
            CUSIM_DEVICES="2",
        )
        == "done"
    )


def test_streams_of_two_devices():
    assert (
        run(
            SEVERAL
            + """
with cupy.cuda.Device(1):
    with gc.cuda.stream() as s:
        y = gc.ones(3, device="cuda:1") + 1
x = y.to("cuda:0") + 1
assert x.numpy().tolist() == [3.0] * 3
del y
gc.cuda.empty_cache(1)
print("done")""",
            CUSIM_DEVICES="2",
        )
        == "done"
    )


def test_mixing_devices():
    out = run(
        SEVERAL
        + """
x, y = gc.ones(2, device="cuda:0"), gc.ones(2, device="cuda:1")
for f in (lambda: x + y, lambda: x + gc.ones(2), lambda: gc.concatenate([x, y])):
    try: f()
    except gc.core.errors.DeviceError as error: print(error)
assert (x + y.to("cuda:0")).tolist() == [2.0, 2.0]""",
        CUSIM_DEVICES="2",
    )
    first, second, third = out.splitlines()
    assert first == "'add' got tensors on cuda:0 and cuda:1; move them to one device with .to(device)"
    assert "cpu and cuda:0" in second and "cuda:0 and cuda:1" in third


def test_dropping_everything_gives_the_memory_back():
    garbage.collect()
    start = gc.cuda.memory_stats().in_use
    x = gc.cuda.pin(ROWS).to("cuda", non_blocking=True)
    y = gc.tensor(ROWS, device="cuda")
    x.numpy(), y.numpy()
    del x, y
    assert gc.cuda.memory_stats().in_use == start
