"""What a profile notes where something fails, or runs inside something else."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.errors import ChangedError
from gradcore.core.op import Family, Op
from gradcore.core.tensor import Tensor
from gradcore.memory.accounting import account


def phases(p, *names):
    return [(s.site.op, s.site.phase) for s in p.spans if s.site.op in names]


def test_after_a_backward_pass_that_fails_ops_are_forward_again(monkeypatch):
    def fail(record, g):
        raise MemoryError("no room")

    x = gc.tensor(np.ones(1000, np.float32), requires_grad=True)
    with gc.profile() as p:
        y = gc.tanh(x)
        monkeypatch.setattr(y.node.pull, "raw", fail)
        with pytest.raises(MemoryError):
            y.sum().backward()
        gc.sin(x)
    assert phases(p, "tanh", "sin") == [("tanh", "forward"), ("sin", "forward")]


@pytest.mark.parametrize("inside", [False, True])
def test_after_another_hook_that_fails_ops_are_forward_again(inside):
    """The check fails when a record is about to be pulled back; a hook inside it is not told of that record."""
    array = np.ones(5, np.float32)
    w, profile, check = gc.tensor(array, requires_grad=True), gc.profile(), gc.check_saved()
    with ExitStack() as stack:
        found = [stack.enter_context(context) for context in ((check, profile) if inside else (profile, check))]
        y = (w * gc.asarray(array)).sum()
        array[0] = 5.0
        with pytest.raises(ChangedError):
            y.backward()
        gc.sin(w)
    assert phases(found[inside], "mul", "sin") == [("mul", "forward"), ("sin", "forward")]


def test_adding_to_a_gradient_is_backward():
    w = gc.tensor(np.ones(10, np.float32), requires_grad=True)
    with gc.profile() as p:
        for _ in range(2):
            (w * 2.0).sum().backward()
    assert phases(p, "add") == [("add", "backward")]
    assert [row.phase for row in p.ops if row.op == "mul"] == ["forward"]


def test_ctrl_c_while_a_workspace_is_measured_counts_nothing_twice(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    x = gc.ones(17, 19)
    monkeypatch.setattr("gradcore.memory.workspace._measured", interrupt)
    with account(resident=False) as a:
        with pytest.raises(KeyboardInterrupt):
            gc.exp(x)
        assert a.live == x.data.nbytes


def test_what_dies_before_the_first_op_is_in_the_timeline():
    x = gc.ones(1000, dtype="float32")
    with gc.profile() as p:
        del x
        gc.exp(gc.ones(10, dtype="float32"))
    assert [moment.live - p.resident for moment in p.timeline[:3]] == [0, -4000, -3960]


def outer():
    """An op whose code calls two ops."""

    def impl(xp, out, x):
        return gc.sin(gc.exp(Tensor(x)) * 2.0).data

    return Op(name="outer", family=Family.FUSED, inputs=("x",), impl=impl, abstract=same, half=False, internal=True)


def same(x: Aval) -> Aval:
    return x


def test_ops_inside_an_op_are_told_once():
    """Not once more while its workspace is measured."""
    op, x = outer(), gc.ones(100, 100, dtype="float32")
    names, peaks = [], []
    for _ in range(2):
        with gc.profile() as p, account() as a:
            bind(op, (x,))
        names.append([span.site.op for span in p.spans])
        peaks.append((p.peak - p.resident, a.peak - a.resident))
        assert all(span.seconds >= 0 for span in p.spans)
    assert names[0] == names[1] and names[0][:3] == ["exp", "mul", "sin"]
    assert peaks[0] == peaks[1]
