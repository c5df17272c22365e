"""Finds CuPy, once, when CUDA is first asked for."""

from __future__ import annotations

from functools import cache
from typing import Any

from gradcore.backend.device import DeviceError

INSTALL = "pip install 'gradcore[cuda13]' (CUDA 13 drivers, 580 or newer) or 'gradcore[cuda12]' (525 or newer)"


@cache
def load() -> Any:
    """The module `cupy`, with at least one device that works.

    Raises:
        DeviceError: CuPy is missing or broken, the driver is missing or too old, or there is no device.
    """
    try:
        import cupy
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        what = "CuPy is not installed" if missing else f"CuPy does not import ({error})"
        raise DeviceError(f"no CUDA device can be used: {what}; {INSTALL}") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise DeviceError(f"no CUDA device can be used: {_explained(str(error))}") from error
    if count == 0:
        raise DeviceError("no CUDA device can be used: the driver sees none (is CUDA_VISIBLE_DEVICES empty?)")
    return cupy


def _explained(message: str) -> str:
    """What the runtime's error means, and the cure."""
    if "InsufficientDriver" in message:
        return (
            f"the NVIDIA driver is older than the CUDA version of CuPy ({message}); update the driver "
            f"(https://www.nvidia.com/drivers), or install CuPy for an older CUDA: {INSTALL}"
        )
    if "NoDevice" in message:
        return f"the driver sees none ({message}); is CUDA_VISIBLE_DEVICES empty, or docker without --gpus all?"
    return f"{message}; `gradcore doctor` says what is installed"


@cache
def device_count() -> int:
    """How many CUDA devices there are; 0 where CUDA cannot be used, for whatever reason."""
    try:
        return int(load().cuda.runtime.getDeviceCount())
    except Exception:
        return 0
