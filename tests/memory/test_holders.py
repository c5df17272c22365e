"""Whose the memory is, at any time, and in errors."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import gradcore as gc
from gradcore.backend import device
from gradcore.memory.owners import explained, holders

WIDTH = 211  # nothing else here has arrays of this size
HUGE = 10**13


def of_width(kind=None):
    found = [h for h in holders() if h.shape is not None and WIDTH in h.shape]
    return [h for h in found if kind in (None, h.kind)]


def network():
    return gc.nn.Sequential(gc.nn.Linear(WIDTH, WIDTH), gc.nn.Tanh(), gc.nn.Linear(WIDTH, 1))


def names(found):
    return sorted(h.name for h in found)


def test_parameters_gradients_and_optimiser_state_by_name():
    model = network()
    optimizer = gc.optim.AdamW(model.parameters(), lr=0.1)
    model(gc.ones(5, WIDTH)).sum().backward()
    optimizer.step()
    assert names(of_width("parameter")) == ["0.bias", "0.weight", "2.weight"]
    assert names(of_width("gradient")) == ["0.bias.grad", "0.weight.grad", "2.weight.grad"]
    assert len(of_width("optimiser state")) == 6
    assert of_width("saved activation") == of_width("other") == []
    assert sum(h.bytes for h in of_width("parameter")) == 4 * (WIDTH * WIDTH + 2 * WIDTH)


def test_saved_activations_have_their_op_and_line():
    model, x = network(), gc.ones(5, WIDTH)
    loss = model(x).sum()  # the user's line
    (saved,) = of_width("saved activation")
    assert (saved.op, saved.bytes, saved.shape, saved.dtype) == ("tanh", 4 * 5 * WIDTH, (5, WIDTH), np.float32)
    assert "# the user's line" in saved.line and __file__ in saved.line
    assert [h.shape for h in of_width("input")] == [(5, WIDTH)]
    del loss
    assert of_width("saved activation") == []


def test_frozen_parameters_buffers_and_tensors_that_require_gradients():
    frozen = gc.nn.Parameter(np.ones(WIDTH, np.float32), requires_grad=False)
    buffer = gc.nn.Buffer(np.ones(WIDTH, np.float32))
    w = gc.tensor(np.ones(WIDTH, np.float32), requires_grad=True)
    assert len(of_width("parameter")) == 2
    assert len(of_width("buffer")) == 1
    assert w.shape == frozen.shape == buffer.shape


def test_the_largest_come_first_and_each_block_once():
    x = gc.ones(7, WIDTH)
    views = [x[1:], gc.reshape(x, (WIDTH, 7)), x]
    assert len(of_width()) == 1
    sizes = [h.bytes for h in holders()]
    assert sizes == sorted(sizes, reverse=True)
    assert len(views) == 3


def test_inside_transforms():
    def f(w):
        y = gc.tanh(w * w)
        assert {h.op for h in of_width("saved activation")} >= {"tanh"}
        return gc.sum(gc.exp(y))

    gc.grad(f)(gc.ones(WIDTH))
    gc.grad(lambda w: gc.sum(gc.grad(f)(w)))(gc.ones(WIDTH))


def test_what_a_checkpoint_keeps():
    model = network()
    y = gc.memory.checkpoint(model)(gc.ones(5, WIDTH) * 3.0)
    assert [h.shape for h in of_width() if h.kind in ("saved activation", "input")] == [(5, WIDTH)]
    y.sum().backward()


def test_looking_keeps_nothing_alive():
    x = gc.ones(3, WIDTH)
    seen = weakref.ref(x.data)
    found = holders()
    del x
    assert seen() is None and found


def test_text():
    model = network()
    text = explained("cpu", 2)
    first, *others = text.splitlines()
    assert first == "the largest holders on cpu:" and len(others) == 2
    assert model is not None
    weight = next(h for h in of_width() if h.name == "0.weight")
    assert str(weight) == f"173.9 KiB parameter 0.weight float32[{WIDTH}, {WIDTH}]"


def notes(error):
    return "\n".join(error.value.__notes__)


@pytest.mark.parametrize("hooked", [False, True])
def test_running_out_of_memory_names_the_largest_holders(hooked):
    big = gc.ones(1500, 1500)
    x = gc.broadcast_to(gc.ones(1), (HUGE,))
    with pytest.raises(MemoryError) as error:
        if hooked:
            with gc.no_grad():
                gc.exp(x)
        else:
            gc.exp(x)
    assert "the largest holders on cpu:" in notes(error)
    assert "8.6 MiB input float32[1500, 1500]" in notes(error)
    assert notes(error).count("the largest holders") == 1
    assert big.shape == (1500, 1500)


def test_an_error_while_looking_changes_nothing(monkeypatch):
    def fail(name):
        raise MemoryError(name)

    monkeypatch.setattr(device, "explainers", [fail])
    with pytest.raises(MemoryError, match="allocate"):
        gc.exp(gc.broadcast_to(gc.ones(1), (HUGE,)))


def test_a_device_that_is_not_there():
    with pytest.raises(gc.core.errors.DeviceError):
        holders("cuda:77")
