"""Constants in the shape of a tensor, and regular ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.backend import Device, backend_on, native
from gradcore.core.tensor import Tensor
from gradcore.ops.arguments import as_integers
from gradcore.ops.operands import named_tensor

Place = Device | str | None


def zeros_like(x: Any, dtype: Any = None, device: Place = None) -> Tensor:
    """Zeros in the shape, dtype and device (unless others are given) of a tensor.

    Example:
        >>> import gradcore as gc
        >>> gc.zeros_like(gc.tensor([1, 2]))
        tensor([0, 0], dtype=int64, device='cpu')
    """
    return _full_like(x, 0, dtype, device, "zeros_like")


def ones_like(x: Any, dtype: Any = None, device: Place = None) -> Tensor:
    """Ones in the shape, dtype and device (unless others are given) of a tensor.

    Example:
        >>> import gradcore as gc
        >>> gc.ones_like(gc.tensor([1, 2]), dtype="float32")
        tensor([1., 1.], dtype=float32, device='cpu')
    """
    return _full_like(x, 1, dtype, device, "ones_like")


def full_like(x: Any, value: float, dtype: Any = None, device: Place = None) -> Tensor:
    """One number in the shape, dtype and device (unless others are given) of a tensor.

    Example:
        >>> import gradcore as gc
        >>> gc.full_like(gc.tensor([1.0, 2.0]), 0.5)
        tensor([0.5, 0.5], dtype=float32, device='cpu')
    """
    return _full_like(x, value, dtype, device, "full_like")


def _full_like(x: Any, value: float, dtype: Any, device: Place, name: str) -> Tensor:
    x = named_tensor(x, name)
    array = backend_on(x.aval.device if device is None else device).make("full", x.shape, value, dtype or x.dtype)
    return Tensor(native(array) if type(array) is np.ndarray else array)


def arange_on(x: Any, count: int) -> Tensor:
    """The integers from 0 to count - 1 on the device of x."""
    return Tensor(backend_on(x.aval.device).make("arange", count))


def eye(n: int, m: int | None = None, k: int = 0, dtype: Any = np.float32, device: Place = None) -> Tensor:
    """A matrix of n rows and m columns (n by default) with ones on its k-th diagonal, on the CPU if no device is given.

    Example:
        >>> import gradcore as gc
        >>> gc.eye(2)
        tensor([[1., 0.],
                [0., 1.]], dtype=float32, device='cpu')
    """
    n, m, k = as_integers((n, n if m is None else m, k), "eye", "sizes")
    return _placed(np.eye(n, m, k, dtype), device)


def linspace(
    start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: Any = np.float32, device: Place = None
) -> Tensor:
    """`num` evenly spaced numbers from start to stop (without stop where `endpoint` is False).

    They are computed in float64 and rounded once, and on the CPU if no device is given.  They have no derivative;
    `start + (stop - start) * linspace(0.0, 1.0, num)` has one.

    Example:
        >>> import gradcore as gc
        >>> gc.linspace(0.0, 1.0, 5)
        tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32, device='cpu')
    """
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        raise TypeError("'linspace' takes numbers; use start + (stop - start) * linspace(0.0, 1.0, num) with tensors")
    return _placed(np.linspace(start, stop, num, endpoint, dtype=dtype), device)


def _placed(array: Any, device: Place) -> Tensor:
    return Tensor(native(array) if device is None else backend_on(device).receive(native(array)))
