"""Eval: perform an op now, on raw arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.backend import NUMPY, Backend, backend_of
from gradcore.core.bind import as_tuple
from gradcore.core.errors import DeviceError
from gradcore.core.op import Op
from gradcore.core.state import state

SCALARS = (bool, int, float)


def evaluate(op: Op, values: Sequence[Any], params: tuple[Any, ...], out: Any = None) -> Any:
    """The outputs of `op` as raw arrays, new ones or `out`; hooks of this thread are told."""
    backend: Backend = NUMPY
    for value in values:
        if type(value) is not np.ndarray and not isinstance(value, SCALARS):
            backend = place_of(op, values)
            break
    hooks = state.hooks
    for hook in hooks:
        hook.before(op, values, params)
    outputs = backend.run(op, out, values, params)
    for hook in hooks:
        hook.after(op, values, params, as_tuple(outputs))
    return outputs


def place_of(op: Op, values: Sequence[Any]) -> Backend:
    """The backend that performs `op` on raw arrays and numbers."""
    return meeting(op, [None if isinstance(value, SCALARS) else backend_of(value) for value in values])


def meeting(op: Op, backends: Sequence[Backend | None]) -> Backend:
    """The one backend of all operands (None: a number); those that `op.host` names may be on the CPU.

    Raises:
        DeviceError: the operands are on several devices.
    """
    found = {b for i, b in enumerate(backends) if b is not None and not (i in op.host and b is NUMPY)}
    if len(found) > 1:
        devices = " and ".join(sorted([str(backend.device) for backend in found]))
        raise DeviceError(f"'{op.name}' got tensors on {devices}; move them to one device with .to(device)")
    return found.pop() if found else NUMPY
