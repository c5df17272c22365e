"""Every op of the table, on every sample: all rules against each other."""

import pytest

from gradcore.testing.cases import cases_of
from gradcore.testing.ops import CHECKS


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("case", cases_of(), ids=str)
def test_rule(case, check):
    CHECKS[check](case)
