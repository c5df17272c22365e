"""x[key], take, scatter_add and one_hot: any key as NumPy, small index dtypes, positions out of range."""

import numpy as np
import pytest
from hypothesis import given, settings

import gradcore as gc
from gradcore.compile import Program
from gradcore.testing import gradcheck

from .keys import attempt, shapes_and_keys

RNG = np.random.default_rng(5)
X = RNG.normal(size=(50, 10))
C = RNG.normal(size=(2, 3, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.uint64])
def test_mapped_take_and_scatter_add_with_small_indices(dtype):
    indices = np.full(50, 3, dtype)
    taken = gc.vmap(lambda x, i: gc.take(x, i, 0))(X, indices)
    np.testing.assert_array_equal(np.asarray(taken), X[:, 3])
    np.testing.assert_array_equal(np.asarray(gc.vmap(gc.take)(X, indices)), X[:, 3])
    added = np.asarray(gc.vmap(gc.scatter_add)(X, indices, np.ones(50)))
    np.testing.assert_array_equal(added[:, 3], X[:, 3] + 1)
    assert added.sum() == pytest.approx(X.sum() + 50)


def test_mapped_gradients_with_small_indices():
    indices = np.full(50, -7, np.int8)
    got = np.asarray(gc.vmap(gc.grad(lambda x, i: gc.square(gc.take(x, i))))(X, indices))
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
    np.testing.assert_array_equal(np.asarray(program(X, good)), np.asarray(mapped(X, good)))
    with pytest.raises(IndexError, match="out of bounds"):
        program(X, good + 11)


def test_take_flattens_by_default():
    np.testing.assert_array_equal(gc.take(C, [[0, 5], [-1, 7]]).numpy(), np.take(C, [[0, 5], [-1, 7]]))
    np.testing.assert_array_equal(gc.tensor(C).take(3).numpy(), np.take(C, 3))
    with pytest.raises(IndexError):
        gc.take(C, 24)
    gradcheck(lambda x: gc.take(x, [1, -1]), (C,))


def test_scatter_add_keeps_the_dtype_of_x():
    x, v = gc.zeros(3, requires_grad=True), gc.tensor(np.ones(2), requires_grad=True)
    y = gc.scatter_add(x, [0, 0], v)
    gc.sum(y * y).backward()
    assert (y.dtype, v.grad.dtype) == (np.float32, np.float64)
    assert v.grad.numpy().tolist() == [4, 4]
    with pytest.raises(TypeError, match="'scatter_add': x is int64 and cannot hold float32; cast"):
        gc.scatter_add(gc.arange(3), [0], gc.ones(1))
    with pytest.raises(TypeError, match="'scatter_add' got list"):
        gc.scatter_add([0.0], [0], [1.0])


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
BEFORE_THE_FIRST = [
    slice(-4, 0, -2),
    slice(-3, None, -1),
    (slice(None), slice(-9, -5, -1)),
    (0, slice(-4, -4, -3), [1]),
]
EMPTY_AND_SEQUENCES = [[], [[]], (slice(None), []), ((0, 1),), range(2), (slice(None), range(1, 3))]


@pytest.mark.parametrize("key", [*APART, *BEFORE_THE_FIRST, *EMPTY_AND_SEQUENCES], ids=str)
def test_axes_are_in_the_order_of_numpy(key):
    got = gc.asarray(C)[key]
    assert got.shape == C[key].shape
    np.testing.assert_array_equal(got.numpy(), C[key])
    gradcheck(lambda x: x[key], (C,))
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda x: x[key])(np.stack([C, -C]))), np.stack([C[key], -C[key]]))


@pytest.mark.parametrize(
    "key", [0, -1, 1.0, True, np.int64(1), slice(1, 2), ..., None, (0, ..., 1), (1, None, -1)], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, bool])
def test_plain_keys_give_views(key, dtype):
    """Equal keys of other types have other meanings."""
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    if isinstance(key, float):
        with pytest.raises(TypeError):
            gc.asarray(x)[key]
        return
    got = gc.asarray(x)[key]
    np.testing.assert_array_equal(got.numpy(), x[key])
    assert got.dtype == dtype
    assert np.shares_memory(got.numpy(), x) == np.shares_memory(x[key], x)


def test_iteration():
    x = gc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = x
    gc.sum(first * second).backward()
    assert x.grad.numpy().tolist() == [[3, 4], [1, 2]]
    assert [row.shape for row in gc.zeros(2, 0)] == [(0,), (0,)]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_positions_are_checked_where_there_are_no_elements(shape):
    x, bad = gc.zeros(shape), np.array([5])
    axis = shape.index(3)
    take = lambda x, i: gc.take(x, i, axis)  # noqa: E731
    program = Program(gc.make_graph(take)(x, gc.tensor(bad)))
    for run in (take, program, lambda x, i: x[(slice(None),) * axis + (i,)], lambda x, i: gc.take(x, i, 1 - axis)):
        with pytest.raises(IndexError, match="out of bounds"):
            run(x, bad)


def test_a_cell_or_tensor_as_an_index():
    cell = gc.nn.Buffer(np.array([2, 0]))
    np.testing.assert_array_equal(gc.tensor(C)[:, cell].numpy(), C[:, [2, 0]])
    np.testing.assert_array_equal(gc.tensor(C)[gc.tensor(1)].numpy(), C[1])
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda i: gc.tensor(C)[0, i])(np.array([2, 1]))), C[0, [2, 1]])


REFUSED = [
    ((..., ...), IndexError, "single ellipsis"),
    (C[:1] > 0, IndexError, r"a mask of shape \(1, 3, 4\) does not fit axes of sizes \(2, 3, 4\), from axis 0 on"),
    ((0, [True, False]), IndexError, r"a mask of shape \(2,\) does not fit axes of sizes \(3,\), from axis 1 on"),
    ((C > 0, 0), IndexError, "4 indices for a tensor of 3 axes"),
    (([0, 1], [0, 1, 2]), IndexError, r"index arrays of shapes \(2,\), \(3,\) do not broadcast"),
    (([True, True], [0, 1, 2]), IndexError, "do not broadcast"),
    ((0, [3]), IndexError, "index 3 is out of bounds for axis 1 with size 3"),
    (([0, 1], slice(None), [0, -5]), IndexError, "index -5 is out of bounds for axis 2 with size 4"),
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


@settings(derandomize=True, deadline=None, max_examples=250)
@given(shapes_and_keys())
def test_any_key_as_numpy(case):
    """Values, the gradient, and both under vmap."""
    shape, key = case
    x = np.arange(float(np.prod(shape))).reshape(shape)
    want, got = attempt(lambda: np.asarray(x[key])), attempt(lambda: gc.asarray(x)[key])
    assert (want is None) == (got is None)
    if want is None:
        return
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.numpy(), want)
    w = np.arange(1.0, 1 + want.size).reshape(want.shape)
    gradient = np.zeros(shape)
    np.add.at(gradient, key, w)
    weighted = lambda x, w: gc.sum(x[key] * w)  # noqa: E731
    np.testing.assert_array_equal(np.asarray(gc.grad(weighted)(x, w)), gradient)
    xs, ws = np.stack([x, x + 1]), np.stack([w, 2 * w])
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda x: x[key])(xs)), np.stack([want, np.asarray(xs[1][key])]))
    np.testing.assert_array_equal(np.asarray(gc.vmap(gc.grad(weighted))(xs, ws)), np.stack([gradient, 2 * gradient]))


PAIRS = {
    "side by side": lambda x, i, j: x[:, i, j],
    "apart": lambda x, i, j: x[i, :, j],
    "with a number": lambda x, i, j: x[i, None, 0, j],
    "broadcast": lambda x, i, j: x[i[:, None], ..., j],
}


@pytest.mark.parametrize("in_axes", [(0, 0, 0), (None, 0, None), (0, None, 1), (None, 1, 0)])
@pytest.mark.parametrize("name", PAIRS)
def test_mapped_and_staged_indices(name, in_axes):
    function = PAIRS[name]
    x = RNG.normal(size=(3, 2, 3, 4))
    rows, columns = RNG.integers(-2, 2, (3, 3)), RNG.integers(-3, 3, (3, 3)).astype(np.int8)
    args = [a if axis is not None else a[0] for a, axis in zip((x, rows, columns), in_axes, strict=True)]
    parts = [
        [a if axis is None else np.moveaxis(a, axis, 0)[n] for a, axis in zip(args, in_axes, strict=True)]
        for n in range(3)
    ]
    mapped, tensors = gc.vmap(function, in_axes=in_axes), list(map(gc.tensor, args))
    want = np.stack([function(*part) for part in parts])
    np.testing.assert_array_equal(mapped(*tensors).numpy(), want)
    program = Program(gc.make_graph(mapped)(*tensors))
    np.testing.assert_array_equal(program(*args).numpy(), want)
    with pytest.raises(IndexError, match="out of bounds for axis"):
        program(args[0], args[1], args[2] + 9)
    gradcheck(lambda x: mapped(x, *tensors[1:]), (args[0],))


def test_masks_of_tensors_that_are_differentiated():
    x = np.array([[1.0, -2.0], [-3.0, 4.0]])
    f = lambda x: gc.sum(gc.square(x[x > 0]))  # noqa: E731
    want = np.where(x > 0, 2 * x, 0)
    np.testing.assert_array_equal(np.asarray(gc.grad(f)(x)), want)
    np.testing.assert_array_equal(np.asarray(gc.jvp(f, (x,), (x,))[1]), (want * x).sum())
    np.testing.assert_array_equal(np.asarray(gc.grad(lambda x: gc.sum(gc.grad(f)(x) * x))(x)), 2 * want)
    mapped = gc.vmap(lambda y: y[gc.tensor(x) > 0])(np.stack([x, -x]))
    np.testing.assert_array_equal(np.asarray(mapped), [[1, 4], [-1, -4]])


def test_masks_that_are_not_known_are_refused():
    x = np.array([[1.0, -2.0], [-3.0, 4.0]])
    with pytest.raises(gc.core.errors.BatchError, match=r"a mask for each example of vmap: .* use where\(mask, x, 0\)"):
        gc.vmap(lambda x: x[x > 0])(x)
    with pytest.raises(gc.core.errors.BatchError):
        gc.vmap(gc.grad(lambda x: gc.sum(x[x > 0])))(x)
    with pytest.raises(gc.core.errors.StageError, match=r"in a captured graph: .* use where\(mask, x, 0\)"):
        gc.make_graph(lambda x: x[x > 0])(x)
    graph = gc.make_graph(lambda y: y[x > 0])(gc.tensor(x))
    np.testing.assert_array_equal(Program(graph)(x).numpy(), [1, 4])


def test_indices_do_not_overflow_their_dtype():
    x = np.arange(200.0 * 300).reshape(200, 300)
    i, j = np.array([127, -128], np.int8), np.array([255, 3], np.uint8)
    np.testing.assert_array_equal(gc.tensor(x)[i, j].numpy(), x[i, j])
    np.testing.assert_array_equal(gc.tensor(x).at[i, j].set(0)[i, j].numpy(), [0, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, bool])
def test_one_hot(dtype):
    labels = np.array([[2, 0], [1, 1]])
    want = np.eye(4, dtype=dtype)[labels]
    for got in (gc.one_hot(labels, 4, dtype), gc.vmap(lambda k: gc.one_hot(k, 4, dtype))(labels)):
        assert got.dtype == dtype
        np.testing.assert_array_equal(np.asarray(got), want)
    program = Program(gc.make_graph(lambda k: gc.one_hot(k, 4, dtype))(gc.tensor(labels)))
    np.testing.assert_array_equal(program(labels).numpy(), want)
    for bad in (labels + 2, labels - 1):
        for run in (lambda k: gc.one_hot(k, 4), gc.vmap(lambda k: gc.one_hot(k, 4)), program):
            with pytest.raises(ValueError, match=r"'one_hot': labels must lie in \[0, 4\)"):
                run(bad)


def test_one_hot_refuses_what_is_no_integer():
    with pytest.raises(TypeError, match="labels must be integers, not float64"):
        gc.one_hot(np.ones(2), 3)
    with pytest.raises(TypeError, match="integer"):
        gc.one_hot([1], 2.5)
    with pytest.raises(ValueError, match="num_classes must not be negative"):
        gc.one_hot([1], -1)
    assert gc.one_hot([], 0).shape == (0, 0)
    assert gc.nn.functional.one_hot is gc.one_hot
