"""What policies keep, what the debug mode finds, and what is refused."""

import re
from collections import Counter

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import ChangedError
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import OPS
from gradcore.memory import RECOMPUTE, SAVE, Made, recompute_names, recompute_ops, save_names, save_ops

from .test_checkpoint import assert_same, values


def leaf(*shape):
    return gc.tensor(values(*shape), requires_grad=True)


def block(x):
    return gc.tanh(gc.exp(gc.name(gc.sin(x), "s")) * x).sum()


class Runs(Hook):
    def __init__(self):
        self.counts = Counter()

    def after(self, op, values, params, outputs):
        self.counts[op.name] += 1


def again(function, policy, *shape):
    """Which ops compute again in the backward pass (views do not); its gradient has the bits of the plain one."""
    x, y, runs, plain = leaf(*shape), leaf(*shape), Runs(), Runs()
    loss, other = gc.checkpoint(function, policy)(x), function(y)
    with hooked(runs):
        loss.backward()
    with hooked(plain):
        other.backward()
    assert_same(x.grad, y.grad)
    return {name for name in runs.counts - plain.counts if OPS[name].alias is None}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, {"sin", "exp", "mul", "tanh"}),
        (save_ops("exp"), {"mul", "tanh"}),
        (save_ops("exp", "tanh"), set()),
        (save_ops("mul"), {"sin", "exp", "tanh"}),
        (recompute_ops("exp", "tanh"), {"exp", "tanh"}),
        (recompute_ops(), set()),
        (save_names("s"), {"exp", "mul", "tanh"}),
        (save_names("other"), {"sin", "exp", "mul", "tanh"}),
        (recompute_names("s"), set()),  # no vjp reads it
        (lambda made: SAVE if made.nbytes == 24 and made.op > "t" else RECOMPUTE, {"sin", "exp"}),
    ],
)
def test_what_is_kept_does_not_run_again(policy, expected):
    assert again(block, policy, 3) == expected


def test_a_policy_sees_op_name_shape_and_size():
    seen = []
    gc.checkpoint(block, lambda made: seen.append(made) or RECOMPUTE)(leaf(2, 3))
    double = np.dtype(np.float64)
    assert seen[:2] == [Made("sin", None, (2, 3), double, 48), Made("sin", "s", (2, 3), double, 48)]
    assert [made.op for made in seen[2:]] == ["exp", "mul", "tanh", "sum"] and seen[-1].nbytes == 8


def test_a_name_after_views_keeps_what_they_are_views_of():
    def f(x):
        y = gc.name(gc.exp(gc.sin(x)).reshape(-1).reshape(3, 2).T, "y")
        return (gc.cos(y) * y).sum()

    assert again(f, save_names("y"), 2, 3) == {"cos"}
    assert again(f, None, 2, 3) == {"sin", "exp", "cos"}


def test_a_name_says_no_to_what_an_op_policy_kept():
    def policy(made):
        return RECOMPUTE if made.name == "s" else SAVE

    assert again(lambda x: gc.cos(gc.name(gc.sin(gc.tanh(x)), "s")).sum(), policy, 3) == {"sin"}


def test_names_under_transforms():
    f = gc.checkpoint(block, save_names("s"))
    x = gc.tensor(values(3))
    for transform in (gc.grad, lambda f: gc.vmap(gc.grad(f)), lambda f: gc.grad(lambda x: gc.grad(f)(x).sum())):
        argument = gc.stack([x, x]) if "vmap" in transform(f).__qualname__ else x
        assert_same(transform(f)(argument), transform(block)(argument))
    assert_same(gc.jvp(f, (x,), (x,)), gc.jvp(block, (x,), (x,)))


def test_an_inner_policy_counts_while_the_outer_region_is_computed_again():
    """The inner result is computed with the outer region, and not once more."""

    def run(policy):
        runs, x = Runs(), leaf(3)
        inner = gc.checkpoint(lambda x: gc.tanh(gc.exp(gc.sin(x)) * x), policy)
        loss = gc.checkpoint(lambda x: inner(inner(x)).sum())(x)
        with hooked(runs):
            loss.backward()
        return runs.counts["sin"], runs.counts["exp"], x.grad

    sin, exp, grad = run(None)
    kept_sin, kept_exp, kept_grad = run(save_ops("exp"))
    assert (sin, exp) == (3, 3) and (kept_sin, kept_exp) == (2, 2)
    assert_same(kept_grad, grad)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_wrong_answers():
    for answer in (True, None, "save"):
        with pytest.raises(TypeError, match=f"answers gradcore.memory.SAVE or RECOMPUTE, not {answer!r}"):
            gc.checkpoint(block, lambda made, answer=answer: answer)(leaf(3))
    assert repr([SAVE, RECOMPUTE]) == "[SAVE, RECOMPUTE]"


def test_unknown_ops():
    for policy in (save_ops, recompute_ops):
        with pytest.raises(ValueError, match=r"no op named 'matmull'; did you mean matmul"):
            policy("sin", "matmull")
        with pytest.raises(ValueError, match=r"no op named 'zzzz'; docs/ops.md has all"):
            policy("zzzz")


def test_wrong_arguments():
    x = leaf(3)
    with pytest.raises(TypeError, match=re.escape("got Tensor; write checkpoint(f)(x)")):
        gc.checkpoint(block(x))
    with pytest.raises(TypeError, match=re.escape("got int; write checkpoint(f)(x)")):
        gc.checkpoint(3)
    with pytest.raises(TypeError, match=re.escape("such as gradcore.memory.save_ops('linear'), not 'exp'")):
        gc.checkpoint(block, "exp")
    with pytest.raises(TypeError, match="takes a string, not int"):
        gc.name(x, 3)


def test_what_is_wrapped_keeps_its_name():
    assert gc.checkpoint(block).__name__ == "block"
    assert gc.checkpoint(gc.nn.Linear(2, 2))(gc.ones((1, 2))).shape == (1, 2)

    class Model:
        @gc.checkpoint
        def __call__(self, x):
            return gc.exp(x)

    assert_same(Model()(gc.ones(2)), gc.exp(gc.ones(2)))


# --- check=True -------------------------------------------------------------------------------------------------------


def test_an_array_changed_through_an_alias():
    for function in (lambda x: x, gc.checkpoint):
        array, w = np.ones(3), leaf(3)
        a = gc.asarray(array)
        loss = function(gc.checkpoint(lambda w: gc.exp(gc.cos(a * 2) * w), check=True))(w).sum()
        array[0] = 5.0
        with pytest.raises(ChangedError, match=r"'mul' gave other numbers[^$]*test_checkpoint_policies.py:\d+.*a \* 2"):
            loss.backward()


def test_inner_regions_are_checked_with_the_outer_one():
    array, w = np.ones(3), leaf(3)
    a = gc.asarray(array)
    inner = gc.checkpoint(lambda w: gc.tanh(gc.exp(gc.sin(a) * w)))
    loss = gc.checkpoint(lambda w: inner(w) * w, check=True)(w).sum()
    array[0] = 5.0
    with pytest.raises(ChangedError, match="'sin' gave other numbers"):
        loss.backward()


def test_an_op_that_is_not_deterministic(monkeypatch):
    op = gc.core.op.OPS["sin"]
    before, noise = op.impl, iter(range(100))
    for check in (False, True):
        x = leaf(3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(op, "impl", lambda *args: before(*args) + next(noise) * 1e-16)
            loss = gc.checkpoint(lambda x: gc.exp(gc.sin(x)), check=check)(x).sum()
            if not check:
                loss.backward()
                continue
            with pytest.raises(ChangedError, match=r"'sin' gave other numbers .*not deterministic[^$]*gc.sin\(x\)"):
                loss.backward()


def test_the_check_is_silent_otherwise():
    """Views, integers, halves, several outputs, random numbers, scans and graphs included."""

    def f(x):
        y = gc.dropout(gc.softmax(x.T @ x), gc.random.key(), 0.3)
        value, index = gc.max(y, axis=0), gc.argmax(y, axis=0)
        y = gc.take(y, index, axis=0) * value + gc.scan(lambda c, r: (gc.sin(c) + r, gc.exp(c)), y[0], y)[1]
        return (gc.sort(y.astype("float16"), axis=0).astype("float64") * y).sum()

    x = gc.tensor(values(3, 4))
    gc.random.seed(0)
    want = gc.grad(f)(x)
    gc.random.seed(0)
    assert_same(gc.grad(gc.checkpoint(f, check=True))(x), want)
    gc.make_graph(gc.grad(gc.checkpoint(f, check=True)))(x)
