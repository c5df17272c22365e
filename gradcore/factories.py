"""The functions that make tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.backend import Backend, Device, backend_of, backend_on, is_cupy, native
from gradcore.core.cell import Cell, Leaf
from gradcore.core.tensor import Tensor
from gradcore.ops.conversion import to_device
from gradcore.ops.operands import as_tensor, on_backend

Place = Device | str | None


def tensor(data: Any, dtype: Any = None, device: Place = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor with a copy of `data`.

    Args:
        data: numbers, nested lists of numbers, a NumPy or CuPy array, or a Tensor. Python floats become float32; arrays
            keep their dtype.
        dtype: anything that `numpy.dtype` takes.
        device: "cpu", "cuda" or "cuda:N"; where `data` is if not given.
        requires_grad: record what is computed from it, for `backward()`.

    Raises:
        DeviceError: the device is not there.

    Example:
        >>> import gradcore as gc
        >>> gc.tensor([[1, 2], [3, 4]], dtype="float32")
        tensor([[1., 2.],
                [3., 4.]], dtype=float32, device='cpu')
    """
    array, backend = _array(data, dtype), _backend(device)
    if backend is None or backend is backend_of(array):
        return _leaf(backend_of(array).make("array", array, array.dtype, order="C"), requires_grad)
    return _leaf(backend.receive(array), requires_grad)


def asarray(data: Any, dtype: Any = None, device: Place = None, requires_grad: bool = False) -> Tensor:
    """A Tensor that shares the memory of an array where it can.

    The array must not be changed while the Tensor is in use.

    Args:
        data: as for `tensor`; a CuPy array stays where it is.
        dtype: anything that `numpy.dtype` takes.
        device: "cpu", "cuda" or "cuda:N"; where `data` is if not given.
        requires_grad: record what is computed from it, for `backward()`.

    Raises:
        DeviceError: the device is not there.

    Example:
        >>> import numpy as np, gradcore as gc
        >>> gc.asarray(np.arange(3))
        tensor([0, 1, 2], dtype=int64, device='cpu')
    """
    if isinstance(data, Tensor) and (dtype is None or data.dtype == np.dtype(dtype)):
        return data if device is None else to_device(data, device)
    array, backend = _array(data, dtype), _backend(device)
    return _leaf(array if backend is None else backend.receive(array), requires_grad)


def _backend(device: Place) -> Backend | None:
    return None if device is None else backend_on(device)


def _array(data: Any, dtype: Any) -> Any:
    """A raw array of a dtype that we compute with, in the memory of `data` where it is one."""
    if isinstance(data, (Tensor, Cell)):
        held = as_tensor(data)
        data = held.data if is_cupy(held.data) else held.numpy()
    array = on_backend(data) if is_cupy(data) else np.asarray(data)
    if dtype is None and array.dtype == np.float64 and not hasattr(data, "dtype"):
        dtype = np.float32 if not _holds_double(data) else np.float64
    if dtype is not None and array.dtype != np.dtype(dtype):
        array = backend_of(array).make("asarray", array, dtype)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"cannot make a tensor of {array.dtype}; gradcore computes with real numbers and booleans")
    return native(array) if type(array) is np.ndarray else array


def device_or_dtype(target: Any) -> Any:
    """The Device or the dtype that is meant where either is taken.

    Raises:
        TypeError: neither is.
    """
    if isinstance(target, Device) or (isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda")):
        return Device(target)
    try:
        if not isinstance(target, (Tensor, Cell, np.ndarray)) and not is_cupy(target):
            return np.dtype(target)
    except TypeError:
        pass
    named = repr(target) if isinstance(target, str) else f"a {type(target).__name__}"
    raise TypeError(f"{named} is neither a device ('cpu', 'cuda', 'cuda:N') nor a dtype (such as 'float32')")


def _holds_double(data: Any) -> bool:
    """Does a nested list contain NumPy values that are float64 by choice?"""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def _leaf(array: Any, requires_grad: bool) -> Tensor:
    if requires_grad and array.dtype.kind != "f":
        raise TypeError(f"only floating tensors can require gradients, not {array.dtype}; pass dtype='float32'")
    return Tensor(array, Leaf() if requires_grad else None)


def _made(function: str, device: Place, *args: Any) -> Any:
    """An array by a function of the device's namespace."""
    array = backend_on("cpu" if device is None else device).make(function, *args)
    return native(array) if type(array) is np.ndarray else array


def zeros(*shape: Any, dtype: Any = np.float32, device: Place = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros of a shape, on the CPU if no device is given.

    >>> import gradcore as gc
    >>> gc.zeros(2)
    tensor([0., 0.], dtype=float32, device='cpu')
    """
    return _leaf(_made("zeros", device, _shape(shape), dtype), requires_grad)


def ones(*shape: Any, dtype: Any = np.float32, device: Place = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones of a shape, on the CPU if no device is given.

    >>> import gradcore as gc
    >>> gc.ones(2, dtype="int64")
    tensor([1, 1], dtype=int64, device='cpu')
    """
    return _leaf(_made("ones", device, _shape(shape), dtype), requires_grad)


def full(shape: Any, value: float, dtype: Any = None, device: Place = None) -> Tensor:
    """A tensor of one value, on the CPU if no device is given; a Python float gives float32.

    >>> import gradcore as gc
    >>> gc.full((2,), 0.5)
    tensor([0.5, 0.5], dtype=float32, device='cpu')
    """
    dtype = dtype or (np.float32 if isinstance(value, float) else np.asarray(value).dtype)
    return _leaf(_made("full", device, shape, value, dtype), False)


def arange(*bounds: Any, dtype: Any = None, device: Place = None) -> Tensor:
    """Evenly spaced numbers, as `numpy.arange`, on the CPU if no device is given; floats give float32.

    >>> import gradcore as gc
    >>> gc.arange(0.0, 1.0, 0.5)
    tensor([0. , 0.5], dtype=float32, device='cpu')
    """
    array = np.arange(*bounds, dtype=dtype)
    array = array.astype(np.float32) if dtype is None and array.dtype.kind == "f" else array
    return asarray(array, device=device)


def _shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
