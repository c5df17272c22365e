"""What transforms say when they are called in a way that they cannot take."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import BatchError
from gradcore.core.trees import flatten


def test_jvp_without_tuples():
    x = np.ones(2)
    with pytest.raises(TypeError, match=r"a tuple of primals.*not ndarray: jvp\(f, \(x,\), \(v,\)\)"):
        gc.jvp(gc.sin, x, x)
    with pytest.raises(TypeError, match=r"a tuple of tangents.*not Tensor"):
        gc.jvp(gc.sin, (x,), gc.tensor(x))
    gc.jvp(gc.sin, [x], [x])


NAMED = {
    "grad": gc.grad,
    "value_and_grad": gc.value_and_grad,
    "vjp": lambda f, has_aux=False: lambda *xs: gc.vjp(f, *xs, has_aux=has_aux),
}


@pytest.mark.parametrize("name", NAMED)
def test_messages_name_the_transform(name):
    with pytest.raises(TypeError, match=f"^{name} differentiates floating"):
        NAMED[name](gc.square)(3)
    with pytest.raises(TypeError, match=f"an argument of {name} is str"):
        NAMED[name](gc.square)("text")
    if name != "vjp":
        with pytest.raises(TypeError, match=f"^{name} needs a function that returns a scalar"):
            NAMED[name](gc.square)(np.ones(2))
        with pytest.raises(ValueError, match=f"^{name} was asked for argument 1"):
            NAMED[name](gc.square, argnums=1)(np.ones(2))


ALL = {name: getattr(gc, name) for name in ("grad", "value_and_grad", "jacrev", "jacfwd", "jacobian", "hessian")}
MATRICES = {name: ALL[name] for name in ("jacrev", "jacfwd", "jacobian", "hessian")}
ONES = np.ones(2)


@pytest.mark.parametrize("name", ALL)
def test_argnums_that_cannot_be(name):
    transform = ALL[name]
    for wrong in ("x", 0.5, None, {0}, np.array([0]), (0, "x")):
        with pytest.raises(TypeError, match=f"^{name} takes an integer or a sequence of integers as argnums, not "):
            transform(gc.sum, argnums=wrong)(ONES)
    with pytest.raises(ValueError, match=f"^{name} was asked for argument -2, but got 1 positional"):
        transform(gc.sum, argnums=-2)(ONES)
    with pytest.raises(ValueError, match=r"got 0 positional arguments \(keyword arguments are constants\)"):
        transform(gc.sum)(x=ONES)
    with pytest.raises(ValueError, match=r"argnums=\(0, -2\), which names an argument twice"):
        transform(gc.add, argnums=(0, -2))(ONES, ONES)


@pytest.mark.parametrize("name", ALL)
def test_what_cannot_be_differentiated(name):
    transform = ALL[name]
    for wrong in (3, np.arange(3), {"a": ONES, "b": np.arange(3)}, True):
        with pytest.raises(TypeError, match=f"^{name} differentiates floating tensors, not (int64|bool); cast it"):
            transform(lambda x: 1.0)(wrong)
    with pytest.raises(TypeError, match=f"an argument of {name} is the cell slot, which is empty"):
        transform(gc.sum)(gc.Cell(None, "slot"))
    with pytest.raises(TypeError, match=r"needs (a )?floating results?, not int64"):
        transform(gc.argmax)(ONES)
    with pytest.raises(TypeError, match="the result of the function is str, which is not a tensor"):
        transform(lambda x: "text")(ONES)


@pytest.mark.parametrize("name", MATRICES)
def test_without_leaves_a_derivative_has_no_leaves(name):
    empty = [{}, (), None, {"a": [], "b": None}, gc.nn.ReLU()]
    for argument in empty:
        want = {} if argument is empty[-1] else argument
        assert MATRICES[name](lambda a, x: {"y": x})(argument, ONES) == {"y": want}
    frozen = gc.nn.Linear(2, 1, bias=False)
    frozen.weight = gc.nn.Parameter(np.ones((1, 2), np.float32), requires_grad=False)
    assert MATRICES[name](lambda m, x: m(x).sum())(frozen, gc.ones(2)) == {}
    assert MATRICES[name](lambda x: None)(ONES) is None
    assert MATRICES[name](gc.sum, argnums=())(ONES) == ()
    assert gc.grad(lambda m, x: m(x).sum())(frozen, gc.ones(2)) == {}


def test_two_modules_that_share_a_parameter():
    layer, other = gc.nn.Linear(2, 2), gc.nn.Linear(2, 2)
    gc.grad(lambda a, b: (a(ONES) * b(ONES)).sum(), argnums=(0, 1))(layer, other)
    other.weight = layer.weight
    with pytest.raises(ValueError, match=r"^grad got two modules that share the parameter weight; pass one"):
        gc.grad(lambda a, b: (a(ONES) * b(ONES)).sum(), argnums=(0, 1))(layer, other)
    with pytest.raises(ValueError, match=r"^jvp got two modules that share"):
        gc.jvp(lambda pair: pair[0](ONES), ([layer, layer],), ([{}, {}],))


def test_directions_of_hvp():
    with pytest.raises(TypeError, match=r"^hvp needs a function that returns a scalar"):
        gc.hvp(gc.sin)(ONES, ONES)
    for wrong in (3.0, ONES):
        with pytest.raises(TypeError, match=r"a tuple of directions, one for each of argnums, not (float|ndarray)"):
            gc.hvp(gc.sum, argnums=(0,))(ONES, wrong)
    with pytest.raises(ValueError, match="hvp was asked for argument 1, but got 1"):
        gc.hvp(gc.sum, argnums=1)(ONES, ONES)
    with pytest.raises(ValueError, match=r"a tangent has shape \(3,\), its primal \(2,\)"):
        gc.hvp(gc.sum)(ONES, np.ones(3))


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("result", [lambda x: x, lambda x: (x, x, x), lambda x: {"a": x}])
def test_has_aux_needs_a_pair(name, result):
    with pytest.raises(TypeError, match=rf"^{name} with has_aux=True.*a pair \(value, rest\), not .*\*"):
        NAMED[name](result, has_aux=True)(2.0)


X = np.ones((3, 2))
MISFITS = [
    (lambda: gc.vmap(gc.sin, in_axes="a")(X), "integers, None, or trees of these as in_axes, not 'a'"),
    (lambda: gc.vmap(gc.sin, in_axes=(0.5,))(X), "as in_axes, not 0.5"),
    (lambda: gc.vmap(gc.sin, in_axes=({"a": 0},))(X), r"in_axes \{'a': 0\}, which does not fit \*"),
    (lambda: gc.vmap(lambda d: d["a"], in_axes=({"b": 0},))({"a": X}), r"does not fit \{'a': \*\}"),
    (lambda: gc.vmap(lambda d: d["a"], in_axes=({"a": 0, "b": 0},))({"a": X}), r"does not fit \{'a': \*\}"),
    (lambda: gc.vmap(lambda p: p[0], in_axes=((0, 0, 0),))((X, X)), r"does not fit \(\*, \*\)"),
    (lambda: gc.vmap(gc.sin, in_axes=(0, 0))(X), "1 arguments and in_axes for 2"),
    (lambda: gc.vmap(gc.sin, in_axes={"x": 0})(X), r"does not fit \(\*,\)"),
    (lambda: gc.vmap(gc.sin, out_axes=(0, 1))(X), r"out_axes \(0, 1\), which does not fit \*"),
    (lambda: gc.vmap(gc.sin, out_axes="a")(X), "as out_axes, not 'a'"),
    (lambda: gc.vmap(lambda x: {"a": x}, out_axes={"b": 0})(X), r"out_axes \{'b': 0\}, which does not fit \{'a': \*\}"),
    (lambda: gc.vmap(gc.sin, out_axes=None)(X), "out_axes=None for a result that differs between examples"),
    (lambda: gc.vmap(gc.sin, out_axes=2)(X), r"out_axes=2 for a result of shape \(3, 2\), examples included"),
    (lambda: gc.vmap(gc.sin, out_axes=-3)(X), r"out_axes=-3 for a result of shape \(3, 2\)"),
    (lambda: gc.vmap(lambda x: (x, x), out_axes=(0,))(X), r"out_axes \(0,\), which does not fit \(\*, \*\)"),
    (lambda: gc.vmap(lambda d: 1.0)({}), "they hold no tensors, or every entry of in_axes is None"),
    (lambda: gc.vmap(gc.sin, in_axes=None)(X), "they hold no tensors, or every entry of in_axes is None"),
    (lambda: gc.vmap(lambda x, y: x)(X, y=1.0), r"map axis 0 of an argument of shape \(\)"),
    (lambda: gc.vmap(lambda x, y: x)(X, y=X[:2]), r"different sizes: \[2, 3\]"),
]


@pytest.mark.parametrize("number", range(len(MISFITS)))
def test_axes_of_vmap_that_do_not_fit(number):
    call, message = MISFITS[number]
    with pytest.raises(BatchError, match=message):
        call()


def test_vmap_names_an_argument_that_is_no_tensor():
    with pytest.raises(TypeError, match="an argument of vmap is str"):
        gc.vmap(gc.sin)("text")
    with pytest.raises(TypeError, match="the result of the function is str"):
        gc.vmap(lambda x: "text")(X)


def test_vmap_maps_keyword_arguments():
    got = gc.vmap(lambda x, scale, more: x * scale + more["b"], in_axes=1)(X.T, scale=np.arange(3.0), more={"b": X})
    np.testing.assert_array_equal(np.asarray(got), X * np.arange(3.0)[:, None] + X)
    only = gc.vmap(lambda *, x: x * 2)(x=X)
    np.testing.assert_array_equal(np.asarray(only), X * 2)


def test_vmap_takes_trees_of_axes():
    def f(d, pair):
        return {"a": d["a"] * pair[0], "b": d["b"] + pair[1]}

    axes = [{"a": 1, "b": None}, [0, None]]
    got = gc.vmap(f, in_axes=axes, out_axes={"a": 1, "b": np.int64(0)})({"b": 1.0, "a": X.T}, (X * 2, X[0]))
    np.testing.assert_array_equal(np.asarray(got["a"]), (X * X * 2).T)
    np.testing.assert_array_equal(np.asarray(got["b"]), np.full((3, 2), 2.0))


def test_capturing_what_is_no_tensor():
    with pytest.raises(gc.core.errors.StageError, match="not str"):
        gc.make_graph(gc.sin)("a")


# --- structures -------------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    left: object
    right: object


class Named(NamedTuple):
    x: object
    y: object


STRUCTURES = {
    "*": 1,
    "{'a': *, 'b': [*, *]}": {"b": [1, 2], "a": 0},
    "(*,)": (1,),
    "(*, None, [])": (1, None, []),
    "Pair(left=*, right=(*, *))": Pair(1, (2, 3)),
    "Named(*, {})": Named(1, {}),
}


@pytest.mark.parametrize("text", STRUCTURES)
def test_structures_are_readable(text):
    assert repr(flatten(STRUCTURES[text])[1]) == text


def test_errors_show_structures():
    _, pull = gc.vjp(lambda x: {"a": x, "b": [x, x]}, np.ones(2))
    with pytest.raises(ValueError, match=r"the structure \[\*\], expected \{'a': \*, 'b': \[\*, \*\]\}"):
        pull([1.0])
