"""Proof that derivatives are right: `gradcheck` for any function, and the checks that every op of the table passes."""

from gradcore.testing.cases import Case, cases_of, without_samples
from gradcore.testing.gradcheck import gradcheck
from gradcore.testing.ops import check_op
from gradcore.testing.result import GradcheckError, GradcheckResult

__all__ = ["Case", "GradcheckError", "GradcheckResult", "cases_of", "check_op", "gradcheck", "without_samples"]
