"""The checks themselves: each refuses an op that is wrong in its one respect, and every op is checked."""

import dataclasses

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.bind import bind
from gradcore.core.errors import RuleError
from gradcore.core.op import OPS, Family, Op, Saved
from gradcore.ops.scalar import Scalar
from gradcore.testing import cases_of, check_op, without_samples
from gradcore.testing.ops import CHECKS
from gradcore.testing.paths import assert_same_paths

from .common import cube, good


def follows_layout(xp, out, x):
    return x * x * x if out is None else cube(xp, out, x)


def half_right(needed, g, xs, ys, params):
    """The first derivative is right, the second is not."""
    x = xs[0]
    return (gc.mul(g, gc.mul(3.0, gc.mul(gc.stop_gradient(x), x))),)


def scratch_kept(xp, out, x):
    """Returns its scratch, which the next op may overwrite."""
    return cube(xp, xp.scratch(x.shape, x.dtype) if out is None else out, x)


def rounded_early(xp, out, x):
    return cube(xp, out, x.astype(np.float16).astype(x.dtype) if x.dtype == np.float32 else x)


def twice(tensors):
    return gc.mul(tensors, 2.0)


BROKEN = [
    ("derivatives", {"vjp": lambda needed, g, xs, ys, params: (gc.mul(g, gc.square(xs[0])),)}, "reverse mode of f"),
    ("derivatives", {"jvp": lambda tangents, xs, ys, params: twice(tangents[0])}, "forward mode of f,"),
    ("derivatives", {"vjp": half_right}, r"mode of vjp\(f\)"),
    ("batch", {"batch": lambda size, mapped, xs, params: twice(xs[0])}, "vmap"),
    ("stage", {"abstract": lambda x: x.update(dtype=np.float32)}, "abstract"),
    ("stage", {"alias": lambda x: 0}, "alias"),
    ("abstract", {"abstract": lambda x: x.update(shape=(1,))}, "abstract"),
    ("meaning", {"meaning": lambda x: gc.mul(x, 2.0)}, "against its meaning"),
    ("meaning", {"vjp": lambda needed, g, xs, ys, params: (twice(g),)}, "against what is derived"),
    ("out", {"impl": lambda xp, out, x: x * x * x}, "out="),
    ("out", {"impl": scratch_kept}, "in an arena"),
    ("layouts", {"impl": follows_layout}, "C-contiguous"),
    ("precision", {"impl": rounded_early}, "float32"),
    ("abstract", {"impl": lambda xp, out, x: np.asarray(x, np.float64) ** 3}, "float64"),
]


def test_a_good_op_passes():
    check_op(good())


@pytest.mark.parametrize(("check", "wrong", "message"), BROKEN, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN)])
def test_a_broken_op_fails(check, wrong, message):
    (case,) = cases_of([good(**wrong)])
    with pytest.raises(AssertionError, match=message):
        CHECKS[check](case)


def test_wrong_partials_fail():
    right = OPS["tanh"].spec
    wrong = Scalar("tanh", ("x",), right.meaning, lambda y, x: 1 - y)
    op = dataclasses.replace(OPS["tanh"], spec=wrong, internal=True, cache={})
    op.vjp = lambda needed, g, xs, ys, params: (gc.mul(g, gc.sub(1.0, ys[0])),)
    op.saves = lambda needed, params: Saved((), (0,))
    with pytest.raises(AssertionError, match="against what is derived"):
        CHECKS["partials"](cases_of([op])[0])


def test_an_op_without_a_derivative_records_nothing():
    op = good(differentiable=(False,))
    CHECKS["derivatives"](cases_of([op])[0])


def test_a_rule_that_reads_what_it_did_not_save_fails_at_once():
    op = good(saves=lambda needed, params: Saved())
    with pytest.raises(RuleError, match="the vjp of 'cube' failed"):
        gc.grad(lambda x: gc.sum(bind(op, (x,))))(gc.tensor([1.0, 2.0]))


def test_a_short_cut_with_other_bits_fails():
    def unequal(x):
        from gradcore.core.state import switch

        return gc.mul(x, 2.0 if switch.busy else 3.0)

    with pytest.raises(AssertionError, match="short cut of unequal"):
        assert_same_paths(unequal, [np.ones(3)], (), [0], [np.ones(3)], "unequal")


@pytest.fixture
def table():
    before = dict(OPS)
    yield OPS
    OPS.clear()
    OPS.update(before)


def test_every_op_has_samples():
    assert without_samples() == []


def test_an_op_without_samples_is_found(table):
    fields = {"impl": cube, "abstract": lambda x: x, "meaning": lambda x: x}
    op = Op(name="forgotten", family=Family.FUSED, inputs=("x",), **fields)
    assert without_samples() == ["forgotten"]
    with pytest.raises(AssertionError, match="'forgotten' has no samples"):
        check_op(op)


def test_every_sample_has_a_case_of_its_own():
    names = [str(case) for case in cases_of()]
    assert len(names) == len(set(names)) == sum(len(op.samples) for op in OPS.values())
