"""Operands that are not C-contiguous: the results are those of contiguous copies, and contiguous or declared views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradcore.core.aval import aval_of
from gradcore.core.errors import RuleError
from gradcore.testing.cases import Application, Case, applications, cotangents_for, pulled
from gradcore.testing.compare import assert_all, assert_close

Layout = Callable[[Any], Any]


def contiguous(x: Any) -> Any:
    """The same array in C order (`numpy.ascontiguousarray` would add an axis to a scalar)."""
    return np.asarray(x, order="C")


def reordered(x: Any) -> Any:
    """The same array with its axes in memory in reverse order."""
    return np.asarray(x, order="F")


def strided(x: Any) -> Any:
    """The same array as every second element of a larger one."""
    wide = np.zeros((*x.shape, 2), x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


def reversed_(x: Any) -> Any:
    """The same array with negative strides."""
    index = (slice(None, None, -1),) * x.ndim
    return x[index].copy()[index] if x.ndim else x


def broadcast(x: Any) -> Any:
    """A view of the first entry along each axis, with strides of zero (other values than x)."""
    return np.broadcast_to(x[(slice(0, 1),) * x.ndim], x.shape) if x.size else x


def _refused(case: Case, operands: Sequence[Any]) -> bool:
    """Are these other values outside of the domain of the op?  Matrices of equal entries are singular."""
    try:
        case.call(*operands)
        if case.differentiable():
            pulled(case, len(operands))(*operands, *cotangents_for(case, operands))
        applications(case, operands)
    except (np.linalg.LinAlgError, RuleError) as error:
        return isinstance(error, np.linalg.LinAlgError) or isinstance(error.__cause__, np.linalg.LinAlgError)
    return False


LAYOUTS: tuple[Layout, ...] = (reordered, strided, reversed_, broadcast)


def check_layouts(case: Case) -> None:
    """Values and gradients from every layout."""
    for layout in LAYOUTS:
        operands = [x if x.dtype == np.uint64 else layout(x) for x in case.operands()]
        copies = [contiguous(x) for x in operands]
        if layout is broadcast and _refused(case, copies):
            continue
        what = f"{case} on {layout.__name__.strip('_')} operands"
        assert_all(assert_close, case.call(*operands), case.call(*copies), what)
        if case.differentiable():
            ws = cotangents_for(case, operands)
            pull = pulled(case, len(operands))
            moved = [layout(w) for w in ws]
            want = pull(*copies, *map(contiguous, moved))
            assert_all(assert_close, pull(*operands, *moved), want, f"vjp of {what}")
        for application in applications(case, operands):
            assert_ordered(application)


def assert_ordered(application: Application) -> None:
    """Every result is C-contiguous or a declared view."""
    op = application.op
    avals = [aval_of(v) for v in application.values]
    if op.alias is not None and op.alias(*avals, *application.params) is not None:
        return
    for output in application.outputs:
        assert output.flags.c_contiguous, (
            f"'{op.name}' gave strides {output.strides} for shape {output.shape}; it must be C-contiguous "
            f"(operands: {[_layout(v) for v in application.values]})"
        )


def _layout(value: Any) -> Sequence[Any]:
    return (value.shape, value.strides) if isinstance(value, np.ndarray) else (value,)
