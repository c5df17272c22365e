"""Cells: the only state that changes."""

from __future__ import annotations

import pickle
from contextlib import nullcontext

import numpy as np
import pytest

import gradcore as gc
from gradcore import optim
from gradcore.backend import numpy_backend
from gradcore.compile import Program
from gradcore.core.cell import Cell
from gradcore.core.hooks import Hook, hooked
from gradcore.core.state import pushed, state
from gradcore.nn import Parameter


def test_cells_hold_tensors_only():
    cell = Cell(gc.zeros(3))
    for wrong in (np.ones(3, np.float32), [1.0, 2.0, 3.0], 1.0):
        with pytest.raises(TypeError, match="a cell holds tensors"):
            cell.assign(wrong)
    with pytest.raises(ValueError, match=r"holds float32\[3\] and cannot take float32\[2\]"):
        cell.assign(gc.zeros(2))


def test_what_a_cell_holds_is_contiguous():
    x = np.arange(6.0).reshape(2, 3).T
    cell = Cell(gc.asarray(x))
    assert cell.read().data.flags.c_contiguous
    cell.assign(gc.asarray(x + 1)[:, ::-1])
    assert cell.read().data.flags.c_contiguous
    assert cell.read().numpy().tolist() == (x + 1)[:, ::-1].tolist()


@pytest.mark.parametrize("context", [nullcontext, gc.no_grad, lambda: hooked(Hook())])
def test_a_tensor_of_a_finished_transform_leaves_its_primal(context):
    cell, kept = Cell(gc.zeros(3)), []
    gc.grad(lambda x: (kept.append(x * 2.0), x.sum())[1])(gc.ones(3))
    with context():
        cell.assign(kept[0])
    assert cell.read().numpy().tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("context", [gc.no_grad, lambda: hooked(Hook())])
def test_hooks_and_no_grad_leave_overlays_and_captures_alone(context):
    p, x = Parameter([1.0, 2.0]), gc.ones(2)
    with context():
        with pushed(state.overlays, {p: gc.zeros(2)}):
            assert p.read().numpy().tolist() == [0.0, 0.0]
            p.assign(x)
        assert p.read().numpy().tolist() == [1.0, 2.0]
        graph = gc.make_graph(lambda x: p.assign(p.read() + x))(x)
        assert p.read().numpy().tolist() == [1.0, 2.0]
        Program(graph)(x)
        assert p.read().numpy().tolist() == [2.0, 3.0]


def test_read_only_memory_is_not_written():
    shared = np.ones(5000, np.float32)
    shared.flags.writeable = False
    p = Parameter(gc.asarray(shared))
    (p * 2).sum().backward()
    optim.SGD([p], lr=0.5).step()
    assert p.numpy()[0] == 0.0
    assert shared[0] == 1.0


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p)])
def test_running_out_of_memory_in_a_step_changes_nothing(make, monkeypatch):
    """At every allocation of scratch memory in turn; the step after it works."""
    cells = [Parameter(np.full(3000 + k, k + 1.0)) for k in range(3)]
    optimizer = make(cells)
    (cells[0].sum() + cells[1].sum() + cells[2].sum()).backward()
    optimizer.step()
    slots = [cell for group in optimizer._by_dtype for row in group.slots for cell in row]
    before = [cell.numpy().copy() for cell in [*cells, *slots]]
    real, failures = numpy_backend.NumpyBackend.scratch, 0
    for fail_at in range(20):
        count = 0

        def scratch(self, shape, dtype, fail_at=fail_at):
            nonlocal count
            count += 1
            if count > fail_at:
                raise MemoryError("no room")
            return real(self, shape, dtype)

        monkeypatch.setattr(numpy_backend.NumpyBackend, "scratch", scratch)
        try:
            optimizer.step()
            break
        except MemoryError:
            failures += 1
            for cell, value in zip([*cells, *slots], before, strict=True):
                np.testing.assert_array_equal(cell.numpy(), value)
    assert failures
    assert (cells[2].numpy() != before[2]).all()


def test_large_and_small_steps_agree():
    """The same numbers in place and in pieces, and in new arrays."""
    rng = np.random.default_rng(0)
    value, gradient = rng.normal(size=200_000), rng.normal(size=200_000)
    large = Parameter(value)
    small = [Parameter(part) for part in np.split(value, 1000)]
    for cells, parts in (([large], [gradient]), (small, np.split(gradient, 1000))):
        optimizer = optim.AdamW(cells, lr=0.1)
        for _ in range(3):
            for cell, part in zip(cells, parts, strict=True):
                cell.leaf.grad.assign(gc.tensor(part))
            optimizer.step()
    assert np.array_equal(large.numpy(), np.concatenate([cell.numpy() for cell in small]))


def test_pickling_a_used_parameter():
    p = Parameter([1.0, 2.0])
    (p * p).sum().backward()
    optim.SGD([p], lr=0.1).step()
    copy = pickle.loads(pickle.dumps(p))
    assert copy.numpy().tolist() == p.numpy().tolist()
    assert copy.grad.numpy().tolist() == [2.0, 4.0]
