"""Cells that modules are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradcore.core.cell import Cell
from gradcore.core.errors import DeviceError
from gradcore.core.tensor import Tensor
from gradcore.factories import tensor


class _Held(Cell):
    """A cell made from an array (copied) or from a Tensor (shared: Tensors never change)."""

    __slots__ = ()

    if TYPE_CHECKING:  # operators and methods of the content, attached by gradcore/tensor.py

        def __getattr__(self, name: str) -> Any: ...

    def rename(self, name: str) -> None:
        """Show `name` in graphs and messages."""
        self.name = name
        if self.leaf is not None:
            self.leaf.name = name
            self.leaf.grad.name = f"{name}.grad"


class Parameter(_Held):
    """A tensor that training changes.  It can be used like a Tensor; `read()` gives the Tensor.

    Args:
        data: a Tensor, an array, or nested lists of numbers; floating.
        requires_grad: whether `backward()` accumulates into `.grad`.

    Raises:
        TypeError: the data is not floating.

    Example:
        >>> import gradcore as gc
        >>> w = gc.nn.Parameter([1.0, 2.0])
        >>> (w * w).sum().backward()
        >>> w.grad
        tensor([2., 4.], dtype=float32, device='cpu')
    """

    __slots__ = ()

    role = "parameter"

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        value = data if isinstance(data, Tensor) else tensor(data)
        if value.dtype.kind != "f":
            raise TypeError(f"a Parameter holds floating numbers, not {value.dtype}; pass floats, or use Buffer")
        super().__init__(value, requires_grad=requires_grad)

    @property
    def grad(self) -> Any:
        """The gradient that `backward()` accumulated, a Tensor of the parameter's shape, or None."""
        return None if self.leaf is None else self.leaf.grad.read()

    @grad.setter
    def grad(self, value: Any) -> None:
        if self.leaf is None:
            raise ValueError(f"parameter {self.name or 'without a name'} does not require a gradient")
        self.leaf.grad.assign(None if value is None else self._as_gradient(value))

    def _as_gradient(self, value: Any) -> Any:
        """A Tensor of the parameter's shape, dtype and device: Python numbers take its dtype, arrays are copied."""
        own = self.read()
        weak = not hasattr(value, "dtype")
        value = value.read() if isinstance(value, Cell) else value
        g = value if isinstance(value, Tensor) else tensor(value, own.dtype if weak else None, own.device)
        if g.shape != own.shape or g.dtype != own.dtype:
            raise ValueError(
                f"parameter {self.name or 'without a name'} is {own.dtype}{list(own.shape)} and cannot take a gradient "
                f"of {g.dtype}{list(g.shape)}; cast or reshape it first"
            )
        if g.aval.device != own.aval.device:
            raise DeviceError(
                f"parameter {self.name or 'without a name'} is on {own.aval.device} and cannot take a gradient on "
                f"{g.aval.device}; move it with .to('{own.aval.device}')"
            )
        return g


class Buffer(_Held):
    """A tensor that belongs to a module and is not trained, such as a running mean.

    Args:
        data: a Tensor, an array, or nested lists of numbers.

    Example:
        >>> import gradcore as gc
        >>> steps = gc.nn.Buffer([0])
        >>> steps.assign(steps + 1)
        >>> steps.numpy()
        array([1])
    """

    __slots__ = ()

    role = "buffer"

    def __init__(self, data: Any) -> None:
        super().__init__(data if isinstance(data, Tensor) else tensor(data))
