"""Optimisers."""

from gradcore.optim.adamw import AdamW
from gradcore.optim.optimizer import Optimizer
from gradcore.optim.sgd import SGD

__all__ = ["SGD", "AdamW", "Optimizer"]
