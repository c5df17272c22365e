"""Transforms, loops, branches and anomaly modes on CUDA arrays: as on NumPy's, and nothing goes to the host."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import AnomalyError, ChangedError
from gradcore.core.trees import flatten

RNG = np.random.default_rng(0)
W, H, XS = RNG.normal(size=(3, 3)) * 0.5, RNG.normal(size=3), RNG.normal(size=(4, 3))
HS = np.stack([H, -H])


def loop(w: Any, h: Any, xs: Any) -> Any:
    """The closed-over `w` needs a gradient, a count is carried along, and numbers stand beside arrays."""

    def step(carry: Any, x: Any) -> Any:
        h, count, total = carry
        h = gc.tanh(w @ h + x)
        return (h, count + 1, total + h.sum()), h * x

    (h, count, total), ys = gc.scan(step, (h, 0, h.sum() * 0.0), xs, reverse=True)
    return (ys * ys).sum() + total * count


def branch(h: Any) -> Any:
    return gc.cond(h.sum() > 0, lambda v: (v * v).sum(), lambda v: gc.tanh(v).sum(), h)


def curve(h: Any) -> Any:
    return gc.tanh(h * h) * 2.0


def pushed(h: Any) -> Any:
    value, push = gc.linearize(curve, h)
    return value, push(h), push(h * 2.0)


LOOPS = {
    "grad of a scan": lambda w, h, hs, xs: gc.grad(loop, argnums=(0, 1, 2))(w, h, xs),
    "jvp of a scan": lambda w, h, hs, xs: gc.jvp(loop, (w, h, xs), (w, h, xs)),
    "hvp of a scan": lambda w, h, hs, xs: gc.hvp(loop, argnums=1)(w, h, xs, h),
    "hessian of a scan": lambda w, h, hs, xs: gc.hessian(loop, argnums=1)(w, h, xs),
    "vmap(grad) of a scan": lambda w, h, hs, xs: gc.vmap(gc.grad(loop), in_axes=(None, 0, None))(w, hs, xs),
    "vmap(grad) of a cond": lambda w, h, hs, xs: gc.vmap(gc.grad(branch))(hs),
    "grad of a vmap of a cond": lambda w, h, hs, xs: gc.grad(lambda hs: gc.vmap(branch)(hs).sum())(hs),
    "jacrev": lambda w, h, hs, xs: gc.jacrev(lambda w, h: {"a": w @ h, "b": curve(h)}, argnums=(0, 1))(w, h),
    "jacfwd": lambda w, h, hs, xs: gc.jacfwd(lambda w, h: {"a": w @ h, "b": curve(h)}, argnums=(0, 1))(w, h),
    "jacobians nest": lambda w, h, hs, xs: gc.jacfwd(gc.jacrev(gc.jacfwd(curve)))(h),
    "per-example hessians": lambda w, h, hs, xs: gc.vmap(gc.hessian(lambda h: curve(h).sum()))(hs),
    "linearize": lambda w, h, hs, xs: pushed(h),
    "numbers beside arrays": lambda w, h, hs, xs: gc.value_and_grad(lambda h, s: (h * s).sum(), argnums=(0, 1))(h, 2.0),
}


@pytest.mark.parametrize("name", LOOPS)
def test_equals_numpy_and_stays_on_the_device(counters: Any, name: str) -> None:
    args = list(map(cupy.asarray, (W, H, HS, XS)))
    before = counters()["d2h"]
    found = LOOPS[name](*args)
    assert counters()["d2h"] == before
    for got, want in zip(flatten(found)[0], flatten(LOOPS[name](W, H, HS, XS))[0], strict=True):
        assert type(got) is cupy.ndarray and got.dtype == np.float64
        np.testing.assert_allclose(cupy.asnumpy(got), want, rtol=1e-12, atol=1e-13)


def test_a_condition_on_the_device_is_one_copy_and_on_the_host_none(counters: Any) -> None:
    h = gc.tensor(H, device="cuda")
    for pred, copies in (((h * h).sum() > 0, 1), (True, 0), (np.array(False), 0)):
        before = counters()["d2h"]
        found = gc.grad(lambda h, pred=pred: gc.cond(pred, gc.sum, lambda v: gc.tanh(v).sum(), h))(h)
        assert found.device == "cuda:0" and counters()["d2h"] - before == 2 * copies  # forward, and on the way back
        want = 1 - np.tanh(H) ** 2 if pred is not True and copies == 0 else np.ones(3)
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-12)


def test_numbers_come_to_the_device_of_what_is_beside_them() -> None:
    xs = cupy.asarray(XS.astype(np.float32))
    carry, ys = gc.scan(lambda c, x: ((c[0] + x.sum(), c[1] + 1), 0.0), (0.0, 0), xs)
    assert {leaf.device for leaf in (*carry, ys)} == {"cuda:0"}
    assert int(carry[1]) == 4 and float(carry[0]) == pytest.approx(XS.sum(), rel=1e-5)
    picked = gc.cond(True, lambda x, s: x * s, lambda x, s: x, xs, 3.0)
    np.testing.assert_allclose(picked.numpy(), XS * 3.0, rtol=1e-6)
    (pulled,) = gc.vjp(gc.sum, xs)[1](2.0)
    assert type(pulled) is cupy.ndarray and np.array_equal(cupy.asnumpy(pulled), np.full((4, 3), 2.0))
    _, moved = gc.jvp(gc.sin, (gc.tensor(0.0, device="cuda"),), (np.float32(3.0),))
    assert moved.device == "cuda:0" and float(moved) == 3.0


def test_later_derivatives_do_not_see_that_an_array_changed() -> None:
    h = cupy.asarray(H)
    _, pull = gc.vjp(curve, h)
    _, push = gc.linearize(curve, h)
    h[:] = 7.0
    want = gc.vjp(curve, H)[1](np.ones(3))[0]
    np.testing.assert_allclose(cupy.asnumpy(pull(cupy.ones(3))[0]), want, rtol=1e-12)
    np.testing.assert_allclose(cupy.asnumpy(push(cupy.ones(3))), want, rtol=1e-12)


def test_a_module_and_backward_through_a_loop() -> None:
    found = {}
    for device in ("cpu", "cuda"):
        gc.random.seed(0)
        cell = gc.nn.Linear(3, 3).to(device)
        xs = gc.tensor(XS, dtype="float32", device=device)
        gc.scan(lambda h, x: (gc.tanh(cell(h) + x), None), xs[0], xs)[0].sum().backward()
        of_scan = gc.grad(lambda m, xs: gc.scan(lambda h, x: (gc.tanh(m(h) + x), None), xs[0], xs)[0].sum())(cell, xs)
        np.testing.assert_allclose(of_scan["weight"].numpy(), cell.weight.grad.numpy(), rtol=1e-5)
        found[device] = cell.weight.grad.numpy()
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-5, atol=1e-6)


# --- anomaly modes ----------------------------------------------------------------------------------------------------


def message(error: Any) -> str:
    return str(error.value)


def test_anomalies_are_named_with_op_and_line() -> None:
    x = gc.tensor([4.0, 0.0], device="cuda", requires_grad=True)
    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        gc.log(x)  # here
    assert "'log' gave -inf at [1] of its result, float32[2]@cuda:0" in message(error)
    assert "gc.log(x)  # here" in message(error)
    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        y = gc.sqrt(x)  # forward
        y.sum().backward()  # backward
    assert "gave inf at [1]" in message(error) and "the vjp of 'sqrt'" in message(error)
    assert "gc.sqrt(x)  # forward" in message(error) and "y.sum().backward()  # backward" in message(error)


def test_anomalies_in_transforms_and_bodies() -> None:
    x = cupy.asarray([4.0, 0.0])
    with pytest.raises(AnomalyError, match="vjp of 'sqrt'"), gc.detect_anomaly():
        gc.vmap(gc.grad(gc.sqrt))(x)
    with pytest.raises(AnomalyError) as error, gc.detect_anomaly():
        gc.scan(lambda c, v: (gc.log(v) * c, None), gc.tensor(np.float64(1.0), device="cuda"), x)  # body
    assert "'log' gave -inf" in message(error) and "in a body: " in message(error) and "# body" in message(error)
    with gc.detect_anomaly():
        assert type(gc.jacrev(curve)(cupy.asarray(H))) is cupy.ndarray
        gc.grad(loop)(*map(cupy.asarray, (W, H, XS)))


def test_deferred_flags_wait_for_nothing(counters: Any) -> None:
    model = gc.nn.Linear(3, 2).to("cuda")
    x = gc.tensor(XS, dtype="float32", device="cuda")

    def losses() -> None:
        (model(x) ** 2).mean().backward()
        gc.sqrt(model.bias * 0.0).sum().backward()
        gc.grad(lambda w: (w * w).sum())(model.weight)

    losses()
    before = counters()
    with gc.detect_anomaly(deferred=True) as found:
        losses()
        after = counters()
        assert (after["d2h"], after["syncs"]) == (before["d2h"], before["syncs"])
        with pytest.raises(AnomalyError, match=r"the gradient of bias was NaN or .* pass 2 of 3 .*detect_anomaly"):
            found.check()


def test_an_alias_that_changed_is_caught() -> None:
    a = cupy.ones(2)
    x = gc.tensor(np.array([1.0, 2.0]), device="cuda", requires_grad=True)
    with pytest.raises(ChangedError, match="operand 'b' changed after 'mul'"), gc.check_saved():
        loss = (x * gc.asarray(a)).sum()
        a[0] = 5.0
        loss.backward()
