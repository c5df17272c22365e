"""Training: a loop that can be interrupted and resumed, callbacks, measures."""

from gradcore.train.callbacks import Callback, Checkpoint, EarlyStopping
from gradcore.train.logs import CSVLog, JSONLines, ProgressBar, TensorBoard
from gradcore.train.loop import fit, train_step
from gradcore.train.measures import accuracy, evaluate, predict
from gradcore.train.run import DivergedError, Progress, Run
from gradcore.train.warming import Warmth, warmup

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "DivergedError",
    "EarlyStopping",
    "JSONLines",
    "Progress",
    "ProgressBar",
    "Run",
    "TensorBoard",
    "Warmth",
    "accuracy",
    "evaluate",
    "fit",
    "predict",
    "train_step",
    "warmup",
]
