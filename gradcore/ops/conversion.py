"""Ops that change what holds the numbers, not the numbers: dtype, device, and whether they are a constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.backend import Device, backend_on
from gradcore.core.bind import bind
from gradcore.core.evaluate import SCALARS
from gradcore.core.op import Op
from gradcore.core.state import switch
from gradcore.core.tensor import Tensor
from gradcore.ops.operands import bind_general, named_tensor
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import first_operand, indexed, linear, public, viewed


def _cast_impl(xp: Any, out: Any, x: Any, dtype: Any) -> Any:
    if out is None:
        return x.astype(dtype, order="C")
    xp.np.copyto(out, x, casting="unsafe")
    return out


cast_op: Op = linear(
    "cast",
    ("x",),
    params=("dtype",),
    impl=_cast_impl,
    abstract=lambda x, dtype: x.update(dtype=dtype, weak=False, shape=x.shape),
    transpose=lambda g, avals, params, i: bind(cast_op, (g,), (avals[0].dtype,)),
    batch=lambda size, mapped, xs, params: bind(cast_op, xs, params),
    half=False,
    samples=(
        sample(normal(3, 4), params=(np.dtype(np.float64),)),
        sample(normal(0), params=(np.dtype(np.float64),)),
        sample(normal(3, 4, low=-9.0, high=9.0), params=(np.dtype(np.int32),)),
        sample(normal(3, 4), params=(np.dtype(bool),)),
    ),
    doc="The same numbers in another dtype.",
)


def cast(x: Any, dtype: Any) -> Any:
    """The same numbers in another dtype; a float that becomes an integer loses its gradient.

    Args:
        x: tensor of any shape.
        dtype: anything that `numpy.dtype` takes.

    Example:
        >>> import gradcore as gc
        >>> gc.cast(gc.tensor([1.5, 2.5]), "int64")
        tensor([1, 2], dtype=int64, device='cpu')
    """
    if type(x) is Tensor and x.node is None and type(x.data) is np.ndarray and not switch.busy:
        return Tensor(x.data.astype(dtype, order="C"))
    return bind_general(cast_op, (x,), (np.dtype(dtype),))  # a short-cut record would not know the dtype of x


stop_gradient_op: Op = indexed(
    "stop_gradient",
    ("x",),
    impl=lambda xp, out, x: x[...],
    abstract=viewed(lambda x: x[...]),
    alias=first_operand,
    differentiable=(False,),
    batch=lambda size, mapped, xs, params: bind(stop_gradient_op, xs, params),
    half=False,
    samples=(sample(normal(3, 4)), sample(normal())),
    doc="""The same values, as a constant: no gradient flows back.

Example:
    >>> import gradcore as gc
    >>> gc.grad(lambda x: x * gc.stop_gradient(x))(gc.tensor(3.0))
    tensor(3., dtype=float32, device='cpu')
""",
)
stop_gradient = public(stop_gradient_op)

# --- devices ----------------------------------------------------------------------------------------------------------


def _to_device_impl(xp: Any, out: Any, x: Any, device: str, non_blocking: bool) -> Any:
    y = backend_on(device).receive(x, non_blocking)
    if out is None:
        return y.copy() if y is x else y
    backend_on(device).np.copyto(out, y)
    return out


to_device_op: Op = linear(
    "to_device",
    ("x",),
    params=("device", "non_blocking"),
    impl=_to_device_impl,
    abstract=lambda x, device, non_blocking: x.update(shape=x.shape, device=device),
    transpose=lambda g, avals, params, i: bind(to_device_op, (g,), (avals[0].device, params[1])),
    batch=lambda size, mapped, xs, params: bind(to_device_op, xs, params),
    half=False,
    samples=(sample(normal(3, 4), params=("cpu", False)), sample(normal(), params=("cpu", True))),
    doc="The same numbers on another device; the gradient goes back to where they came from.",
)


def to_device(x: Any, device: Device | str, non_blocking: bool = False) -> Any:
    """The same numbers on another device; the tensor itself where it is there already.

    Args:
        x: tensor of any shape.
        device: "cpu", "cuda" or "cuda:N".
        non_blocking: from the CPU, do not wait for the copy: it goes through pinned memory, in order with what the
            device does next. (To the CPU, the call always waits, since the numbers could be read at once.)

    Raises:
        DeviceError: the device is not there.

    Example:
        >>> import gradcore as gc
        >>> gc.to_device(gc.ones(2), "cpu").device
        Device('cpu')
    """
    x = named_tensor(x, "to_device")
    name = str(backend_on(device).device)
    return x if x.aval.device == name else bind_general(to_device_op, (x,), (name, non_blocking))


def beside(x: Any, value: Any) -> Any:
    """A Tensor on the device of x: one on the CPU, as lists and arrays give it, is copied there; numbers pass."""
    if type(x.data) is np.ndarray or isinstance(value, SCALARS):
        return value
    device = x.aval.device
    return to_device(value, device) if value.aval.device == "cpu" != device else value
