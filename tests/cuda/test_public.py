"""What public functions add to their ops: keys, indices, constants and choices, on CUDA as on the CPU."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.tensor import Tensor
from gradcore.ops.indexing import take_axis
from gradcore.testing.devices import assert_agree, copied

MAKERS = {
    "zeros": lambda device: gc.zeros(2, 3, device=device),
    "ones": lambda device: gc.ones((2, 3), device=device),
    "full": lambda device: gc.full((2,), 0.5, device=device),
    "arange": lambda device: gc.arange(5, device=device),
    "eye": lambda device: gc.eye(2, 3, 1, device=device),
    "linspace": lambda device: gc.linspace(0, 1, 5, device=device),
    "zeros_like": lambda device: gc.zeros_like(gc.ones(2), device=device),
    "ones_like": lambda device: gc.ones_like(gc.ones(2), device=device),
    "full_like": lambda device: gc.full_like(gc.ones(2), 3.0, device=device),
}


@pytest.mark.parametrize("name", MAKERS)
def test_constants_are_made_on_a_device(name):
    here, there = MAKERS[name]("cpu"), MAKERS[name]("cuda")
    assert (str(here.device), str(there.device)) == ("cpu", "cuda:0")
    assert (here.dtype, here.tolist()) == (there.dtype, there.tolist())
    assert str(MAKERS[name](None).device) == "cpu"


X = np.random.default_rng(0).normal(size=(4, 5))
MASK = X > 0.3

CALLS = {
    "pad edge": lambda x: gc.pad(x, 2, "edge"),
    "pad reflect": lambda x: gc.pad(x, ((1, 2), (0, 3)), "reflect"),
    "pad constant": lambda x: gc.pad(x, 1, constant_values=2.5),
    "repeat": lambda x: gc.repeat(x, [1, 0, 2, 3], axis=0),
    "repeat all": lambda x: gc.repeat(x, 2),
    "tile": lambda x: gc.tile(x, (2, 2)),
    "roll": lambda x: gc.roll(x, (1, -2), (0, 1)),
    "flip": gc.flip,
    "quantile": lambda x: gc.quantile(x, [0.0, 0.3, 1.0], axis=1),
    "quantile of a tensor": lambda x: gc.quantile(x, gc.abs(x[0, :2]) % 1.0),
    "median": lambda x: gc.median(x, axis=0),
    "topk": lambda x: gc.topk(x, 2)[0],
    "sort": lambda x: gc.sort(x, axis=0, descending=True),
    "argsort": lambda x: gc.argsort(x, axis=None),
    "argmax": lambda x: gc.argmax(x, keepdims=True),
    "searchsorted": lambda x: gc.searchsorted(gc.sort(x[0]), 0.5),
    "one row": lambda x: x[-1],
    "steps": lambda x: x[::-2, 1:4],
    "lists": lambda x: x[[0, -1, 2]],
    "two lists": lambda x: x[[0, 1], [-2, 3]],
    "an array and a slice": lambda x: x[1:, np.array([[0, 4]])],
    "a mask": lambda x: x[MASK],
    "a mask that is computed": lambda x: x[x > 0],
    "a mask of rows": lambda x: x[np.array([True, False, True, False])],
    "set": lambda x: x.at[0].set(9.0),
    "set with lists": lambda x: x.at[[0, 1, 1]].set(x[1:]),
    "add": lambda x: x.at[[1, 1, 1]].add(x[1:]),
    "add to all": lambda x: x.at[...].add(1.0),
    "multiply": lambda x: x.at[[0, 2], [1, 3]].multiply(2),
    "largest": lambda x: x.at[x < 0].max(np.zeros(int((X < 0).sum()))),
    "take": lambda x: gc.take(x, [3, -1]),
    "take_along_axis": lambda x: gc.take_along_axis(x, [[0, 0, -1]], axis=1),
    "scatter_add": lambda x: gc.scatter_add(x, [0, 0, -1], x[1:]),
    "cumsum": gc.cumsum,
    "cumprod": lambda x: gc.cumprod(x, axis=1),
    "prod": lambda x: gc.prod(x, axis=0),
    "std": lambda x: gc.std(x, axis=1, correction=1),
    "norm 1": lambda x: gc.norm(x, ord=1),
    "norm 3": lambda x: gc.norm(x, ord=3, axis=0),
    "einsum": lambda x: gc.einsum("ij,kj->ik", x, x),
    "tensordot": lambda x: gc.tensordot(x, x, axes=((1,), (1,))),
    "kron": lambda x: gc.kron(x[:2, :2], x[:2]),
    "trace": gc.trace,
    "tril": gc.tril,
    "diag": lambda x: gc.diag(x[0], 1),
    "concatenate": lambda x: gc.concatenate([x, x[:1]], axis=0),
    "stack": lambda x: gc.stack([x, x], axis=1),
    "split": lambda x: gc.split(x, [1, 3], axis=1)[1],
    "meshgrid": lambda x: gc.meshgrid(x[0], x[1])[0],
    "clip": lambda x: gc.clip(x, -0.5, 0.5),
    "where": lambda x: gc.where(x > 0, x, 0.0),
}


@pytest.mark.parametrize("name", CALLS)
def test_public_function(name):
    def values(x):
        return (CALLS[name](x),)

    def gradient(x):
        return (gc.grad(lambda x: (CALLS[name](x) * 1.5).sum())(x),)

    (out,) = assert_agree(values, [X], name)
    if out.dtype.kind == "f":
        assert_agree(gradient, [X], f"gradient of {name}")


# --- indices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "bool"])
def test_repeated_positions_add_up_in_order(dtype):
    """The bits of NumPy's `add.at`: rounding depends on the order, and so does what a small integer holds."""
    rng = np.random.default_rng(1)
    x, indices = (rng.normal(size=(7, 3)) * 4).astype(dtype), rng.integers(-7, 7, 500)
    updates = (rng.normal(size=(500, 3)) * 4).astype(dtype)
    got = gc.scatter_add(*[gc.asarray(a, device="cuda") for a in (x, indices, updates)])
    assert got.numpy().tobytes() == gc.scatter_add(x, indices, updates).numpy().tobytes()


def test_the_last_of_equal_positions_is_set():
    indices, updates = np.random.default_rng(2).integers(0, 7, 500), np.arange(500.0)
    got = gc.zeros(7, device="cuda", dtype="float64").at[indices].set(updates)
    assert got.numpy().tolist() == gc.zeros(7, dtype="float64").at[indices].set(updates).numpy().tolist()


def test_positions_outside_wrap_around():
    x = gc.arange(5, device="cuda")
    assert gc.take(x, [7, -6, 4]).numpy().tolist() == [2, 4, 4]
    assert gc.take_along_axis(x, [5, -7]).numpy().tolist() == [0, 3]
    assert gc.scatter_add(gc.zeros(3, device="cuda"), [3, -4], gc.ones(2)).numpy().tolist() == [1, 0, 1]
    assert gc.zeros(3, device="cuda").at[[4, -5]].set([7.0, 8.0]).numpy().tolist() == [0, 8, 0]
    assert gc.one_hot(gc.asarray([1, 5, -1], device="cuda"), 2).numpy().tolist() == [[0, 1], [0, 0], [0, 0]]


def test_an_axis_without_elements_has_no_positions():
    x, index = Tensor(copied(np.zeros((0, 3)))), Tensor(copied(np.array([0])))
    with pytest.raises(IndexError, match="size 0"):
        take_axis(x, index, 0)


# --- reductions -------------------------------------------------------------------------------------------------------

REDUCTIONS = ("sum", "mean", "max", "min", "any", "all", "prod", "var", "norm")
SPECIAL = np.array([[1.0, np.nan, -np.inf], [np.inf, 2.0, 3.0], [0.0, -0.0, 4.0]])


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axes", [None, 0, 1, (0, 2), (1, 2), ()])
def test_reductions_over_any_axes(name, axes):
    function = getattr(gc, name)
    x = np.random.default_rng(3).normal(size=(3, 2, 40))
    for keepdims in (False, True):
        what = f"{name} over {axes}"
        assert_agree(lambda x, k=keepdims: (function(x, axis=axes, keepdims=k),), [x], what)
    assert_agree(lambda x: (function(x, axis=axes),), [np.asarray(x, order="F")], f"{what}, Fortran order")


@pytest.mark.parametrize("name", ["sum", "max", "min", "any", "all", "prod"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
def test_reductions_of_integers(name, dtype):
    x = np.random.default_rng(4).integers(-3, 4, (6, 5)).astype(dtype)
    for axis in (None, 0, 1):
        assert_agree(lambda x, a=axis: (getattr(gc, name)(x, axis=a),), [x], f"{name} of {dtype} over {axis}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_nan_infinity_and_nothing(name):
    function = getattr(gc, name)
    for axis in (None, 0, 1):
        assert_agree(lambda x, a=axis: (function(x, axis=a),), [SPECIAL], f"{name} over {axis}")
    assert_agree(lambda x: (function(x, axis=1),), [np.zeros((0, 3))], f"{name} of no rows")
    if name in ("max", "min"):
        with pytest.raises(ValueError, match=f"'{name}'.*zero-size"):
            function(gc.zeros(0, 3, device="cuda"), axis=0)
    else:
        assert_agree(lambda x: (function(x, axis=0),), [np.zeros((0, 3))], f"{name} of empty columns")


@pytest.mark.parametrize("name", ["sum", "max", "min", "mean", "norm"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_totals_of_large_arrays(name, dtype):
    """Many blocks, of which the last sums up."""
    x = np.random.default_rng(5).normal(size=70001).astype(dtype)
    function = getattr(gc, name)
    terms = [np.abs(x.astype(np.float64)).sum() if name == "sum" else np.abs(x).max()]
    assert_agree(lambda x: (function(x),), [x], name, terms=terms)


def test_means_of_float16_do_not_overflow_on_the_way():
    x = gc.full((300, 600), 500.0, dtype="float16", device="cuda")
    for axis in (None, 0, 1):
        assert (gc.mean(x, axis=axis).numpy() == 500).all()
    assert gc.var(x, axis=0).numpy().max() == 0


# --- launches ---------------------------------------------------------------------------------------------------------

LAUNCHES = {
    "sum": (gc.sum, 1),
    "mean": (gc.mean, 1),
    "mean of rows": (lambda x: gc.mean(x, axis=1), 1),
    "mean of columns": (lambda x: gc.mean(x, axis=0), 2),
    "var of rows": (lambda x: gc.var(x, axis=1), 2),
    "norm of rows": (lambda x: gc.norm(x, axis=1), 3),
    "mse": (lambda x: gc.mse(x, x), 1),
    "binary cross entropy": (lambda x: gc.nn.functional.binary_cross_entropy_with_logits(x, x), 2),
    "huber loss": (lambda x: gc.nn.functional.huber_loss(x, x), 2),
    "argmax": (lambda x: gc.argmax(x, axis=1), 1),
    "take": (lambda x: take_axis(x, gc.zeros(3, dtype="int64", device="cuda"), 0), 1),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_launches(name, counters):
    function, count = LAUNCHES[name]
    x = gc.asarray(np.ones((64, 32), np.float32), device="cuda")
    before = counters()["kernel_launches"]
    function(x)
    assert counters()["kernel_launches"] - before == count


def test_the_gradient_of_mse_is_one_launch(counters):
    x, target = [gc.tensor(X, device="cuda", requires_grad=k == 0) for k in range(2)]
    gc.mse(gc.tensor(x, requires_grad=True), target).backward()  # makes the ones from which every backward starts
    loss = gc.mse(x, target)
    before = counters()["kernel_launches"]
    loss.backward()
    assert counters()["kernel_launches"] - before == 1


def test_explain_shows_what_is_on_the_device():
    def loss(w):
        return gc.nn.functional.softmax(w * w + 1).max() ** 2

    there, here = (gc.explain(loss, gc.tensor([1.0, 2.0], device=device)) for device in ("cuda", "cpu"))
    assert str(there) == str(here)
    assert str(there.gradients["w"].device) == "cpu"


def test_gradcheck_takes_what_is_on_the_device():
    gc.testing.gradcheck(lambda x, i: gc.take(x, i) ** 3, (gc.ones(3, device="cuda"), gc.tensor([0, 2], device="cuda")))
