"""Every op of the table on CUDA: the values and derivatives that NumPy gives, and no copy or wait on the way."""

import numpy as np
import pytest

from gradcore.autodiff.transforms import vjp
from gradcore.core.bind import bind
from gradcore.core.op import OPS, Family
from gradcore.core.tensor import Tensor
from gradcore.ops.creation import full_like
from gradcore.testing.cases import cases_of
from gradcore.testing.devices import (
    assert_agree,
    check_batch,
    check_forward,
    check_gradient,
    check_second,
    check_tangent,
    copied,
    keys_here,
    twice,
)
from gradcore.testing.layouts import reversed_

# Ops that copy between the CPU and the device, or wait for it, and why.
COPIES = {"to_device": "its samples go to the CPU"}
ON_CUDA = [case for case in cases_of() if case.op.name != "to_device"]
FIRST = [case for case in ON_CUDA if case.number == 0]  # every kernel takes a while to compile
UNARY = [op for op in OPS.values() if op.family is Family.ELEMENTWISE and op.inputs == ("x",)]
BINARY = [op for op in OPS.values() if op.family is Family.ELEMENTWISE and op.inputs == ("a", "b")]
STRUCTURED = [case for case in FIRST if case.op not in UNARY]  # those of one operand all go the same way


def of_dtypes(*narrow):
    """All cases in float64, the first of each op in narrower dtypes."""
    cases = [("float64", case) for case in ON_CUDA] + [(dtype, case) for dtype in narrow for case in FIRST]
    return pytest.mark.parametrize(("dtype", "case"), cases, ids=str)


@of_dtypes("float32", "float16")
def test_values(case, dtype):
    check_forward(case, dtype)


@pytest.mark.parametrize("case", STRUCTURED, ids=str)
def test_values_of_other_layouts(case):
    check_forward(case, "float64", reversed_)


@of_dtypes("float32")
def test_gradient(case, dtype):
    check_gradient(case, dtype)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_second_derivative(case):
    check_second(case)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_tangent(case):
    check_tangent(case)


@pytest.mark.parametrize("case", STRUCTURED, ids=str)
def test_batch(case):
    check_batch(case)


# Slow are those whose second derivatives need kernels that no other test compiles.
ONCE = [pytest.param(case, marks=pytest.mark.slow if case.number else ()) for case in cases_of()]


@pytest.mark.parametrize("case", ONCE, ids=str)
def test_nothing_is_copied_and_nothing_waits(case, counters):
    values, function = twice(case) if case.differentiable() else (case.operands(), case.call)
    here = keys_here(case.op, case.operands())
    tensors = [Tensor(x if k in here else copied(x)) for k, x in enumerate(values)]
    before = counters()
    function(*tensors)
    after = counters()
    moved = {what: after[what] - before[what] for what in ("d2h", "h2d", "syncs") if after[what] != before[what]}
    assert bool(moved) == (case.op.name in COPIES), f"{case}: {moved}"


# --- extremes ---------------------------------------------------------------------------------------------------------

FINITE = [0.0, -0.0, 1e-30, -1e-30, 0.5, -0.5, 3.0, -3.0, 30.0, -30.0, 90.0, -90.0, 700.0, -700.0, 1e4, -1e4]
EXTREMES = np.array([*FINITE, 1e30, -1e30, np.inf, -np.inf, np.nan])


def applied(op):
    return lambda *xs: (bind(op, xs),)


def pulled_back(op):
    """The gradients of an op, for cotangents of 1.5."""

    def function(*xs):
        ys, pull = vjp(lambda *xs: bind(op, xs), *xs)
        return tuple(pull(full_like(ys, 1.5)))

    return function


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.name)
def test_extremes(op, dtype):
    x = EXTREMES.astype(dtype)
    assert_agree(applied(op), [x], op.name, terms=[1e-30])
    if op.can_differentiate(0):
        assert_agree(pulled_back(op), [x], f"gradient of {op.name}", terms=[1e-30])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_extreme_pairs(op):
    pairs = [np.ascontiguousarray(x) for x in np.meshgrid(EXTREMES, EXTREMES)]
    assert_agree(applied(op), pairs, op.name, terms=[1e-30])
    if op.can_differentiate(0):
        assert_agree(pulled_back(op), pairs, f"gradient of {op.name}", terms=[1e-30, 1e-30])
