"""Transforms inside transforms: every mixture gives the derivative that the closed form gives."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.op import Saved
from gradcore.ops.fused import fused

X = np.array(0.7)
ROWS = np.random.default_rng(0).normal(size=(3, 4))
MATRIX = np.random.default_rng(1).normal(size=(4, 4))


def value(x):
    return float(x)


def derivative(f, order, mode):
    """The `order`-th derivative of a scalar function, each order in the mode that `mode` names."""
    for letter in mode[:order]:
        f = gc.grad(f) if letter == "r" else tangent(f)
    return f


def tangent(f):
    return lambda x: gc.jvp(f, (x,), (np.ones(()),))[1]


@pytest.mark.parametrize("mode", ["rrrr", "ffff", "rfrf", "frfr", "rrff", "ffrr"])
@pytest.mark.parametrize(
    ("f", "closed"),
    [
        (gc.sin, [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]),
        (lambda x: x**5, [lambda x, n=n: np.prod(range(5 - n + 1, 6)) * x ** (5 - n) for n in (1, 2, 3, 4)]),
        (lambda x: gc.exp(2 * x), [lambda x, n=n: 2**n * np.exp(2 * x) for n in (1, 2, 3, 4)]),
        (lambda x: 1 / x, [lambda x, n=n: (-1) ** n * [1, 1, 2, 6, 24][n] / x ** (n + 1) for n in (1, 2, 3, 4)]),
    ],
    ids=["sin", "x**5", "exp(2x)", "1/x"],
)
def test_closed_forms(f, closed, mode):
    for order in (1, 2, 3, 4):
        assert value(derivative(f, order, mode)(X)) == pytest.approx(closed[order - 1](X), rel=1e-12)


def energy(x):
    return gc.sum(gc.tanh(gc.matmul(MATRIX, x)) * gc.square(x))


def test_jvp_of_grad_is_grad_of_jvp():
    x, v = ROWS[0], ROWS[1]
    over = np.asarray(gc.jvp(gc.grad(energy), (x,), (v,))[1])
    under = np.asarray(gc.grad(lambda x: gc.jvp(energy, (x,), (v,))[1])(x))
    twice = np.asarray(gc.grad(lambda x: gc.sum(gc.grad(energy)(x) * v))(x))
    np.testing.assert_allclose(over, under, rtol=1e-12)
    np.testing.assert_allclose(over, twice, rtol=1e-12)


def stacked(f, rows):
    return np.stack([np.asarray(f(row)) for row in rows])


def test_vmap_of_grad_and_of_the_hessian_product():
    np.testing.assert_allclose(np.asarray(gc.vmap(gc.grad(energy))(ROWS)), stacked(gc.grad(energy), ROWS), rtol=1e-12)

    def product(x):
        return gc.jvp(gc.grad(energy), (x,), (ROWS[0],))[1]

    np.testing.assert_allclose(np.asarray(gc.vmap(product)(ROWS)), stacked(product, ROWS), rtol=1e-11)


def test_grad_of_vmap_is_the_gradient_of_the_sum():
    got = np.asarray(gc.grad(lambda rows: gc.sum(gc.vmap(energy)(rows)))(ROWS))
    np.testing.assert_allclose(got, stacked(gc.grad(energy), ROWS), rtol=1e-12)


def test_jvp_of_vmap():
    moved = np.asarray(gc.jvp(gc.vmap(energy), (ROWS,), (np.ones_like(ROWS),))[1])
    loop = [value(gc.jvp(energy, (row,), (np.ones(4),))[1]) for row in ROWS]
    np.testing.assert_allclose(moved, loop, rtol=1e-12)


def test_vmap_of_a_closed_over_matrix_under_grad():
    got = np.asarray(gc.grad(lambda m: gc.sum(gc.vmap(lambda x: gc.sum(gc.sin(gc.matmul(m, x))))(ROWS)))(MATRIX))
    want = np.asarray(gc.grad(lambda m: gc.sum(gc.sin(gc.matmul(ROWS, gc.transpose(m)))))(MATRIX))
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("outer", [gc.grad, tangent])
@pytest.mark.parametrize("inner", [gc.grad, tangent])
def test_perturbations_are_not_confused(outer, inner):
    """d/dx (x * d/dy (x + y)) is 1; mixed up it would be 2."""
    assert value(outer(lambda x: x * inner(lambda y: x + y)(np.ones(())))(np.ones(()))) == 1
    assert value(outer(lambda x: x * inner(lambda y: x * y)(np.ones(())))(np.full((), 3.0))) == 6


def test_backward_through_a_gradient():
    x = gc.tensor(np.array(2.0), requires_grad=True)
    slope = gc.grad(lambda x: x**3)(x)
    assert value(slope) == 12
    slope.backward()
    assert value(x.grad) == 12


def test_backward_through_closed_over_parameters():
    w = gc.tensor(np.array(3.0), requires_grad=True)
    slope = gc.grad(lambda x: gc.square(x) * w)(np.array(2.0))
    slope.backward()
    assert value(w.grad) == 4


def test_backward_through_vmap_and_jvp():
    x = gc.tensor(ROWS, requires_grad=True)
    gc.sum(gc.vmap(energy)(x)).backward()
    np.testing.assert_allclose(x.grad.numpy(), stacked(gc.grad(energy), ROWS), rtol=1e-12)
    y = gc.tensor(X, requires_grad=True)
    gc.jvp(gc.sin, (y,), (np.ones(()),))[1].backward()
    assert value(y.grad) == pytest.approx(-np.sin(X))


def test_a_value_used_three_times_gets_the_sum():
    def f(x):
        y = gc.sin(x)
        return y * 2 + gc.square(y) + gc.exp(y)

    want = np.cos(X) * (2 + 2 * np.sin(X) + np.exp(np.sin(X)))
    leaf = gc.tensor(X, requires_grad=True)
    f(leaf).backward()
    assert value(gc.grad(f)(X)) == pytest.approx(want) == value(leaf.grad)


def test_gradients_accumulate_over_calls_of_backward():
    x = gc.tensor(X, requires_grad=True)
    for _ in range(3):
        gc.sin(x).backward()
    assert value(x.grad) == pytest.approx(3 * np.cos(X))
    x.zero_grad()
    assert x.grad is None


def test_backward_reaches_leaves_that_are_the_loss():
    x = gc.tensor(X, requires_grad=True)
    x.backward()
    assert value(x.grad) == 1


def test_pull_may_be_called_again():
    _, pull = gc.vjp(lambda a, b: a * gc.sin(b), ROWS[0], ROWS[1])
    first, second = pull(np.ones(4)), pull(2 * np.ones(4))
    np.testing.assert_allclose(np.asarray(first[0]), np.sin(ROWS[1]))
    for once, twice in zip(first, second, strict=True):
        np.testing.assert_allclose(2 * np.asarray(once), np.asarray(twice))


def test_aux_argnums_and_trees():
    def f(tree, scale, *, power):
        total = gc.sum(tree["a"] * scale) + gc.sum(tree["b"][0] ** power)
        return total, {"seen": tree["a"] * 2}

    tree = {"a": ROWS[0], "b": [ROWS[1]]}
    (total, aux), (gradient, slope) = gc.value_and_grad(f, argnums=(0, 1), has_aux=True)(tree, np.array(3.0), power=2)
    np.testing.assert_allclose(value(total), ROWS[0].sum() * 3 + (ROWS[1] ** 2).sum())
    np.testing.assert_allclose(np.asarray(gradient["a"]), np.full(4, 3.0))
    np.testing.assert_allclose(np.asarray(gradient["b"][0]), 2 * ROWS[1])
    np.testing.assert_allclose(value(slope), ROWS[0].sum())
    np.testing.assert_allclose(np.asarray(aux["seen"]), 2 * ROWS[0])
    assert np.asarray(gc.grad(lambda a, b: gc.sum(a * b), argnums=-1)(ROWS[0], ROWS[1])) == pytest.approx(ROWS[0])
    gradient, aux = gc.grad(f, has_aux=True)(tree, np.array(3.0), power=2)
    assert set(gradient) == {"a", "b"} and set(aux) == {"seen"}


def test_an_argument_without_influence_has_gradient_zero():
    a, b = gc.grad(lambda a, b: gc.sum(a), argnums=(0, 1))(ROWS, ROWS)
    assert b.shape == ROWS.shape and not np.asarray(b).any() and np.asarray(a).all()
    assert value(gc.grad(lambda x: gc.tensor(1.0))(X)) == 0
    assert value(gc.jvp(lambda x: gc.tensor(1.0), (X,), (X,))[1]) == 0


def test_no_grad_does_not_affect_transforms():
    with gc.no_grad():
        assert value(gc.grad(gc.sin)(X)) == pytest.approx(np.cos(X))


def test_stop_gradient_in_every_mode():
    f = gc.grad(lambda x: gc.stop_gradient(x) * x)
    assert value(f(X)) == X
    assert value(gc.jvp(lambda x: gc.stop_gradient(x) * x, (X,), (np.ones(()),))[1]) == X


def test_vmap_of_vmap_and_axes():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4.0)
    outer = gc.vmap(gc.vmap(gc.mul, in_axes=(0, None)), in_axes=(None, 0), out_axes=1)
    np.testing.assert_array_equal(np.asarray(outer(a[0], b)), np.outer(a[0], b))
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda x: x * 2, in_axes=1, out_axes=1)(a)), a * 2)
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda x: x * 2, in_axes=-1, out_axes=-1)(a)), a * 2)
    tree = gc.vmap(lambda t, s: {"y": t["x"] * s}, in_axes=({"x": 1}, None), out_axes={"y": 1})({"x": a}, 3.0)
    np.testing.assert_array_equal(np.asarray(tree["y"]), a * 3)


def pair_meaning(x, w):
    return gc.sin(x) * w, gc.cos(x) + w


def pair_impl(xp, out, x, w):
    results = np.sin(x) * w, np.cos(x) + w
    if out is None:
        return results
    return tuple([np.copyto(o, r) or o for o, r in zip(out, results, strict=True)])


PAIR = fused(
    "pair",
    ("x", "w"),
    outputs=2,
    meaning=pair_meaning,
    impl=pair_impl,
    abstract=lambda x, w: (x.update(shape=x.shape), x.update(shape=x.shape)),
    saves=lambda needed, params: Saved(),
    internal=True,
)


def test_a_fused_op_with_two_outputs_and_a_closed_over_parameter():
    from gradcore.core.bind import bind

    w = gc.tensor(ROWS[1], requires_grad=True)

    def f(x):
        a, b = bind(PAIR, (x, w))
        return gc.sum(a * b)

    def plain(x, w):
        a, b = pair_meaning(x, w)
        return gc.sum(a * b)

    total, pull = gc.vjp(f, ROWS[0])
    (gradient,) = pull(np.ones(()))
    want, by_w = gc.grad(plain, argnums=(0, 1))(ROWS[0], ROWS[1])
    np.testing.assert_allclose(gradient.numpy(), want, rtol=1e-12)
    total.backward()
    np.testing.assert_allclose(w.grad.numpy(), by_w, rtol=1e-12)


def test_only_one_of_two_outputs_is_used():
    from gradcore.core.bind import bind

    x = gc.tensor(ROWS[0], requires_grad=True)
    gc.sum(bind(PAIR, (x, gc.asarray(ROWS[1])))[1]).backward()
    np.testing.assert_allclose(x.grad.numpy(), -np.sin(ROWS[0]), rtol=1e-12)


def pair_vjp(needed, g, xs, ys, params):
    x, w = xs
    first, second = (gc.zeros(4, dtype="float64") if c is None else c for c in g)
    return gc.cos(x) * w * first - gc.sin(x) * second, gc.sin(x) * first + second


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1), (0, 0, 1)])
def test_a_rule_of_two_outputs_gets_none_for_the_unused(used):
    from dataclasses import replace

    from gradcore.core.bind import bind

    op = replace(PAIR, vjp=pair_vjp, saves=lambda needed, params: Saved((0, 1)), cache={})

    def f(x, w, call):
        outs = call(x, w)
        return sum(gc.sum(gc.square(outs[k])) for k in used)

    want = gc.grad(lambda x, w: f(x, w, pair_meaning), argnums=(0, 1))(ROWS[0], ROWS[1])
    got = gc.grad(lambda x, w: f(x, w, lambda *a: bind(op, a)), argnums=(0, 1))(ROWS[0], ROWS[1])
    x, w = (gc.tensor(row, requires_grad=True) for row in ROWS[:2])
    f(x, w, lambda *a: bind(op, a)).backward()
    for left, right, leaf in zip(got, want, (x, w), strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=1e-12)
        np.testing.assert_allclose(np.asarray(leaf.grad), np.asarray(right), rtol=1e-12)
