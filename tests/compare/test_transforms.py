"""Hessians, third derivatives and loops equal JAX's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc

from .libraries import jax

pytestmark = pytest.mark.compare
jnp = jax.numpy
RNG = np.random.default_rng(0)
MIX, SHIFT = RNG.normal(size=(50, 50)) / 7, RNG.normal(size=50)


def fifty(lib: Any) -> Any:
    return lambda x: (
        (lib.tanh(lib.matmul(MIX, x) + SHIFT) ** 2 * x).sum() + lib.log(1 + lib.exp(x)).sum() * (x * x).mean()
    )


def same(got: Any, want: Any, tol: float = 1e-10) -> None:
    want = np.asarray(want)
    assert got.dtype == want.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol * max(1.0, np.abs(want).max(initial=0.0)))


def test_hessian_of_fifty_inputs() -> None:
    x = RNG.normal(size=50)
    ours = fifty(gc)
    same(gc.hessian(ours)(x), jax.hessian(fifty(jnp))(x))
    v = RNG.normal(size=50)
    same(gc.hvp(ours)(x, v), jax.hessian(fifty(jnp))(x) @ v)
    same(gc.jacrev(gc.grad(ours))(x), jax.hessian(fifty(jnp))(x))


def jax_layer_norm(x: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


LABELS = np.array([1, 0])
ROWS = RNG.normal(size=(2, 3))
THIRD: dict[str, tuple[Any, Any]] = {
    "tanh": (gc.tanh, jnp.tanh),
    "sigmoid": (gc.sigmoid, jax.nn.sigmoid),
    "gelu": (gc.gelu, lambda x: jax.nn.gelu(x, approximate=False)),
    "layer_norm": (
        lambda x: gc.layer_norm(x, gc.ones(3, dtype="float64"), gc.zeros(3, dtype="float64")),
        jax_layer_norm,
    ),
    "cross_entropy": (
        lambda x: gc.cross_entropy(x, LABELS),
        lambda x: -jax.nn.log_softmax(x)[np.arange(2), LABELS].mean(),
    ),
}


@pytest.mark.parametrize("name", THIRD)
def test_third_derivatives(name: str) -> None:
    ours, theirs = THIRD[name]
    want = jax.jacfwd(jax.jacfwd(jax.jacrev(theirs)))(ROWS)
    same(gc.jacfwd(gc.hessian(ours))(ROWS), want)
    same(gc.jacrev(gc.jacrev(gc.jacrev(ours)))(ROWS), want)
    same(gc.jacfwd(gc.jacfwd(gc.jacfwd(ours)))(ROWS), want)


def test_per_example_gradients() -> None:
    w = RNG.normal(size=3)

    def loss(lib: Any) -> Any:
        return lambda w, x: lib.tanh((w * x).sum()) ** 2

    same(gc.vmap(gc.grad(loss(gc)), (None, 0))(w, ROWS), jax.vmap(jax.grad(loss(jnp)), (None, 0))(w, ROWS))


# --- random loops -----------------------------------------------------------------------------------------------------


def bounded(lib: Any, name: str) -> Any:
    """The function, of bounded operands where it would overflow."""
    return (lambda x: lib.exp(lib.tanh(x))) if name == "exp" else getattr(lib, name)


def program(seed: int) -> Any:
    """A random loop, with a random branch in it, on any of the two libraries."""
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.choice(["tanh", "sin", "cos", "exp"], 3)]
    reverse, threshold, inside = bool(rng.integers(2)), float(rng.normal()), bool(rng.integers(2))

    def make(lib: Any, scan: Any, cond: Any) -> Any:
        first, second, third = (bounded(lib, name) for name in names)

        def total(w: Any, h: Any, xs: Any) -> Any:
            def step(carry: Any, x: Any) -> Any:
                h, count = carry
                new = first(w @ h + x) * 0.5
                branch = cond(x.sum() > threshold, lambda v: second(v * 0.3), lambda v: v * x, new)
                new = branch if inside else new
                return (new, count + 1.0), third(new * x * 0.2) * count

            (h, count), ys = scan(step, (h, h.sum() * 0), xs, reverse=reverse)
            return (ys * ys).sum() + (h * count).sum()

        return total

    return make


@pytest.mark.parametrize("seed", [0, 1, *[pytest.param(k, marks=pytest.mark.slow) for k in range(2, 6)]])
def test_random_loops(seed: int) -> None:
    rng = np.random.default_rng(seed + 100)
    args = rng.normal(size=(3, 3)) * 0.5, rng.normal(size=3), rng.normal(size=(4, 3))
    ours, theirs = program(seed)(gc, gc.scan, gc.cond), program(seed)(jnp, jax.lax.scan, jax.lax.cond)
    for k in range(3):
        same(gc.grad(ours, k)(*args), jax.grad(theirs, k)(*args))
    same(gc.hessian(ours, 1)(*args), jax.hessian(theirs, 1)(*args))
    _, moved = gc.jvp(ours, args, args)
    same(moved, jax.jvp(theirs, args, args)[1])
    many = np.stack([args[2], -args[2]])
    axes = (None, None, 0)
    same(gc.vmap(ours, axes)(*args[:2], many), jax.vmap(theirs, axes)(*args[:2], many))
    same(gc.vmap(gc.grad(ours), axes)(*args[:2], many), jax.vmap(jax.grad(theirs), axes)(*args[:2], many))
    mapped = gc.grad(lambda w: gc.vmap(ours, axes)(w, args[1], many).sum())
    same(mapped(args[0]), jax.grad(lambda w: jax.vmap(theirs, axes)(w, args[1], many).sum())(args[0]))
    program_of = gc.compile.Program(gc.make_graph(gc.grad(ours, argnums=(0, 1, 2)))(*args))
    for got, want in zip(program_of(*args), jax.grad(theirs, (0, 1, 2))(*args), strict=True):
        same(got.numpy(), want)
