"""The short cut of every op against the general path: the same bits, forward and by `backward()`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import product
from typing import Any

import numpy as np

from gradcore.autodiff.tape import backward
from gradcore.core.bind import as_tuple
from gradcore.core.cell import Leaf
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Promotion
from gradcore.core.tensor import Tensor
from gradcore.testing.cases import Case, cotangents_for
from gradcore.testing.compare import assert_all, assert_same_bits
from gradcore.testing.layouts import contiguous, reordered

Public = Callable[..., Any]


def check_paths(case: Case, public: Public) -> None:
    """All dtypes, two layouts, every subset of operands that want a gradient, Python scalars on either side."""
    for dtype, layout in product((np.float64, np.float32, np.float16), (contiguous, reordered)):
        operands = [layout(x) for x in case.operands(dtype)]
        ws = cotangents(case, operands)
        for wanted in _subsets(case.moving(operands)):
            assert_same_paths(public, operands, case.sample.params, wanted, ws, f"{case} ({dtype.__name__})")
    if case.op.promotion is not Promotion.NONE and case.op.spec is not None and len(case.op.inputs) in (2, 3):
        _check_scalars(case, public)


def cotangents(case: Case, operands: Sequence[Any]) -> list[Any]:
    return cotangents_for(case, operands) if case.differentiable() else []


def _check_scalars(case: Case, public: Public) -> None:
    """Every choice of operands as Python numbers, but not all of them."""
    tensors = case.operands(np.float32)
    places = [k for k, x in enumerate(tensors) if x.dtype.kind == "f"]
    for scalar, numbers in product((0.5, 2, True), _subsets(places)[1:]):
        operands = [scalar if k in numbers else x for k, x in enumerate(tensors)]
        if len(numbers) == len(operands):
            continue
        ws = cotangents(case, [np.asarray(x, np.float32) if k in numbers else x for k, x in enumerate(operands)])
        wanted = [k for k in case.moving(tensors) if k not in numbers] if ws else []
        assert_same_paths(public, operands, (), wanted, ws if wanted else [], f"{case} with {scalar!r} at {numbers}")


def _subsets(positions: Sequence[int]) -> list[list[int]]:
    choices = product((False, True), repeat=len(positions))
    return [[k for k, on in zip(positions, choice, strict=True) if on] for choice in choices]


def assert_same_paths(
    public: Public, operands: Sequence[Any], params: tuple[Any, ...], wanted: list[int], ws: Sequence[Any], what: str
) -> None:
    """The call with nothing unusual open, with a hook that does nothing, and past the short cut."""
    short = _outputs_and_gradients(public, operands, params, wanted, ws, hook=False)
    for name, call in (("watched", public), ("general", _general(public, len(operands)))):
        other = _outputs_and_gradients(call, operands, params, wanted, ws, hook=True)
        assert_all(assert_same_bits, short, other, f"short cut of {what}, gradients of {wanted}, {name}")


def _general(public: Public, count: int) -> Public:
    """What a generated function, which was called before, does where it does not apply."""
    return lambda *values: public.__globals__["slow"](values[:count], values[count:])


def _outputs_and_gradients(
    public: Public, operands: Sequence[Any], params: tuple[Any, ...], wanted: list[int], ws: Any, hook: bool
) -> list[Any]:
    boxes = [
        Tensor(x, Leaf() if k in wanted else None) if isinstance(x, np.ndarray) else x for k, x in enumerate(operands)
    ]
    with hooked(Hook()) if hook else nullcontext():
        outs = as_tuple(public(*boxes, *params))
        floating = [out for out in outs if out.dtype.kind == "f"]
        if wanted and floating and ws:
            assert floating[0].node is not None, "no gradient was recorded"
            backward(floating[0], Tensor(ws[0]))
        else:
            assert all(out.node is None for out in outs), "a gradient was recorded that nobody wants"
    results = [*outs, *[boxes[k].grad for k in wanted if ws]]
    for result in results:
        assert result is None or type(result.data) is np.ndarray, f"{type(result.data)} where an array belongs"
    return results
