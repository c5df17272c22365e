"""Memory: what is in use and who holds it, checkpointing, and schedules that fit a budget."""

from gradcore.autodiff.checkpoint import (
    RECOMPUTE,
    SAVE,
    Choice,
    Made,
    checkpoint,
    recompute_names,
    recompute_ops,
    save_names,
    save_ops,
)

__all__ = [
    "RECOMPUTE",
    "SAVE",
    "Choice",
    "Made",
    "checkpoint",
    "recompute_names",
    "recompute_ops",
    "save_names",
    "save_ops",
]
