"""The backends of the CUDA devices, made when they are first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcore.backend.cuda.loader import load
from gradcore.backend.device import DeviceError

if TYPE_CHECKING:
    from gradcore.backend.cuda.backend import CudaBackend

_backends: dict[int, CudaBackend] = {}


def backend_for(index: int) -> CudaBackend:
    """The backend of a device by number.

    Raises:
        DeviceError: it is not there.
    """
    found = _backends.get(index)
    return found if found is not None else _made(index)


def _made(index: int) -> CudaBackend:
    count = load().cuda.runtime.getDeviceCount()
    if index >= count:
        names = ", ".join([f"cuda:{i}" for i in range(count)])
        raise DeviceError(f"device cuda:{index} is not there; this machine has {names}")
    from gradcore.backend.cuda.backend import CudaBackend

    return _backends.setdefault(index, CudaBackend(index))
