"""Newton's method on Rosenbrock's valley: gradient and Hessian come from the function itself.

python examples/rosenbrock.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

import gradcore as gc


def rosenbrock(x: Any) -> Any:
    """The least value, 0, is at (1, 1, ..., 1), at the end of a curved valley."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def solve(size: int = 10) -> OptimizeResult:
    """Start on the other side of the origin."""
    start = np.full(size, -0.5)
    derivatives = {"jac": gc.grad(rosenbrock), "hess": gc.hessian(rosenbrock)}
    return minimize(rosenbrock, start, method="trust-exact", tol=1e-8, **derivatives)


if __name__ == "__main__":
    found = solve()
    print(f"distance from the minimum {np.linalg.norm(found.x - 1):.1e}, {found.nit} iterations")
