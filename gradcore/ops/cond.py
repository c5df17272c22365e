"""cond: one of two functions, chosen when it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.arguments import as_value, common_device
from gradcore.autodiff.capture import Body, capture, derived
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import bind
from gradcore.core.graph import Graph, Var
from gradcore.core.op import Family, Mask, Op, Saved
from gradcore.core.trees import Structure, flatten, unflatten
from gradcore.ops.arithmetic import where
from gradcore.ops.bodies import (
    chosen,
    floating,
    moved_by,
    over_examples,
    own,
    pull,
    push,
    repeated,
    spread,
    written,
)

Bodies = tuple[Body, Body]


def cond(pred: Any, true: Callable[..., Any], false: Callable[..., Any], *operands: Any) -> Any:
    """`true(*operands)` if `pred` holds, else `false(*operands)`, as one op.

    In eager code Python's `if` does the same. `cond` is for conditions that are computed under a transform or in a
    captured graph, where no element is known yet. Only the chosen branch is performed, and differentiated. Under
    `vmap` with a condition for each example both branches are performed for all examples and `where` chooses; so a
    branch must be finite for examples that do not take it if that is differentiated afterwards (`grad` of `vmap`).

    Args:
        pred: a boolean tensor, array or number, of shape (). On a GPU it is copied to the host, which waits.
        true: takes the operands, returns a tree of tensors. It may use tensors and read cells from around it.
        false: the same; it returns the same tree of the same shapes and dtypes.
        operands: trees of tensors, arrays and numbers.

    Returns:
        What the chosen branch returns, as tensors.

    Raises:
        TypeError: `pred` is not one boolean, or the branches return different structures, shapes or dtypes.
        StageError: a branch assigns a cell, or asks for the elements of a tensor.

    Example:
        >>> import gradcore as gc
        >>> f = lambda x: gc.cond(x > 0, lambda x: x * x, lambda x: -x, x)
        >>> f(gc.tensor(3.0)), gc.grad(f)(gc.tensor(-3.0))
        (tensor(9., dtype=float32, device='cpu'), tensor(-1., dtype=float32, device='cpu'))
    """
    pred = as_value(pred, "the condition of cond")
    if pred.dtype != np.bool_ or pred.shape != ():
        raise TypeError(
            f"cond takes one boolean as its condition, such as (x > 0).all(), not {pred.dtype}{list(pred.shape)}; "
            "where() chooses element by element"
        )
    leaves, structure = flatten(operands)
    device = common_device(leaves)
    values = [as_value(leaf, "an operand of cond", device) for leaf in leaves]
    found = [_captured(branch, values, structure) for branch in (true, false)]
    _compare(found[0], found[1])
    (one, closed, out_structure), (other, also, _) = found
    bodies = _widened(one, len(closed), [], also), _widened(other, len(also), closed, [])
    return unflatten(out_structure, bind(COND, (pred, *closed, *also, *values), bodies))


def _captured(branch: Callable[..., Any], values: Sequence[Any], structure: Structure) -> tuple[Body, list[Any], Any]:
    avals = [value.aval for value in values]
    return capture(lambda *xs: branch(*unflatten(structure, xs)), avals, "cond")


def _compare(true: Any, false: Any) -> None:
    texts = [f"{structure} of {', '.join(map(str, body.results))}" for body, _, structure in (true, false)]
    kinds = [[(aval.shape, aval.dtype) for aval in body.results] for body, _, _ in (true, false)]
    if true[2] != false[2] or kinds[0] != kinds[1]:
        raise TypeError(
            f"the branches of cond must return the same: true returns {texts[0]}, false {texts[1]}; reshape or cast "
            "one of them"
        )


def _widened(body: Body, count: int, before: Sequence[Any], after: Sequence[Any]) -> Body:
    """The body with inputs that it does not use around the `count` that it closes over, so both take the same."""
    old = body.graph
    closed, given = old.inputs[:count], old.inputs[count:]
    inputs = [*_unused(before), *closed, *_unused(after), *given]
    return Body(Graph(old.name, inputs=inputs, nodes=old.nodes, outputs=old.outputs))


def _unused(values: Sequence[Any]) -> list[Var]:
    return [Var(value.aval.update(strides=None), -1 - i) for i, value in enumerate(values)]


# --- the op -----------------------------------------------------------------------------------------------------------


def _impl(xp: Any, out: Any, pred: Any, *rest: Any) -> Any:
    *arrays, true, false = rest
    results = (true if bool(pred) else false).run(xp, arrays)
    return written(out, [own(xp, result, arrays) for result in results], xp)


def _abstract(pred: Aval, *rest: Any) -> tuple[Aval, ...]:
    return tuple(rest[-2].results)


def _derived(bodies: Bodies, key: Any, avals: Sequence[Aval], rule: Callable[[Body], Callable[..., Any]]) -> Bodies:
    """Both branches under one rule; they are captured once."""
    cache = bodies[0].cache
    if (key, bodies[1]) not in cache:
        cache[key, bodies[1]] = tuple([derived(rule(body), avals, body.graph.name) for body in bodies])
    return cache[key, bodies[1]]  # type: ignore[no-any-return]


def _jvp(tangents: Sequence[Any], operands: Sequence[Any], outs: Any, params: Bodies) -> Any:
    pred, *xs = operands
    moves = tangents[1:]
    mask = tuple([move is not None for move in moves])

    def rule(body: Body) -> Callable[..., Any]:
        def both(*flat: Any) -> Any:
            values, found = push(body, flat[: len(xs)], spread(flat[len(xs) :], mask))
            return values + found

        return both

    avals = [aval_of(x) for x in [*xs, *chosen(xs, mask)]]
    found = bind(COND, (pred, *xs, *chosen(moves, mask)), _derived(params, ("jvp", mask), avals, rule))
    results = params[0].results
    return found[: len(results)], spread(found[len(results) :], list(map(floating, results)))


def _vjp(needed: Mask, g: Any, operands: Sequence[Any], outs: Any, params: Bodies) -> Any:
    pred, *xs = operands
    gs = g if isinstance(g, tuple) else (g,)
    mask, wanted = tuple([part is not None for part in gs]), moved_by(needed[1:], xs)

    def rule(body: Body) -> Callable[..., Any]:
        return lambda *flat: pull(body, flat[: len(xs)], wanted, spread(flat[len(xs) :], mask))

    avals = [aval_of(x) for x in [*xs, *chosen(params[0].results, mask)]]
    back = _derived(params, ("vjp", wanted, mask), avals, rule)
    return (None, *spread(bind(COND, (pred, *xs, *chosen(gs, mask)), back), wanted))


def _batch(size: int, mapped: Sequence[bool], operands: Sequence[Any], params: Bodies) -> Any:
    pred, *xs = operands
    of_xs = tuple(mapped[1:])

    def rule(body: Body) -> Callable[..., Any]:
        def all_mapped(*flat: Any) -> Any:
            outs, owned = over_examples(body, size, flat, of_xs)
            return [out if on else repeated(out, size) for out, on in zip(outs, owned, strict=True)]

        return all_mapped

    if not mapped[0]:
        avals = [aval_of(x) for x in xs]
        return bind(COND, operands, _derived(params, ("batch", size, of_xs), avals, rule))
    outs = [rule(body)(*xs) for body in params]
    return tuple([_choose(pred, true, false) for true, false in zip(*outs, strict=True)])


def _choose(pred: Any, true: Any, false: Any) -> Any:
    ones = (1,) * (len(true.shape) - 1)
    return where(pred.reshape((*pred.shape, *ones)), true, false)


COND = Op(
    name="cond",
    family=Family.CALL,
    inputs=("operands",),
    params=("true", "false"),
    outputs=-1,
    variadic=True,
    impl=_impl,
    abstract=_abstract,
    jvp=_jvp,
    vjp=_vjp,
    batch=_batch,
    saves=lambda needed, params: Saved(tuple(range(len(needed)))),
    half=False,
    host=frozenset({0}),
    internal=True,
    doc=cond.__doc__ or "",
)
