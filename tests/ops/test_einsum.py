"""einsum: every kind of subscripts against NumPy, and through every interpreter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradcore as gc
from gradcore.ops.einsum import _plan

from .against_numpy import DTYPES, array_of, assert_interpreters, assert_raises_alike, assert_values

CASES = [
    ("ij", (2, 3)),
    ("ji", (2, 3)),
    ("bA", (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->j", (2, 3, 2)),
    ("iii->i", (2, 2, 2)),
    ("ijij->ji", (2, 3, 2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ijk->kj", (2, 3, 4)),
    ("", ()),
    (",->", (), ()),
    (",ij", (), (2, 3)),
    ("i->", (0,)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("ji,kj->ik", (3, 2), (4, 3)),
    (" i j , j k -> i k ", (2, 3), (3, 4)),
    ("i,i", (3,), (3,)),
    ("i,j", (3,), (2,)),
    ("i,j->ji", (3,), (2,)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("ij,ij", (2, 3), (2, 3)),
    ("ij,ji->j", (2, 3), (3, 2)),
    ("ij,kl->k", (2, 3), (2, 4)),
    ("ij,j->", (2, 3), (3,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)),
    ("bij,jk->ikb", (2, 3, 4), (4, 5)),
    ("ijk,ilm,njm,nlk->", (2, 2, 3), (2, 2, 2), (2, 2, 2), (2, 2, 3)),
    ("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 2), (2, 3)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("i,j,ij->", (2,), (3,), (2, 3)),
    ("ii,jj->ij", (2, 2), (3, 3)),
    ("iij,jkk->ik", (2, 2, 3), (3, 4, 4)),
    ("...", (2, 3)),
    ("...i->...", (2, 3, 4)),
    ("i...->...i", (2, 3, 4)),
    ("...ij->...ji", (2, 3, 4)),
    ("...ij,...jk", (2, 1, 3, 4), (5, 4, 2)),
    ("...ij,jk->...ik", (2, 3, 4), (4, 2)),
    ("...ii->...i", (2, 3, 3)),
    ("i...i->...", (3, 2, 3)),
    ("...i,...i", (2, 1, 3), (4, 3)),
    ("...,...", (2, 1), (3,)),
    ("i...,...->i...", (2, 3), (3,)),
    ("a...b,b...c->c...a", (2, 3, 4), (4, 1, 2)),
    ("...i->...i", (3,)),
    ("i->i...", (3,)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("ij,ij->ij", (1, 3), (2, 1)),
    ("ij,ij->", (1, 3), (2, 1)),
    ("ii,i->i", (1, 1), (3,)),
    ("i,i->i", (1,), (0,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("ij,jk->ik", (0, 2), (2, 3)),
]


def arrays(shapes, dtype="float64"):
    return [array_of(shape, dtype, seed) for seed, shape in enumerate(shapes)]


def spelled(subscripts):
    return lambda m, *xs: m.einsum(subscripts, *xs)


def named(case):
    return f"{case[0]}:{case[1:]}".replace(" ", "_") if isinstance(case, tuple) else str(case)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_against_numpy(case):
    subscripts, *shapes = case
    assert_values(spelled(subscripts), *arrays(shapes), exact=False)
    assert_interpreters(spelled(subscripts), *arrays(shapes), order=3 if len(shapes) < 3 else 2)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_dtypes(case):
    subscripts, *shapes = case
    for dtype in DTYPES:
        got = gc.einsum(subscripts, *map(gc.asarray, arrays(shapes, dtype)))
        assert got.dtype == dtype
        if dtype != "float16":
            assert_values(spelled(subscripts), *arrays(shapes, dtype), exact=False)


def test_float16_rounds_each_contraction_once():
    x, y = arrays(((20, 300), (300, 4)), "float16")
    got = gc.einsum("ij,jk->k", x, y)
    rows = x.astype("float32").sum(0).astype("float16")
    np.testing.assert_allclose(got.numpy(), rows.astype("float64") @ y.astype("float64"), rtol=1e-3, atol=0.1)


def test_mixed_dtypes_meet_before_they_multiply():
    x, y, z = array_of((2, 2), "int8"), array_of((2, 2), "uint8"), array_of((2, 2), "float16")
    assert gc.einsum("ij,jk,kl->il", x, y, z).dtype == np.einsum("ij,jk,kl->il", x, y, z).dtype


LISTS = {
    "matrices": lambda m, x, y: m.einsum(x, [0, 1], y, [1, 2], [0, 2]),
    "no result": lambda m, x, y: m.einsum(x, [4, 2], y, [2, 1]),
    "ellipsis": lambda m, x, y: m.einsum(x, [0, Ellipsis], y, [Ellipsis, 1], [1, Ellipsis, 0]),
    "capital letters come first": lambda m, x, y: m.einsum(x, [30, 3], y, [3, 2]),
    "sum": lambda m, x, y: m.einsum(x, [0, 1], y, [1, 0], []),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_in_place_of_letters(name):
    shapes = ((2, 3), (3, 2)) if name == "sum" else ((2, 3), (3, 4))
    assert_values(LISTS[name], *arrays(shapes), exact=False)


@st.composite
def calls(draw):
    """Random subscripts and operands that fit them: repeated letters, sizes of 1 that broadcast, ellipses."""
    sizes = {letter: draw(st.integers(0, 3)) for letter in "abcD"}
    wide = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, 4))):
        letters = draw(st.lists(st.sampled_from("abcD"), max_size=3))
        shape = [1 if letters.count(k) == 1 and draw(st.integers(0, 4)) == 0 else sizes[k] for k in letters]
        dots = draw(st.none() | st.integers(0, len(letters)))
        if dots is not None:
            tail = wide[draw(st.integers(0, len(wide))) :]
            shape[dots:dots] = [1 if draw(st.integers(0, 3)) == 0 else n for n in tail]
            letters.insert(dots, "...")
        terms.append("".join(letters))
        shapes.append(tuple(shape))
    return ",".join(terms) + draw(results("".join(terms))), shapes


def results(terms):
    """Nothing, or "->" and some of the letters, with the ellipsis where an operand has one."""
    letters = sorted(set(terms) - {"."})
    dots = ["..."] if "..." in terms else []
    chosen = st.lists(st.sampled_from(letters), unique=True, max_size=4) if letters else st.just([])
    return st.just("") | chosen.flatmap(lambda ks: st.permutations([*ks, *dots])).map(lambda ks: "->" + "".join(ks))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(calls(), st.sampled_from(["bool", "int8", "int64", "float32", "float64"]))
def test_random_subscripts(call, dtype):
    subscripts, shapes = call
    xs = arrays(shapes, dtype)
    got, want = gc.einsum(subscripts, *xs), np.einsum(subscripts, *xs)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    tol = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(got.numpy(), want, rtol=tol, atol=tol * 100)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(calls())
def test_derivatives_of_random_subscripts(call):
    subscripts, shapes = call
    assert_interpreters(spelled(subscripts), *arrays(shapes), order=1)


def ops_of(subscripts, *shapes):
    graph = gc.make_graph(lambda *xs: gc.einsum(subscripts, *xs))(*arrays(shapes))
    return [node.op.name for node in graph.nodes]


def test_plain_products_are_single_products():
    assert ops_of("ij,jk->ik", (2, 3), (3, 4)) == ["matmul"]
    assert ops_of("bij,bjk->bik", (2, 3, 4), (2, 4, 5)) == ["matmul"]
    assert ops_of("ij,kj->ik", (2, 3), (4, 3)) == ["transpose", "matmul"]
    assert ops_of("ij,ij->ij", (2, 3), (2, 3)) == ["mul"]
    assert ops_of("ij->ji", (2, 3)) == ["transpose"]
    assert ops_of("ij->ij", (2, 3)) == []


def test_the_order_of_contraction_avoids_large_products():
    """A chain of matrices that ends in a vector is multiplied from the vector on."""
    plan = _plan("ab,bc,cd,d->a", ((50, 50), (50, 50), (50, 50), (50,)))
    assert [(i, j) for i, j, _ in plan.steps] == [(2, 3), (1, 2), (0, 1)]
    assert _plan("a,b,ab->", ((9,), (9,), (9, 9))).steps[0][:2] == (0, 2)


def test_subscripts_are_parsed_once_for_each_shape():
    x = array_of((2, 3), "float64")
    gc.einsum("ij->ji", x)
    before = _plan.cache_info()
    gc.einsum("ij->ji", x)
    after = _plan.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)


A = array_of((2, 3), "float64")
MISTAKES = [
    (
        lambda m: m.einsum("ij,jk->ik", A, A),
        r"subscript 'j' has sizes 3 and 2 in 'ij,jk->ik' .shapes \(2, 3\), \(2, 3\)",
    ),
    (lambda m: m.einsum("...,...", A, A[:, :2]), "an axis of '...' has sizes 3 and 2"),
    (lambda m: m.einsum("ii", A), "subscript 'i' has sizes 2 and 3"),
    (lambda m: m.einsum("ii", A[:1]), "subscript 'i' has sizes 1 and 3"),
    (lambda m: m.einsum("ij,jk", A), "has 2 terms for 1 operands"),
    (lambda m: m.einsum("ij", A, A), "has 1 terms for 2 operands"),
    (lambda m: m.einsum("ijk", A), "'ijk' in 'ijk' does not fit an operand of 2 axes"),
    (lambda m: m.einsum("i", A), "'i' in 'i' does not fit an operand of 2 axes"),
    (lambda m: m.einsum("...ijk", A), "does not fit an operand of 2 axes"),
    (lambda m: m.einsum("i1", A), "'1' in 'i1' is no subscript"),
    (lambda m: m.einsum("i..", A), "'.' in 'i..' is no subscript"),
    (lambda m: m.einsum("......", A), "'.' in '......' is no subscript"),
    (lambda m: m.einsum("ij->k", A), "subscript 'k', but no operand has it"),
    (lambda m: m.einsum("ij->ii", A), "subscript 'i' twice"),
    (lambda m: m.einsum("ij->i->j", A), "'-' in 'ij->i->j' is no subscript"),
    (lambda m: m.einsum("i>j", A), "'>' in 'i>j' is no subscript"),
    (lambda m: m.einsum("...i->i", A), "so its result needs '...' too"),
    (lambda m: m.einsum("ij"), "at least one"),
    (lambda m: m.einsum(A), "'einsum' needs subscripts and operands"),
    (lambda m: m.einsum(A, [0, 60]), "subscript 60 is not in"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_those_of_numpy(number):
    call, message = MISTAKES[number]
    assert_raises_alike(call)
    with pytest.raises(ValueError, match=message):
        call(gc)


def test_what_is_not_a_tensor_is_refused():
    with pytest.raises(TypeError, match="'einsum' got str"):
        gc.einsum("i,i", A[0], "text")
    with pytest.raises(TypeError, match="'einsum': subscripts must be integers"):
        gc.einsum(A, [0, 1.5])


def test_python_numbers_are_tensors_of_float32():
    assert gc.einsum(",i", 2.0, gc.tensor([1.0, 2.0])).numpy().tolist() == [2, 4]
