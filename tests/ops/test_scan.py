"""scan: equals a Python loop under every interpreter, and its gradient keeps carries only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.compile import Program
from gradcore.core.errors import StageError
from gradcore.core.hooks import Hook, hooked
from gradcore.testing import gradcheck

RNG = np.random.default_rng(0)
W, H, XS = RNG.normal(size=(3, 3)), RNG.normal(size=3), RNG.normal(size=(5, 3))


def step(w: Any) -> Any:
    def one(carry: Any, x: Any) -> Any:
        h = gc.tanh(w @ carry["h"] + x["x"]) * x["scale"]
        return {"h": h, "n": carry["n"] + 1}, (h * x["x"]).sum()

    return one


def scanned(w: Any, h: Any, xs: Any, reverse: bool = False) -> Any:
    scales = gc.linspace(0.5, 1.5, len(xs), dtype="float64")
    carry, ys = gc.scan(step(w), {"h": h, "n": 0}, {"x": xs, "scale": scales}, reverse=reverse)
    return carry["h"], ys


def looped(w: Any, h: Any, xs: Any, reverse: bool = False) -> Any:
    scales = np.linspace(0.5, 1.5, len(xs))
    order, ys = range(len(xs)), {}
    carry = {"h": h, "n": 0}
    for i in reversed(order) if reverse else order:
        carry, ys[i] = step(w)(carry, {"x": xs[i], "scale": float(scales[i])})
    return carry["h"], gc.stack([ys[i] for i in order])


TENSORS = tuple(map(gc.tensor, (W, H, XS)))


@pytest.mark.parametrize("reverse", [False, True])
def test_value_and_derivatives(reverse: bool) -> None:
    for got, want in zip(scanned(*TENSORS, reverse), looped(*TENSORS, reverse), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-13)
    gradcheck(lambda *args: scanned(*args, reverse), TENSORS, order=3)
    for k in range(3):
        got = gc.jacrev(lambda *args: scanned(*args, reverse)[1], argnums=k)(W, H, XS)
        want = gc.jacfwd(lambda *args: looped(*args, reverse)[1], argnums=k)(W, H, XS)
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 1), (0, 0, 0), (None, 1, 2)])
def test_vmap_equals_the_loop(axes: tuple[Any, ...]) -> None:
    many = [np.stack([x, x * 0.5, -x], a) if a is not None else x for x, a in zip((W, H, XS), axes, strict=True)]

    def example(i: int) -> list[Any]:
        return [gc.tensor(x if a is None else np.take(x, i, a)) for x, a in zip(many, axes, strict=True)]

    last, ys = gc.vmap(scanned, in_axes=axes)(*many)
    gradients = gc.vmap(gc.grad(lambda *args: scanned(*args)[1].sum()), in_axes=axes)(*many)
    for i in range(3):
        want = looped(*example(i))
        np.testing.assert_allclose(last[i], want[0].numpy(), rtol=1e-12)
        np.testing.assert_allclose(ys[i], want[1].numpy(), rtol=1e-12)
        one = gc.grad(lambda *args: looped(*args)[1].sum())(*example(i))
        np.testing.assert_allclose(gradients[i], one.numpy(), rtol=1e-11)


def test_nested_transforms() -> None:
    total = lambda w, h, xs: scanned(w, h, xs)[1].sum()  # noqa: E731
    plain = lambda w, h, xs: looped(w, h, xs)[1].sum()  # noqa: E731
    np.testing.assert_allclose(gc.hessian(total)(W, H, XS), gc.hessian(plain)(W, H, XS), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gc.hvp(total)(W, H, XS, W), gc.hvp(plain)(W, H, XS, W), rtol=1e-10, atol=1e-12)
    third = gc.jacfwd(gc.hessian(total, argnums=1), argnums=1)
    want = gc.jacfwd(gc.hessian(plain, argnums=1), argnums=1)
    np.testing.assert_allclose(third(W, H, XS), want(W, H, XS), rtol=1e-9, atol=1e-11)
    mapped = gc.grad(lambda w: gc.vmap(total, in_axes=(None, 0, None))(w, np.stack([H, -H]), XS).sum())
    apart = gc.grad(lambda w: plain(w, H, XS) + plain(w, -H, XS))
    np.testing.assert_allclose(mapped(W), apart(W), rtol=1e-11)


def test_transforms_inside_and_a_scan_in_a_scan() -> None:
    def descend(x: Any, _: Any) -> Any:
        return x - 0.1 * gc.grad(lambda x: (x**4).sum() * 0.25)(x), None

    def outer(x: Any, scale: Any) -> Any:
        x, _ = gc.scan(lambda x, y: (descend(x, y)[0] * scale, None), x, length=3)
        return x, x.sum()

    def plain(x: Any, scales: Any) -> Any:
        for scale in scales:
            for _ in range(3):
                x = (x - 0.1 * x**3) * scale
        return x

    scales = gc.tensor(np.array([0.9, 1.1]))
    got = gc.jacrev(lambda x: gc.scan(outer, x, scales)[0])(H)
    np.testing.assert_allclose(got, gc.jacfwd(lambda x: plain(x, scales))(H), rtol=1e-12)
    gradcheck(lambda x, s: gc.scan(outer, x, s), (gc.tensor(H), scales), order=2)


def test_what_a_body_closes_over_has_a_gradient() -> None:
    weight = nn.Parameter(W)
    gc.scan(lambda h, x: (gc.tanh(weight @ h + x), None), gc.tensor(H), gc.tensor(XS))[0].sum().backward()
    want = gc.grad(lambda w: gc.scan(lambda h, x: (gc.tanh(w @ h + x), None), H, XS)[0].sum())(W)
    np.testing.assert_allclose(weight.grad.numpy(), want, rtol=1e-13)


def test_one_node_of_a_graph() -> None:
    graph = gc.make_graph(lambda w, h, xs: scanned(w, h, xs))(W, H, XS)
    assert [node.op.name for node in graph.nodes].count("scan") == 1
    for got, want in zip(Program(graph)(W, H, XS), scanned(*TENSORS), strict=True):
        assert np.array_equal(got.numpy(), want.numpy())
    backward = gc.make_graph(gc.grad(lambda w, h, xs: scanned(w, h, xs)[1].sum()))(W, H, XS)
    assert [node.op.name for node in backward.nodes if "scan" in node.op.name] == ["scan_saving", "scan"]
    want = gc.grad(lambda w, h, xs: scanned(w, h, xs)[1].sum())(W, H, XS)
    for _ in range(2):
        assert np.array_equal(Program(backward)(W, H, XS).numpy(), want)


def test_lengths() -> None:
    carry, ys = gc.scan(lambda c, x: (c * 2.0, c), gc.tensor(H), length=0)
    assert np.array_equal(carry.numpy(), H) and ys.shape == (0, 3)
    assert gc.grad(lambda h: gc.scan(lambda c, x: (c * 2.0, None), h, length=0)[0].sum())(H).tolist() == [1.0] * 3
    carry, ys = gc.scan(lambda c, _: (c * 2.0, None), gc.tensor(1.0), length=10)
    assert float(carry) == 1024 and ys is None
    assert gc.scan(lambda c, x: (c, x), gc.tensor(1.0), gc.tensor([1.0, 2.0]))[1].numpy().tolist() == [1.0, 2.0]


def test_results_are_no_views_of_operands() -> None:
    start = gc.tensor(H)
    carry, _ = gc.scan(lambda c, x: (c, None), start, length=2)
    assert not np.shares_memory(carry.data, start.data)


class Kept(Hook):
    """Bytes of what the loops returned."""

    def __init__(self) -> None:
        self.sizes: list[tuple[str, int]] = []

    def after(self, op: Any, values: Any, params: Any, outputs: Any) -> None:
        if "scan" in op.name:
            self.sizes.append((op.name, sum(out.nbytes for out in outputs)))


def test_the_gradient_keeps_the_carry_before_each_step_only() -> None:
    kept = Kept()
    with hooked(kept):
        gc.grad(lambda h: gc.scan(lambda c, _: (gc.sin(gc.exp(gc.tanh(c))), None), h, length=100)[0].sum())(H)
        gc.scan(lambda c, _: (gc.sin(gc.exp(gc.tanh(c))), None), gc.tensor(H), length=100)
    assert kept.sizes == [("scan_saving", 101 * H.nbytes), ("scan", H.nbytes), ("scan", H.nbytes)]


REFUSALS: list[tuple[Any, type[Exception], str]] = [
    (lambda: gc.scan(lambda c, x: c, 0.0, XS), TypeError, r"returns a pair \(carry, y\), not \*"),
    (lambda: gc.scan(lambda c, x: ((c, c), x), 0.0, XS), TypeError, r"went in as \* and came out as \(\*, \*\)"),
    (
        lambda: gc.scan(lambda c, x: (c + x, x), H, W[:, :1, None]),
        TypeError,
        r"float64\[3\] and came out as .*\[1, 3\]",
    ),
    (lambda: gc.scan(lambda c, x: (c + x.sum(), x), 0.0, XS), TypeError, r"float32\[\] and came out as float64\[\]"),
    (lambda: gc.scan(lambda c, x: (c, x), 0.0), ValueError, "needs length="),
    (lambda: gc.scan(lambda c, x: (c, x), 0.0, XS, length=4), ValueError, r"from xs and length: \[4, 5\]"),
    (lambda: gc.scan(lambda c, x: (c, x), 0.0, (XS, H)), ValueError, r"from xs: \[3, 5\]"),
    (lambda: gc.scan(lambda c, x: (c, x), 0.0, 1.0), ValueError, "has no axes"),
    (lambda: gc.scan(lambda c, x: (c, x), 0.0, length=-1), ValueError, "cannot take -1 steps"),
    (lambda: gc.scan(lambda c, x: (c, x), 0.0, length=2.0), TypeError, r"a whole number as length, not 2\.0"),
    (lambda: gc.scan(lambda c, x: (c + gc.random.normal(), x), 0.0, XS), StageError, "draw random keys outside"),
]


def unrecorded(c: Any, x: Any) -> Any:
    with gc.no_grad():
        return c + x, None


REFUSALS.append((lambda: gc.scan(unrecorded, H, XS), StageError, r"no_grad\(\) was entered in the body of scan"))


@pytest.mark.parametrize(("use", "kind", "message"), REFUSALS)
def test_refusals(use: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        use()


def test_dtypes_stay() -> None:
    for dtype in ("float16", "float32", "float64"):
        xs = gc.ones(4, 3, dtype=dtype)
        carry, ys = gc.scan(lambda c, x: (c + x, c * x), gc.zeros(3, dtype=dtype), xs)
        assert carry.dtype == ys.dtype == np.dtype(dtype)
        assert gc.grad(lambda xs: gc.scan(lambda c, x: (c + x, c * x), xs[0], xs)[1].sum())(xs).dtype == dtype
