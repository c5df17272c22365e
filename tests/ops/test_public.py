"""The functions that users call, where they do more than bind an op: against NumPy, with gradients to order 2."""

from contextlib import nullcontext

import numpy as np
import pytest

import gradcore as gc
from gradcore.autodiff.regions import Region, opened
from gradcore.core.hooks import Hook, hooked
from gradcore.testing import gradcheck

RNG = np.random.default_rng(3)
A, B, C = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2)), RNG.normal(size=(2, 3, 4))
V = RNG.normal(size=4)

CASES = {
    "sum of all": (lambda m, x: m.sum(x), (A,)),
    "sum of the last axis": (lambda m, x: m.sum(x, axis=-1, keepdims=True), (C,)),
    "sum of two axes": (lambda m, x: m.sum(x, axis=(-1, 0)), (C,)),
    "mean": (lambda m, x: m.mean(x, axis=1), (C,)),
    "max": (lambda m, x: m.max(x, axis=(0, -1)), (C,)),
    "vector @ matrix": (lambda m, x, y: m.matmul(x, y), (V, B)),
    "matrix @ vector": (lambda m, x, y: m.matmul(x, y), (A, V)),
    "vector @ vector": (lambda m, x, y: m.matmul(x, y), (V, V + 1)),
    "stack @ matrix": (lambda m, x, y: m.matmul(x, y), (C, B)),
    "vector @ stack": (lambda m, x, y: m.matmul(x, y), (A[:, 0], C)),
    "reshape": (lambda m, x: m.reshape(x, (2, -1)), (A,)),
    "transpose": (lambda m, x: m.transpose(x), (C,)),
    "transpose with axes": (lambda m, x: m.transpose(x, (0, -1, 1)), (C,)),
    "swapaxes": (lambda m, x: m.swapaxes(x, -1, 0), (C,)),
    "moveaxis": (lambda m, x: m.moveaxis(x, 0, -1), (C,)),
    "expand_dims": (lambda m, x: m.expand_dims(x, (0, -1)), (A,)),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (3, 2, 4)), (V,)),
    "broadcast_to a number": (lambda m, x: m.broadcast_to(x, 3), (V[:1],)),
    "reshape to a number": (lambda m, x: m.reshape(x, 12), (A,)),
    "concatenate": (lambda m, x, y: m.concatenate([x, y], -1), (A, A[:, :2])),
    "stack": (lambda m, x, y: m.stack([x, y], 1), (A, A + 1)),
    "take": (lambda m, x: m.take(x, np.array([[0, -1], [2, 2]]), 1), (A,)),
    "pad": (lambda m, x: m.pad(x, ((1, 2), (0, 1)), constant_values=2.0), (A,)),
    "pad by one number": (lambda m, x: m.pad(x, 1), (V,)),
    "operators": (lambda m, x, y: (2 - x) * y / (x * x + 1) - -y + 3 * x**2 - (1 / (x * x + 1)) ** 0.5, (A, A + 1)),
    "power by a number": (lambda m, x: (x * x + 1) ** 1.5 + 2.0**x, (A,)),
    "abs and comparisons": (lambda m, x: m.where(x > 0, abs(x), x * 2), (A,)),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name):
    function, args = CASES[name]
    got, want = function(gc, *map(gc.asarray, args)), function(np, *args)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
    gradcheck(lambda *xs: function(gc, *xs), args)


KEYS = [
    0,
    -1,
    slice(None, None, 2),
    slice(None, None, -1),
    slice(2, 0, -1),
    slice(5, 9),
    slice(1, 1),
    (0, 1),
    (0, 1, -2),
    (..., 0),
    (0, ...),
    (None, 0, None),
    (slice(1), ..., slice(None, None, -2)),
    (slice(None), [0, 2, 2]),
    (0, np.array([[0], [-1]])),
    (..., np.array([3, 0])),
    (np.array(1), slice(1, 3)),
    (),
    ...,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing(key):
    got = gc.asarray(C)[key]
    assert got.shape == C[key].shape
    np.testing.assert_array_equal(got.numpy(), C[key])
    gradcheck(lambda x: x[key], (C,))
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda x: x[key])(np.stack([C, -C]))), np.stack([C[key], -C[key]]))


def softmax(x, axis):
    parts = np.exp(x - x.max(axis, keepdims=True))
    return parts / parts.sum(axis, keepdims=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_over_any_axis(axis):
    np.testing.assert_allclose(gc.softmax(C, axis).numpy(), softmax(C, axis), rtol=1e-12)
    np.testing.assert_allclose(gc.log_softmax(C, axis).numpy(), np.log(softmax(C, axis)), rtol=1e-10)
    gradcheck(lambda x: (gc.softmax(x, axis), gc.log_softmax(x, axis), gc.logsumexp(x, axis)), (C,))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction):
    labels = np.array([1, 0, 3])
    rows = -np.log(softmax(A, 1))[np.arange(3), labels]
    squares = (A - 1) ** 2
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    np.testing.assert_allclose(gc.cross_entropy(A, labels, reduction).numpy(), reduce(rows), rtol=1e-12)
    np.testing.assert_allclose(gc.mse(A, np.ones_like(A), reduction).numpy(), reduce(squares), rtol=1e-12)
    soft = np.eye(4)[labels]
    np.testing.assert_allclose(gc.cross_entropy(A, soft, reduction).numpy(), reduce(rows), rtol=1e-12)
    gradcheck(lambda x, p, t: (gc.cross_entropy(x, p, reduction), gc.mse(x, t, reduction)), (A, soft, A[::-1]))


def test_linear_without_bias_and_with_leading_axes():
    weight, bias = B.T, np.ones(2)
    np.testing.assert_allclose(gc.linear(C, weight, bias).numpy(), C @ B + 1, rtol=1e-12)
    np.testing.assert_allclose(gc.linear(V, weight).numpy(), V @ B, rtol=1e-12)
    gradcheck(gc.linear, (C, weight, bias))


def test_dropout_is_a_function_of_its_key():
    key, x = np.array([1, 2], np.uint64), np.ones((100, 100))
    y = gc.dropout(x, key, 0.25).numpy()
    assert set(np.unique(y)) == {0, 1 / 0.75} and abs(y.mean() - 1) < 0.03
    np.testing.assert_array_equal(y, gc.dropout(x, key, 0.25).numpy())
    assert not np.array_equal(y, gc.dropout(x, key + np.uint64(1), 0.25).numpy())
    np.testing.assert_array_equal(np.asarray(gc.grad(lambda x: gc.sum(gc.dropout(x, key, 0.25)))(x)), y)
    half = gc.dropout(x.astype(np.float16), key, 0.25).numpy()
    np.testing.assert_array_equal(half == 0, gc.dropout(x.astype(np.float32), key, 0.25).numpy() == 0)


def test_vmap_over_no_examples():
    assert gc.vmap(lambda x: gc.sum(gc.sin(x)))(np.zeros((0, 3))).shape == (0,)
    assert gc.vmap(gc.grad(lambda x: gc.sum(gc.sin(x))))(np.zeros((0, 3))).shape == (0, 3)


def ones(*shape):
    return gc.asarray(np.ones(shape))


MISTAKES = [
    (lambda: gc.add(ones(2), ones(3)), ValueError, "'add'.*float64"),
    (lambda: gc.matmul(ones(2, 3), ones(2, 3)), ValueError, "'matmul'.*float64"),
    (lambda: gc.matmul(ones(), ones(3)), ValueError, "use a \\* b"),
    (lambda: gc.linear(ones(2, 3), ones(4, 2), ones(4)), ValueError, "'linear'.*do not fit"),
    (lambda: gc.reshape(ones(4), (3, -1)), ValueError, "do not fit shape"),
    (lambda: gc.reshape(ones(4), (-1, -1)), ValueError, "only one size"),
    (lambda: gc.reshape(ones(4), (3,)), ValueError, "'reshape'.*float64"),
    (lambda: gc.transpose(ones(2, 3), (0, 0)), ValueError, "not an order"),
    (lambda: gc.sum(ones(3), axis=1), ValueError, "out of bounds"),
    (lambda: gc.sum(ones(3, 3), axis=(0, -2)), ValueError, "names an axis twice"),
    (lambda: gc.concatenate([]), ValueError, "at least one"),
    (lambda: gc.concatenate([ones(2, 3), ones(3, 2)]), ValueError, "'concatenate'.*float64"),
    (lambda: gc.take(ones(3), np.array([3])), IndexError, "out of bounds"),
    (lambda: gc.take(ones(3), np.array([0.5])), TypeError, "must be integers"),
    (lambda: gc.pad(ones(3), -1), ValueError, "negative"),
    (lambda: gc.pad(ones(3), (1, 2, 3)), ValueError, r"pad_width \(1, 2, 3\) does not fit a tensor of 1 axes"),
    (lambda: gc.pad(ones(3), ((1,), (1, 2))), ValueError, "does not fit"),
    (lambda: gc.pad(ones(3), 1.5), TypeError, "must be integers, not 1.5"),
    (lambda: gc.pad(ones(3), 1, constant_values=ones(3)), TypeError, "one number, not Tensor"),
    (lambda: gc.expand_dims(ones(2), (0, 0)), ValueError, "names an axis twice"),
    (lambda: gc.expand_dims(ones(2), 0.5), TypeError, "axes must be integers, not 0.5"),
    (lambda: gc.broadcast_to(ones(2), 3.0), TypeError, "sizes must be integers, not 3.0"),
    (lambda: gc.broadcast_to(ones(2), 3), ValueError, "'broadcast_to'.*float64"),
    (lambda: gc.reshape(ones(4), 4.0), TypeError, "sizes must be integers"),
    (lambda: gc.transpose(ones(2, 3), (0.5, 1)), TypeError, "axes must be integers"),
    (lambda: gc.moveaxis(ones(2, 3), 0, 0.5), TypeError, "axes must be integers"),
    (lambda: gc.swapaxes(ones(2, 3), "a", 0), TypeError, "axes must be integers"),
    (lambda: gc.sum(ones(3), axis=1.5), TypeError, "axis must be an integer, not 1.5"),
    (lambda: gc.max(ones(3), axis=(0, "b")), TypeError, "axis must be an integer"),
    (lambda: gc.scatter_add(ones(3), np.array([0]), ones(2)), ValueError, "expected \\(1,\\)"),
    (lambda: gc.cross_entropy(ones(2, 3), np.array([0, 3])), ValueError, "labels must lie in"),
    (lambda: gc.cross_entropy(ones(2, 3), np.array([0])), ValueError, "need labels of shape"),
    (lambda: gc.cross_entropy(ones(2, 3), np.array([0, 1]), "median"), ValueError, "'cross_entropy'.*must be one of"),
    (lambda: gc.cross_entropy(ones(2, 5, 3), np.zeros((2, 3), int)), ValueError, r"pass moveaxis\(scores, 1, -1\)"),
    (lambda: gc.sign(np.array([True])), TypeError, r"'sign' does not take these dtypes.*bool\[1\]"),
    (lambda: gc.add(gc.asarray(np.ones(2, np.int8)), 300), OverflowError, r"'add'.*300.*int8\[2\]"),
    (lambda: gc.clip(gc.asarray(np.ones(2, np.uint8)), -1), OverflowError, r"'clip_min'.*-1.*uint8\[2\]"),
    (lambda: gc.mse(ones(2), ones(3)), ValueError, "'mse'.*one shape"),
    (lambda: gc.layer_norm(ones(2, 3), ones(2), ones(3)), ValueError, "'layer_norm'"),
    (lambda: gc.dropout(ones(2), np.zeros(2, np.uint64), 1.0), ValueError, "rate must lie"),
    (lambda: gc.sin("text"), TypeError, "'sin' got str"),
    (lambda: gc.sin(np.array([1j])), TypeError, "complex128"),
    (lambda: gc.tensor([1.0, 2.0])[2], IndexError, "out of bounds"),
    (lambda: gc.tensor([1.0, 2.0])[0, 0], IndexError, "2 indices for a tensor of 1 axes"),
    (lambda: gc.tensor([1.0, 2.0])["a"], TypeError, "not supported"),
    (lambda: gc.tensor([1.0]).__setitem__(0, 1.0), TypeError, "cannot be changed in place"),
]


PATHS = {"plain": nullcontext, "hooked": lambda: hooked(Hook()), "general": lambda: opened(Region())}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes(number, path):
    """The same exception on both short cuts and on the general path."""
    call, kind, message = MISTAKES[number]
    with PATHS[path](), pytest.raises(kind, match=message):
        call()
