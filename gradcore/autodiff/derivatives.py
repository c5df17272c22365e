"""jacrev, jacfwd, jacobian, hessian, hvp: whole matrices of derivatives, and products with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import numpy as np

from gradcore.autodiff.arguments import Arguments, Function, for_argnums, selected
from gradcore.autodiff.map_axes import over_directions
from gradcore.autodiff.record import ones
from gradcore.autodiff.transforms import floating_result, forward, gradient_of, reverse
from gradcore.backend import backend_on
from gradcore.core.bind import bind
from gradcore.core.op import OPS
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten, tree_map, unflatten


def jacrev(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that computes the Jacobian in reverse mode: one backward pass for all elements of the result.

    It is the cheaper mode where the result has fewer elements than the arguments.

    Args:
        function: returns a tree of floating tensors of any shapes (with `has_aux`: a pair of that and anything else).
        argnums: which positional argument, or arguments, to differentiate, as in `grad`.
        has_aux: the function returns a pair; its second part is passed on.

    Returns:
        A function of the same arguments that returns the Jacobian, with `has_aux` `(jacobian, aux)`. For a result of
        shape R and an argument of shape A it has the shape R + A. For trees it is a tree like the result, which has at
        each leaf a tree like the argument (a tuple of trees for a sequence of `argnums`; a dictionary by dotted path
        for a module). Arrays give arrays, as in `grad`.

    Raises:
        TypeError: an argument or a result is not floating.
        ValueError: there is no such argument.

    Example:
        >>> import gradcore as gc
        >>> gc.jacrev(lambda x: x * x)(gc.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]], dtype=float32, device='cpu')
    """
    return _jacobian_by(_rows, function, argnums, has_aux, "jacrev")


def jacfwd(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that computes the Jacobian in forward mode: one forward pass for all elements of the arguments.

    It is the cheaper mode where the result has at least as many elements as the arguments, and the leaner one.
    Arguments, results and errors are those of `jacrev`.

    Example:
        >>> import gradcore as gc
        >>> gc.jacfwd(lambda x: gc.stack([x.sum(), x[0] * x[1]]))(gc.tensor([2.0, 3.0]))
        tensor([[1., 1.],
                [3., 2.]], dtype=float32, device='cpu')
    """
    return _jacobian_by(_columns, function, argnums, has_aux, "jacfwd")


def jacobian(
    function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False, mode: str = "reverse"
) -> Function:
    """A function that computes the Jacobian: `jacrev`, or with `mode="forward"` `jacfwd`.

    Other arguments, results and errors are those of `jacrev`; another mode is a ValueError.

    Example:
        >>> import gradcore as gc
        >>> gc.jacobian(gc.sin)(gc.tensor([0.0, 0.0]))
        tensor([[1., 0.],
                [0., 1.]], dtype=float32, device='cpu')
    """
    if mode not in ("reverse", "forward"):
        raise ValueError(f"jacobian takes mode='reverse' or mode='forward', not {mode!r}")
    return _jacobian_by(_rows if mode == "reverse" else _columns, function, argnums, has_aux, "jacobian")


def hessian(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that computes the matrix of second derivatives, forward over reverse: `jacfwd(jacrev(function))`.

    Args:
        function: returns a floating scalar, or a tree of tensors (with `has_aux`: a pair of that and the rest).
        argnums: which positional argument, or arguments, to differentiate, as in `grad`.
        has_aux: the function returns a pair; its second part is passed on.

    Returns:
        A function of the same arguments that returns the Hessian, with `has_aux` `(hessian, aux)`. For a scalar and an
        argument of shape A it has the shape A + A. For a tree it is a tree of trees: `h["w"]["b"]` are the derivatives
        of the gradient of `w` by `b`, of shape W + B. Arrays give arrays, as in `grad`.

    Raises:
        TypeError: an argument or a result is not floating.
        ValueError: there is no such argument.

    Example:
        >>> import gradcore as gc
        >>> gc.hessian(lambda x: x[0] ** 3 * x[1])(gc.tensor([1.0, 2.0]))
        tensor([[12.,  3.],
                [ 3.,  0.]], dtype=float32, device='cpu')
    """
    gradient = _jacobian_by(_rows, function, argnums, has_aux, "hessian")
    return _jacobian_by(_columns, gradient, argnums, has_aux, "hessian")


def hvp(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that multiplies the Hessian of a scalar function with a direction, without making the Hessian.

    It is the `jvp` of the gradient, and costs a few evaluations of the function.

    Args:
        function: returns a scalar (with `has_aux`: a pair of a scalar and anything else).
        argnums: which positional argument, or arguments, to differentiate, as in `grad`.
        has_aux: the function returns something beside the scalar.

    Returns:
        A function of the same arguments and, as the last positional one, the direction: a tree like the argument (a
        tuple of trees for a sequence of `argnums`). It returns the product, a tree like the direction, with `has_aux`
        `(product, aux)`. Arrays give arrays, as in `grad`.

    Raises:
        TypeError: an argument is not floating, or the result no scalar.
        ValueError: there is no such argument, or the direction does not fit.

    Example:
        >>> import gradcore as gc
        >>> gc.hvp(lambda x: (x**3).sum())(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 10.0]))
        tensor([  6., 120.], dtype=float32, device='cpu')
    """
    gradient = gradient_of(function, argnums, has_aux, "hvp")

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            raise ValueError("hvp(f) takes the arguments of f, and then the direction: hvp(f)(x, v)")
        *rest, direction = args
        of_selected, chosen = selected(gradient, argnums, tuple(rest), kwargs, "hvp")
        given = Arguments(chosen, "hvp")
        several = isinstance(argnums, Sequence)
        if several and not isinstance(direction, (tuple, list)):
            raise TypeError(f"hvp takes a tuple of directions, one for each of argnums, not {type(direction).__name__}")
        directions = tuple(direction) if several else (direction,)
        _, product, aux = forward(of_selected, given, given.fitted(directions), has_aux, "hvp")
        return given.returned((product, aux) if has_aux else product)

    return wrapped


# --- rows and columns -------------------------------------------------------------------------------------------------


def _jacobian_by(way: Function, function: Function, argnums: int | Sequence[int], has_aux: bool, name: str) -> Function:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        of_selected, chosen = selected(function, argnums, args, kwargs, name)
        given = Arguments(chosen, name)
        value, parts, aux = way(of_selected, given, has_aux, name)
        leaves, structure = flatten(value)
        rows = [for_argnums(argnums, unflatten(given.structure, row)) for row in parts(leaves)]
        jacobian = given.returned(unflatten(structure, rows))
        return (jacobian, given.returned(aux)) if has_aux else jacobian

    return wrapped


def _rows(function: Function, given: Arguments, has_aux: bool, name: str) -> Any:
    """Value, the rows of the Jacobian by reverse mode, and aux."""
    value, pull, aux = reverse(function, given, has_aux, name, free=False)
    structure = flatten(value)[1]

    def rows(outputs: Sequence[Any]) -> list[list[Any]]:
        for out in outputs:
            floating_result(out, name)
        if not outputs:
            return []
        if [out.shape for out in outputs] == [()]:
            return [pull(unflatten(structure, [Tensor(ones(outputs[0].aval))]))]
        found = over_directions(lambda parts: pull(unflatten(structure, parts)))(_basis(outputs))
        columns = [_split(whole, outputs, 0) for whole in found]
        return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in outputs]

    return value, rows, aux


def _columns(function: Function, given: Arguments, has_aux: bool, name: str) -> Any:
    """Value, the rows of the Jacobian by forward mode, and aux."""
    kept: list[Any] = []

    def push(moves: Sequence[Any]) -> Any:
        value, tangent, aux = forward(function, given, moves, has_aux, name)
        kept[:] = value, aux
        return tree_map(lambda out, move: _checked(out, move, name), value, tangent)

    many = over_directions(push, out_axes=-1) if given.values else push
    tangents = flatten(many(_basis(given.values)))[0]
    value, aux = kept

    def rows(outputs: Sequence[Any]) -> list[list[Any]]:
        return [_split(whole, given.values, -1) for whole in tangents]

    return value, rows, aux


def _checked(out: Any, move: Any, name: str) -> Any:
    floating_result(out, name)
    return move


def _basis(values: Sequence[Any]) -> list[Any]:
    """Every unit vector of the space that the values span: one leaf of shape (total, *shape) for each."""
    total, start, parts = sum([value.aval.size for value in values]), 0, []
    for value in values:
        aval = value.aval
        make = backend_on(aval.device).make
        parts.append(Tensor(make("eye", total, aval.size, -start, aval.dtype).reshape(total, *aval.shape)))
        start += aval.size
    return parts


def _split(whole: Any, values: Sequence[Any], axis: int) -> list[Any]:
    """Parts of a long axis, the first or the last, in the shapes of the values."""
    sizes = [value.aval.size for value in values]
    stops = [int(stop) for stop in np.cumsum(sizes)]
    parts = []
    for value, stop, size in zip(values, stops, sizes, strict=True):
        kept = whole.shape[1:] if axis == 0 else whole.shape[:-1]
        cut = slice(stop - size, stop)
        part = whole if len(values) == 1 else whole[cut] if axis == 0 else whole[..., cut]
        shape = (*value.shape, *kept) if axis == 0 else (*kept, *value.shape)
        parts.append(part if part.shape == shape else bind(OPS["reshape"], (part,), (shape,)))
    return parts
