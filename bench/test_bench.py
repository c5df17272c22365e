"""The training steps of `steps.py` under pytest-benchmark: `pytest bench --benchmark-only`.

One group per problem, so that each table shows the libraries side by side with their ratios.  Nothing here asserts a
time; only that the libraries agree.  The budgets are judged by `compare.py`, whose steps are interleaved.  On a GPU,
`pytest bench --benchmark-only -m gpu` times the steps of `cuda_steps.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cuda_steps
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


MAKERS = {"gradcore": cuda_steps.gradcore_step, "by hand in CuPy": cuda_steps.ByHand}


@pytest.mark.gpu
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("network", cuda_steps.NETWORKS.values(), ids=lambda n: n.name)
def test_cuda_step(benchmark: Any, network: cuda_steps.Network, name: str) -> None:
    """One training step on a CUDA device, waited for."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    benchmark.group = f"CUDA, {network.name}"
    step = MAKERS[name](network)
    step()

    def waited() -> None:
        step()
        cupy.cuda.get_current_stream().synchronize()

    benchmark(waited)
