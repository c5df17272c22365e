"""Exceptions.  Each message says what happened, on which of the user's lines, and what to do instead."""

from __future__ import annotations

from gradcore.backend.device import DeviceError as DeviceError  # backends stand below and raise it too
from gradcore.backend.device import GradcoreError as GradcoreError
from gradcore.backend.device import KernelError as KernelError
from gradcore.backend.device import OutOfMemoryError as OutOfMemoryError
from gradcore.backend.device import StreamError as StreamError


class RuleError(GradcoreError, RuntimeError):
    """A derivative or batching rule failed; the message names the op and the user's forward line."""


class GraphFreedError(GradcoreError, RuntimeError):
    """`backward()` was called again on a graph whose saved values are gone."""


class AssignedError(GradcoreError, RuntimeError):
    """A parameter was assigned between the forward pass that read it and `backward()`."""


class AnomalyError(GradcoreError, ArithmeticError):
    """`detect_anomaly` found a NaN or an infinity; the message names the op and the user's line."""


class ChangedError(GradcoreError, RuntimeError):
    """`check_saved` found that an array changed after the forward pass had saved it for the backward pass."""


class LeakedTensorError(GradcoreError, RuntimeError):
    """A tensor of a transform (or of a capture) was used after the transform had ended."""


class StageError(GradcoreError, RuntimeError):
    """The captured function asked for something that only exists when it runs, such as an element's value."""


class BatchError(GradcoreError, ValueError):
    """`vmap` cannot do what was asked; the message says what to do instead."""
