"""grad, value_and_grad, vjp, jvp, vmap: functions from functions to functions, on trees of tensors or arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from gradcore.autodiff.batch import Batch, BatchTensor
from gradcore.autodiff.forward import Forward
from gradcore.autodiff.map_axes import axes_of, axes_of_arguments, common_size
from gradcore.autodiff.record import ones, zeros
from gradcore.autodiff.tape import Anchor, Tape, TapeTensor
from gradcore.backend import backend_on, is_cupy, native
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.errors import BatchError
from gradcore.core.op import OPS
from gradcore.core.state import pushed, state
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten, flatten_like, tree_map, unflatten

Function = Callable[..., Any]


def as_value(leaf: Any, what: str = "an argument") -> Any:
    """A Tensor from a leaf of a tree of tensors, cells, arrays or numbers."""
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, Cell):
        return leaf.read()
    if isinstance(leaf, float) and not isinstance(leaf, np.generic):
        return Tensor(np.asarray(leaf, np.float32))
    if is_cupy(leaf):
        backend_on(f"cuda:{leaf.device.id}")
        return Tensor(leaf.view())
    try:
        array = np.asarray(leaf)
    except Exception as error:
        raise TypeError(f"{what} is {type(leaf).__name__}, which is not a tensor, an array or a number") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} is {type(leaf).__name__}, which is not a tensor, an array or a number")
    return Tensor(native(array))


def _differentiable(leaf: Any, name: str) -> Any:
    value = as_value(leaf, f"an argument of {name}")
    if value.dtype.kind != "f":
        raise TypeError(f"{name} differentiates floating tensors, not {value.dtype}; cast it, or close over it")
    return value


# --- reverse ----------------------------------------------------------------------------------------------------------


def vjp(function: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of a function, and its vector-Jacobian product.

    Args:
        function: takes `primals`, returns a tree of tensors (with `has_aux`: a pair of that and anything else).
        primals: trees of floating tensors or arrays.
        has_aux: the function returns a pair; its second part is passed on.

    Returns:
        `(value, pull)`, with `has_aux` `(value, pull, aux)`. `pull(cotangent)` takes a tree like the value and returns
        a tuple of trees like the primals; it may be called several times.

    Example:
        >>> import gradcore as gc
        >>> y, pull = gc.vjp(lambda x: x * x, gc.tensor([1.0, 2.0]))
        >>> pull(gc.tensor([1.0, 10.0]))
        (tensor([ 2., 40.], dtype=float32, device='cpu'),)
    """
    value, pull, aux = _vjp(function, primals, has_aux, "vjp", free=False)
    return (value, pull, aux) if has_aux else (value, pull)


def _vjp(function: Function, primals: Any, has_aux: bool, name: str, free: bool) -> tuple[Any, Function, Any]:
    """The value, its vjp and what else the function returned; `name` is the transform that the user called."""
    leaves, structure = flatten(primals)
    values = [_differentiable(leaf, name) for leaf in leaves]
    anchors = [Anchor() for _ in values]
    tape = Tape()
    with pushed(state.levels, tape):
        result = function(*unflatten(structure, [TapeTensor(tape, v, a) for v, a in zip(values, anchors, strict=True)]))
    result, aux = _pair(result, name) if has_aux else (result, None)
    outputs, out_structure = flatten(result)
    outputs = [as_value(out, "the result of the function") for out in outputs]
    nodes = [tape.node(out) for out in outputs]
    value = unflatten(out_structure, [tape.primal(out) for out in outputs])

    def pull(cotangent: Any) -> Any:
        parts = [as_value(c) for c in flatten_like(out_structure, cotangent, "the cotangent")]
        parts = [_cast_like(part, out) for part, out in zip(parts, outputs, strict=True)]
        for part, out in zip(parts, outputs, strict=True):
            if part.shape != out.shape:
                raise ValueError(f"a cotangent has shape {part.shape}, its output {out.shape}")
        seeds = [(node, part) for node, part in zip(nodes, parts, strict=True) if node is not None]
        grads = tape.backward(seeds, free)
        return unflatten(structure, [_or_zeros(grads.get(a), v) for a, v in zip(anchors, values, strict=True)])

    return value, pull, tree_map(tape.primal, aux) if has_aux else None


def _pair(result: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(
            f"{name} with has_aux=True needs a function that returns a pair (value, rest), not {flatten(result)[1]} "
            "(* is a tensor)"
        )
    return result[0], result[1]


def _or_zeros(g: Any, like: Any) -> Any:
    return zeros(like.aval.update(shape=like.shape), like) if g is None else g


def value_and_grad(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that returns the value of a scalar function together with its gradient.

    Args:
        function: returns a scalar (with `has_aux`: a pair of a scalar and anything else).
        argnums: which positional argument, or arguments, to differentiate; each may be a tree.
        has_aux: the function returns something beside the scalar.

    Returns:
        A function of the same arguments that returns `(value, gradient)`, with `has_aux` `((value, aux), gradient)`.
        The gradient is a tree like the argument (a tuple of trees for several `argnums`).

    Example:
        >>> import gradcore as gc
        >>> gc.value_and_grad(lambda x: (x * x).sum())(gc.tensor([1.0, 2.0]))
        (tensor(5., dtype=float32, device='cpu'), tensor([2., 4.], dtype=float32, device='cpu'))
    """
    return _value_and_grad(function, argnums, has_aux, "value_and_grad")


def _value_and_grad(function: Function, argnums: int | Sequence[int], has_aux: bool, name: str) -> Function:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for number in numbers:
            if not -len(args) <= number < len(args):
                raise ValueError(f"{name} was asked for argument {number}, but got {len(args)} positional arguments")

        def of_selected(*selected: Any) -> Any:
            every = list(args)
            for number, value in zip(numbers, selected, strict=True):
                every[number] = value
            return function(*every, **kwargs)

        value, pull, aux = _vjp(of_selected, tuple([args[n] for n in numbers]), has_aux, name, free=True)
        grads = pull(_one_like(value, name))
        return (value, aux) if has_aux else value, grads[0] if isinstance(argnums, int) else grads

    return wrapped


def _one_like(value: Any, name: str) -> Any:
    if not isinstance(value, Tensor) or value.shape != ():
        what = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} needs a function that returns a scalar, not {what}; reduce it, or use vjp")
    if value.dtype.kind != "f":
        raise TypeError(f"{name} needs a floating result, not {value.dtype}")
    return Tensor(ones(value.aval))


def grad(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that computes the gradient of a scalar function.

    Arguments as for `value_and_grad`; the result is the gradient (with `has_aux`: a pair of it and the rest).

    Example:
        >>> import gradcore as gc
        >>> gc.grad(lambda x: gc.sin(x))(gc.tensor(0.0))
        tensor(1., dtype=float32, device='cpu')
        >>> gc.grad(gc.grad(lambda x: x**3))(gc.tensor(2.0))
        tensor(12., dtype=float32, device='cpu')
    """
    both = _value_and_grad(function, argnums, has_aux, "grad")

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


# --- forward ----------------------------------------------------------------------------------------------------------


def jvp(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value of a function, and its Jacobian-vector product, in one forward pass.

    Args:
        function: takes `primals`, returns a tree of tensors.
        primals: tuple of trees of floating tensors or arrays.
        tangents: trees like the primals.

    Returns:
        `(value, tangent)`, two trees of one structure.

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
    leaves, structure = flatten(tuple(primals))
    values = [_differentiable(leaf, "jvp") for leaf in leaves]
    moves = [as_value(t) for t in flatten_like(structure, tuple(tangents), "the tuple of tangents")]
    for value, move in zip(values, moves, strict=True):
        if value.shape != move.shape:
            raise ValueError(f"a tangent has shape {move.shape}, its primal {value.shape}")
    moves = [_cast_like(m, v) for m, v in zip(moves, values, strict=True)]
    level = Forward()
    with pushed(state.levels, level):
        boxes = [level.box(v, m) for v, m in zip(values, moves, strict=True)]
        result = tree_map(as_value, function(*unflatten(structure, boxes)))
    tangent = tree_map(lambda out: _or_zeros(level.tangent(out), level.primal(out)), result)
    return tree_map(level.primal, result), tangent


def _cast_like(x: Any, like: Any) -> Any:
    return x if x.dtype == like.dtype else bind(OPS["cast"], (x,), (like.dtype,))


# --- vmap -------------------------------------------------------------------------------------------------------------


def vmap(function: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """Apply a function to every example along an axis, all at once.

    Args:
        function: written for one example; takes and returns trees of tensors.
        in_axes: for each positional argument the axis that holds the examples, or None where all examples share the
            argument; one number for all. An entry may be a tree like the argument. Keyword arguments are mapped along
            their first axis.
        out_axes: where the axis of examples goes in the results; one number, or a tree like the result.

    Raises:
        BatchError: no argument is mapped, sizes differ, the axes do not fit, or an op has no batching rule.

    Example:
        >>> import gradcore as gc
        >>> x = gc.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> gc.vmap(gc.grad(lambda row: (row * row).sum()))(x)
        tensor([[2., 4.],
                [6., 8.]], dtype=float32, device='cpu')
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        axes = axes_of_arguments(in_axes, args) + axes_of("in_axes", 0, flatten(kwargs)[1])
        what = "an argument of vmap"
        values = [leaf if axis is None else as_value(leaf, what) for leaf, axis in zip(leaves, axes, strict=True)]
        level = Batch(common_size(values, axes))
        with pushed(state.levels, level):
            boxes = [v if a is None else BatchTensor(level, _to_front(v, a)) for v, a in zip(values, axes, strict=True)]
            positional, named = unflatten(structure, boxes)
            result = function(*positional, **named)
        outputs, out_structure = flatten(result)
        places = axes_of("out_axes", out_axes, out_structure)
        outputs = [_finish(level, as_value(out), place) for out, place in zip(outputs, places, strict=True)]
        return unflatten(out_structure, outputs)

    return wrapped


def _to_front(value: Any, axis: int) -> Any:
    return value if axis == 0 else _moved(value, axis % len(value.shape), 0)


def _moved(value: Any, source: int, destination: int) -> Any:
    order = [a for a in range(len(value.shape)) if a != source]
    order.insert(destination, source)
    return bind(OPS["transpose"], (value,), (tuple(order),))


def _finish(level: Batch, out: Any, place: int | None) -> Any:
    mapped = level.owns(out)
    if place is None:
        if mapped:
            raise BatchError("vmap was told out_axes=None for a result that differs between examples")
        return out
    value = out.value if mapped else bind(OPS["broadcast_to"], (out,), ((level.size, *out.shape),))
    if not -len(value.shape) <= place < len(value.shape):
        raise BatchError(f"vmap was told out_axes={place} for a result of shape {value.shape}, examples included")
    return value if place == 0 else _moved(value, 0, place % len(value.shape))
