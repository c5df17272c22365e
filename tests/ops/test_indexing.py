"""x[key], take and scatter_add against NumPy: small index dtypes, positions out of range, the order of axes."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.compile import Program
from gradcore.testing import gradcheck

RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, 10))
C = RNG.normal(size=(2, 3, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.uint64])
def test_mapped_take_and_scatter_add_with_small_indices(dtype):
    indices = np.full(50, 3, dtype)
    taken = gc.vmap(lambda x, i: gc.take(x, i, 0))(X, indices)
    np.testing.assert_array_equal(taken.numpy(), X[:, 3])
    np.testing.assert_array_equal(gc.vmap(gc.take)(X, indices).numpy(), X[:, 3])
    added = gc.vmap(gc.scatter_add)(X, indices, np.ones(50)).numpy()
    np.testing.assert_array_equal(added[:, 3], X[:, 3] + 1)
    assert added.sum() == pytest.approx(X.sum() + 50)


def test_mapped_gradients_with_small_indices():
    indices = np.full(50, -7, np.int8)
    got = gc.vmap(gc.grad(lambda x, i: gc.square(gc.take(x, i))))(X, indices).numpy()
    want = np.zeros_like(X)
    want[:, 3] = 2 * X[:, 3]
    np.testing.assert_allclose(got, want)


def gather(x, i):
    return gc.take(x, i, 0)


def scatter(x, i):
    return gc.scatter_add(x, i, gc.tensor(np.ones(1)))


@pytest.mark.parametrize("function", [gather, scatter])
@pytest.mark.parametrize("bad", [10, -11, 19])
def test_a_mapped_position_out_of_range_is_an_error(function, bad):
    indices = np.zeros((50, 1), np.int64)
    indices[20] = bad
    with pytest.raises(IndexError):
        function(gc.tensor(X[20]), indices[20])
    for run in (gc.vmap(function), lambda x, i: gc.vmap(gc.vmap(function))(x[None], i[None])):
        with pytest.raises(IndexError, match="out of bounds"):
            run(X, indices)


@pytest.mark.parametrize("function", [gather, scatter])
def test_programs_check_mapped_positions(function):
    good = np.full((50, 1), -1, np.int64)
    mapped = gc.vmap(function)
    program = Program(gc.make_graph(mapped)(gc.tensor(X), gc.tensor(good)))
    np.testing.assert_array_equal(program(X, good).numpy(), mapped(X, good).numpy())
    with pytest.raises(IndexError, match="out of bounds"):
        program(X, good + 11)


def test_take_flattens_by_default():
    np.testing.assert_array_equal(gc.take(C, [[0, 5], [-1, 7]]).numpy(), np.take(C, [[0, 5], [-1, 7]]))
    np.testing.assert_array_equal(gc.tensor(C).take(3).numpy(), np.take(C, 3))
    with pytest.raises(IndexError):
        gc.take(C, 24)
    gradcheck(lambda x: gc.take(x, [1, -1]), (C,))


APART = [
    (0, slice(None), [1, 2]),
    ([0, 1], slice(None), 1),
    (0, None, [1, 2]),
    (slice(None), 0, ..., [1, 2]),
    (0, ..., [[1, 2], [0, 3]]),
    (None, 0, slice(None), [1, 2]),
    (slice(None), 0, [1, 2]),
    (0, [1, 2], None),
    (0, slice(None), np.array(1)),
    (np.int64(1), slice(1), np.array([1, 2], np.uint8)),
]
EMPTY_AND_SEQUENCES = [[], [[]], (slice(None), []), ((0, 1),), range(2), (slice(None), range(1, 3))]


@pytest.mark.parametrize("key", [*APART, *EMPTY_AND_SEQUENCES], ids=str)
def test_axes_are_in_the_order_of_numpy(key):
    got = gc.asarray(C)[key]
    assert got.shape == C[key].shape
    np.testing.assert_array_equal(got.numpy(), C[key])
    gradcheck(lambda x: x[key], (C,))
    np.testing.assert_array_equal(gc.vmap(lambda x: x[key])(np.stack([C, -C])).numpy(), np.stack([C[key], -C[key]]))


def test_a_cell_or_tensor_as_an_index():
    cell = gc.nn.Buffer(np.array([2, 0]))
    np.testing.assert_array_equal(gc.tensor(C)[:, cell].numpy(), C[:, [2, 0]])
    np.testing.assert_array_equal(gc.tensor(C)[gc.tensor(1)].numpy(), C[1])
    np.testing.assert_array_equal(gc.vmap(lambda i: gc.tensor(C)[0, i])(np.array([2, 1])).numpy(), C[0, [2, 1]])


REFUSED = [
    ((..., ...), IndexError, "single ellipsis"),
    (C > 0, TypeError, r"use where\(mask, x"),
    ([True, False], TypeError, r"use where\(mask, x"),
    (True, TypeError, r"use where\(mask, x"),
    ((0, np.bool_(False)), TypeError, "booleans"),
    (gc.tensor([True, False]), TypeError, r"take\(x, indices\)"),
    (([0], [1]), TypeError, "two arrays"),
    (0.5, TypeError, r"x\[float\] is not supported"),
    ([0.5], TypeError, r"float64\] is not supported"),
    ((0, 0, 0, 0), IndexError, "4 indices for a tensor of 3 axes"),
    ([2], IndexError, "out of bounds"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_other_indices_are_refused(number):
    key, kind, message = REFUSED[number]
    with pytest.raises(kind, match=message):
        gc.tensor(C)[key]
