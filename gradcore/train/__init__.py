"""Training: a loop, data sets, measures."""

from gradcore.train import datasets
from gradcore.train.loop import Progress, accuracy, fit, train_step

__all__ = ["Progress", "accuracy", "datasets", "fit", "train_step"]
