"""The training steps of `steps.py` under pytest-benchmark: `pytest bench --benchmark-only`.

One group per problem, so that each table shows the libraries side by side with their ratios.  Nothing here asserts a
time; only that the libraries agree.  The budgets are judged by `compare.py`, whose steps are interleaved.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from steps import FRAMEWORKS, PROBLEMS, Framework, agree

pytest.importorskip("pytest_benchmark")


@pytest.fixture(scope="module", params=PROBLEMS)
def problem(request: Any) -> Any:
    return PROBLEMS[request.param]


def test_losses_agree(problem: Any) -> None:
    agree(problem)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda f: f.name)
def test_step(benchmark: Any, problem: Any, framework: Framework) -> None:
    """One training step."""
    if not framework.installed:
        pytest.skip(f"{framework.package} is not installed")
    benchmark.group = problem.name
    step = framework.make(problem)
    step()
    benchmark(lambda: float(step()))
