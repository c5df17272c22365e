"""matmul, dot, tensordot, inner, outer, vdot and kron: against NumPy, and through every interpreter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradcore as gc

from .against_numpy import DTYPES, array_of, assert_interpreters, assert_raises_alike, assert_values


def arrays(*shapes, dtype="float64"):
    return [array_of(shape, dtype, seed) for seed, shape in enumerate(shapes)]


CASES = {
    "stack @ stack": (lambda m, x, y: m.matmul(x, y), ((2, 1, 3, 4), (5, 4, 2))),
    "stack @ matrix": (lambda m, x, y: m.matmul(x, y), ((2, 2, 3, 4), (4, 2))),
    "matrix @ stack": (lambda m, x, y: m.matmul(x, y), ((3, 4), (2, 4, 2))),
    "transposed stack @ matrix": (lambda m, x, y: m.matmul(m.swapaxes(x, 0, 2), y), ((4, 3, 2), (4, 2))),
    "vector @ stack": (lambda m, x, y: m.matmul(x, y), ((4,), (2, 4, 2))),
    "stack @ vector": (lambda m, x, y: m.matmul(x, y), ((2, 3, 4), (4,))),
    "vector @ vector": (lambda m, x, y: m.matmul(x, y), ((4,), (4,))),
    "empty stack": (lambda m, x, y: m.matmul(x, y), ((0, 3, 4), (4, 2))),
    "nothing to sum": (lambda m, x, y: m.matmul(x, y), ((2, 3, 0), (0, 2))),
    "dot": (lambda m, x, y: m.dot(x, y), ((3, 4), (4, 2))),
    "dot of vectors": (lambda m, x, y: m.dot(x, y), ((4,), (4,))),
    "dot with a vector": (lambda m, x, y: m.dot(x, y), ((2, 3, 4), (4,))),
    "dot of a vector": (lambda m, x, y: m.dot(x, y), ((4,), (2, 4, 3))),
    "dot of stacks": (lambda m, x, y: m.dot(x, y), ((2, 3, 4), (5, 4, 2))),
    "dot with a number": (lambda m, x, y: m.dot(x, y), ((), (3, 2))),
    "dot of numbers": (lambda m, x, y: m.dot(x, y), ((), ())),
    "dot of nothing": (lambda m, x, y: m.dot(x, y), ((0,), (0,))),
    "inner": (lambda m, x, y: m.inner(x, y), ((2, 3, 4), (5, 4))),
    "inner with a number": (lambda m, x, y: m.inner(x, y), ((2, 3), ())),
    "outer": (lambda m, x, y: m.outer(x, y), ((3, 2), (4,))),
    "outer with a number": (lambda m, x, y: m.outer(x, y), ((), (4,))),
    "outer of nothing": (lambda m, x, y: m.outer(x, y), ((0,), (4,))),
    "vdot": (lambda m, x, y: m.vdot(x, y), ((3, 4), (12,))),
    "vdot of numbers": (lambda m, x, y: m.vdot(x, y), ((), ())),
    "tensordot": (lambda m, x, y: m.tensordot(x, y), ((2, 3, 4), (3, 4, 5))),
    "tensordot over one axis": (lambda m, x, y: m.tensordot(x, y, 1), ((2, 3), (3, 4))),
    "tensordot over none": (lambda m, x, y: m.tensordot(x, y, 0), ((2, 3), (2,))),
    "tensordot over pairs": (lambda m, x, y: m.tensordot(x, y, ([2, 0], [-3, 1])), ((2, 3, 4), (4, 2, 5))),
    "tensordot over one pair": (lambda m, x, y: m.tensordot(x, y, (0, -1)), ((4, 2), (3, 4))),
    "tensordot over everything": (lambda m, x, y: m.tensordot(x, y, ((1, 0), (0, 1))), ((2, 3), (3, 2))),
    "tensordot of nothing": (lambda m, x, y: m.tensordot(x, y, 1), ((2, 0), (0, 3))),
    "kron": (lambda m, x, y: m.kron(x, y), ((2, 3), (3, 1))),
    "kron of more axes": (lambda m, x, y: m.kron(x, y), ((2,), (2, 1, 3))),
    "kron with a number": (lambda m, x, y: m.kron(x, y), ((), (2, 2))),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name):
    function, shapes = CASES[name]
    assert_values(function, *arrays(*shapes), exact=False)
    assert_interpreters(function, *arrays(*shapes), order=3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_dtypes(name, dtype):
    function, shapes = CASES[name]
    assert_values(function, *arrays(*shapes, dtype=dtype), exact=False)


@pytest.mark.parametrize("name", ["matmul", "dot", "inner", "outer", "vdot", "tensordot", "kron"])
@pytest.mark.parametrize("pair", [("bool", "int8"), ("int8", "uint8"), ("float16", "int8"), ("float32", "int64")])
def test_mixed_dtypes(name, pair):
    x, y = array_of((3, 3), pair[0], 0), array_of((3, 3), pair[1], 1)
    assert_values(lambda m, x, y: getattr(m, name)(x, y), x, y, exact=False)


sizes = st.integers(0, 3)


@st.composite
def stacks(draw):
    """Shapes that matmul takes: broadcasting stacks, and vectors on either side."""
    n, k, m = draw(sizes), draw(sizes), draw(sizes)
    stack = draw(st.lists(sizes, max_size=3))
    left, right = [[1 if draw(st.booleans()) else s for s in stack[draw(st.integers(0, len(stack))) :]] for _ in "ab"]
    a = (k,) if draw(st.booleans()) and not left else (*left, n, k)
    b = (k,) if draw(st.booleans()) and not right else (*right, k, m)
    return a, b


@settings(max_examples=150, derandomize=True, deadline=None)
@given(stacks(), st.sampled_from(DTYPES))
def test_matmul_of_random_stacks(shapes, dtype):
    assert_values(lambda m, x, y: m.matmul(x, y), *arrays(*shapes, dtype=dtype), exact=False)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(stacks())
def test_derivatives_of_matmul_of_random_stacks(shapes):
    assert_interpreters(lambda m, x, y: m.matmul(x, y), *arrays(*shapes), order=1)


@st.composite
def pairs_of_axes(draw):
    """Two shapes and the axes over which tensordot sums."""
    common = draw(st.lists(sizes, max_size=2))
    shapes, axes = [], []
    for _ in "ab":
        rest = [("", n) for n in draw(st.lists(sizes, max_size=2))]
        mixed = draw(st.permutations([*enumerate(common), *rest]))
        shapes.append(tuple([n for _, n in mixed]))
        axes.append([mixed.index((k, n)) for k, n in enumerate(common)])
    return shapes, axes


@settings(max_examples=100, derandomize=True, deadline=None)
@given(pairs_of_axes(), st.sampled_from(DTYPES))
def test_tensordot_over_random_axes(found, dtype):
    shapes, axes = found
    assert_values(lambda m, x, y: m.tensordot(x, y, axes), *arrays(*shapes, dtype=dtype), exact=False)


def test_python_numbers_are_weak():
    x = gc.tensor([1.0, 2.0], dtype="float16")
    for product in (gc.dot(2.0, x), gc.dot(x, 2), gc.inner(2.5, x)):
        assert product.dtype == np.float16


def test_one_matrix_for_a_stack_needs_no_stack_of_gradients():
    """The gradient of the one matrix is a single product of matrices."""
    text = str(gc.make_graph(gc.grad(lambda b, a: gc.matmul(a, b).sum()))(np.ones((4, 2)), np.ones((5, 3, 4))))
    assert "float64[5,4,2]" not in text and "float64[4,2] = matmul" in text


MISTAKES = [
    (lambda m, x: m.matmul(x, x), (2, 3), r"'matmul': float64\[2,3\] and float64\[2,3\] do not fit, since 3 != 2"),
    (lambda m, x: m.matmul(x[:2], x), (3, 2, 2), r"'matmul'.*float64\[2,2,2\]"),
    (lambda m, x: m.dot(x, x), (2, 3), r"'dot': axes \(1,\) of shape \(2, 3\) and \(0,\)"),
    (lambda m, x: m.inner(x, x[:, :2]), (2, 3), r"'inner'.*sizes \[3\] and \[2\]"),
    (lambda m, x: m.vdot(x, x[:1]), (3,), r"'vdot'.*sizes \[3\] and \[1\]"),
    (lambda m, x: m.tensordot(x, x, ([0, 1], [0])), (2, 3), r"'tensordot'.*sizes \[2, 3\] and \[2\]"),
    (lambda m, x: m.tensordot(x, x, ([0, 0], [0, 1])), (2, 2), "'tensordot'.*twice"),
    (lambda m, x: m.tensordot(x, x, (0, 1, 2)), (2, 2), "'tensordot': axes must be a number, or"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_those_of_numpy(number):
    function, shape, message = MISTAKES[number]
    (x,) = arrays(shape)
    assert_raises_alike(lambda m, x: function(m, m.asarray(x)), x)
    with pytest.raises(ValueError, match=message):
        function(gc, gc.asarray(x))


def test_too_many_axes():
    with pytest.raises(ValueError, match="'tensordot': cannot sum over 3 axes of tensors of 2 and 2 axes"):
        gc.tensordot(gc.ones(2, 2), gc.ones(2, 2), 3)
    with pytest.raises(ValueError, match=r"'matmul' needs at least one axis.*use a \* b"):
        gc.matmul(gc.ones(2), 2.0)
