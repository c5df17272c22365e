"""Eval: perform an op now, on raw arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcore.backend import backend_of
from gradcore.core.bind import as_tuple
from gradcore.core.errors import DeviceError
from gradcore.core.op import Op
from gradcore.core.state import state

SCALARS = (bool, int, float)


def evaluate(op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
    """The outputs of `op` as new raw arrays; hooks of this thread are told."""
    arrays = [value for value in values if not isinstance(value, SCALARS)]
    backend = backend_of(arrays[0])
    if any(type(array) is not type(arrays[0]) for array in arrays):
        kinds = " and ".join(sorted({str(backend_of(array).device) for array in arrays}))
        raise DeviceError(f"'{op.name}' got tensors on {kinds}; move them to one device with .to(device)")
    for hook in state.hooks:
        hook.before(op, values, params)
    outputs = backend.run(op, None, values, params)
    for hook in state.hooks:
        hook.after(op, values, params, as_tuple(outputs))
    return outputs
