"""Data sets that come with scikit-learn, split and ready to train on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradcore.data.prepare import Split, prepare


def digits(test_share: float = 0.2, dtype: Any = np.float32) -> Split:
    """The 1797 handwritten digits, 8 by 8 pixels, 10 classes.

    Args:
        test_share: share of the examples for testing.
        dtype: of the tensors.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.

    Example:
        >>> data = digits()
        >>> data.train_x.shape, data.test_x.shape
        ((1438, 64), (359, 64))
    """
    from sklearn.datasets import load_digits

    return _prepared(load_digits, test_share, dtype)


def wine(test_share: float = 0.2, dtype: Any = np.float32) -> Split:
    """178 wines of 3 growers, 13 measurements; arguments as for `digits`."""
    from sklearn.datasets import load_wine

    return _prepared(load_wine, test_share, dtype)


def breast_cancer(test_share: float = 0.2, dtype: Any = np.float32) -> Split:
    """569 tumours, malignant (0) or benign (1), 30 measurements; arguments as for `digits`."""
    from sklearn.datasets import load_breast_cancer

    return _prepared(load_breast_cancer, test_share, dtype)


def diabetes(test_share: float = 0.2, dtype: Any = np.float32) -> Split:
    """442 patients, 10 measurements, and how far the disease went in a year (regression); arguments as for `digits`."""
    from sklearn.datasets import load_diabetes

    return _prepared(load_diabetes, test_share, dtype)


def _prepared(load: Callable[..., tuple[Any, Any]], test_share: float, dtype: Any) -> Split:
    return prepare(*load(return_X_y=True), None, test_share, dtype)
