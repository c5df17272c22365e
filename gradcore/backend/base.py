"""The interface that every backend implements, and how to find the backend of an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gradcore.backend.device import Device, DeviceError

if TYPE_CHECKING:
    from gradcore.kernels.spec import ElementwiseSpec


class Backend(Protocol):
    """What an op's `impl` may ask of a device.  Called `xp` there; `xp.np` is the array namespace."""

    device: Device
    np: Any

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """A new C-contiguous array with undefined elements."""

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array for the duration of one `impl`; its memory may be used again afterwards."""

    def launch(self, spec: ElementwiseSpec, out: Any, arrays: Sequence[Any]) -> Any:
        """Run an elementwise kernel: into `out` (a tuple) where given, else into new arrays."""

    def launch_groups(self, spec: ElementwiseSpec, out: Any, operands: Sequence[Any], shared: int) -> Any:
        """Run one kernel on many groups of arrays: `shared` 0-d operands for all, then the operands of each group.

        Returns the outputs of all groups in one tuple, written to `out` where that is given.
        """

    def run(self, op: Any, out: Any, values: Sequence[Any], params: tuple[Any, ...]) -> Any:
        """Perform `op` on raw arrays; float16 computes in float32 and rounds once."""

    def philox(self, key: Any, count: int) -> Any:
        """`count` 64-bit words of the Philox4x64-10 stream of `key` (uint64[2]), as `numpy.random.Philox` gives."""


_BY_ARRAY_TYPE: dict[type, Backend] = {}
_BY_KIND: dict[str, Backend] = {}


def register_backend(kind: str, array_type: type, backend: Backend) -> None:
    _BY_ARRAY_TYPE[array_type] = backend
    _BY_KIND[kind] = backend


def backend_of(array: Any) -> Backend:
    """The backend whose arrays are of this type."""
    backend = _BY_ARRAY_TYPE.get(type(array))
    if backend is None:
        raise TypeError(f"gradcore cannot compute with {type(array).__name__}; make a tensor of it first")
    return backend


def backend_on(device: Device | str) -> Backend:
    """The backend of a device.

    Raises:
        DeviceError: the device is not there.
    """
    device = Device(device)
    if device.kind not in _BY_KIND:
        raise DeviceError(f"device {device} is not available: this version of gradcore computes on the CPU only")
    return _BY_KIND[device.kind]
