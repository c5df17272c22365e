"""argmax, sort, topk, searchsorted and take_along_axis against NumPy: ties, NaN, every dtype, every axis."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import gradcore as gc
from gradcore.compile import Program
from gradcore.testing import gradcheck

RNG = np.random.default_rng(12)
FIXED = settings(derandomize=True, deadline=None, max_examples=80, database=None)
FEW = [-np.inf, -1.5, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan]
DTYPES = ("bool", "int8", "uint8", "int64", "float16", "float32", "float64")


def few_values(dims=3):
    """Arrays with many ties, and with NaN where the dtype has it."""

    def elements(dtype):
        return (
            st.sampled_from(FEW) if dtype.startswith("f") else st.sampled_from([0, 1, 2, 127]).map(np.dtype(dtype).type)
        )

    shapes = arrays.array_shapes(min_dims=1, max_dims=dims, min_side=1, max_side=5)
    return st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, shapes, elements=elements(dtype)))


def some_axis(x, data):
    return data.draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))


def descending(x, axis):
    """The stable descending order by its definition: larger first, NaN largest, then by position."""
    if axis is None:
        return descending(x.reshape(-1), 0)
    order = np.empty(x.shape, np.int64)
    rows, out = np.moveaxis(x, axis, -1), np.moveaxis(order, axis, -1)
    for place in np.ndindex(rows.shape[:-1]):
        row = rows[place].astype(np.float64)
        out[place] = sorted(range(len(row)), key=lambda i: (not np.isnan(row[i]), -np.nan_to_num(row[i], nan=0.0), i))
    return order


@FIXED
@given(few_values(), st.data())
def test_argmax_and_argmin(x, data):
    axis, keepdims = some_axis(x, data), data.draw(st.booleans())
    for name in ("argmax", "argmin"):
        got = getattr(gc, name)(x, axis, keepdims)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got.numpy(), getattr(np, name)(x, axis, keepdims=keepdims))


@FIXED
@given(few_values(), st.data())
def test_sort_and_argsort(x, data):
    axis = some_axis(x, data)
    np.testing.assert_array_equal(gc.argsort(x, axis).numpy(), np.argsort(x, axis, kind="stable"))
    got = gc.sort(x, axis)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got.numpy(), np.sort(x, axis))
    np.testing.assert_array_equal(gc.argsort(x, axis, descending=True).numpy(), descending(x, axis))


@FIXED
@given(few_values(), st.data())
def test_topk(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    k, largest = data.draw(st.integers(0, x.shape[axis])), data.draw(st.booleans())
    order = np.take(descending(x, axis) if largest else np.argsort(x, axis, kind="stable"), range(k), axis)
    values, indices = gc.topk(x, k, axis, largest)
    np.testing.assert_array_equal(indices.numpy(), order)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x, order, axis))
    assert values.dtype == x.dtype


@FIXED
@given(few_values(1), few_values(), st.sampled_from(["left", "right"]))
def test_searchsorted(ordered, values, side):
    ordered = np.sort(ordered)
    got = gc.searchsorted(ordered, values, side)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got.numpy(), np.searchsorted(ordered, values, side))


@FIXED
@given(st.data())
def test_mapped_searchsorted(data):
    kind = arrays.arrays("float64", (3, data.draw(st.integers(0, 5))), elements=st.sampled_from(FEW))
    ordered = np.sort(data.draw(kind), 1)
    values = data.draw(arrays.arrays("float64", (3, 2, data.draw(st.integers(0, 3))), elements=st.sampled_from(FEW)))
    side = data.draw(st.sampled_from(["left", "right"]))
    both = np.asarray(gc.vmap(lambda a, v: gc.searchsorted(a, v, side))(ordered, values))
    np.testing.assert_array_equal(both, [np.searchsorted(a, v, side) for a, v in zip(ordered, values, strict=True)])
    first = np.asarray(gc.vmap(lambda a: gc.searchsorted(a, values[0], side))(ordered))
    np.testing.assert_array_equal(first, [np.searchsorted(a, values[0], side) for a in ordered])


def test_searchsorted_takes_numbers_in_the_dtype_that_they_meet():
    ordered = np.array([0.1, 0.2])
    assert gc.searchsorted(ordered, 0.1, "right").item() == 1  # 0.1 in float32 is larger than in float64
    assert gc.searchsorted(np.array([1, 2, 3]), 2.5).item() == 2


@FIXED
@given(few_values(), st.data())
def test_take_along_axis(x, data):
    axis = some_axis(x, data)
    n = x.size if axis is None else x.shape[axis]
    shape = list((x.size,) if axis is None else x.shape)
    shape[axis or 0] = data.draw(st.integers(0, 4))
    indices = data.draw(arrays.arrays("int64", tuple(shape), elements=st.integers(-n, n - 1)))
    got = gc.take_along_axis(x, indices, axis).numpy()
    np.testing.assert_array_equal(got, np.take_along_axis(x, indices, axis))


def test_take_along_axis_broadcasts_as_numpy():
    x, indices = RNG.normal(size=(3, 1, 4)), np.array([[[0, -1, 2], [3, 0, 0]]])
    got = gc.take_along_axis(x, indices, 2)
    np.testing.assert_array_equal(got.numpy(), np.take_along_axis(x, indices, 2))
    gradcheck(lambda x: gc.take_along_axis(x, indices, 2), (x,))


@pytest.mark.parametrize("function", [gc.sort, lambda x: gc.sort(x, 0, descending=True), lambda x: gc.topk(x, 2, 1)[0]])
def test_gradients_go_to_where_elements_came_from(function):
    x = RNG.permutation(12).reshape(3, 4) * 0.1
    gradcheck(function, (x,), order=3)
    rows = np.asarray(gc.vmap(gc.grad(lambda r: gc.topk(r, 2)[0].sum()))(x))
    np.testing.assert_array_equal(rows, x >= np.sort(x)[:, 2:3])


def test_gradient_of_ties_follows_the_stable_order():
    x, w = np.array([2.0, 1.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert np.asarray(gc.grad(lambda x: (gc.sort(x) * w).sum())(x)).tolist() == [3, 1, 4, 2]
    assert np.asarray(gc.grad(lambda x: (gc.sort(x, descending=True) * w).sum())(x)).tolist() == [1, 3, 2, 4]


def test_backward_through_topk():
    x = gc.tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, indices = gc.topk(x, 2)
    assert not indices.requires_grad
    (values * gc.tensor([1.0, 10.0])).sum().backward()
    assert x.grad.numpy().tolist() == [1, 0, 10]


def test_in_a_program():
    x = RNG.normal(size=(3, 4))
    graph = gc.make_graph(lambda x: (gc.sort(x), *gc.topk(x, 2), gc.argmax(x, 1), gc.quantile(x, 0.3, 1)))(x)
    program = Program(graph)
    for _ in range(2):
        y = RNG.normal(size=(3, 4))
        got = [part.numpy() for part in program(y)]
        want = [np.sort(y), -np.sort(-y)[:, :2], np.argsort(-y)[:, :2], y.argmax(1), np.quantile(y, 0.3, 1)]
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: gc.topk(np.ones(3), 4), ValueError, "k is 4"),
        (lambda: gc.topk(np.ones(3), -1), ValueError, "k is -1"),
        (lambda: gc.topk(np.ones(3), 1.5), TypeError, "'topk': k must be integers, not 1.5"),
        (lambda: gc.argmax(np.ones((2, 2)), (0, 1)), TypeError, r"axis must be an integer, not \(0, 1\)"),
        (lambda: gc.cumsum(np.ones(2), 0.5), TypeError, "axis must be an integer, not 0.5"),
        (lambda: gc.sort(np.ones(3), 1), ValueError, "out of bounds"),
        (lambda: gc.sort(np.array(1.0)), ValueError, "out of bounds"),
        (lambda: gc.argmax(np.ones((2, 2)), 2), ValueError, "out of bounds"),
        (lambda: gc.searchsorted(np.ones((2, 2)), 1.0), ValueError, "expected one axis"),
        (lambda: gc.searchsorted(np.ones(2), 1.0, "middle"), ValueError, "'left' or 'right'"),
        (lambda: gc.take_along_axis(np.ones(3), np.array([3])), IndexError, "out of bounds"),
        (lambda: gc.take_along_axis(np.ones(3), np.array([0.5])), TypeError, "must be integers"),
        (lambda: gc.take_along_axis(np.ones((3, 3)), np.array([0])), ValueError, "has 2 axes"),
        (lambda: gc.take_along_axis(np.ones((3, 3)), np.zeros((2, 2), int), 0), ValueError, "broadcast"),
        (lambda: gc.sort([1.0, 2.0]), TypeError, "it takes tensors"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
