"""CUDA devices: what is there, how much memory is in use, streams.  Importing this does not import CuPy.

Example:
    >>> import gradcore as gc
    >>> device = "cuda" if gc.cuda.is_available() else "cpu"
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from gradcore.backend import NUMPY, Device, backend_on
from gradcore.backend.cuda.loader import device_count as device_count
from gradcore.core.tensor import Tensor
from gradcore.factories import asarray
from gradcore.ops.operands import named_tensor

if TYPE_CHECKING:
    from gradcore.backend.cuda.memory import MemoryStats

Place = Device | str | int | None


def is_available() -> bool:
    """Can tensors be put on a CUDA device?  Never raises; the first call imports CuPy where it is installed.

    Example:
        >>> import gradcore as gc
        >>> gc.cuda.is_available() == (gc.cuda.device_count() > 0)
        True
    """
    return device_count() > 0


class DeviceProperties(NamedTuple):
    """What a device is.

    Attributes:
        name: NVIDIA's name.
        capability: major and minor compute capability.
        total_memory: bytes.
        multiprocessors: how many.
    """

    name: str
    capability: tuple[int, int]
    total_memory: int
    multiprocessors: int


def get_device_properties(device: Place = None) -> DeviceProperties:
    """Name, compute capability, memory and multiprocessors of a device ("cuda:0" if none is given).

    Raises:
        DeviceError: the device is not there.
    """
    found = _cupy().cuda.runtime.getDeviceProperties(_index(device))
    capability = found["major"], found["minor"]
    return DeviceProperties(found["name"].decode(), capability, found["totalGlobalMem"], found["multiProcessorCount"])


def get_device_name(device: Place = None) -> str:
    """NVIDIA's name of a device ("cuda:0" if none is given), such as `NVIDIA H100 80GB HBM3`."""
    return get_device_properties(device).name


def synchronize(device: Place = None) -> None:
    """Wait until a device ("cuda:0" if none is given) has done all that it was given.

    Raises:
        DeviceError: the device is not there.
    """
    _cupy().cuda.Device(_index(device)).synchronize()


# --- memory -----------------------------------------------------------------------------------------------------------


def memory_stats(device: Place = None) -> MemoryStats:
    """Bytes in use, peak, reserved and limit of a device ("cuda:0" if none is given).

    The peak is counted from the first `reset_peak_memory_stats`, since counting takes a few microseconds for each
    array; it is None before that.

    Example::

        gc.cuda.reset_peak_memory_stats()
        train_step()
        print(gc.cuda.memory_stats().peak / 2**20, "MiB")
    """
    stats: MemoryStats = _memory(device).stats(_index(device))
    return stats


def reset_peak_memory_stats(device: Place = None) -> None:
    """Count the peak of `memory_stats` from what is in use now."""
    _memory(device).reset_peak(_index(device))


def set_memory_limit(limit: int | float | str | None, device: Place = None) -> None:
    """Let CuPy's pool hold no more than this on a device ("cuda:0" if none is given).

    The pool holds more than arrays ask for: it rounds each up to 512 bytes, and what lies free between them may not fit
    the next.  So the least limit of a program, with `checkpoint_chain` or without, is found by running it once: after
    `empty_cache()` it is what `memory_stats().reserved` says at the end, and some percent more, since it depends on
    addresses which free block the pool takes.

    Args:
        limit: bytes, a share of the device's memory such as 0.5, words such as "4 GiB", or None for no limit.
        device: which one.

    Raises:
        ValueError: the limit is none of these.

    Example::

        gc.cuda.set_memory_limit("4 GiB")
    """
    _memory(device).set_limit(_index(device), limit)


def empty_cache(device: Place = None) -> None:
    """Give the memory that no array holds back to the device, for other programs."""
    _memory(device).empty_cache(_index(device))


# --- streams and copies -----------------------------------------------------------------------------------------------


@contextmanager
def stream(stream: Any = None) -> Iterator[Any]:
    """In the block, this thread's work goes to another stream, and may run beside that of the others.

    Tensors may be made in one stream and used in another: the second waits for what the first did in its block, and
    memory is used again only when all streams are done with it.  From the first block on, order is kept so for all
    tensors; a program that never comes here pays nothing.  Arrays that other CuPy code writes are waited for as far as
    the stream in which they were allocated has come; `check_streams` finds them.

    The simulated device that the tests run on does everything at once.  They show that the waits are there, not what
    they cost.

    Args:
        stream: a `cupy.cuda.Stream`; a new one if none is given.

    Yields:
        The stream.

    Raises:
        DeviceError: there is no CUDA device.

    Example::

        with gc.cuda.stream() as side:
            batch = gc.cuda.pin(rows).to("cuda", non_blocking=True)
        loss = model(batch)  # waits for the copy, and for nothing else
    """
    _cupy()
    from gradcore.backend.cuda import streams

    with streams.entered(stream) as current:
        yield current


@contextmanager
def check_streams() -> Iterator[None]:
    """In the block, it is an error to use an array that other code made in another stream.

    This is for finding the place where a program mixes its own CuPy streams with gradcore's tensors.

    Raises:
        StreamError: (in the block) such an array is used for the first time.

    Example::

        with gc.cuda.check_streams():
            train_step()
    """
    _cupy()
    from gradcore.backend.cuda import streams

    with streams.checking():
        yield


def pin(x: Any) -> Tensor:
    """A copy on the CPU in pinned memory, from which `.to("cuda", non_blocking=True)` copies while Python goes on.

    Args:
        x: tensor or array of any shape, on any device.

    Raises:
        DeviceError: there is no CUDA device.
    """
    _cupy()
    from gradcore.backend.cuda import transfers

    return asarray(transfers.pin(NUMPY.receive(named_tensor(x, "pin").data)))


def _cupy() -> Any:
    return backend_on("cuda").np


def _index(device: Place) -> int:
    """The number of a device that is there."""
    name = "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device
    if Device(name).kind != "cuda":
        raise ValueError(f"{device!r} is not a CUDA device; use 'cuda', 'cuda:N' or N")
    return int(backend_on(name).index)  # type: ignore[attr-defined]


def _memory(device: Place) -> Any:
    _index(device)
    from gradcore.backend.cuda import memory

    return memory
