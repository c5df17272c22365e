"""x.at[key]: what NumPy's assignments and ufunc.at give, and gradients for x and for the values."""

import numpy as np
import pytest
from hypothesis import given, settings

import gradcore as gc
from gradcore.compile import Program
from gradcore.testing import gradcheck

from .keys import attempt, shapes_and_keys

RNG = np.random.default_rng(8)
C = RNG.normal(size=(2, 3, 4))
UFUNCS = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}


def expected(method, x, key, values):
    y = x.copy()
    if method == "set":
        y[key] = values
    else:
        UFUNCS[method].at(y, key, values)
    return y


def owners(shape, key):
    """The flat position of each element of x[key], and whether it is the last with that position."""
    places = np.arange(np.prod(shape, dtype=int)).reshape(shape)[key].reshape(-1)
    return places, np.array([p not in places[i + 1 :] for i, p in enumerate(places)], bool)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(shapes_and_keys())
def test_any_key_as_numpy(case):
    shape, key = case
    x = np.arange(float(np.prod(shape))).reshape(shape)
    picked = attempt(lambda: np.asarray(x[key]))
    if picked is None:
        with pytest.raises(IndexError):
            gc.asarray(x).at[key].add(1.0)
        return
    v = RNG.normal(size=picked.shape)
    w = RNG.normal(size=shape)
    places, last = owners(shape, key)
    for method in ("set", "add"):
        got = getattr(gc.asarray(x).at[key], method)(v)
        np.testing.assert_allclose(got.numpy(), expected(method, x, key, v), rtol=1e-14)
        f = lambda x, v: gc.sum(getattr(x.at[key], method)(v) * w)  # noqa: E731
        gx, gv = gc.grad(f, argnums=(0, 1))(x, v)
        kept = method == "add" or ~np.isin(np.arange(x.size), places).reshape(shape)
        np.testing.assert_array_equal(np.asarray(gx), np.where(kept, w, 0))
        wanted = np.where(last | (method == "add"), w.reshape(-1)[places], 0)
        np.testing.assert_array_equal(np.asarray(gv), wanted.reshape(v.shape))
    for method in ("multiply", "min", "max"):
        change = getattr(gc.asarray(x).at[key], method)
        if last.all():
            np.testing.assert_array_equal(change(v).numpy(), expected(method, x, key, v))
        else:
            with pytest.raises(IndexError, match="names an element twice"):
                change(v)
    np.testing.assert_array_equal(gc.asarray(x).at[key].get().numpy(), picked)


KEYS = {
    "number": 1,
    "slice": (slice(None), slice(2, 0, -1)),
    "everything": ...,
    "array": (slice(None), [2, 0]),
    "arrays apart": ([1, 0], slice(None), [3, -1]),
    "mask": C > 0.2,
    "new axis": (None, 0, [0, 2]),
}


@pytest.mark.parametrize("method", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize("name", KEYS)
def test_every_interpreter(name, method):
    """Derivatives of order 2 in both modes, vmap over x, the values or both, and a compiled program."""
    key = KEYS[name]
    change = lambda x, v: getattr(x.at[key], method)(v)  # noqa: E731
    v = C[key] + RNG.choice([-0.5, 0.5], C[key].shape)
    gradcheck(change, (C, v))
    want = expected(method, C, key, v)
    np.testing.assert_array_equal(Program(gc.make_graph(change)(gc.tensor(C), gc.tensor(v)))(C, v).numpy(), want)
    xs, vs = np.stack([C, C + 1]), np.stack([v, v - 1])
    for axes in ((0, 0), (0, None), (None, 0)):
        args = [gc.tensor(a if axis == 0 else a[0]) for a, axis in zip((xs, vs), axes, strict=True)]
        got = gc.vmap(change, in_axes=axes)(*args).numpy()
        for i in range(2):
            x, u = xs[i * (axes[0] == 0)], vs[i * (axes[1] == 0)]
            np.testing.assert_array_equal(got[i], expected(method, x, key, u))


@pytest.mark.parametrize("method", ["set", "add", "multiply"])
def test_mapped_and_staged_indices(method):
    change = lambda x, i, v: getattr(x.at[:, i], method)(v)  # noqa: E731
    x, v = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))
    i = np.array([[0, 2], [-1, 1], [2, 0]], np.int8)
    want = np.stack([expected(method, x, (slice(None), row), v) for row in i])
    mapped = gc.vmap(change, in_axes=(None, 0, None))
    args = [gc.tensor(a) for a in (x, i, v)]
    np.testing.assert_array_equal(mapped(*args).numpy(), want)
    program = Program(gc.make_graph(mapped)(*args))
    np.testing.assert_array_equal(program(*args).numpy(), want)
    with pytest.raises(IndexError, match="out of bounds for axis 1 with size 3"):
        program(x, i + np.int8(1), v)
    gradcheck(lambda x, v: mapped(x, args[1], v), (x, v))
    if method == "multiply":
        with pytest.raises(IndexError, match="names an element twice"):
            program(x, i * np.int8(0), v)


def test_of_equal_positions_the_last_value_wins():
    x, i, v = np.zeros(4), np.array([1, 3, 1, -3]), np.array([1.0, 2.0, 3.0, 4.0])
    f = lambda x, v: x.at[i].set(v)  # noqa: E731
    assert f(gc.tensor(x), gc.tensor(v)).numpy().tolist() == [0, 4, 0, 2]
    y, pull = gc.vjp(f, x, v)
    gx, gv = pull(np.array([10.0, 20.0, 30.0, 40.0]))
    assert np.asarray(gx).tolist() == [10, 0, 30, 0]
    assert np.asarray(gv).tolist() == [0, 40, 0, 20]
    assert np.asarray(gc.jvp(f, (x, v), (x, v))[1]).tolist() == np.asarray(y).tolist()
    gradcheck(f, (x, v))
    mapped = gc.vmap(gc.grad(lambda v, i: gc.sum(gc.square(gc.zeros(4, dtype="float64").at[i].set(v)))))
    got = mapped(np.stack([v, v]), np.stack([i, [0, 0, 0, 0]]))
    assert np.asarray(got).tolist() == [[0, 4, 0, 8], [0, 0, 0, 8]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_values_in_any_layout(order):
    i = np.array([[0, 1, 0], [2, 0, 1]], order=order)
    v = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    for values in (v, v[:, ::-1][:, ::-1]):
        for indices in (i, i[:, ::-1][:, ::-1]):
            assert gc.zeros(3, dtype="float64").at[indices].set(values).numpy().tolist() == [4, 5, 3]


def test_add_adds_in_order():
    x = np.float32(2**24) * np.ones(1, np.float32)
    v = np.array([1.0, 1.0, -(2.0**24), 1.0], np.float32)
    want = float(((x[0] + v[0]) + v[1] + v[2]) + v[3])
    assert gc.tensor(x).at[[0, 0, 0, 0]].add(v).numpy().tolist() == [want]
    assert want == 1.0


def test_x_stays_as_it_is():
    x = gc.tensor([1.0, 2.0])
    x.at[0].set(5.0), x.at[[0]].add(5.0), x.at[:].multiply(5.0)
    assert x.numpy().tolist() == [1, 2]


def test_backward_and_cells():
    x = gc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    v = gc.tensor([5.0, 6.0], requires_grad=True)
    gc.sum(gc.square(x.at[[0, 0]].set(v))).backward()
    assert x.grad.numpy().tolist() == [0, 4, 6]
    assert v.grad.numpy().tolist() == [0, 12]
    cell = gc.nn.Buffer(np.arange(3))
    assert cell.at[1].set(7).numpy().tolist() == [0, 7, 2]
    assert cell.numpy().tolist() == [0, 1, 2]


HELD = [
    (np.float32, np.float64(1.5), 1.5),
    (np.float32, 3, 3.0),
    (np.float32, np.array(True), 1.0),
    (np.float16, 0.1, float(np.float16(0.1))),
    (np.int8, np.int64(5), 5),
    (np.int64, True, 1),
    (bool, True, True),
]


@pytest.mark.parametrize(("dtype", "value", "want"), HELD)
def test_values_take_the_dtype_of_x(dtype, value, want):
    for key in (0, [0]):
        got = gc.zeros(2, dtype=dtype).at[key].set(value)
        assert got.dtype == dtype
        assert got.numpy().tolist() == [want, 0]


REFUSED = [
    (lambda: gc.arange(3).at[0].set(1.5), TypeError, "x is int64 and cannot hold float; cast"),
    (lambda: gc.arange(3).at[0].add(np.ones(1)), TypeError, "cannot hold float64"),
    (lambda: gc.zeros(2, dtype=bool).at[0].set(1), TypeError, "x is bool and cannot hold int"),
    (lambda: gc.zeros(2, dtype="uint8").at[0].set(np.int8(1)), TypeError, "cannot hold int8"),
    (lambda: gc.zeros(2, dtype="uint8").at[0].set(300), OverflowError, "300"),
    (lambda: gc.zeros(2).at[0].set("a"), TypeError, "cannot hold <U1"),
    (
        lambda: gc.zeros(2).at[:].set(gc.ones(3)),
        ValueError,
        r"values of shape \(3,\) do not fit x\[key\] of shape \(2,",
    ),
    (lambda: gc.zeros(2).at[0].set(gc.ones(1)), ValueError, "do not fit"),
    (lambda: gc.zeros(2).at[2].set(0), IndexError, "index 2 is out of bounds for axis 0 with size 2"),
    (lambda: gc.zeros(2).at[[0, 5]].add(0), IndexError, "index 5 is out of bounds for axis 0 with size 2"),
    (lambda: gc.zeros(2).at[[0, 0]].max(0), IndexError, "names an element twice"),
    (lambda: gc.vmap(lambda x: x.at[x > 0].set(0))(np.ones((2, 2))), ValueError, "a mask for each example"),
    (lambda: gc.zeros(2).__setitem__(0, 1.0), TypeError, r"x\.at\[i\]\.set\(v\)"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_mistakes(number):
    call, kind, message = REFUSED[number]
    with pytest.raises(kind, match=message):
        call()
