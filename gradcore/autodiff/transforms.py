"""grad, value_and_grad, vjp, jvp, linearize: functions from functions to functions, on trees of tensors or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from gradcore.autodiff.arguments import (
    Arguments,
    Function,
    as_value,
    fitted,
    for_argnums,
    pair_of,
    selected,
)
from gradcore.autodiff.forward import Forward
from gradcore.autodiff.record import ones, zeros
from gradcore.autodiff.tape import Anchor, Tape, TapeTensor
from gradcore.core.state import pushed, state
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten, flatten_like, tree_map, unflatten

# --- reverse ----------------------------------------------------------------------------------------------------------


def vjp(function: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of a function, and its vector-Jacobian product (reverse mode).

    Args:
        function: takes `primals`, returns a tree of tensors (with `has_aux`: a pair of that and anything else).
        primals: trees (dictionaries, lists, tuples, dataclasses, modules) of floating tensors or arrays.
        has_aux: the function returns a pair; its second part is passed on.

    Returns:
        `(value, pull)`, with `has_aux` `(value, pull, aux)`. `pull(cotangent)` takes a tree like the value and returns
        a tuple of trees like the primals (for a module, a dictionary by dotted path); it may be called several times.
        Where all primals are arrays, so are value, aux and cotangents. It keeps copies of arrays, so these may change.

    Raises:
        TypeError: a primal is not floating, or has_aux and the function returns no pair.
        ValueError: a cotangent does not fit its output.

    Example:
        >>> import gradcore as gc
        >>> y, pull = gc.vjp(lambda x: x * x, gc.tensor([1.0, 2.0]))
        >>> pull(gc.tensor([1.0, 10.0]))
        (tensor([ 2., 40.], dtype=float32, device='cpu'),)
    """
    given = Arguments(primals, "vjp", own=True)
    value, pull, aux = reverse(function, given, has_aux, "vjp", free=False)

    def pull_back(cotangent: Any) -> Any:
        return given.tree(pull(cotangent))

    parts = given.returned(value), pull_back, given.returned(aux)
    return parts if has_aux else parts[:2]


def reverse(function: Function, given: Arguments, has_aux: bool, name: str, free: bool) -> tuple[Any, Function, Any]:
    """Value, pull and aux on Tensors; `pull` returns one cotangent per leaf.  `name` is what the user called."""
    values = given.values
    anchors = [Anchor() for _ in values]
    tape = Tape()
    with pushed(state.levels, tape):
        result = given.call(function, [TapeTensor(tape, v, a) for v, a in zip(values, anchors, strict=True)])
    result, aux = pair_of(result, name) if has_aux else (result, None)
    leaves, structure = flatten(result)
    outputs = [as_value(out, "the result of the function") for out in leaves]
    nodes = [tape.node(out) for out in outputs]

    def pull(cotangent: Any) -> list[Any]:
        parts = fitted(flatten_like(structure, cotangent, "the cotangent"), outputs, "a cotangent")
        seeds = [(node, part) for node, part in zip(nodes, parts, strict=True) if node is not None]
        grads = tape.backward(seeds, free)
        return [_or_zeros(grads.get(a), v) for a, v in zip(anchors, values, strict=True)]

    value = unflatten(structure, [tape.primal(out) for out in outputs])
    return value, pull, tree_map(tape.primal, aux) if has_aux else None


def _or_zeros(g: Any, like: Any) -> Any:
    return zeros(like.aval.update(shape=like.shape), like) if g is None else g


def value_and_grad(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that returns the value of a scalar function together with its gradient.

    Args:
        function: returns a scalar (with `has_aux`: a pair of a scalar and anything else).
        argnums: which positional argument, or arguments, to differentiate, as in `grad`.
        has_aux: the function returns something beside the scalar.

    Returns:
        A function of the same arguments that returns `(value, gradient)`, with `has_aux` `((value, aux), gradient)`.
        The gradient is a tree like the argument (a tuple of trees for several `argnums`), as in `grad`.

    Raises:
        TypeError: an argument is not floating, or the result no scalar.
        ValueError: there is no such argument.

    Example:
        >>> import gradcore as gc
        >>> gc.value_and_grad(lambda x: (x * x).sum())(gc.tensor([1.0, 2.0]))
        (tensor(5., dtype=float32, device='cpu'), tensor([2., 4.], dtype=float32, device='cpu'))
    """
    return _value_and_grad(function, argnums, has_aux, "value_and_grad")


def _value_and_grad(function: Function, argnums: int | Sequence[int], has_aux: bool, name: str) -> Function:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        of_selected, chosen = selected(function, argnums, args, kwargs, name)
        given = Arguments(chosen, name)
        value, pull, aux = reverse(of_selected, given, has_aux, name, free=True)
        gradient = for_argnums(argnums, given.tree(pull(_one_like(value, name))))
        value = given.returned(value)
        return (value, given.returned(aux)) if has_aux else value, gradient

    return wrapped


def _one_like(value: Any, name: str) -> Any:
    if not isinstance(value, Tensor) or value.shape != ():
        what = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"{name} needs a function that returns a scalar, not {what}; reduce it, or use vjp (or jacobian for all "
            "derivatives)"
        )
    if value.dtype.kind != "f":
        raise TypeError(f"{name} needs a floating result, not {value.dtype}")
    return Tensor(ones(value.aval))


def grad(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that computes the gradient of a scalar function.

    Args:
        function: takes trees (dictionaries, lists, tuples, dataclasses) of tensors or arrays and returns a scalar, a
            tensor of shape () (with `has_aux`: a pair of a scalar and anything else). It may use all of gradcore,
            Python's control flow on numbers and shapes, and other transforms.
        argnums: which positional argument, or arguments, to differentiate. All their leaves must be floating; other
            positional and all keyword arguments are constants.
        has_aux: the function returns something beside the scalar.

    Returns:
        A function of the same arguments that returns the gradient, with `has_aux` `(gradient, aux)`. The gradient is
        a tree like the argument, with leaves of the same shapes and dtypes; for a sequence of `argnums` a tuple of
        such trees. An argument that is a module counts as the parameters that require gradients: its gradient is a
        dictionary by dotted path, like `state_dict()`.

        Tensors give tensors. Where every differentiated leaf is a NumPy or CuPy array (or a number beside one), so is
        every result, of the same dtype, as `scipy.optimize.minimize` needs it. Only what a further derivative depends
        on (an outer transform, or a parameter that `backward()` can reach) stays a tensor.

    Raises:
        TypeError: an argument is not floating, or the result is no floating scalar (use `vjp` or `jacobian` then).
        ValueError: there is no such argument.

    It nests to any order, with itself and with `jvp`, `vmap` and the others: `vmap(grad(loss))` gives the gradient for
    each example, `grad(grad(f))` the second derivative.

    Example:
        >>> import gradcore as gc
        >>> gc.grad(lambda x: gc.sin(x))(gc.tensor(0.0))
        tensor(1., dtype=float32, device='cpu')
        >>> gc.grad(gc.grad(lambda x: x**3))(gc.tensor(2.0))
        tensor(12., dtype=float32, device='cpu')

        Trees, several arguments, and plain arrays:

        >>> import numpy as np
        >>> def loss(p, x):
        ...     return ((x @ p["w"] + p["b"]) ** 2).sum()
        >>> gc.grad(loss)({"w": np.array([1.0, 2.0]), "b": np.zeros(1)}, np.array([[1.0, 0.0]]))
        {'b': array([2.]), 'w': array([2., 0.])}
        >>> gc.grad(lambda a, b: a * b, argnums=(0, 1))(gc.tensor(2.0), gc.tensor(3.0))
        (tensor(3., dtype=float32, device='cpu'), tensor(2., dtype=float32, device='cpu'))

        The parameters of a module:

        >>> layer = gc.nn.Linear(2, 1, bias=False)
        >>> gc.grad(lambda layer, x: layer(x).sum())(layer, gc.tensor([[1.0, 2.0]]))
        {'weight': tensor([[1., 2.]], dtype=float32, device='cpu')}
    """
    return gradient_of(function, argnums, has_aux, "grad")


def gradient_of(function: Function, argnums: int | Sequence[int], has_aux: bool, name: str) -> Function:
    """`grad`, for the transform that is `name` to the user."""
    both = _value_and_grad(function, argnums, has_aux, name)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


# --- forward ----------------------------------------------------------------------------------------------------------


def jvp(function: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """Value of a function, and its Jacobian-vector product, in one forward pass.

    Args:
        function: takes `primals`, returns a tree of tensors (with `has_aux`: a pair of that and anything else).
        primals: tuple of trees (dictionaries, lists, tuples, dataclasses, modules) of floating tensors or arrays.
        tangents: tuple of trees like the primals (for a module, a dictionary by dotted path).
        has_aux: the function returns a pair; its second part is passed on.

    Returns:
        `(value, tangent)`, two trees of one structure, with `has_aux` `(value, tangent, aux)`; arrays where all primals
        are arrays.

    Raises:
        TypeError: primals or tangents are not tuples, or not floating.
        ValueError: a tangent does not fit its primal.

    Example:
        >>> import gradcore as gc
        >>> gc.jvp(gc.sin, (gc.tensor(0.0),), (gc.tensor(2.0),))
        (tensor(0., dtype=float32, device='cpu'), tensor(2., dtype=float32, device='cpu'))
    """
    for given, what in ((primals, "primals"), (tangents, "tangents")):
        if not isinstance(given, (tuple, list)):
            kind = type(given).__name__
            raise TypeError(f"jvp takes a tuple of {what}, one for each argument, not {kind}: jvp(f, (x,), (v,))")
    arguments = Arguments(tuple(primals), "jvp")
    parts = forward(function, arguments, arguments.fitted(tuple(tangents)), has_aux, "jvp")
    return tuple(map(arguments.returned, parts if has_aux else parts[:2]))


def forward(
    function: Function, given: Arguments, moves: Sequence[Any], has_aux: bool, name: str
) -> tuple[Any, Any, Any]:
    """Value, tangent and aux on Tensors, for one tangent per leaf.  `name` is what the user called."""
    level = Forward()
    with pushed(state.levels, level):
        result = given.call(function, [level.box(v, m) for v, m in zip(given.values, moves, strict=True)])
    result, aux = pair_of(result, name) if has_aux else (result, None)
    result = tree_map(lambda out: as_value(out, "the result of the function"), result)
    tangent = tree_map(lambda out: _or_zeros(level.tangent(out), level.primal(out)), result)
    return tree_map(level.primal, result), tangent, tree_map(level.primal, aux) if has_aux else None


def linearize(function: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of a function, and its derivative at that point as a linear function, recorded once.

    The derivative is the transpose of the transpose: `pull` of `vjp` is linear, so the `vjp` of `pull` is the
    Jacobian-vector product, and every call of it only walks over what was recorded.  Use it for many tangents at one
    point; for one tangent `jvp` is cheaper.

    Args:
        function: takes `primals`, returns a tree of floating tensors (with `has_aux`: a pair of that and the rest).
        primals: trees (dictionaries, lists, tuples, dataclasses, modules) of floating tensors or arrays.
        has_aux: the function returns a pair; its second part is passed on.

    Returns:
        `(value, push)`, with `has_aux` `(value, push, aux)`. `push(*tangents)` takes trees like the primals and returns
        a tree like the value; arrays where all primals are arrays. It keeps copies of arrays, so these may change.

    Raises:
        TypeError: a primal or a result is not floating.
        ValueError: a tangent does not fit its primal.

    Example:
        >>> import gradcore as gc
        >>> y, push = gc.linearize(lambda x: x * x, gc.tensor([1.0, 2.0]))
        >>> push(gc.tensor([1.0, 0.0])), push(gc.tensor([0.0, 1.0]))
        (tensor([2., 0.], dtype=float32, device='cpu'), tensor([0., 4.], dtype=float32, device='cpu'))
    """
    given = Arguments(primals, "linearize", own=True)
    value, pull, aux = reverse(function, given, has_aux, "linearize", free=False)
    start = tree_map(_zeros_of_result, value)
    _, push_leaves, _ = reverse(pull, Arguments((start,), "linearize"), False, "linearize", free=False)
    structure = flatten(start)[1]

    def push(*tangents: Any) -> Any:
        return given.returned(unflatten(structure, push_leaves(given.fitted(tangents))))

    parts = given.returned(value), push, given.returned(aux)
    return parts if has_aux else parts[:2]


def _zeros_of_result(value: Any) -> Any:
    return zeros(floating_result(value, "linearize").aval, value)


def floating_result(value: Any, name: str) -> Any:
    """The value itself; TypeError where it has no derivative."""
    if value.dtype.kind != "f":
        raise TypeError(f"{name} needs floating results, not {value.dtype}; return it as aux (has_aux=True)")
    return value
