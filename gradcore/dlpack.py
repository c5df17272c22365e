"""Arrays of other libraries without a copy, through DLPack (the Python array API standard, version 2023.12)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.backend import Device, backend_of, backend_on
from gradcore.core.errors import DeviceError
from gradcore.core.graph import Var
from gradcore.core.tensor import Tensor, Traced
from gradcore.factories import asarray

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13  # DLDeviceType


def from_dlpack(x: Any) -> Tensor:
    """A Tensor in the memory of an array of NumPy, CuPy, PyTorch, JAX or any other library that speaks DLPack.

    The array must not be changed while the Tensor is in use, and nothing of ours writes into it.

    Args:
        x: an array with `__dlpack__`, on the CPU or on a CUDA device.

    Raises:
        TypeError: it is no such array, or it holds other than real numbers and booleans.
        DeviceError: it is on another kind of device, or CuPy is needed and missing.

    Example:
        >>> import numpy as np, gradcore as gc
        >>> gc.from_dlpack(np.arange(3))
        tensor([0, 1, 2], dtype=int64, device='cpu')
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack takes an array with __dlpack__, not {type(x).__name__}; use gradcore.tensor")
    kind, index = x.__dlpack_device__()
    if kind in (CPU, CUDA_HOST):
        return asarray(_numpy_view(x))
    if kind in (CUDA, CUDA_MANAGED):
        return asarray(backend_on(f"cuda:{index}").adopt(x))  # type: ignore[attr-defined]
    raise DeviceError(f"from_dlpack got an array on a device of type {kind}; gradcore has the CPU and CUDA")


def _numpy_view(x: Any) -> Any:
    try:
        return np.from_dlpack(x)
    except RuntimeError as error:
        raise TypeError(f"from_dlpack got an array that NumPy cannot hold ({error}); cast it to float32") from error


def export(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """The memory as a DLPack capsule, marked as read-only where NumPy holds it and the protocol can say so.

    Raises:
        BufferError: it needs a gradient, has no elements of its own, or is read-only where the protocol cannot say so.
    """
    if isinstance(self, Traced) or self.node is not None:
        raise BufferError(
            "a tensor that records its gradient cannot be given to another library, whose results would have none; "
            "pass x.detach()"
        )
    if isinstance(self.data, Var):
        raise BufferError("a tensor of a captured graph has elements only when the graph runs; return it")
    if type(self.data) is np.ndarray:
        return _from_cpu(self.data, max_version, dl_device, copy)
    backend: Any = backend_of(self.data)
    return backend.lend(self.data, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def _from_cpu(array: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    if max_version is not None and not copy:
        array = array.view()
        array.flags.writeable = False
    try:
        return array.__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)
    except BufferError as error:
        raise BufferError(f"{error} Pass x.numpy().copy()") from error


def device_of(self: Tensor) -> tuple[int, int]:
    """Type and number of the device, as DLPack counts them."""
    device = Device(self.aval.device)
    return (CPU, 0) if device.kind == "cpu" else (CUDA, device.index)
