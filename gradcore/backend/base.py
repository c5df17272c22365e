"""The interface that every backend implements, and how to find the backend of an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gradcore.backend.device import Device

if TYPE_CHECKING:
    from gradcore.kernels.spec import ElementwiseSpec


class Block(NamedTuple):
    """Memory that was asked for at once: a number of its own while it is alive, the bytes, the array that owns it."""

    key: int
    size: int
    owner: Any


class MemoryWatcher(Protocol):
    """What is told of memory that is asked for outside ops (CPU), or at all (CUDA)."""

    def made(self, array: Any) -> None:
        """CPU: an array was made."""

    def allocated(self, key: int, size: int) -> None:
        """CUDA: a block of this many bytes was asked for."""

    def freed(self, key: int) -> None:
        """CUDA: a block went back to the pool."""

    def grown(self) -> None:
        """CUDA: the pool asked the device for more."""


class Backend(Protocol):
    """What an op's `impl` may ask of a device.  Called `xp` there; `xp.np` is the array namespace."""

    device: Device
    name: str
    np: Any
    checks_values: bool  # may `impl` look at elements?  On a GPU the CPU would have to wait for them

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

    def reduce(self, kind: str, x: Any, axes: Any, out: Any = None, keepdims: bool = False) -> Any:
        """`numpy.<kind>.reduce` over `axes` (None: all); add, multiply, maximum, minimum, logical_or or logical_and."""

    def add_at(self, out: Any, indices: Any, updates: Any, axis: int) -> None:
        """Add updates to `out` at positions along an axis, those of equal positions in order."""

    def affine(self, out: Any, x: Any, w: Any, b: Any) -> Any:
        """X @ w.T + b of matrices x and w, into `out` where given."""

    def make(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """An array by a function of the namespace, outside of any op; errors name the function."""

    def copy(self, out: Any, array: Any) -> None:
        """Write the elements of `array` to `out`, which has its shape and dtype."""

    def contiguous(self, array: Any) -> Any:
        """The array, or a C-contiguous copy of it."""

    def receive(self, array: Any, non_blocking: bool = False) -> Any:
        """An array of any device, here; itself where it is here already."""

    def fetch(self, array: Any) -> Any:
        """An array of this device as a NumPy array."""

    def block_of(self, array: Any) -> Block | None:
        """The memory that an array, or what it is a view of, lives in; None where it is not from our allocator."""

    def watched(self, watcher: MemoryWatcher) -> AbstractContextManager[None]:
        """While the block runs, `watcher` is told of the memory that this thread asks for."""

    def reserved(self) -> int | None:
        """Bytes that the pool holds; None where there is no pool."""

    def philox(self, key: Any, count: int) -> Any:
        """`count` 64-bit words of the Philox4x64-10 stream of `key` (uint64[2]), as `numpy.random.Philox` gives."""


_BY_ARRAY_TYPE: dict[type, Callable[[Any], Backend]] = {}
_BY_KIND: dict[str, Callable[[int], Backend]] = {}


def register_backend(kind: str, find: Callable[[int], Backend]) -> None:
    """`find(index)` gives the backend of a device of this kind."""
    _BY_KIND[kind] = find


def register_arrays(array_type: type, find: Callable[[Any], Backend]) -> None:
    """`find(array)` gives the backend of an array of this type."""
    _BY_ARRAY_TYPE[array_type] = find


def backend_of(array: Any) -> Backend:
    """The backend whose arrays are of this type."""
    find = _BY_ARRAY_TYPE.get(type(array))
    if find is None:
        raise TypeError(f"gradcore cannot compute with {type(array).__name__}; make a tensor of it first")
    return find(array)


def backend_on(device: Device | str) -> Backend:
    """The backend of a device.

    Raises:
        DeviceError: the device is not there.
    """
    device = Device(device)
    return backend_number(device.kind, device.index)


def backend_number(kind: str, index: int) -> Backend:
    """The backend of a device by its kind and number."""
    return _BY_KIND[kind](index)


def is_cupy(value: Any) -> bool:
    """Is it a CuPy array?  Then CuPy is loaded; this does not import it."""
    kind = type(value)
    return kind.__name__ == "ndarray" and kind.__module__.partition(".")[0] == "cupy"
