"""Loops and branches three deep, under every transform, equal JAX's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc

from .libraries import jax

pytestmark = pytest.mark.compare
jnp = jax.numpy
RNG = np.random.default_rng(1)
W, H, XS = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=3), RNG.normal(size=(4, 3))


class Ours:
    lib, scan, cond = gc, staticmethod(gc.scan), staticmethod(gc.cond)
    grad, jvp, vmap, hessian = map(staticmethod, (gc.grad, gc.jvp, gc.vmap, gc.hessian))


class Theirs:
    lib, scan, cond = jnp, staticmethod(jax.lax.scan), staticmethod(jax.lax.cond)
    grad, jvp, vmap, hessian = map(staticmethod, (jax.grad, jax.jvp, jax.vmap, jax.hessian))


def branches_in_loops(side: Any) -> Any:
    """cond in scan in scan, and cond beside it; an integer is carried, and decides."""
    lib = side.lib

    def total(w: Any, h: Any, xs: Any) -> Any:
        def outer(carry: Any, x: Any) -> Any:
            h, n = carry

            def inner(k: Any, y: Any) -> Any:
                k = side.cond(
                    n % 2 == 0,
                    lambda k: lib.sin(k * y) + w[0].sum() * x.sum(),
                    lambda k: lib.tanh(w @ h).sum() * k,
                    k,
                )
                return k, k * y

            a, ys = side.scan(inner, h[0] * x[1], x)
            h = side.cond(a > 0, lambda h: lib.tanh(h * a + w @ x), lambda h: h * lib.cos(a) - x * ys.sum(), h)
            return (h, n + 1), (ys, h.sum(), n)

        (h, n), (ys, sums, counts) = side.scan(outer, (h, 0), xs)
        return (ys**2).sum() + (sums * counts).sum() + (h**3).sum() * n

    return total


def loops_in_a_branch(side: Any) -> Any:
    """scan in scan in cond; one of the inner loops has no steps, the other goes backward."""
    lib = side.lib

    def total(w: Any, h: Any, xs: Any) -> Any:
        def long(h: Any) -> Any:
            def step(c: Any, x: Any) -> Any:
                none, _ = side.scan(lambda q, _: (q * w[1, 1] + 1.0, None), c.sum(), None, length=0)
                d, zs = side.scan(lambda q, y: (lib.sin(q * y + w @ q * 0.1), q), c, x, reverse=True)
                return d * none, zs.sum()

            last, sums = side.scan(step, h, lib.stack([xs, xs * 2.0]))
            return last.sum() * sums.sum()

        return side.cond(h.sum() * w.sum() > 0, long, lambda h: (h * h).sum() * w[0, 0], h)

    return total


def derivatives_in_a_loop(side: Any) -> Any:
    """grad, jvp and vmap of scan of cond, in a scan."""
    lib = side.lib

    def total(w: Any, h: Any, xs: Any) -> Any:
        def energy(h: Any, x: Any) -> Any:
            def step(c: Any, y: Any) -> Any:
                return side.cond(y > 0, lambda c: lib.sin(c * y), lambda c: c * c * y, c), c

            return side.scan(step, h.sum() * w[2, 0], x)[0]

        def descend(c: Any, x: Any) -> Any:
            g = side.grad(energy)(c, x)
            _, t = side.jvp(lambda c: energy(c, x) * c, (c,), (w @ c,))
            return c - 0.3 * g + 0.1 * t, side.vmap(lambda row: (row * c).sum() ** 2)(w).sum()

        c, ys = side.scan(descend, h, xs)
        return (c**2).sum() + ys.sum()

    return total


PROGRAMS = [branches_in_loops, loops_in_a_branch, derivatives_in_a_loop]
ALL = (0, 1, 2)
MANY = tuple([np.stack([a, -a]) for a in (W, H, XS)])  # both branches are taken


def of_jvp(side: Any, f: Any) -> Any:
    return side.grad(lambda h: side.jvp(lambda h: f(W, h, XS), (h,), (h,))[1])(H)


def per_example(side: Any, f: Any, axes: Any) -> Any:
    args = [many if axis == 0 else one for many, one, axis in zip(MANY, (W, H, XS), axes, strict=True)]
    return side.vmap(side.grad(f, ALL), axes)(*args)


def of_examples(side: Any, f: Any) -> Any:
    return side.grad(lambda w, hs, xs: side.vmap(f, (None, 0, None))(w, hs, xs).sum(), ALL)(W, MANY[1], XS)


def products(side: Any, f: Any) -> Any:
    return side.vmap(lambda h: side.jvp(lambda h: side.grad(f, 1)(W, h, XS), (h,), (h,))[1])(MANY[1])


QUICK: dict[str, Any] = {
    "grad": lambda side, f: side.grad(f, ALL)(W, H, XS),
    "jvp": lambda side, f: side.jvp(f, (W, H, XS), (W, H, XS)),
    "vmap(grad)": lambda side, f: per_example(side, f, (None, 0, None)),
    "grad(vmap)": of_examples,
}
LONG: dict[str, Any] = {
    "the other branch": lambda side, f: side.grad(f, ALL)(W, -H, XS),
    "no steps": lambda side, f: side.grad(f, ALL)(W, H, XS[:0]),
    "hessian": lambda side, f: side.hessian(f, 1)(W, H, XS),
    "grad(jvp)": of_jvp,
    "vmap(jvp(grad))": products,
    "vmap(grad) by the matrix": lambda side, f: per_example(side, f, (0, None, None)),
    "vmap(grad) by all": lambda side, f: per_example(side, f, (0, 0, 0)),
    "vmap(vmap)": lambda side, f: side.vmap(side.vmap(lambda h: f(W, h, XS)))(np.stack([MANY[1], MANY[1] * 2])),
}


@pytest.mark.parametrize("name", [*QUICK, *[pytest.param(name, marks=pytest.mark.slow) for name in LONG]])
@pytest.mark.parametrize("program", PROGRAMS)
def test_three_deep(program: Any, name: str) -> None:
    transform = (QUICK | LONG)[name]
    found = jax.tree.leaves(transform(Ours, program(Ours)))
    wanted = jax.tree.leaves(transform(Theirs, program(Theirs)))
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape and got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
