"""Derivatives and mappings of captured bodies: what the rules of `scan` and `cond` are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.autodiff.batch import Batch, BatchTensor
from gradcore.autodiff.map_axes import moved
from gradcore.autodiff.record import zeros
from gradcore.autodiff.transforms import jvp, vjp
from gradcore.core.bind import bind
from gradcore.core.op import OPS
from gradcore.core.state import pushed, state

Function = Callable[..., Any]


def floating(x: Any) -> bool:
    """Can it have a derivative?"""
    return bool(x.dtype.kind == "f")


def moved_by(needed: Sequence[bool], operands: Sequence[Any]) -> tuple[bool, ...]:
    """Which operands a gradient is wanted for and can have one."""
    return tuple([need and floating(x) for need, x in zip(needed, operands, strict=True)])


def chosen(values: Sequence[Any], mask: Sequence[Any]) -> list[Any]:
    """The values where the mask is true."""
    return [value for value, on in zip(values, mask, strict=True) if on]


def spread(parts: Sequence[Any], mask: Sequence[Any]) -> list[Any]:
    """One part for each place where the mask is true, None elsewhere."""
    remaining = iter(parts)
    return [next(remaining) if on else None for on in mask]


def zeros_like(x: Any) -> Any:
    return zeros(x.aval, x)


def push(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Outputs of a flat function, and the tangents of the floating ones; an absent tangent is None."""
    mask = [t is not None for t in tangents]

    def of_moving(*moving: Any) -> Any:
        found = spread(moving, mask)
        return list(function(*[x if m is None else m for x, m in zip(primals, found, strict=True)]))

    if not any(mask):
        outs = of_moving()
        return outs, [zeros_like(out) for out in outs if floating(out)]
    outs, moves = jvp(of_moving, chosen(primals, mask), chosen(tangents, mask))
    return outs, [move for out, move in zip(outs, moves, strict=True) if floating(out)]


def pull(function: Function, primals: Sequence[Any], needed: Sequence[bool], gs: Sequence[Any]) -> list[Any]:
    """Cotangents of the needed operands of a flat function; an absent cotangent of an output is None."""
    mask = [g is not None for g in gs]

    def of_needed(*moving: Any) -> Any:
        found = spread(moving, needed)
        return chosen(function(*[x if m is None else m for x, m in zip(primals, found, strict=True)]), mask)

    return list(vjp(of_needed, *chosen(primals, needed))[1](chosen(gs, mask)))


def over_examples(
    function: Function, size: int, operands: Sequence[Any], mapped: Sequence[bool]
) -> tuple[list[Any], list[bool]]:
    """Outputs of a flat function of examples along the first axes, and which of them are mapped."""
    level = Batch(size)
    with pushed(state.levels, level):
        outs = function(*[BatchTensor(level, x) if on else x for x, on in zip(operands, mapped, strict=True)])
    owned = [level.owns(out) for out in outs]
    return [out.value if on else out for out, on in zip(outs, owned, strict=True)], owned


def repeated(x: Any, size: int) -> Any:
    """The same value for each example."""
    return bind(OPS["broadcast_to"], (x,), ((size, *x.shape),))


def swapped(x: Any) -> Any:
    """The first two axes exchanged: examples and steps."""
    return moved(x, 1, 0)


def own(xp: Any, result: Any, arrays: Sequence[Any]) -> Any:
    """A result that is no view, and no operand."""
    if result.base is None and result.flags.c_contiguous and not any(result is array for array in arrays):
        return result
    return xp.np.array(result, order="C")


def written(out: Any, results: Sequence[Any], xp: Any) -> Any:
    """Results of an `impl`: copied to `out` where that is given."""
    if out is None:
        return tuple(results)
    for target, result in zip(out, results, strict=True):
        xp.np.copyto(target, result)
    return out
