"""The short cut of an op while something unusual is open: the same bits, hooks told, no record under no_grad."""

from __future__ import annotations

import ast
import builtins
import linecache
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore.autodiff.eager import is_taken
from gradcore.core.hooks import Hook, hooked
from gradcore.ops import operands

F = gc.nn.functional
RNG = np.random.default_rng(0)


def tensor(*shape: int, dtype: Any = np.float32, grad: bool = True) -> Any:
    return gc.tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=grad)


LABELS = gc.tensor(np.array([0, 2, 1, 1]))
CASES: dict[str, Callable[[Any], Any]] = {
    "mul": lambda x: x * x,
    "a number": lambda x: 2 * x - 1,
    "sigmoid": gc.sigmoid,
    "linear": lambda x: gc.linear(x, x[:2], x[:2, 0]),
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
    "where": lambda x: gc.where(x > 0, x, 0.5),
    "cross_entropy": lambda x: F.cross_entropy(x, LABELS),
    "mse": lambda x: F.mse_loss(x, gc.zeros(4, 3, dtype=x.dtype)),
    "sum": lambda x: gc.sum(x, 0),
    "max": lambda x: gc.max(x, 1),
    "gelu": gc.gelu,
}


class Told(Hook):
    """What a hook sees, without addresses."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def before(self, op: Any, values: Sequence[Any], params: Any) -> None:
        self.events.append(("before", op.name, *[getattr(v, "shape", v) for v in values], params))

    def after(self, op: Any, values: Sequence[Any], params: Any, outputs: Sequence[Any]) -> None:
        assert all(type(out) is np.ndarray for out in outputs)
        self.events.append(("after", op.name, *[(out.shape, out.dtype) for out in outputs]))

    def recorded(self, record: Any, outputs: Sequence[Any]) -> None:
        self.events.append(("recorded", record.pull.op.name, record.pull.needed, len(outputs)))


def derivative(x: Any, y: Any) -> Any:
    x.zero_grad()
    y.backward(gc.ones_like(y))
    return x.grad.numpy().tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_the_same_bits(case: str, dtype: Any) -> None:
    function, x = CASES[case], tensor(4, 3, dtype=dtype)
    want = function(x)
    gradient = derivative(x, want)
    with gc.no_grad():
        got = function(x)
    assert got.node is None and got.numpy().tobytes() == want.numpy().tobytes() and got.dtype == want.dtype
    with hooked(Hook()):
        got = function(x)
        assert derivative(x, got) == gradient
    assert got.numpy().tobytes() == want.numpy().tobytes()


@pytest.mark.parametrize("case", CASES)
def test_hooks_see_what_they_see_on_the_general_path(case: str) -> None:
    function, x = CASES[case], tensor(4, 3)
    short, general = Told(), Told()
    with hooked(short):
        function(x)
    with hooked(general):
        gc.checkpoint(function)(x)  # ops in a checkpoint take no short cut
    assert short.events == general.events and short.events


class Whole(Told):
    sees_into_pulls = False


@pytest.mark.parametrize("case", CASES)
def test_hooks_that_do_not_look_into_pulls(case: str) -> None:
    """Backward passes keep their short cuts: one op for each record, of which a hook sees the gradients."""
    function, x = CASES[case], tensor(4, 3)
    want = derivative(x, function(x))
    whole = Whole()
    with hooked(whole):
        assert derivative(x, function(x)) == want
    recorded = [name for kind, name, *_ in whole.events if kind == "recorded"]
    backward = [name for kind, name, *_ in whole.events if kind == "after" and name.endswith("_vjp")]
    assert set(backward) <= {f"{name}_vjp" for name in recorded}
    assert backward or case == "max"  # which has no short cut


@pytest.mark.parametrize("case", CASES)
def test_recorded_outside_and_walked_inside(case: str) -> None:
    """Records of the short cut keep less; the general rules find what they need."""
    function, x = CASES[case], tensor(4, 3)
    want = derivative(x, function(x))
    y = function(x)
    with hooked(Hook()):
        assert derivative(x, y) == want
    with hooked(Hook()):
        y = function(x)
    assert derivative(x, y) == want


def test_it_is_the_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here goes through `bind`."""
    x = tensor(4, 3)
    monkeypatch.setattr(operands, "bind", None)
    with gc.no_grad(), hooked(Hook()):
        assert gc.sigmoid(x * x + 1).shape == (4, 3)


@pytest.mark.parametrize("name", ["watched", "op", "state", "switch", "serial", "new"])
def test_an_op_may_have_the_name_of_a_global_of_its_code(name: str) -> None:
    """As `watched`, it called itself."""

    def function(x, y):  # type: ignore[no-untyped-def]
        return x * y + 1

    function.__name__ = name
    op, x, y = gc.elementwise(function), tensor(3), tensor(3)
    want, told = (x * y + 1).numpy(), Told()
    assert np.array_equal(op(x, y).numpy(), want)
    with gc.no_grad():
        assert np.array_equal(op(x, y).numpy(), want)
    with hooked(told):
        assert np.array_equal(op(x, y).numpy(), want)
    assert [event[1] for event in told.events] == [name] * 3


@pytest.mark.parametrize("context", [nullcontext, gc.no_grad])
def test_a_number_that_is_too_large_names_the_op(context: Any) -> None:
    with context(), pytest.raises(OverflowError, match="'logaddexp': int too large"):
        gc.logaddexp(tensor(3), 10**400)


@pytest.mark.parametrize("name", ["mul", "where", "linear", "layer_norm", "cross_entropy"])
def test_names_of_its_variables_are_taken(name: str) -> None:
    x = tensor(4, 3)
    with hooked(Hook()):
        CASES[name](x)  # generates both functions
    for filename in (f"<gradcore op {name}>", f"<gradcore op {name}, watched>"):
        (function,) = ast.parse("".join(linecache.getlines(filename))).body
        assert isinstance(function, ast.FunctionDef)
        operands = {argument.arg for argument in function.args.args}
        names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - operands - set(dir(builtins))
        assert names and all(map(is_taken, names)), names
        assert not any(map(is_taken, operands))


def test_operands_may_have_the_names_of_its_variables() -> None:
    """As `watched` it was called, as `h` it became a hook."""

    @gc.elementwise
    def function(h, hooks, op, watched):  # type: ignore[no-untyped-def]
        return h * hooks + op * watched

    operands, told = [tensor(3) for _ in range(4)], Told()
    want = function(*operands)
    gradient = derivative(operands[0], want)
    with gc.no_grad():
        assert np.array_equal(function(*operands).numpy(), want.numpy())
    with hooked(told):
        assert derivative(operands[0], function(*operands)) == gradient
    assert [event[1] for event in told.events[:3]] == ["function"] * 3
