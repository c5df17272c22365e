"""Optimisers and learning rate schedules."""

from gradcore.optim import lr_scheduler as lr_scheduler
from gradcore.optim.adagrad import Adagrad
from gradcore.optim.adam import Adam, AdamW
from gradcore.optim.lion import Lion
from gradcore.optim.optimizer import Optimizer
from gradcore.optim.rmsprop import RMSprop
from gradcore.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop", "lr_scheduler"]
