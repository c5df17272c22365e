"""Jacobians, Hessians and products with them; trees, modules and plain arrays through every transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.optimize

import gradcore as gc
from gradcore import nn
from gradcore.testing import gradcheck

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3, 2)), RNG.normal(size=2)


def f(x: Any, y: Any) -> Any:
    return {"u": gc.sin(x @ y), "v": (gc.exp(x * 0.3).sum(), y * y)}


def differences(function: Any, x: Any, eps: float = 1e-6) -> Any:
    """The Jacobian of a function of one array by central differences."""
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = eps
        step = step.reshape(x.shape)
        columns.append((np.asarray(function(x + step)) - np.asarray(function(x - step))) / (2 * eps))
    return np.stack(columns, -1).reshape(*columns[0].shape, *x.shape)


MODES = [gc.jacrev, gc.jacfwd, gc.jacobian, lambda f, **options: gc.jacobian(f, mode="forward", **options)]


@pytest.mark.parametrize("jacobian", MODES)
def test_jacobians_of_trees(jacobian: Any) -> None:
    found = jacobian(f, argnums=(0, 1))(X, Y)
    for k, x in enumerate((X, Y)):
        parts = {"u": found["u"], "first": found["v"][0], "second": found["v"][1]}
        for name, part in parts.items():

            def one(z: Any, k: int = k, name: str = name) -> Any:
                out = f(*[gc.tensor(a) for a in ((z, Y) if k == 0 else (X, z))])
                return {"u": out["u"], "first": out["v"][0], "second": out["v"][1]}[name].numpy()

            want = differences(one, x)
            assert type(part[k]) is np.ndarray and part[k].dtype == np.float64
            np.testing.assert_allclose(part[k], want, atol=1e-8)


@pytest.mark.parametrize("jacobian", MODES)
def test_jacobians_of_smallest_and_empty(jacobian: Any) -> None:
    assert float(jacobian(gc.sin)(gc.tensor(0.0))) == 1.0
    assert jacobian(lambda x: gc.stack([x, x]))(np.array(2.0)).tolist() == [1.0, 1.0]
    assert jacobian(gc.sin)(np.ones((0, 2))).shape == (0, 2, 0, 2)
    assert jacobian(lambda x: gc.ones(3))(np.ones(2)).tolist() == [[0.0, 0.0]] * 3
    value, aux = jacobian(lambda x: (x * x, {"seen": x}), has_aux=True)(np.array([1.0, 2.0]))
    assert value.tolist() == [[2.0, 0.0], [0.0, 4.0]] and aux["seen"].tolist() == [1.0, 2.0]


def test_jacobian_refusals() -> None:
    with pytest.raises(ValueError, match="mode='reverse' or mode='forward', not 'both'"):
        gc.jacobian(gc.sin, mode="both")
    for transform in (gc.jacrev, gc.jacfwd):
        with pytest.raises(TypeError, match="needs floating results, not int64"):
            transform(lambda x: x.astype("int64"))(np.ones(2))
        with pytest.raises(ValueError, match="was asked for argument 2"):
            transform(gc.sin, argnums=2)(np.ones(2))
        with pytest.raises(ValueError, match="names an argument twice"):
            transform(gc.add, argnums=(0, -2))(np.ones(2), np.ones(2))


def test_random_numbers_are_the_same_for_every_direction() -> None:
    def dropped(x: Any) -> Any:
        return gc.random.normal(4, dtype="float64") * x

    for jacobian in MODES:
        gc.random.seed(1)
        found = jacobian(dropped)(np.ones(4))
        gc.random.seed(1)
        np.testing.assert_array_equal(found, np.diag(dropped(gc.ones(4, dtype="float64")).numpy()))


def energy(p: Any) -> Any:
    return gc.tanh(p["w"] @ p["b"]).sum() * p["b"][0] + gc.exp(p["w"] * 0.1).sum()


def test_hessian_of_a_tree_and_its_products() -> None:
    p = {"w": X, "b": Y}
    h = gc.hessian(energy)(p)
    want = differences(lambda b: gc.grad(energy)({"w": X, "b": b})["w"], Y)
    np.testing.assert_allclose(h["w"]["b"], want, atol=1e-8)
    np.testing.assert_allclose(h["b"]["w"], np.moveaxis(h["w"]["b"], -1, 0), atol=1e-12)
    v = {"w": RNG.normal(size=X.shape), "b": RNG.normal(size=Y.shape)}
    product = gc.hvp(energy)(p, v)
    along = np.tensordot(h["b"]["w"], v["w"], 2) + h["b"]["b"] @ v["b"]
    np.testing.assert_allclose(product["b"], along, rtol=1e-12)
    both = gc.hvp(lambda x, y: (x * y * y).sum(), argnums=(0, 1))(Y, Y, (Y, Y))
    np.testing.assert_allclose(both[0], 2 * Y * Y)
    np.testing.assert_allclose(both[1], 4 * Y * Y)
    with pytest.raises(ValueError, match="and then the direction"):
        gc.hvp(energy)(p)


def test_hessian_with_aux_and_of_several_results() -> None:
    h, aux = gc.hessian(lambda x: ((x**3).sum(), x * 2), has_aux=True)(Y)
    np.testing.assert_allclose(h, np.diag(6 * Y), atol=1e-12)
    np.testing.assert_array_equal(aux, Y * 2)
    pair = gc.hessian(lambda x: gc.stack([(x**3).sum(), x[0] * x[1]]))(Y)
    assert pair.shape == (2, 2, 2) and pair[1].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    product, aux = gc.hvp(lambda x: ((x**3).sum(), x), has_aux=True)(Y, Y)
    np.testing.assert_allclose(product, 6 * Y * Y)


def test_linearize_equals_jvp_at_any_depth() -> None:
    v = RNG.normal(size=X.shape)
    value, push = gc.linearize(lambda x: f(x, Y), X)
    want, moved = gc.jvp(lambda x: f(x, Y), (X,), (v,))
    np.testing.assert_allclose(push(v)["u"], moved["u"], rtol=1e-13)
    np.testing.assert_allclose(push(2 * v)["v"][0], 2 * moved["v"][0], rtol=1e-13)
    np.testing.assert_allclose(value["u"], want["u"])
    gradcheck(lambda x, v: gc.linearize(lambda x: gc.tanh(x) * x, x)[1](v), (gc.tensor(X), gc.tensor(v)), order=2)
    rows = gc.vmap(lambda x: gc.linearize(gc.sin, x)[1](gc.ones(2, dtype="float64")))(X)
    np.testing.assert_allclose(rows, np.cos(X))
    value, push, aux = gc.linearize(lambda x: (x * x, "text"), X, has_aux=True)
    assert aux == "text"
    with pytest.raises(ValueError, match="a tangent has shape"):
        push(np.ones(5))
    with pytest.raises(TypeError, match="floating results, not bool"):
        gc.linearize(lambda x: x > 0, X)


@pytest.mark.parametrize("function", [gc.tanh, gc.sigmoid, gc.gelu, lambda x: gc.softmax(x)])
def test_jacobians_nest_to_order_three(function: Any) -> None:
    x = gc.tensor(Y)
    third = gc.jacfwd(gc.jacrev(gc.jacfwd(function)))(x)
    want = differences(lambda y: gc.hessian(function)(y), Y)
    np.testing.assert_allclose(third.numpy(), want, atol=1e-7)
    other = gc.jacrev(gc.jacfwd(gc.jacrev(function)))(x)
    np.testing.assert_allclose(other.numpy(), third.numpy(), atol=1e-12)


def test_per_example_hessians() -> None:
    loss = lambda w, x: gc.tanh((w * x).sum()) ** 2  # noqa: E731
    each = gc.vmap(gc.hessian(loss), in_axes=(None, 0))(Y, X)
    for row, h in zip(X, each, strict=True):
        np.testing.assert_allclose(h, gc.hessian(loss)(Y, row), rtol=1e-12)


# --- trees and modules ------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class State:
    a: Any
    b: list[Any]


TREES: list[Any] = [{"a": X, "b": [Y]}, (X, [Y, None]), Pair(X, Y), State(X, [Y])]


@pytest.mark.parametrize("tree", TREES)
def test_every_kind_of_tree(tree: Any) -> None:
    from gradcore.core.trees import flatten

    def total(tree: Any) -> Any:
        return sum(gc.sum(x**3) for x in flatten(tree)[0])

    value, gradient = gc.value_and_grad(total)(tree)
    assert flatten(gradient)[1] == flatten(tree)[1]
    for g, x in zip(flatten(gradient)[0], flatten(tree)[0], strict=True):
        np.testing.assert_allclose(g, 3 * x**2)
    _, moved = gc.jvp(total, (tree,), (gradient,))
    np.testing.assert_allclose(moved, sum((9 * x**4).sum() for x in flatten(tree)[0]))
    assert isinstance(value, np.float64)


def network() -> nn.Module:
    gc.random.seed(0)
    return nn.Sequential(nn.Linear(2, 4, dtype=np.float64), nn.Tanh(), nn.Linear(4, 1, dtype=np.float64))


def square_error(model: Any, x: Any) -> Any:
    return (model(x) ** 2).sum()


def test_a_module_is_the_tree_of_its_parameters() -> None:
    model, x = network(), gc.tensor(X)
    value, gradient = gc.value_and_grad(square_error)(model, x)
    loss = square_error(model, x)
    loss.backward()
    assert list(gradient) == sorted(name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(gradient[name].numpy(), parameter.grad.numpy())
    assert float(value) == float(loss) and value.requires_grad
    _, moved = gc.jvp(lambda model: square_error(model, x), (model,), (gradient,))
    assert float(moved) == pytest.approx(sum(float((g * g).sum()) for g in gradient.values()))
    mixed = gc.grad(lambda tree: square_error(tree["net"], tree["x"]))({"net": model, "x": x})
    assert mixed["x"].shape == x.shape and list(mixed["net"]) == list(gradient)


def test_per_example_gradients_and_the_hessian_of_a_module() -> None:
    model, x = network(), gc.tensor(X)
    each = gc.vmap(gc.grad(square_error), in_axes=(None, 0))(model, x)
    for i in range(len(X)):
        one = gc.grad(square_error)(model, x[i])
        for name, g in one.items():
            np.testing.assert_allclose(each[name][i].numpy(), g.numpy(), rtol=1e-12)
    h = gc.hessian(square_error)(model, x)
    assert h["0.weight"]["2.bias"].shape == (4, 2, 1)
    product = gc.hvp(lambda model: square_error(model, x))(model, gc.grad(square_error)(model, x))
    assert list(product) == list(each)


def test_frozen_parameters_are_constants() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            self.moving = nn.Parameter([1.0])
            self.frozen = nn.Parameter([2.0], requires_grad=False)

        def forward(self, x: Any) -> Any:
            return x * self.moving * self.frozen

    assert list(gc.grad(lambda m: m(gc.tensor([3.0])).sum())(Half())) == ["moving"]


# --- plain arrays -----------------------------------------------------------------------------------------------------


def test_arrays_in_arrays_out() -> None:
    assert type(gc.grad(lambda x: (x * x).sum())(Y)) is np.ndarray
    assert type(gc.grad(lambda x: x * x)(np.float32(2.0))) is np.float32
    value, pull = gc.vjp(gc.sin, Y)
    assert type(value) is np.ndarray and type(pull(Y)[0]) is np.ndarray
    assert all(type(part) is np.ndarray for part in gc.jvp(gc.sin, (Y,), (Y,)))
    assert type(gc.vmap(gc.sin)(Y)) is np.ndarray
    value, aux = gc.grad(lambda x: (x.sum(), {"y": x * 2, "name": "n"}), has_aux=True)(Y)
    assert type(aux["y"]) is np.ndarray and aux["name"] == "n"


def test_tensors_beside_arrays_give_tensors() -> None:
    a, b = gc.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(gc.tensor(Y), Y)
    assert isinstance(a, gc.Tensor) and isinstance(b, gc.Tensor)
    assert isinstance(gc.grad(lambda x: x * x)(2.0), gc.Tensor)
    a, b = gc.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(Y, 0.1)
    assert b.dtype == np.float64 and b == Y.sum() and a.tolist() == [0.1, 0.1]


def test_results_are_the_callers_own() -> None:
    x = Y.copy()
    value, pull = gc.vjp(lambda x: x, x)
    value[0] = 100.0
    g = Y.copy()
    pull(g)[0][0] = 100.0
    assert x[0] == Y[0] and g[0] == Y[0]


def test_what_a_further_derivative_needs_stays_a_tensor() -> None:
    w = gc.tensor(Y, requires_grad=True)
    value, _ = gc.value_and_grad(lambda x: (x * w).sum())(Y)
    value.backward()
    np.testing.assert_array_equal(w.grad.numpy(), Y)
    outer = gc.grad(lambda a: gc.sum(gc.grad(lambda x: (x * x * a).sum())(Y)))(np.array(3.0))
    assert outer == pytest.approx(2 * Y.sum())


def test_later_derivatives_do_not_see_that_an_array_changed() -> None:
    x = np.array([1.0, 2.0])
    _, pull = gc.vjp(lambda x: x * x, x)
    _, push = gc.linearize(lambda x: x * x, x)
    x += 7.0
    assert pull(np.ones(2))[0].tolist() == [2.0, 4.0]
    assert push(np.ones(2)).tolist() == [2.0, 4.0]


def test_complex_numbers_are_refused() -> None:
    for transform in (gc.grad, gc.jacrev, gc.vmap):
        with pytest.raises(TypeError, match="pass the real and the imaginary part as two arrays"):
            transform(lambda x: x.sum())(np.ones(2) * 1j)


def rosenbrock(x: Any) -> Any:
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("method", ["Newton-CG", "trust-exact", "BFGS"])
def test_scipy_minimizes(method: str) -> None:
    options: dict[str, Any] = {} if method == "BFGS" else {"hess": gc.hessian(rosenbrock)}
    options["jac"] = gc.grad(rosenbrock)
    found = scipy.optimize.minimize(rosenbrock, np.zeros(5), method=method, tol=1e-10, **options)
    np.testing.assert_allclose(found.x, np.ones(5), atol=1e-4)


def test_scipy_takes_value_and_gradient_and_products() -> None:
    both, product = gc.value_and_grad(rosenbrock), gc.hvp(rosenbrock)
    found = scipy.optimize.minimize(both, np.zeros(5), jac=True, hessp=product, method="trust-ncg")
    np.testing.assert_allclose(found.x, np.ones(5), atol=1e-4)
    assert isinstance(both(np.zeros(5))[0], np.float64)


# --- Python's control flow --------------------------------------------------------------------------------------------


def branching(x: Any) -> Any:
    return x if x > 0 else -x


def looping(x: Any) -> Any:
    while x > 1:
        x = x / 2
    return x


@pytest.mark.parametrize("function", [branching, looping])
def test_control_flow_on_elements_that_are_not_known_names_the_alternative(function: Any) -> None:
    with pytest.raises(gc.core.errors.GradcoreError, match=r"bool\(\).*inside vmap.*where\(\) or cond\(\).*scan\(\)"):
        gc.vmap(function)(Y)
    with pytest.raises(gc.core.errors.StageError, match=r"bool\(\).*where\(\) or cond\(\).*scan\(\)"):
        gc.make_graph(function)(np.array(3.0))
    with pytest.raises(gc.core.errors.GradcoreError, match=r"inside scan.*where\(\) or cond\(\)"):
        gc.scan(lambda c, x: (function(c), None), gc.tensor(3.0), length=2)
    assert abs(float(gc.grad(function)(np.array(3.0)))) in (1.0, 0.25)
