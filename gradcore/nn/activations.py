"""Activation functions as modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradcore import ops
from gradcore.nn.module import Module


def _activation(name: str, function: Callable[[Any], Any]) -> type[Module]:
    """A module without parameters."""
    summary = (function.__doc__ or "").splitlines()[0]
    example = f">>> import gradcore as gc\n>>> gc.nn.{name}()(gc.ones(2, 3)).shape\n(2, 3)\n"
    body = {"__doc__": f"{summary}\n\n{example}", "__module__": __name__, "forward": lambda self, x: function(x)}
    return type(name, (Module,), body)


ReLU = _activation("ReLU", ops.relu)
Sigmoid = _activation("Sigmoid", ops.sigmoid)
LogSigmoid = _activation("LogSigmoid", ops.log_sigmoid)
Tanh = _activation("Tanh", ops.tanh)
Softplus = _activation("Softplus", ops.softplus)
Softsign = _activation("Softsign", ops.softsign)
SELU = _activation("SELU", ops.selu)
SiLU = _activation("SiLU", ops.silu)
Mish = _activation("Mish", ops.mish)


class GELU(Module):
    """Gaussian error linear unit; see `gradcore.gelu`.

    Args:
        approximate: "none" for the exact function, or "tanh".

    Example:
        >>> import gradcore as gc
        >>> gc.nn.GELU("tanh")(gc.tensor([0.0, 1000.0]))
        tensor([   0., 1000.], dtype=float32, device='cpu')
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x."""
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class LeakyReLU(Module):
    """The input where it is positive, else a multiple of it; see `gradcore.leaky_relu`.

    Args:
        negative_slope: the factor.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.LeakyReLU(0.5)(gc.tensor([-1.0, 2.0]))
        tensor([-0.5,  2. ], dtype=float32, device='cpu')
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x."""
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """Exponential linear unit; see `gradcore.elu`.

    Args:
        alpha: minus the limit on the left.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.ELU(2.0)(gc.tensor([-1000.0, 2.0]))
        tensor([-2.,  2.], dtype=float32, device='cpu')
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x."""
        return ops.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class Hardtanh(Module):
    """The input, but between two bounds; see `gradcore.hardtanh`.

    Args:
        min_val: lower bound.
        max_val: upper bound.

    Raises:
        ValueError: the bounds are equal or cross.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.Hardtanh()(gc.tensor([-2.0, 0.5, 2.0]))
        tensor([-1. ,  0.5,  1. ], dtype=float32, device='cpu')
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        if not min_val < max_val:
            raise ValueError(f"Hardtanh needs min_val < max_val, not {min_val} and {max_val}")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x."""
        return ops.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class _AlongAxis(Module):
    """A function of the elements along one axis.

    Args:
        dim: the axis.
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """exp(x) / sum(exp(x)) over an axis.

    Args:
        dim: the axis.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.Softmax()(gc.tensor([1.0, 1.0]))
        tensor([0.5, 0.5], dtype=float32, device='cpu')
    """

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x."""
        return ops.softmax(x, self.dim)


class LogSoftmax(_AlongAxis):
    """log(softmax(x)) over an axis.

    Args:
        dim: the axis.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.LogSoftmax()(gc.tensor([0.0, 1000.0]))
        tensor([-1000.,     0.], dtype=float32, device='cpu')
    """

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x."""
        return ops.log_softmax(x, self.dim)
