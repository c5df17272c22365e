"""Operators and methods of Tensor, attached from the op table."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from typing import Any

import numpy as np

from gradcore import dlpack, ops
from gradcore.autodiff.tape import backward
from gradcore.backend import Device, backend_of, is_cupy
from gradcore.core.cell import Cell, Leaf
from gradcore.core.errors import GradcoreError, StageError
from gradcore.core.graph import Var
from gradcore.core.tensor import Tensor, Traced
from gradcore.factories import device_or_dtype
from gradcore.ops.at import At
from gradcore.ops.subscripts import getitem

Attribute = Callable[..., Any]

# --- values -----------------------------------------------------------------------------------------------------------


def numpy(self: Tensor) -> Any:
    """The elements as a read-only NumPy array; those on a GPU are copied, which waits for the GPU."""
    array = _raw(self, ".numpy()")
    view = (array if type(array) is np.ndarray else backend_of(array).fetch(array)).view()
    view.flags.writeable = False
    return view


def _raw(x: Tensor, asked: str) -> Any:
    if isinstance(x, Traced):
        raise GradcoreError(
            f"{asked} was called on a tensor inside {x.level.name}, where it has no elements of its own; compute with "
            f"gradcore functions{INSTEAD}, or call it outside"
        )
    if isinstance(x.data, Var):
        raise StageError(
            f"{asked} was called while a graph is captured; elements exist only when the graph runs. Return the "
            f"tensor, or compute with gradcore functions{INSTEAD}"
        )
    return x.data


INSTEAD = " (where() or cond() in place of `if`, scan() in place of a loop)"


def item(self: Tensor) -> Any:
    """The only element, as a Python number."""
    return _element(self, ".item()")


def as_bool(self: Tensor) -> bool:
    """The only element, as Python's `if` and `while` ask for it."""
    return bool(_element(self, "bool() (as `if` and `while` do)"))


def _element(self: Tensor, asked: str) -> Any:
    array = _raw(self, asked)
    if array.size != 1:
        raise ValueError(f"only a tensor of one element can become a number; this one has shape {array.shape}")
    return (array if type(array) is np.ndarray else backend_of(array).fetch(array)).item()


def as_index(self: Tensor) -> int:
    """The only element of an integer tensor without axes, for slices and `range`."""
    if self.shape or self.dtype.kind not in "iu":
        raise TypeError(f"only an integer tensor without axes can be an index, not {self.dtype}{list(self.shape)}")
    return int(item(self))


def _to_numpy(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    """What `np.asarray` calls.  It refuses where the result would lose its gradient without a word."""
    if isinstance(self, Traced) or self.node is not None:
        where = f"inside {self.level.name}" if isinstance(self, Traced) else "with requires_grad=True"
        raise TypeError(
            f"an array was asked of a tensor {where}, and what is computed from it would have no gradient. Use NumPy's "
            "functions on the tensor itself, or those of gradcore (gradcore.special.logsumexp for "
            "scipy.special.logsumexp), or pass .numpy() or .detach() to compute a constant"
        )
    if is_cupy(self.data):
        raise TypeError(
            f"an array was asked of a tensor on {self.aval.device}; pass .numpy() to copy it to the CPU, "
            "cupy.from_dlpack(x) to share it with CuPy, or use NumPy's functions on the tensor itself (numpy.sum)"
        )
    return np.array(numpy(self), dtype, copy=copy)


def detach(self: Tensor) -> Any:
    """The same values as a constant: no gradient flows back."""
    return ops.stop_gradient(self) if isinstance(self, Traced) else Tensor(self.data)


def to(self: Tensor, *targets: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The tensor on another device, in another dtype, or both; itself where nothing changes.

    Args:
        self: any tensor.
        targets: a device ("cpu", "cuda", "cuda:1"), a dtype, or a device and a dtype.
        device: by name, as PyTorch has it.
        dtype: likewise.
        non_blocking: from the CPU, do not wait for the copy.

    Raises:
        DeviceError: the device is not there.
        TypeError: a target is neither device nor dtype.

    Example:
        >>> import gradcore as gc
        >>> gc.tensor([1, 2]).to("cpu", "float32")
        tensor([1., 2.], dtype=float32, device='cpu')
    """
    moved = self
    for target in (*targets, device, dtype):
        target = None if target is None else device_or_dtype(target)
        if isinstance(target, Device):
            moved = ops.to_device(moved, target, non_blocking)
        elif target is not None and moved.dtype != target:
            moved = ops.cast(moved, target)
    return moved


def cpu(self: Tensor) -> Any:
    """The tensor on the CPU, as `to("cpu")`."""
    return ops.to_device(self, "cpu")


def cuda(self: Tensor, device: Any = "cuda", non_blocking: bool = False) -> Any:
    """The tensor on a CUDA device, as `to("cuda")`.

    Args:
        self: any tensor.
        device: "cuda" or "cuda:N".
        non_blocking: from the CPU, do not wait for the copy.

    Raises:
        DeviceError: the device is not there.
    """
    return ops.to_device(self, device, non_blocking)


def device(self: Tensor) -> Device:
    """Where the data lives."""
    return Device(self.aval.device)


def requires_grad(self: Tensor) -> bool:
    """Is a gradient recorded for `backward()`?"""
    return self.node is not None and not isinstance(self, Traced)


def grad(self: Tensor) -> Any:
    """The gradient that `backward()` accumulated; None before, and on tensors that were computed from others."""
    return self.node.grad.read() if isinstance(self.node, Leaf) else None


def zero_grad(self: Tensor) -> None:
    """Forget the accumulated gradient."""
    if isinstance(self.node, Leaf):
        self.node.grad.assign(None)


def set_item(self: Tensor, key: Any, value: Any) -> None:
    """Tensors are values; this raises and says what to do."""
    raise TypeError("tensors cannot be changed in place; make a new one with x.at[i].set(v), or with where()")


def formatted(self: Tensor, spec: str) -> str:
    """Numbers in f-strings: `f"{loss:.3f}"`."""
    return format(item(self), spec) if spec else str(self)


def _formatted_cell(self: Cell, spec: str) -> str:
    return formatted(self.read(), spec) if spec else str(self)


def describe(self: Tensor) -> str:
    """`tensor([1., 2.], dtype=float32, device='cpu', requires_grad=True)`."""
    if isinstance(self, Traced):
        return f"tensor({self.aval}, inside {self.level.name})"
    if isinstance(self.data, Var):
        return f"tensor({self.data}: {self.aval}, in a graph)"
    body = np.array2string(numpy(self), separator=", ", prefix="tensor(", threshold=200)
    if self.data.size == 0:
        body = f"[], shape={self.shape}"
    marks = ", requires_grad=True" if requires_grad(self) else ""
    return f"tensor({body}, dtype={self.dtype}, device='{device(self)}'{marks})"


def length(self: Tensor) -> int:
    """Size of the first axis."""
    if not self.shape:
        raise TypeError("a tensor without axes has no length")
    return self.shape[0]


def iterate(self: Tensor) -> Any:
    """Parts along the first axis."""
    return (getitem(self, i) for i in range(length(self)))


def raise_to(self: Any, exponent: Any) -> Any:
    """The power `self ** exponent`; 2 and 0.5 have kernels of their own."""
    kind = type(exponent)
    if kind is int and exponent == 2:
        return ops.square(self)
    if kind is float and exponent in (2.0, 0.5) and self.dtype.kind == "f":  # integers ** 2.0 are floats
        return ops.square(self) if exponent == 2 else ops.sqrt(self)
    return ops.power(self, exponent)


def _on_booleans(function: Attribute, symbol: str) -> Attribute:
    """An operator that NumPy would apply to the bits of integers; here it is logic only."""

    def operator(*operands: Any) -> Any:
        kinds = [np.dtype(getattr(x, "dtype", type(x))) for x in operands]
        if any(kind != np.bool_ for kind in kinds):
            raise TypeError(f"{symbol} takes boolean tensors, such as x > 0, not {' and '.join(map(str, kinds))}")
        return function(*operands)

    return operator


COMPARABLE = (Tensor, Cell, np.ndarray, np.generic, int, float)


def _comparable(value: Any) -> bool:
    return isinstance(value, COMPARABLE) or is_cupy(value)


def _compared(function: Attribute) -> Attribute:
    """An operator that leaves other types to Python, so `t == None` is False."""
    return lambda self, other: function(self, other) if _comparable(other) else NotImplemented


def _reflected(function: Attribute) -> Attribute:
    return lambda self, other: function(other, self)


OPERATORS: dict[str, Attribute] = {
    "__add__": ops.add,
    "__radd__": _reflected(ops.add),
    "__sub__": ops.sub,
    "__rsub__": _reflected(ops.sub),
    "__mul__": ops.mul,
    "__rmul__": _reflected(ops.mul),
    "__truediv__": ops.div,
    "__rtruediv__": _reflected(ops.div),
    "__pow__": raise_to,
    "__rpow__": _reflected(ops.power),
    "__mod__": ops.mod,
    "__rmod__": _reflected(ops.mod),
    "__floordiv__": ops.floor_divide,
    "__rfloordiv__": _reflected(ops.floor_divide),
    "__matmul__": ops.matmul,
    "__rmatmul__": _reflected(ops.matmul),
    "__and__": _on_booleans(ops.logical_and, "&"),
    "__rand__": _on_booleans(ops.logical_and, "&"),
    "__or__": _on_booleans(ops.logical_or, "|"),
    "__ror__": _on_booleans(ops.logical_or, "|"),
    "__xor__": _on_booleans(ops.logical_xor, "^"),
    "__rxor__": _on_booleans(ops.logical_xor, "^"),
    "__invert__": _on_booleans(ops.logical_not, "~"),
    "__pos__": lambda x: x,
    "__neg__": ops.neg,
    "__abs__": ops.abs,
    "__lt__": ops.less,
    "__le__": ops.less_equal,
    "__gt__": ops.greater,
    "__ge__": ops.greater_equal,
}

METHODS = (
    *("abs", "sign", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "square", "reciprocal"),
    *("sin", "cos", "tan", "sinh", "cosh", "tanh", "erf", "sigmoid", "relu", "clip", "round", "floor", "ceil"),
    *("isnan", "isinf", "isfinite", "logical_and", "logical_or", "logical_not"),
    *("sum", "mean", "prod", "max", "min", "argmax", "argmin", "any", "all", "var", "std", "norm", "median"),
    *("quantile", "cumsum", "cumprod", "sort", "argsort", "topk", "take", "take_along_axis", "dot"),
    *("reshape", "ravel", "squeeze", "expand_dims", "broadcast_to", "transpose", "swapaxes", "moveaxis"),
    *("flip", "roll", "repeat", "tile", "split", "diagonal", "trace", "tril", "triu"),
)


def _through_cell(function: Attribute) -> Attribute:
    return lambda self, *args, **kwargs: function(self.read(), *args, **kwargs)


PROTOCOLS = {
    "__array_ufunc__": "array_ufunc",
    "__array_function__": "array_function",
    "__array_namespace__": "array_namespace",
    "__cupy_override_elementwise_kernel__": "cupy_kernel",
}


def _imported_when_called(name: str, function: str) -> Attribute:
    """A method that NumPy or CuPy calls; on the first call, that of `gradcore.numpy_protocol` takes its place."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = getattr(import_module("gradcore.numpy_protocol"), function)
        for kind in (Tensor, Cell):
            setattr(kind, name, found)
        return found(self, *args, **kwargs)

    return method


def attach() -> None:
    """Give Tensor its operators and methods, and cells the same through `read()`."""
    functions = {**OPERATORS, **{name: getattr(ops, name) for name in METHODS}}
    functions |= {"astype": ops.cast, "numpy": numpy, "item": item, "detach": detach, "to": to, "backward": backward}
    functions |= {"cpu": cpu, "cuda": cuda}
    functions |= {"tolist": lambda x: numpy(x).tolist(), "__index__": as_index}
    functions |= {"__getitem__": getitem, "__len__": length, "__iter__": iterate, "__array__": _to_numpy}
    functions |= {"__dlpack__": dlpack.export, "__dlpack_device__": dlpack.device_of}
    functions |= {"__float__": lambda x: float(item(x)), "__int__": lambda x: int(item(x))}
    functions |= {"__bool__": as_bool, "zero_grad": zero_grad, "__setitem__": set_item}
    for name, function in functions.items():
        setattr(Tensor, name, function)
        setattr(Cell, name, _through_cell(function))
    properties: dict[str, Attribute] = {"device": device, "requires_grad": requires_grad, "grad": grad}
    properties |= {"T": ops.transpose, "at": At}
    for name, function in properties.items():
        setattr(Tensor, name, property(function))
        setattr(Cell, name, property(_through_cell(function)))
    Tensor.size = property(lambda x: math.prod(x.shape))  # type: ignore[attr-defined]
    for name in ("shape", "dtype", "ndim", "size"):
        setattr(Cell, name, property(_through_cell(attrgetter(name))))
    plain: dict[str, Any] = {"__eq__": _compared(ops.equal), "__ne__": _compared(ops.not_equal)}
    plain |= {"__hash__": object.__hash__, "__repr__": describe, "__format__": formatted}
    for name, function in plain.items():
        setattr(Tensor, name, function)
    for name, protocol in PROTOCOLS.items():
        for kind in (Tensor, Cell):
            setattr(kind, name, _imported_when_called(name, protocol))
    Cell.__format__ = _formatted_cell  # type: ignore[assignment, method-assign]


attach()
