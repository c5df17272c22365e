"""Ops of one's own on a CUDA device: launches, values, derivatives, and what stays there."""

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import GradcoreError

X = np.random.default_rng(0).normal(size=(3, 4))
ROW = np.random.default_rng(1).normal(size=4)


def there(x, **options):
    return gc.tensor(x, device="cuda", **options)


def assert_like_cpu(function, *arrays):
    """The same numbers as on the CPU, on the device."""
    for got, want in zip(function(*map(there, arrays)), function(*map(gc.tensor, arrays)), strict=True):
        assert str(got.device) == "cuda:0" and got.dtype == want.dtype
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-12)


@gc.elementwise
def swish(x, b=1.0):
    return x * gc.sigmoid(b * x)


def cost(counters, function):
    """What a call launches and copies, after one that compiles."""
    function()
    before = counters()
    function()
    after = counters()
    return {what: after[what] - before[what] for what in ("kernel_launches", "d2h", "h2d", "syncs")}


# --- elementwise ------------------------------------------------------------------------------------------------------


def test_a_formula_is_one_launch_each_way(counters):
    x, b, g = there(X, requires_grad=True), there(ROW), there(X)
    assert cost(counters, lambda: swish(x, b)) == {"kernel_launches": 1, "d2h": 0, "h2d": 0, "syncs": 0}
    y, pull = gc.vjp(lambda x: swish(x, b), there(X))
    assert cost(counters, lambda: pull(g)) == {"kernel_launches": 1, "d2h": 0, "h2d": 0, "syncs": 0}
    both = gc.vjp(swish, there(X), there(X))[1]
    assert cost(counters, lambda: both(g))["kernel_launches"] == 1
    second = gc.vjp(lambda x, g: gc.vjp(lambda x: swish(x, b), x)[1](g), there(X), g)[1]
    assert cost(counters, lambda: second((g,)))["kernel_launches"] == 1
    assert y.shape == X.shape


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_of_a_formula(order):
    def derivative(x, b):
        f = lambda x, b: swish(x, b).sum()  # noqa: E731
        for _ in range(order):
            f = lambda x, b, f=f: sum(g.sum() for g in gc.grad(f, (0, 1))(x, b))  # noqa: E731
        return (f(x, b), gc.jvp(f, (x, b), (x, b))[1])

    assert_like_cpu(derivative, X, ROW)


def test_vmap_and_promotion_of_a_formula():
    assert_like_cpu(lambda x: (gc.vmap(gc.grad(lambda row: swish(row, 2.0).sum()))(x), gc.vmap(swish)(x)), X)
    assert swish(there(np.float16([1, 2])), 2.0).dtype == np.float16
    assert swish(there(np.int32([1, 2]))).dtype == np.float64


# --- fused ------------------------------------------------------------------------------------------------------------

SCALED = cupy.ElementwiseKernel("T x, T scale", "T y", "y = x * scale", "scaled_by")


def scaled_kernel(x, scale):
    return SCALED(x, scale)


@gc.fused(kernels={"cuda": scaled_kernel})
def scaled(x, scale):
    return x * scale


def test_fused_uses_its_kernel_and_differentiates_its_meaning(counters):
    x, scale = there(X), there(ROW)
    assert cost(counters, lambda: scaled(x, scale)) == {"kernel_launches": 1, "d2h": 0, "h2d": 0, "syncs": 0}
    f = lambda x, s: (scaled(x, s) ** 3).sum()  # noqa: E731
    assert_like_cpu(lambda x, s: (scaled(x, s), *gc.grad(f, (0, 1))(x, s), *gc.vjp(gc.grad(f), x, s)[1](x)), X, ROW)
    assert_like_cpu(lambda x, s: (gc.vmap(scaled, (0, None))(x, s),), X, ROW)


def test_the_kernel_of_another_device_is_not_used():
    def refused(x):
        raise AssertionError("this kernel is for the CPU")

    doubled = gc.fused(lambda x: x * 2.0, kernels={"cpu": refused})
    np.testing.assert_array_equal(doubled(there(X)).numpy(), X * 2)
    wrong = gc.fused(lambda x: x * 2.0, kernels={"cuda": lambda x: x.sum()})
    with pytest.raises(GradcoreError, match=r"the cuda kernel of <lambda> .* returned float64\[\]"):
        wrong(there(X))


# --- derivatives by hand ----------------------------------------------------------------------------------------------


@gc.custom_vjp
def cube(x):
    return x * x * x


cube.defvjp(lambda x: (x * x * x, x), lambda x, g: (3.0 * x * x * g,))


@gc.custom_vjp
def opaque(x):
    return gc.asarray(cupy.power(x.data, 3))


opaque.defvjp(lambda x: (opaque(x), x), lambda x, g: (3.0 * x * x * g,))


@gc.custom_jvp
def softplus(x):
    return gc.log1p(gc.exp(x))


@softplus.defjvp
def rule(primals, tangents):
    return softplus(primals[0]), tangents[0] * gc.sigmoid(primals[0])


@pytest.mark.parametrize("f", [cube, softplus], ids=["custom_vjp", "custom_jvp"])
def test_derivatives_by_hand(f):
    total = lambda x: f(x).sum()  # noqa: E731
    assert_like_cpu(lambda x: (f(x), gc.grad(total)(x), gc.vmap(gc.grad(total))(x)), X)
    assert_like_cpu(lambda x: (gc.grad(lambda x: (gc.grad(total)(x) ** 2).sum())(x),), X)
    assert_like_cpu(lambda x: (gc.hvp(total)(x, x),) if f is softplus else (), X)


def test_backward_through_a_function_of_cupy(counters):
    x = there(X, requires_grad=True)
    before = counters()
    opaque(x).sum().backward()
    after = counters()
    assert (after["d2h"], after["syncs"]) == (before["d2h"], before["syncs"])
    np.testing.assert_allclose(x.grad.numpy(), 3 * X**2)


# --- NumPy's functions ------------------------------------------------------------------------------------------------


def test_functions_of_numpy_stay_on_the_device(counters):
    x = there(X)

    def loss(x):
        kept = np.where(x > 0, np.sin(x), np.clip(x, -1, 0))
        return np.sum(np.concatenate([kept, np.sort(x, axis=None).reshape(3, 4)]) ** 2) / np.linalg.norm(x)

    spent = cost(counters, lambda: gc.grad(loss)(x))
    assert (spent["d2h"], spent["syncs"]) == (0, 0)
    assert str(np.sin(x).device) == "cuda:0"
    assert_like_cpu(lambda x: gc.value_and_grad(loss)(x), X)


@pytest.mark.parametrize("read", [np.asarray, np.array, lambda x: np.sum([x, x]), lambda x: X.dot(x)])
def test_numpy_makes_no_array_of_what_is_on_the_device(read):
    with pytest.raises(TypeError, match=r"cuda|device"):
        read(there(X))
