"""Optimisers and learning rate schedules."""

import typing as _typing
from importlib import import_module as _import_module

from gradcore.optim.adagrad import Adagrad
from gradcore.optim.adam import Adam, AdamW
from gradcore.optim.lion import Lion
from gradcore.optim.optimizer import Optimizer
from gradcore.optim.rmsprop import RMSprop
from gradcore.optim.sgd import SGD

if _typing.TYPE_CHECKING:
    from gradcore.optim import lr_scheduler as lr_scheduler

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop", "lr_scheduler"]


def __getattr__(name: str) -> _typing.Any:
    if name == "lr_scheduler":  # imported when it is first asked for
        return _import_module("gradcore.optim.lr_scheduler")
    raise AttributeError(f"module 'gradcore.optim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
