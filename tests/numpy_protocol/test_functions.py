"""NumPy's functions on tensors equal NumPy's on arrays, in value and dtype, and they differentiate."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.tensor import Tensor
from gradcore.numpy_protocol.rules import RULES
from gradcore.numpy_protocol.ufuncs import CONSTANT, DIFFERENTIABLE, UFUNCS
from gradcore.numpy_protocol.unsupported import UNSUPPORTED

from .calls import CALLS, PLAIN, UNTESTED_HERE

FIXED = {*CONSTANT, *[name for name, rule in RULES.items() if not rule.differentiable]}
MOVING = [call for call in CALLS if call.name not in FIXED]
PYTHON = (int, bool, tuple)


def parts(result):
    """The results as a flat list; Python's own values as arrays."""
    if isinstance(result, (tuple, list)) and any(hasattr(part, "dtype") for part in result):
        return list(result)
    return [result]


def floats(call):
    return lambda *xs: tuple([part for part in parts(call.function(np, *xs)) if part.dtype.kind == "f"])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_values_and_dtypes(call, dtype):
    arrays = call.operands(dtype)
    want = parts(call.function(np, *arrays))
    got = parts(call.function(np, *map(gc.tensor, arrays)))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        if isinstance(w, PYTHON) and not isinstance(g, Tensor):
            assert g == w
            continue
        w = np.asarray(w)
        assert isinstance(g, Tensor) and g.shape == w.shape and g.dtype == w.dtype
        tol = 1e-12 if dtype == np.float64 else 2e-5
        np.testing.assert_allclose(g.numpy(), w, rtol=tol, atol=tol)


@pytest.mark.parametrize("call", MOVING, ids=str)
def test_derivatives(call):
    gc.testing.gradcheck(floats(call), call.operands(), order=1)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in MOVING], ids=str)
def test_constants(call):
    """They record nothing, or a derivative of zero."""
    xs = [gc.tensor(x, requires_grad=True) for x in call.operands()]
    for result in parts(call.function(np, *xs)):
        if isinstance(result, Tensor) and result.requires_grad:
            result.sum().backward()
    assert not any(x.grad is not None and x.grad.numpy().any() for x in xs)


@pytest.mark.parametrize("call", MOVING, ids=str)
def test_vmap(call):
    drawn = call.operands()
    stacks = [np.stack([x, x * 0.9, x * 0.8]) for x in drawn]
    got = gc.vmap(floats(call))(*stacks)
    for i in range(3):
        for g, w in zip(got, floats(call)(*[gc.tensor(x[i]) for x in stacks]), strict=True):
            np.testing.assert_allclose(np.asarray(g)[i], w.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("call", MOVING, ids=str)
def test_backward_and_cells(call):
    arrays = call.operands()
    tensors = [gc.tensor(x, requires_grad=True) for x in arrays]
    cells = [gc.nn.Parameter(x) for x in arrays]
    for xs in (tensors, cells):
        total = sum(part.sum() for part in floats(call)(*xs))
        if total.requires_grad:
            total.backward()
    assert [x.grad is None for x in tensors] == [x.grad is None for x in cells]
    for tensor, cell in zip(tensors, cells, strict=True):
        if tensor.grad is not None:
            np.testing.assert_array_equal(tensor.grad.numpy(), cell.grad.numpy())


def test_every_rule_is_tested():
    assert set(RULES) - set(PLAIN) == UNTESTED_HERE


def test_how_many_functions_take_tensors():
    rules = {
        getattr(np.linalg if name.startswith("linalg.") else np, name.removeprefix("linalg."), None) for name in RULES
    }
    distinct = {f for f in rules if f is not None} | {getattr(np, name) for name in UFUNCS if hasattr(np, name)}
    assert len({call.name for call in MOVING}) >= 120
    assert len(distinct) >= 170


def test_every_function_of_numpy_is_named():
    dispatched = type(np.sum), np.ufunc
    for prefix, module in (("", np), ("linalg.", np.linalg)):
        for name in dir(module):
            f = getattr(module, name, None) if not name.startswith("_") else None
            if not isinstance(f, dispatched) or getattr(f, "__module__", "numpy") not in ("numpy", "numpy.linalg"):
                continue
            known = {*RULES, *UNSUPPORTED} if not isinstance(f, np.ufunc) else {*UFUNCS, *UNSUPPORTED}
            assert prefix + f.__name__ in known or f.__name__ in known, prefix + name


def test_no_function_is_both_supported_and_not():
    assert not {*RULES, *UFUNCS} & UNSUPPORTED.keys()
    assert not DIFFERENTIABLE.keys() & CONSTANT.keys()
