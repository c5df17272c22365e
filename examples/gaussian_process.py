"""A Gaussian process whose length, amplitude and noise are fitted by the gradient of the marginal likelihood.

python examples/gaussian_process.py

The data are drawn from a process whose hyperparameters are known.  Formulas: Rasmussen and Williams, Gaussian Processes
for Machine Learning, equations 2.25 and 2.30.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

import gradcore as gc

TRUTH = {"length": 0.6, "amplitude": 1.5, "noise": 0.2}


def covariance(a: Any, b: Any, length: Any, amplitude: Any) -> Any:
    """Smooth functions: near points have near values."""
    return amplitude**2 * np.exp(-0.5 * ((a[:, None] - b) / length) ** 2)


def example(count: int = 60, seed: int = 0) -> tuple[Any, Any, Any]:
    """Places, noisy values, and the values without noise."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-5, 5, count))
    k = covariance(x, x, TRUTH["length"], TRUTH["amplitude"])
    values = np.linalg.cholesky(k + 1e-9 * np.eye(count)) @ rng.normal(size=count)
    return x, values + TRUTH["noise"] * rng.normal(size=count), values


def negative_log_likelihood(logs: Any, x: Any, y: Any) -> Any:
    """Of the values `y`, given the logarithms of length, amplitude and noise."""
    length, amplitude, noise = np.exp(logs)
    k = covariance(x, x, length, amplitude) + noise**2 * np.eye(len(x))
    factor = np.linalg.cholesky(k)
    white = np.linalg.solve(factor, y)
    return 0.5 * np.sum(white**2) + np.sum(np.log(np.diagonal(factor))) + 0.5 * len(x) * np.log(2 * np.pi)


def fit(x: Any, y: Any) -> dict[str, float]:
    """The hyperparameters under which the values are most likely."""
    found = minimize(gc.value_and_grad(negative_log_likelihood), np.zeros(3), (x, y), "BFGS", jac=True)
    return dict(zip(TRUTH, np.exp(found.x).tolist(), strict=True))


def mean(at: Any, x: Any, y: Any, length: float, amplitude: float, noise: float) -> Any:
    """What the process expects at other places."""
    k = covariance(x, x, length, amplitude) + noise**2 * np.eye(len(x))
    return covariance(at, x, length, amplitude) @ np.linalg.solve(k, y)


if __name__ == "__main__":
    x, y, values = example()
    fitted = fit(x, y)
    for name, value in fitted.items():
        print(f"{name:9} {value:.3f}, drawn with {TRUTH[name]}")
    error = np.sqrt(np.mean((mean(x, x, y, **fitted) - values) ** 2))
    print(f"error of the values {error:.3f}, of the data {np.sqrt(np.mean((y - values) ** 2)):.3f}")
