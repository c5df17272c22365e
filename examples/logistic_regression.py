"""Logistic regression by Newton's method, compared with scikit-learn's: 569 tumours, 30 measurements of each.

python examples/logistic_regression.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import gradcore as gc


def tumours() -> tuple[Any, Any]:
    """Measurements in standard units, and 1 for benign."""
    x, y = load_breast_cancer(return_X_y=True)
    return (x - x.mean(axis=0)) / x.std(axis=0), y.astype(float)


def fit(x: Any, y: Any) -> Any:
    """Weights and, last, the intercept; half of the weights' squared norm is added to the loss."""

    def loss(w: Any) -> Any:
        score = x @ w[:-1] + w[-1]
        return np.sum(np.logaddexp(0.0, score) - y * score) + 0.5 * np.sum(w[:-1] ** 2)

    start = np.zeros(x.shape[1] + 1)
    return minimize(loss, start, method="trust-exact", jac=gc.grad(loss), hess=gc.hessian(loss), tol=1e-8)


if __name__ == "__main__":
    x, y = tumours()
    found = fit(x, y)
    theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(x, y)
    difference = np.abs(found.x - np.append(theirs.coef_, theirs.intercept_)).max()
    accuracy = np.mean((x @ found.x[:-1] + found.x[-1] > 0) == (y == 1))
    print(f"accuracy {accuracy:.1%} after {found.nit} iterations, {difference:.1e} from scikit-learn's weights")
