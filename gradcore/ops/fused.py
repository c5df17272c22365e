"""Fused ops: a meaning in other ops, and optionally an implementation that is faster than the meaning.

Every interpreter that finds no rule on the record applies the meaning instead, so a fused op has every derivative of
every order, batches, and stages, on every device, from its first line.  A `vjp_op` is another op with a meaning; it may
read auxiliary outputs (a mean, a reciprocal deviation) in its implementation, never in its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcore.backend import NUMPY
from gradcore.core.op import Family, Mask, Op


def fused(
    name: str, inputs: tuple[str, ...], *, meaning: Callable[..., Any], impl: Any, abstract: Any, **fields: Any
) -> Op:
    """A fused op.

    Args:
        name: the op's name.
        inputs: names of the operands.
        meaning: `(*operands, *params)` to the outputs, auxiliary ones included, written in ops.
        impl: `(xp, out, *arrays, *params)` to the same on arrays.
        abstract: Avals of the outputs.
        fields: other fields of the record, such as `vjp_op`, `saves`, `batch`, `samples`.
    """
    return Op(name=name, family=Family.FUSED, inputs=inputs, meaning=meaning, impl=impl, abstract=abstract, **fields)


def raw_vjp(op: Op) -> Callable[[Mask], Any]:
    """The backward function of a fused op on raw NumPy arrays, through its `vjp_op`."""

    def make(needed: Mask) -> Any:
        assert op.vjp_op is not None
        every = all(needed)

        def raw(r: Any, g: Any) -> tuple[Any, ...]:
            back, params = op.vjp_op(needed, r.params)  # type: ignore[misc]
            parts = back.impl(NUMPY, None, g, *r.saved, *params)
            parts = parts if type(parts) is tuple else (parts,)
            parts = tuple([p if type(p) is np.ndarray else np.asarray(p) for p in parts])
            if every:
                return parts
            found = iter(parts)
            return tuple([next(found) if need else None for need in needed])

        return raw

    return make
