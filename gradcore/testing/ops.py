"""All checks of one op, for the generated tests and for ops that users register."""

from __future__ import annotations

from collections.abc import Callable

from gradcore.core.op import Op
from gradcore.core.tensor import Tensor
from gradcore.testing.batching import check_batch
from gradcore.testing.cases import Case, cases_of
from gradcore.testing.gradcheck import gradcheck
from gradcore.testing.layouts import check_layouts
from gradcore.testing.overrides import check_abstract, check_meaning, check_out, check_partials
from gradcore.testing.precision import check_precision
from gradcore.testing.staging import check_stage


def check_derivatives(case: Case) -> None:
    """Reverse mode = forward mode = finite differences to the sample's order; or nothing is recorded."""
    operands = case.operands()
    if case.differentiable():
        xs = [operands[k] for k in case.moving(operands)]
        gradcheck(case.function(operands), xs, order=case.sample.order, finite=case.sample.smooth)
    else:
        check_no_gradient(case)


def check_no_gradient(case: Case) -> None:
    """An op without a derivative records nothing."""
    from gradcore.core.cell import Leaf

    boxes = [Tensor(x, Leaf() if x.dtype.kind == "f" else None) for x in case.operands()]
    assert all(out.node is None for out in case.call(*boxes)), f"{case} recorded a gradient, but has no derivative"


CHECKS: dict[str, Callable[[Case], None]] = {
    "derivatives": check_derivatives,
    "batch": check_batch,
    "stage": check_stage,
    "abstract": check_abstract,
    "meaning": check_meaning,
    "partials": check_partials,
    "out": check_out,
    "layouts": check_layouts,
    "precision": check_precision,
}


def check_op(op: Op) -> None:
    """Run every check on every sample of an op.

    Raises:
        AssertionError: a rule of the op is wrong, or it has no samples; the message says which and where.
    """
    cases = cases_of([op])
    assert cases or op.internal, f"'{op.name}' has no samples, so nothing proves its rules; add some to its record"
    for case in cases:
        for check in CHECKS.values():
            check(case)
