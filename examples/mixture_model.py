"""A mixture of three normal distributions, fitted by the gradient of the log-likelihood alone.

python examples/mixture_model.py

Weights are a softmax and deviations an exponential of free parameters, so no step can leave the domain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

import gradcore as gc
from gradcore.special import logsumexp

WEIGHTS, MEANS, DEVIATIONS = np.array([0.5, 0.3, 0.2]), np.array([-2.0, 0.5, 3.0]), np.array([0.6, 0.4, 0.8])


def example(count: int = 3000, seed: int = 0) -> Any:
    """Numbers drawn from the mixture."""
    rng = np.random.default_rng(seed)
    part = rng.choice(3, count, p=WEIGHTS)
    return MEANS[part] + DEVIATIONS[part] * rng.normal(size=count)


def mean_negative_log_likelihood(parameters: Any, data: Any) -> Any:
    """Of the data, for logits, means and logarithms of the deviations."""
    logits, means, logs = parameters[:3], parameters[3:6], parameters[6:]
    z = (data[:, None] - means) * np.exp(-logs)
    parts = logits - logsumexp(logits) - logs - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    return -np.mean(logsumexp(parts, axis=1))


def fit(data: Any) -> tuple[Any, Any, Any]:
    """Weights, means and deviations; the means start at three quantiles."""
    start = np.concatenate([np.zeros(3), np.quantile(data, [0.2, 0.5, 0.8]), np.zeros(3)])
    found = minimize(gc.value_and_grad(mean_negative_log_likelihood), start, (data,), "BFGS", jac=True)
    weights = np.exp(found.x[:3] - logsumexp(found.x[:3]))
    return weights, found.x[3:6], np.exp(found.x[6:])


if __name__ == "__main__":
    for name, fitted, drawn in zip(
        ("weights", "means", "deviations"), fit(example()), (WEIGHTS, MEANS, DEVIATIONS), strict=True
    ):
        print(f"{name:10} {np.round(fitted, 2).tolist()}, drawn with {drawn.tolist()}")
