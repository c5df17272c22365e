"""What an op overrides against what its family derives: meanings, stated partials, and `out` against new arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY, Arena
from gradcore.core.aval import aval_of
from gradcore.core.bind import as_tuple
from gradcore.core.op import Op, Promotion
from gradcore.ops.elementwise import make_op
from gradcore.ops.scalar import Scalar
from gradcore.testing.cases import Application, Case, applications, cotangents_for, pulled, pushed, tangents_for
from gradcore.testing.compare import assert_all, assert_close, assert_same_bits
from gradcore.testing.layouts import reordered


def check_meaning(case: Case) -> None:
    """Every fused op that the case and its derivatives perform does what it means; so do its derivatives."""
    for application in applications(case, case.operands()):
        if application.op.meaning is not None:
            assert_meaning(application)
    if case.op.meaning is not None:
        _check_derivatives(case, case.op)


def assert_meaning(application: Application) -> None:
    """All outputs of `impl`, auxiliary ones included, equal those of `meaning`."""
    assert application.op.meaning is not None
    want = as_tuple(application.op.meaning(*application.tensors(), *application.params))
    assert_all(assert_close, application.outputs, want, f"'{application.op.name}' against its meaning", tol=1e-11)


def check_partials(case: Case) -> None:
    """Stated partial derivatives equal those derived from the expression."""
    stated = case.op.spec
    if isinstance(stated, Scalar) and stated._partials is not None:
        derived = Scalar(stated.name, stated.inputs, stated.meaning, None, stated.differentiable)
        _check_derivatives(case, make_op(derived, Promotion.NONE, (), "", internal=True))


def _check_derivatives(case: Case, derived: Op) -> None:
    """Vjp and jvp of the case's op equal those of `derived` (of its meaning where it has one)."""
    if not case.differentiable():
        return

    def call(*operands: Any) -> tuple[Any, ...]:
        from gradcore.core.bind import bind
        from gradcore.ops.operands import as_tensor

        tensors = [as_tensor(x) for x in operands]
        params = case.sample.params
        outs = as_tuple(derived.meaning(*tensors, *params) if derived.meaning else bind(derived, tensors, params))
        return outs if derived.visible < 0 else outs[: derived.visible]

    operands = case.operands()
    ws, vs, count = cotangents_for(case, operands), tangents_for(case, operands), len(operands)
    for make, more, name in ((pulled, ws, "vjp"), (pushed, vs, "jvp")):
        got, want = make(case, count)(*operands, *more), make(case, count, call)(*operands, *more)
        assert_all(assert_close, got, want, f"{name} of {case} against what is derived", tol=1e-10)


def check_out(case: Case) -> None:
    """`impl` writes the same bits into given memory as into new, with its scratch in an arena too."""
    plain = [case.operands(dtype) for dtype in (np.float64, np.float32, np.float16)]
    for operands in (*plain, [reordered(x) for x in plain[0]]):
        for application in applications(case, operands):
            if not is_view(application):
                assert_out(application)


def is_view(application: Application) -> bool:
    """Whether the result is a view of an operand."""
    op = application.op
    avals = [aval_of(v) for v in application.values]
    return op.alias is not None and op.alias(*avals, *application.params) is not None


def assert_out(application: Application) -> None:
    """With and without `out`, with new scratch and with reused scratch."""
    arena = Arena()
    what = f"'{application.op.name}' on {[_kind(v) for v in application.values]}"
    assert_all(assert_same_bits, into(application, NUMPY), application.outputs, f"{what} with out=")
    for _ in range(2):
        arena.block.fill(0xFF)
        fresh = run(application, None, arena)
        arena.reset()
        arena.block.fill(0xFF)
        assert_all(assert_same_bits, fresh, application.outputs, f"{what} in an arena")
        assert_all(assert_same_bits, into(application, arena), application.outputs, f"{what} in an arena with out=")
        arena.reset()


def into(application: Application, backend: Any) -> Sequence[Any]:
    """The outputs, written into memory that held something else."""
    outs = tuple([_filled(output) for output in application.outputs])
    run(application, outs if application.op.multiple else outs[0], backend)
    return outs


def run(application: Application, out: Any, backend: Any) -> Sequence[Any]:
    return as_tuple(backend.run(application.op, out, application.values, application.params))


def _filled(like: Any) -> Any:
    """Memory that holds something wrong."""
    out = np.empty(like.shape, like.dtype)
    out.fill(True if like.dtype.kind == "b" else 77)
    return out


def _kind(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)


def check_abstract(case: Case) -> None:
    """`abstract` states shape and dtype of every output, in every floating dtype."""
    for dtype in (np.float64, np.float32, np.float16):
        for application in applications(case, case.operands(dtype)):
            avals = [aval_of(v) for v in application.values]
            stated = as_tuple(application.op.abstract(*avals, *application.params))
            real = [(o.shape, o.dtype) for o in application.outputs]
            what = f"'{application.op.name}' on {avals}"
            assert [(a.shape, a.dtype) for a in stated] == real, f"{what}: gave {real}, but `abstract` says {stated}"
