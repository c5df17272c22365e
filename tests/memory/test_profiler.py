"""`gradcore.profile()`: who held the peak, tables, files."""

from __future__ import annotations

import gc as collector
import json
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.state import state
from gradcore.memory.accounting import account
from gradcore.memory.attribution import Attribution
from gradcore.memory.tables import table

ROWS, WIDTH = 500, 64


class Block(gc.nn.Module):
    def __init__(self):
        self.norm, self.inner = gc.nn.LayerNorm(WIDTH), gc.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + gc.tanh(self.inner(self.norm(x)))  # the user's line


class Network(gc.nn.Module):
    def __init__(self, checkpoint=False):
        self.checkpoint = checkpoint
        self.blocks = gc.nn.ModuleList([Block() for _ in range(3)])
        self.head = gc.nn.Linear(WIDTH, 1)

    def forward(self, x):
        for block in self.blocks:
            x = gc.memory.checkpoint(block)(x) if self.checkpoint else block(x)
        return self.head(x)


def data():
    return gc.tensor(np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32))


def trained(model):
    """A step, after one that has made the optimiser's gradients."""
    optimizer, x = gc.optim.AdamW(model.parameters(), lr=0.01), data()

    def step():
        loss = gc.mean(model(x) ** 2.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return step


@pytest.fixture(scope="module")
def profile():
    model = Network()
    step = trained(model)
    with gc.profile(model) as p:
        step()
    return p


# --- the peak ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [False, True])
def test_holders_add_up_to_the_peak_and_it_is_the_account_s(checkpoint):
    model = Network(checkpoint)
    step = trained(model)
    with account() as a:
        step()
    with gc.profile(model) as p:
        step()
    assert p.peak == a.peak == sum(h.bytes for h in p.holders_at_peak)
    assert p.resident == a.resident
    assert p.live == p.timeline[-1].live
    assert max(moment.live for moment in p.timeline) == p.peak == p.peak_reserved


def test_a_peak_outside_of_ops():
    with gc.profile() as p:
        big = gc.zeros(1000, 1000)
        del big
        gc.exp(gc.ones(3))
    assert p.peak == sum(h.bytes for h in p.holders_at_peak) >= p.resident + 4_000_000
    assert p.holders_at_peak[0].shape == (1000, 1000)


def test_kinds(profile):
    kinds = profile.by_kind()
    parameters = 4 * (3 * (WIDTH * WIDTH + 3 * WIDTH) + WIDTH + 1)
    named = [h for h in profile.holders_at_peak if h.name.startswith(("blocks.", "head."))]
    assert sum(h.bytes for h in named if h.kind == "parameter") == parameters
    assert sum(h.bytes for h in named if h.kind == "optimiser state") == 2 * parameters
    assert kinds["input"] >= 4 * ROWS * WIDTH
    assert kinds["saved activation"] > 3 * 2 * 4 * ROWS * WIDTH
    assert sum(kinds.values()) == profile.peak
    assert {h.kind for h in profile.holders_at_peak if h.shape == (ROWS, WIDTH)} <= {
        "saved activation",
        "gradient",
        "input",
        "other",
    }


def test_saved_activations_have_op_module_and_line(profile):
    saved = [h for h in profile.holders_at_peak if h.kind == "saved activation" and h.op == "tanh"]
    assert {h.module for h in saved} <= {"blocks.0", "blocks.1", "blocks.2"}
    assert all("# the user's line" in h.line and __file__ in h.line for h in saved)


def test_gradients_have_their_parameter():
    model = Network()
    with gc.profile(model) as p:
        gc.mean(model(data()) ** 2.0).backward()
        gc.zeros(3000, 3000)  # the peak comes when the gradients are there
    names = {h.name for h in p.holders_at_peak if h.kind == "gradient"}
    assert {f"{name}.grad" for name, _ in model.named_parameters()} <= names


# --- tables -----------------------------------------------------------------------------------------------------------


def test_saved_bytes_are_those_of_the_arrays(profile):
    rows = {row.op: row for row in profile.saved}
    assert (rows["tanh"].times, rows["tanh"].bytes) == (3, 3 * 4 * ROWS * WIDTH)
    assert "# the user's line" in rows["tanh"].line
    saved = {row.module: row.saved for row in profile.modules}
    assert saved["blocks.1"] == 4 * ROWS * WIDTH
    assert sum(saved.values()) == sum(row.bytes for row in profile.saved)


def test_a_block_that_is_saved_twice_counts_once():
    w = gc.tensor(np.ones((64, 64), np.float32), requires_grad=True)
    with gc.profile() as p:
        x = w * 2.0
        y = x * x
    assert [(row.op, row.times, row.bytes) for row in p.saved] == [("mul", 1, 4 * 64 * 64)]
    assert y.shape == (64, 64)


def test_ops_by_phase(profile):
    rows = {(row.op, row.phase): row for row in profile.ops}
    assert rows["linear", "forward"].calls == 4
    assert rows["tanh", "forward"].allocated == 3 * 4 * ROWS * WIDTH
    assert rows["linear_vjp", "backward"].calls == 4
    assert rows["adamw", "optimiser"].calls == 1
    assert rows["layer_norm", "forward"].workspace > 0
    assert all(row.seconds > 0 for row in profile.ops)
    assert {moment.phase for moment in profile.timeline} == {"forward", "backward", "optimiser"}


def test_what_a_checkpoint_computes_again():
    model = Network(checkpoint=True)
    step = trained(model)
    with gc.profile(model) as p:
        step()
    rows = {(row.op, row.phase): row.calls for row in p.ops}
    assert rows["tanh", "forward"] == rows["tanh", "recomputation"] == 3
    assert all(h.module for h in p.holders_at_peak if h.kind == "saved activation" and h.op == "tanh")


def test_modules_have_their_paths(profile):
    assert {row.module for row in profile.modules} >= {"blocks.0.norm", "blocks.2.inner", "blocks.1", "head", ""}


def test_without_a_model_modules_have_their_class():
    model = Network()
    with gc.profile() as p:
        model(data())
    assert {row.module for row in p.modules} == {"LayerNorm", "Linear", "Block"}


def test_text(profile):
    text = str(profile)
    for words in (
        "held at the peak",
        "the largest holders",
        "saved for backward",
        "tanh",
        "blocks.0.norm",
        "workspace",
    ):
        assert words in text
    assert all(len(line) < 160 for line in text.splitlines())


def test_columns():
    rows = [("a", "1"), ("long", "22")]
    assert list(table(("name", "n"), rows)) == ["", "name   n", "a      1", "long  22"]
    assert list(table(("name",), [])) == []
    assert list(table(("n",), [(str(i),) for i in range(12)]))[-1] == "… and 2 more"


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_profile_s_own_search_is_not_in_its_seconds(monkeypatch):
    monkeypatch.setattr(Attribution, "settle", lambda attribution: time.sleep(1.0))
    with gc.profile() as p:
        gc.exp(gc.ones(3))
    assert 0 < p.seconds < 1.0


def test_moments_are_in_order_from_what_was_there_to_what_is_left(profile):
    seconds = [moment.seconds for moment in profile.timeline]
    assert seconds == sorted(seconds)
    assert seconds[0] == 0 and seconds[-1] <= profile.seconds
    assert (profile.timeline[0].live, profile.timeline[-1].live) == (profile.resident, profile.live)


def test_workspace_is_there_while_its_op_runs_and_no_longer():
    x, norm = data(), gc.nn.LayerNorm(WIDTH)
    y = norm(x)
    with account(resident=False):
        norm(x)
    with gc.profile() as p:
        y = norm(x)
    (span,) = [span for span in p.spans if span.site.op == "layer_norm"]
    spike, after = next((a, b) for a, b in zip(p.timeline, p.timeline[1:], strict=False) if a.live == span.most)
    assert (spike.op, after.op) == ("layer_norm", "layer_norm")
    assert after.seconds - spike.seconds == pytest.approx(span.seconds)
    assert after.live == p.resident
    assert y.shape == x.shape


# --- files ------------------------------------------------------------------------------------------------------------


def test_json(profile, tmp_path):
    profile.save(tmp_path / "p.json")
    found = json.loads((tmp_path / "p.json").read_text())
    assert found == profile.json()
    assert found["peak"] == sum(h["bytes"] for h in found["holders_at_peak"])
    assert found["ops"][0].keys() == {"op", "phase", "calls", "seconds", "allocated", "workspace"}


def test_trace(profile, tmp_path):
    profile.chrome_trace(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    ops = [e for e in events if e["ph"] == "X"]
    assert len(ops) == len(profile.spans)
    assert all(e["ts"] >= 0 and e["dur"] > 0 for e in ops)
    assert max(e["args"]["bytes"] for e in events if e["ph"] == "C") == profile.peak


def test_picture(profile, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    profile.plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(profile, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'gradcore\[plot\]'"):
        profile.plot(tmp_path / "p.png")


# --- what it leaves ---------------------------------------------------------------------------------------------------


def test_classes_are_as_before():
    class Inherits(Block):
        pass

    model = gc.nn.Sequential(Inherits(), Block())
    before = [vars(kind).get("__call__") for kind in (Inherits, Block, gc.nn.Sequential)]
    with gc.profile(model) as p:
        model(data())
        assert "__call__" in vars(Inherits)
    assert [vars(kind).get("__call__") for kind in (Inherits, Block, gc.nn.Sequential)] == before
    assert {row.module for row in p.modules} == {"0", "0.norm", "0.inner", "1", "1.norm", "1.inner"}


def test_classes_are_as_before_when_profiles_of_two_threads_end_in_any_order():
    model = Network()
    before = vars(Block).get("__call__")
    opened, closed, modules = threading.Event(), threading.Event(), set()

    def other():
        with gc.profile(model) as p:
            opened.set()
            closed.wait(timeout=60)
            model(data())
        modules.update(row.module for row in p.modules)

    thread = threading.Thread(target=other)
    with gc.profile(model):
        thread.start()
        assert opened.wait(timeout=60)
    closed.set()
    thread.join()
    assert vars(Block).get("__call__") is before
    assert "blocks.0.norm" in modules, "one that is still open goes on"


def test_nested_profiles_see_the_same():
    model = Network()
    step = trained(model)
    with gc.profile(model) as outer, gc.profile(model) as inner:
        step()
    assert [row.module for row in outer.modules] == [row.module for row in inner.modules]
    assert outer.peak == inner.peak == sum(h.bytes for h in outer.holders_at_peak)


def test_an_exception_ends_it_and_the_figures_are_there():
    model = Network()
    with pytest.raises(ValueError, match="stop"), gc.profile(model) as p:
        y = model(data())
        raise ValueError("stop")
    assert state.hooks == []
    assert p.peak > p.resident and p.ops
    assert y.shape == (ROWS, 1)


def test_a_backward_pass_that_fails_keeps_nothing_alive(monkeypatch):
    def fail(record, g):
        raise MemoryError("no room")

    with gc.profile():
        y = gc.tanh(gc.tensor(np.ones(1000, np.float32), requires_grad=True) * 2.0)
        saved = weakref.ref(y.data)
        monkeypatch.setattr(y.node.pull, "raw", fail)
        with pytest.raises(MemoryError):
            y.sum().backward()
        del y
        collector.collect()
        assert saved() is None


def test_it_adds_up_the_same_at_once_and_at_the_end(monkeypatch):
    step = trained(Network(checkpoint=True))

    def figures():
        with gc.profile() as p:
            step()
        labels = sorted((h.bytes, h.kind, h.op, h.module, h.line) for h in p.holders_at_peak)
        ops = sorted((row.op, row.phase, row.calls, row.allocated, row.workspace) for row in p.ops)
        return p.peak, p.live, labels, ops, p.saved, [moment.live for moment in p.timeline]

    figures()  # measures the workspace of all ops
    late = figures()
    monkeypatch.setattr("gradcore.memory.ledger.MANY", 0)
    assert figures() == late


def test_nothing_that_a_profile_met_stays():
    with gc.profile() as p:
        y = gc.exp(gc.ones(100, 100))
        seen = weakref.ref(y.data)
    del y
    assert seen() is None and p.spans


@pytest.mark.parametrize("what", ["cuda", gc.exp])
def test_what_is_no_module_is_refused(what):
    with pytest.raises(TypeError, match="profile takes a module"), gc.profile(what):
        pass


def test_results_have_the_same_bits():
    model = Network()
    plain = model(data()).numpy()
    with gc.profile(model):
        assert np.array_equal(model(data()).numpy(), plain)


def test_grad_and_its_derivative():
    def f(w):
        return gc.sum(gc.tanh(w) ** 3.0)

    w = data()
    with gc.profile() as p:
        gc.grad(lambda w: gc.sum(gc.grad(f)(w)))(w)
    assert p.peak == sum(h.bytes for h in p.holders_at_peak)
    assert "backward" in {row.phase for row in p.ops}
