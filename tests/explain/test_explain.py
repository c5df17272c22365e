"""Explanations show what was computed, and the gradients that `backward()` gives."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from gc import collect as gc_collect
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.core.errors import GradcoreError, GraphFreedError
from gradcore.core.tensor import Tensor
from gradcore.explanation.examples import example
from gradcore.explanation.graph import Use
from gradcore.explanation.rules import elementwise, formula, local
from gradcore.nn import functional

RNG = np.random.default_rng(3)
X, Y, W, B = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2)), RNG.normal(size=(2, 3)), RNG.normal(size=2)
LABELS = gc.tensor([0, 2, 1, 1])

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "arithmetic": lambda x: ((x * x - 2.0) / (1.0 + x * x)).sum(),
    "broadcast": lambda x: (x * gc.tensor([1.0, 2.0, 3.0], "float64") - x.mean(0)).square().mean(),
    "branches": lambda x: gc.where(x > 0, gc.exp(x), gc.sin(x)).sum() + gc.maximum(x, -x).sum(),
    "detached": lambda x: (x * x.detach() + gc.tanh(x).detach() * x).sum(),
    "layer": lambda x: functional.mse_loss(gc.linear(x, gc.tensor(W), gc.tensor(B)), gc.tensor(Y)),
    "softmax": lambda x: (gc.softmax(x) * x).sum() + gc.logsumexp(x),
    "cross entropy": lambda x: gc.cross_entropy(x * 2.0, LABELS),
    "layer norm": lambda x: (gc.layer_norm(x, gc.ones(3, dtype="float64"), gc.zeros(3, dtype="float64")) ** 3).sum(),
    "joined": lambda x: (gc.concatenate([x, x * 2.0, x.T.reshape(4, 3)]) ** 2).sum(),
    "indexed": lambda x: (x[1:, ::2] * x[0, 0]).sum() + x.max(),
}


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_those_of_grad(name: str, expand: bool) -> None:
    explanation = gc.explain(FUNCTIONS[name], X, expand=expand)
    expected = gc.grad(FUNCTIONS[name])(gc.tensor(X)).numpy()
    np.testing.assert_allclose(explanation.gradients["x"].numpy(), expected, rtol=1e-12, atol=1e-14)
    assert explanation.graph.root.array == pytest.approx(float(FUNCTIONS[name](gc.tensor(X))), rel=1e-14)
    assert all(text in explanation.text(False) for text in ("value", "gradient", "local derivative"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_local_derivative_times_incoming_is_outgoing(name: str) -> None:
    for step in gc.explain(FUNCTIONS[name], X).graph.steps:
        for use in step.uses:
            if use.gradient is not None and elementwise(step):
                outgoing = np.asarray(local(use).value * step.results[0].gradient)
                extra = tuple(range(outgoing.ndim - use.gradient.ndim))
                outgoing = outgoing.sum(extra)
                axes = tuple(i for i, n in enumerate(use.gradient.shape) if n == 1 and outgoing.shape[i] != 1)
                np.testing.assert_allclose(outgoing.sum(axes, keepdims=True), use.gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["layer", "softmax", "cross entropy"])
def test_expand_leaves_no_fused_op(name: str) -> None:
    def fused(expand: bool) -> list[str]:
        graph = gc.explain(FUNCTIONS[name], X, expand=expand).graph
        return [step.op.name for step in graph.steps if step.op.meaning is not None]

    assert fused(expand=False)
    assert not fused(expand=True)


def test_a_sum_over_uses() -> None:
    x = gc.tensor(3.0, requires_grad=True)
    with gc.keep_values():
        y = x * x
        z = y + y * x
    explanation = gc.explain(z)
    assert {name: float(g) for name, g in explanation.gradients.items()} == {"x": 33.0, "y": 4.0, "a1": 1.0, "z": 1.0}
    text = explanation.text(False)
    assert "∂z/∂y (through z) = 1 × 1 = 1" in text
    assert "∂z/∂y (through a1) = ∂a1/∂y × ∂z/∂a1 = 3 × 1 = 3" in text
    assert "∂z/∂y = 3 + 1 = 4" in text
    assert "∂y/∂x (operand 1) = x = 3" in text
    assert "∂z/∂x = 12 + 12 + 9 = 33" in text


def test_modules_and_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    inputs = gc.tensor([[1.0, 2.0]])

    def loss(scale: Any, settings: Any) -> Any:
        hidden = model(inputs) * settings["rate"]
        return (hidden * scale).sum()

    explanation = gc.explain(loss, 2.0, {"rate": np.float32(0.5), "unused": 1})
    leaves = {value.name for value in explanation.graph.leaves}
    assert leaves == {"inputs", "0.weight", "0.bias", "2.weight", "2.bias", "scale", "settings.rate"}
    assert "hidden" in explanation.values
    assert explanation.title == "loss"
    loss(gc.tensor(2.0), {"rate": gc.tensor(0.5)}).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(explanation.gradients[name].numpy(), parameter.grad.numpy())


def test_formulas() -> None:
    def loss(x: Any, w: Any) -> Any:
        z = x @ w
        s = gc.sum(z, axis=0)
        return (1 - s[0] ** 2) / 2

    formulas = {step.results[0].name: formula(step) for step in gc.explain(loss, X, W.T).graph.steps}
    assert formulas["z"] == "x @ w"
    assert formulas["s"] == "sum(z, axes=(0,))"
    assert formulas["L"].endswith(" / 2")
    assert "1 - a" in " ".join(formulas.values())


def test_constants_are_followed_to_where_they_come_from() -> None:
    def loss(x: Any) -> Any:
        weights = gc.exp(gc.tensor([1.0, 2.0]))
        return (x * weights).sum()

    explanation = gc.explain(loss, np.ones(2, np.float32))
    step = explanation.graph.steps[0]
    assert (step.op.name, step.results[0].name, step.results[0].gradient) == ("exp", "weights", None)
    assert "weights" not in explanation.gradients


def test_backward_works_after_an_explanation() -> None:
    w = nn.Parameter([2.0, 3.0])
    with gc.keep_values():
        loss = (w * w).sum()
    found = gc.explain(loss).gradients["w"]
    loss.backward()
    np.testing.assert_array_equal(found.numpy(), w.grad.numpy())


def test_float16_and_integers() -> None:
    explanation = gc.explain(lambda x, n: (x * x * n).sum(), np.ones(2, np.float16), 3)
    assert explanation.gradients["x"].dtype == np.float16
    assert explanation.gradients["x"].numpy().tolist() == [6, 6]


def raised(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_what_was_computed_outside_is_refused_with_the_cure() -> None:
    x = gc.tensor(2.0, requires_grad=True)
    before = x * x
    with gc.keep_values():
        inside = before + 1
    after = x * x
    for loss in (before, after, inside, inside * x):
        message = raised(GradcoreError, lambda loss=loss: gc.explain(loss))
        assert "`with gradcore.keep_values():`, or pass the function: gradcore.explain(lambda: ...)" in message


def test_refusals() -> None:
    x = gc.tensor([1.0, 2.0], requires_grad=True)
    with gc.keep_values():
        vector = x * x
        loss = vector.sum()
        constant = gc.tensor(1.0) * 2
    assert "shape (2,)" in raised(ValueError, lambda: gc.explain(vector))
    assert "requires_grad=True" in raised(GradcoreError, lambda: gc.explain(constant))
    assert "a leaf" in raised(GradcoreError, lambda: gc.explain(gc.tensor(1.0, requires_grad=True)))
    assert "not int" in raised(TypeError, lambda: gc.explain(3))
    assert "not float; give it floating" in raised(TypeError, lambda: gc.explain(lambda: 3.0))
    assert raised(GradcoreError, lambda: gc.explain(lambda: constant)).endswith("or let it use parameters")
    assert "only together with a function" in raised(TypeError, lambda: gc.explain(loss, x))
    assert "inside grad" in raised(GradcoreError, lambda: gc.grad(gc.explain)(gc.tensor(1.0)))
    loss.backward()
    assert "before loss.backward()" in raised(GraphFreedError, lambda: gc.explain(loss))


def test_an_explanation_can_be_made_inside_the_block_and_under_no_grad() -> None:
    x = gc.tensor(2.0, requires_grad=True)
    with gc.keep_values():
        loss = gc.softmax(gc.stack([x, x * x])).max()
        with gc.no_grad():
            inside = gc.explain(loss, expand=True).gradients["x"]
    np.testing.assert_allclose(inside.numpy(), gc.explain(loss).gradients["x"].numpy(), rtol=1e-6)


def test_every_operand_is_a_use_or_a_number() -> None:
    graph = gc.explain(FUNCTIONS["arithmetic"], X).graph
    operands = [operand for step in graph.steps for operand in step.operands]
    assert {type(operand) for operand in operands} == {Use, float}
    assert all(isinstance(value, Tensor) for value in gc.explain(FUNCTIONS["arithmetic"], X).values.values())


def names(explanation: Any) -> list[str]:
    return [value.name for value in explanation.graph.values]


def test_names_in_loops_and_comprehensions() -> None:
    def loop(x: Any) -> Any:
        for _ in range(3):
            x = gc.sin(x)
        return x

    def parts(x: Any) -> Any:
        products = [x * k for k in (1.0, 2.0)]
        spread = gc.std(gc.stack(products))
        return spread

    assert names(gc.explain(loop, 0.5)) == ["x", "x_2", "x_3", "x_4"]
    found = names(gc.explain(parts, 0.5))
    assert "products" not in found
    assert found[-1] == "spread"
    assert found[:3] == ["x", "a1", "a2"]


def test_names_of_objects_decorated_functions_and_code_without_a_file() -> None:
    class Line:
        def __init__(self) -> None:
            self.slope = gc.tensor(2.0, requires_grad=True)

        def __call__(self, x: Any) -> Any:
            y = self.slope * x
            return y

    @functools.wraps(Line.__call__)
    def decorated(*args: Any) -> Any:
        return Line.__call__(*args)

    line, scope = Line(), {"gc": gc}
    exec("def f(x):\n    y = gc.exp(x)\n    return y", scope)
    assert names(gc.explain(line, 3.0)) == ["slope", "x", "y"]
    assert names(gc.explain(line.__call__, 3.0)) == ["slope", "x", "y"]
    assert names(gc.explain(decorated, line, 3.0))[1:] == ["x", "y"]
    assert names(gc.explain(scope["f"], 1.0)) == ["x", "y"]


def test_names_of_integer_arguments_and_of_many_without_names() -> None:
    losses = gc.explain(lambda scores, labels: gc.cross_entropy(scores, labels), X, np.array([0, 2, 1, 1]))
    assert names(losses) == ["scores", "labels", "L"]
    assert gc.explain(lambda *xs: xs[0] - xs[1], 3.0, 1.0).graph.root.array == 2
    assert gc.explain(lambda tree: tree["a.b"] - tree["a"]["b"], {"a.b": 3.0, "a": {"b": 1.0}}).graph.root.array == 2


def test_numbers_in_formulas() -> None:
    text = gc.explain(lambda x: x - -3.0 + x * -2.0 + 2.0**x + x * 1e-7, 2.0).text(False)
    for line in ("= x - (-3)", "= x × (-2)", "= a4 × 0.6931 = 2.7726", "/∂x = 1e-07\n", " + (-2) + "):
        assert line in text


def test_every_result_that_a_gradient_arrives_at_is_named() -> None:
    text = gc.explain(lambda x: gc.grad(lambda v: v * v * v)(x), 2.0).text(False)
    assert "g1 = ∂L/∂a4 = 1\n   g2 = ∂L/∂a5 = 1\n" in text
    assert "on g1, g2" in text
    assert "a5 = mul_vjp(a2, x, x)[1]" in text


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 2)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    explanation = gc.explain(lambda x: (x * x).sum(), np.zeros(shape))
    assert explanation.gradients["x"].shape == shape
    assert "L = sum(a1)" in explanation.text(False)
    assert "<svg" in explanation.html()


def test_nothing_but_the_steps_is_kept_alive() -> None:
    kept = []

    def loss(x: Any) -> Any:
        kept.append(weakref.ref(gc.exp(x).data))
        return x * x

    explanation = gc.explain(loss, np.ones(()))
    assert float(explanation.gradients["x"]) == 2
    gc_collect()
    assert kept[0]() is None


def test_examples_leave_random_numbers_alone() -> None:
    gc.random.seed(5)
    expected = gc.random.uniform(2).numpy()
    gc.random.seed(5)
    example("xor")
    np.testing.assert_array_equal(gc.random.uniform(2).numpy(), expected)


def test_integer_results_and_gradients_of_gradients() -> None:
    explanation = gc.explain(lambda x: gc.topk(x, 2)[0].sum() + gc.sort(x)[0], np.array([3.0, 1.0, 2.0]))
    assert [value.name for value in explanation.graph.leaves] == ["x"]
    assert explanation.gradients["x"].numpy().tolist() == [1, 1, 1]

    def penalty(w: Any) -> Any:
        return gc.vmap(lambda r: gc.grad(lambda z: z**3 * w)(r))(gc.tensor([1.0, 2.0])).sum()

    assert float(gc.explain(penalty, 2.0).gradients["w"]) == 15.0
