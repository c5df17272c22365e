"""Functions that only move elements: against NumPy, through every interpreter, and on random arguments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradcore as gc

from .against_numpy import DTYPES, array_of, assert_interpreters, assert_values

A, B, C = array_of((3, 4), "float64", 1), array_of((1, 3, 1), "float64", 2), array_of((2, 3, 4), "float64", 3)
V, S = array_of(4, "float64", 4), array_of((), "float64", 5)

CASES = {
    "squeeze": (lambda m, x: m.squeeze(x), (B,)),
    "squeeze an axis": (lambda m, x: m.squeeze(x, -1), (B,)),
    "squeeze two axes": (lambda m, x: m.squeeze(x, (0, -1)), (B,)),
    "squeeze no axis": (lambda m, x: m.squeeze(x, ()), (B,)),
    "squeeze a number": (lambda m, x: m.squeeze(x), (S,)),
    "squeeze a view": (lambda m, x: m.squeeze(m.transpose(x)[:, :1]), (C,)),
    "moveaxis": (lambda m, x: m.moveaxis(x, (0, -1), (1, 0)), (C,)),
    "flip": (lambda m, x: m.flip(x), (C,)),
    "flip two axes": (lambda m, x: m.flip(x, (0, -1)), (C,)),
    "flip a number": (lambda m, x: m.flip(x), (S,)),
    "roll": (lambda m, x: m.roll(x, 5), (C,)),
    "roll along axes": (lambda m, x: m.roll(x, (1, -2), (0, -1)), (C,)),
    "roll twice along one": (lambda m, x: m.roll(x, (1, 7), (1, 1)), (C,)),
    "roll axes by one number": (lambda m, x: m.roll(x, 2, (0, 1)), (C,)),
    "roll one axis by two numbers": (lambda m, x: m.roll(x, (1, 1), (2,)), (C,)),
    "roll a number": (lambda m, x: m.roll(x, 1), (S,)),
    "repeat": (lambda m, x: m.repeat(x, 2), (A,)),
    "repeat along an axis": (lambda m, x: m.repeat(x, 3, -1), (A,)),
    "repeat each by its number": (lambda m, x: m.repeat(x, [2, 0, 1], 0), (A,)),
    "repeat never": (lambda m, x: m.repeat(x, 0, 0), (A,)),
    "repeat a number": (lambda m, x: m.repeat(x, 2), (S,)),
    "tile": (lambda m, x: m.tile(x, 2), (A,)),
    "tile into more axes": (lambda m, x: m.tile(x, (2, 1, 3)), (A,)),
    "tile fewer axes": (lambda m, x: m.tile(x, (2,)), (C,)),
    "tile never": (lambda m, x: m.tile(x, (0, 2)), (A,)),
    "split": (lambda m, x: m.split(x, 2, -1), (C,)),
    "split at positions": (lambda m, x: m.split(x, [1, 3, 9], 1), (A,)),
    "split at positions in disorder": (lambda m, x: m.split(x, [3, -3], 1), (A,)),
    "array_split": (lambda m, x: m.array_split(x, 3, 1), (A,)),
    "array_split into more than there are": (lambda m, x: m.array_split(x, 6), (V,)),
    "tril": (lambda m, x: m.tril(x), (C,)),
    "triu": (lambda m, x: m.triu(x, -1), (C,)),
    "diag of a vector": (lambda m, x: m.diag(x, -2), (V,)),
    "diag of a matrix": (lambda m, x: m.diag(x, 1), (A,)),
    "diagonal": (lambda m, x: m.diagonal(x, -1, -1, 0), (C,)),
    "trace": (lambda m, x: m.trace(x, 1, 2, 1), (C,)),
    "pad by edges": (lambda m, x: m.pad(x, 2, "edge"), (A,)),
    "pad by reflections": (lambda m, x: m.pad(x, ((0, 5), (1, 0)), "reflect"), (A,)),
    "pad symmetrically": (lambda m, x: m.pad(x, (4, 1), "symmetric"), (V,)),
    "pad around": (lambda m, x: m.pad(x, (1, 6), mode="wrap"), (V,)),
    "hstack": (lambda m, x, y: m.hstack([x, y]), (A, A[:, :1].copy())),
    "hstack vectors and numbers": (lambda m, x, y: m.hstack([x, y]), (V, S)),
    "vstack": (lambda m, x, y: m.vstack([x, y]), (A, V)),
    "vstack numbers": (lambda m, x: m.vstack([x, x]), (S,)),
    "concatenate all elements": (lambda m, x, y: m.concatenate([x, y], None), (A, S)),
    "broadcast_arrays": (lambda m, x, y, z: m.broadcast_arrays(x, y, z), (A, B, S)),
    "meshgrid": (lambda m, x, y, z: m.meshgrid(x, y, z), (V, V[:2], S)),
    "meshgrid by rows": (lambda m, x, y: m.meshgrid(x, y, indexing="ij"), (V, V[:2])),
    "sparse meshgrid": (lambda m, x, y: m.meshgrid(x, y, sparse=True), (V, V[:2])),
    "meshgrid of one": (lambda m, x: m.meshgrid(x), (V,)),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name):
    function, arrays = CASES[name]
    assert_values(function, *arrays)
    assert_interpreters(function, *arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_dtypes(name, dtype):
    function, arrays = CASES[name]
    narrow = [x.astype(dtype) if dtype != "uint8" else np.abs(x).astype(dtype) for x in arrays]
    assert_values(function, *narrow, exact=name != "trace")


def shapes(least=0, most=4):
    return st.lists(st.integers(0, 4), min_size=least, max_size=most).map(tuple)


def axes_of(ndim, least=0):
    return st.lists(st.integers(0, ndim - 1), min_size=least, max_size=ndim, unique=True)


def check(function, data, least=0):
    """The function on a random array; `function(draw, x)` makes the call."""
    x = array_of(data.draw(shapes(least)), data.draw(st.sampled_from(DTYPES)))
    assert_values(function(data.draw, x), x)


def flips(draw, x):
    axes = tuple(draw(axes_of(x.ndim))) if x.ndim else ()
    return lambda m, x: m.flip(x, axes)


def rolls(draw, x):
    axes = draw(st.lists(st.integers(-x.ndim, x.ndim - 1), max_size=3)) if x.ndim else []
    moves = draw(st.lists(st.integers(-9, 9), min_size=len(axes), max_size=len(axes)))
    return (lambda m, x: m.roll(x, moves, axes)) if axes else (lambda m, x: m.roll(x, 3))


def repeats(draw, x):
    axis = draw(st.none() | st.integers(-x.ndim, x.ndim - 1)) if x.ndim else None
    n = x.size if axis is None else x.shape[axis]
    counts = draw(st.integers(0, 3) | st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return lambda m, x: m.repeat(x, counts, axis)


def tiles(draw, x):
    reps = tuple(draw(st.lists(st.integers(0, 3), max_size=4)))
    return lambda m, x: m.tile(x, reps)


def squeezes(draw, x):
    axes = tuple(a for a in range(x.ndim) if x.shape[a] == 1 and draw(st.booleans()))
    return lambda m, x: m.squeeze(x, axes)


def moves(draw, x):
    source = draw(axes_of(x.ndim)) if x.ndim else []
    places = draw(st.permutations(range(x.ndim)))[: len(source)]
    return lambda m, x: m.moveaxis(x, source, places)


@pytest.mark.parametrize("function", [flips, rolls, repeats, tiles, squeezes, moves])
@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_random_arguments(function, data):
    check(function, data)


def splits(draw, x):
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    cuts = draw(st.integers(1, 6) | st.lists(st.integers(-6, 6), max_size=4))
    return lambda m, x: m.array_split(x, cuts, axis)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_random_splits(data):
    check(splits, data, least=1)


def triangles(draw, x):
    k, name = draw(st.integers(-5, 5)), draw(st.sampled_from(["tril", "triu"]))
    return lambda m, x: getattr(m, name)(x, k)


def diagonals(draw, x):
    a, b = draw(st.permutations(range(x.ndim)))[:2]
    k = draw(st.integers(-5, 5))
    return lambda m, x: m.diagonal(x, k, a - x.ndim, b)


@pytest.mark.parametrize("function", [triangles, diagonals])
@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_random_matrices(function, data):
    check(function, data, least=2)


def test_diagonals_undo_each_other():
    for k in (-2, 0, 1):
        np.testing.assert_array_equal(gc.diag(gc.diag(V, k), k).numpy(), V)


def test_a_triangle_hides_nan_and_infinity():
    x = np.array([[1.0, np.inf], [np.nan, 2.0]])
    assert gc.tril(gc.triu(x)).numpy().tolist() == [[1, 0], [0, 2]]
    assert np.asarray(gc.grad(lambda x: gc.tril(x).sum())(x)).tolist() == [[1, 0], [1, 1]]


VIEWS = {
    "flip": lambda x: gc.flip(x, 0),
    "split": lambda x: gc.split(x, 2, 1)[0],
    "diagonal": gc.diagonal,
    "diag": gc.diag,
    "squeeze": lambda x: gc.squeeze(gc.expand_dims(x, 1)),
    "moveaxis": lambda x: gc.moveaxis(x, 0, 1),
    "meshgrid": lambda x: gc.meshgrid(x[0], x[1])[1],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(name):
    x = gc.asarray(A)
    assert np.shares_memory(VIEWS[name](x).numpy(), x.numpy())


def test_constants():
    x = gc.asarray(A.astype("float16"), requires_grad=True)
    for got, value in ((gc.zeros_like(x), 0), (gc.ones_like(x), 1), (gc.full_like(x, 2.5), 2.5)):
        assert got.dtype == np.float16 and got.shape == A.shape and not got.requires_grad
        assert (got.numpy() == value).all()
    assert gc.zeros_like(x, dtype="int8").dtype == np.int8
    np.testing.assert_array_equal(gc.eye(2, 3, 1).numpy(), np.eye(2, 3, 1))
    np.testing.assert_array_equal(gc.eye(2, dtype=bool).numpy(), np.eye(2, dtype=bool))
    for endpoint in (True, False):
        want = np.linspace(-1, 2, 7, endpoint).astype("float32")
        np.testing.assert_array_equal(gc.linspace(-1, 2, 7, endpoint).numpy(), want)
    assert gc.vmap(lambda x: gc.ones_like(x) * x)(A).shape == A.shape


MISTAKES = [
    (lambda m: m.squeeze(m.ones((2, 1)), 0), "'squeeze': axes 0 of shape .2, 1."),
    (lambda m: m.squeeze(m.ones((1, 1)), (0, -2)), "twice"),
    (lambda m: m.moveaxis(m.ones((2, 3)), (0, 1), 0), "2 axes cannot move to 1 places"),
    (lambda m: m.moveaxis(m.ones((2, 3)), (0, -2), (0, 1)), "'moveaxis'.*twice"),
    (lambda m: m.moveaxis(m.ones((2, 3)), 0, 2), "out of bounds"),
    (lambda m: m.flip(m.ones(3), 1), "out of bounds"),
    (lambda m: m.roll(m.ones(3), (1, 2, 3), (0, 0)), "3 shifts do not fit 2 axes"),
    (lambda m: m.roll(m.ones(3), 1, 1), "out of bounds"),
    (lambda m: m.repeat(m.ones(3), [1, 2]), "2 repeats do not fit an axis of size 3"),
    (lambda m: m.repeat(m.ones(3), -1), "'repeat': repeats must not be negative"),
    (lambda m: m.tile(m.ones(3), (1, -1)), "'tile': repeats must not be negative"),
    (lambda m: m.split(m.ones(5), 2), "'split': an axis of size 5 has no 2 equal parts; use array_split"),
    (lambda m: m.split(m.ones(5), 2, 1), "out of bounds"),
    (lambda m: m.array_split(m.ones(5), 0), "at least one part, got 0"),
    (lambda m: m.reshape(m.ones(6), (-2, -3)), "'reshape': only one size of"),
    (lambda m: m.pad(m.ones((0, 2)), 1, "edge"), "'pad': mode 'edge' has nothing to repeat"),
    (lambda m: m.pad(m.ones(2), 1, "middle"), "'pad': mode 'middle' is not among"),
    (lambda m: m.diagonal(m.ones(3)), "'diagonal' needs at least two axes"),
    (lambda m: m.diagonal(m.ones((3, 3)), 0, 1, -1), "'diagonal'.*twice"),
    (lambda m: m.trace(m.ones(3)), "'trace' needs at least two axes"),
    (lambda m: m.diag(m.ones((2, 2, 2))), "'diag' takes a vector or a matrix"),
    (lambda m: m.stack([m.ones(2), m.ones(3)]), "'stack': tensors must have one shape"),
    (lambda m: m.hstack([]), "'hstack' needs at least one"),
    (lambda m: m.concatenate([m.ones((2, 3)), m.ones(2)], 1), "'concatenate'"),
    (lambda m: m.concatenate([m.ones(()), m.ones(())]), "out of bounds"),
    (lambda m: m.broadcast_arrays(m.ones(2), m.ones(3)), "do not broadcast to one shape"),
    (lambda m: m.meshgrid(m.ones(2), indexing="yx"), "must be 'xy' or 'ij', not 'yx'"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_those_of_numpy(number):
    call, message = MISTAKES[number]
    with pytest.raises((ValueError, IndexError)):
        call(np)
    with pytest.raises(ValueError, match=message):
        call(gc)


NAMES = "median quantile std norm topk argsort sort squeeze ravel swapaxes moveaxis transpose reshape tril pad repeat"


@pytest.mark.parametrize("name", NAMES.split())
def test_errors_name_the_function_that_was_called(name):
    more = {"quantile": 0.5, "topk": 1, "swapaxes": (0, 1), "moveaxis": (0, 1), "reshape": 1, "pad": 1, "repeat": 1}
    arguments = np.atleast_1d(more.get(name, [])).tolist()
    with pytest.raises(TypeError, match=f"'{name}' got list"):
        getattr(gc, name)([1.0, 2.0], *arguments)


REFUSED = [
    (lambda: gc.flip("text"), "'flip' got str"),
    (lambda: gc.repeat([1.0], 2), "'repeat' got list"),
    (lambda: gc.repeat(V, 2.0), "'repeat': repeats must be integers"),
    (lambda: gc.roll(V, 0.5), "'roll': shifts must be integers"),
    (lambda: gc.split(V, 2.0), "'split': sections must be integers"),
    (lambda: gc.tril(A, 0.5), "'tril': offsets must be integers"),
    (lambda: gc.eye(2.5), "'eye': sizes must be integers"),
    (lambda: gc.linspace(gc.tensor(0.0), 1.0), "'linspace' takes numbers"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_not_a_tensor_or_not_an_integer_is_refused(number):
    call, message = REFUSED[number]
    with pytest.raises(TypeError, match=message):
        call()


def test_a_triangle_needs_a_matrix():
    """NumPy makes a matrix of a vector here, which is rarely meant."""
    with pytest.raises(ValueError, match="'triu' needs at least two axes"):
        gc.triu(V)
