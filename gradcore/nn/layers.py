"""Layers as modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.core.tensor import Tensor
from gradcore.factories import Place
from gradcore.nn import functional, init
from gradcore.nn.module import Module, ModuleList
from gradcore.nn.parameter import Parameter


def _empty(shape: tuple[int, ...], dtype: Any) -> Parameter:
    return Parameter(Tensor(np.zeros(shape, dtype)))


class Linear(Module):
    """Affine map x @ weight.T + bias.

    `weight` has the shape (out_features, in_features) and `bias` (out_features,); both start uniform in
    ±1 / sqrt(in_features).

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: with False, `bias` is None.
        dtype: of the parameters.
        device: where they live; the CPU by default. Initial values are the same everywhere.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.Linear(3, 2)(gc.ones(5, 3)).shape
        (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: Any = np.float32, device: Place = None
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = _empty((out_features, in_features), dtype)
        self.bias = _empty((out_features,), dtype) if bias else None
        self.reset_parameters()
        if device is not None:
            self.to(device)

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, x: Any) -> Any:
        """Tensor of shape (..., in_features) to (..., out_features)."""
        bias = self.bias
        return ops.linear(x, self.weight.read(), None if bias is None else bias.read())

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Returns its input.

    >>> import gradcore as gc
    >>> gc.nn.Identity()(gc.tensor([1.0, 2.0]))
    tensor([1., 2.], dtype=float32, device='cpu')
    """

    def forward(self, x: Any) -> Any:
        """The input."""
        return x


class Flatten(Module):
    """Joins neighbouring axes into one.

    Args:
        start_dim: first axis to join.
        end_dim: last axis to join.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.Flatten()(gc.ones(2, 3, 4)).shape
        (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        """(2, 3, 4) to (2, 12), by default."""
        first, last = (axis % len(x.shape) for axis in (self.start_dim, self.end_dim))
        return ops.reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class LayerNorm(Module):
    """Layer normalisation over the last axes (Ba, Kiros and Hinton, 2016, arXiv:1607.06450).

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the variance.
        dtype: of `weight` (ones at first) and `bias` (zeros), which have that shape.
        device: where they live; the CPU by default.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.LayerNorm(2, eps=0.0)(gc.tensor([[1.0, 3.0]])).numpy()
        array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        dtype: Any = np.float32,
        device: Place = None,
    ) -> None:
        self.normalized_shape, self.eps = functional.shape_of(normalized_shape), eps
        self.weight = init.ones_(_empty(self.normalized_shape, dtype))
        self.bias = _empty(self.normalized_shape, dtype)
        if device is not None:
            self.to(device)

    def forward(self, x: Any) -> Any:
        """Tensor of shape (..., *normalized_shape) to the same shape."""
        return functional.layer_norm(x, self.normalized_shape, self.weight.read(), self.bias.read(), self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class Dropout(Module):
    """In training, sets elements to zero with probability p and scales the others by 1 / (1 - p).

    Args:
        p: probability of a zero, in [0, 1).

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(1)
        >>> layer = gc.nn.Dropout(0.5)
        >>> layer(gc.ones(6))
        tensor([0., 0., 2., 2., 0., 0.], dtype=float32, device='cpu')
        >>> layer.eval()(gc.ones(2))
        tensor([1., 1.], dtype=float32, device='cpu')
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"the probability of Dropout must lie in [0, 1), not {p}")
        self.p = p

    def forward(self, x: Any) -> Any:
        """A tensor of the shape of x; x itself in evaluation."""
        return functional.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Sequential(ModuleList):
    """Modules one after the other.

    >>> import gradcore as gc
    >>> gc.nn.Sequential(gc.nn.Linear(2, 8), gc.nn.Sigmoid(), gc.nn.Linear(8, 1))
    Sequential(
      (0): Linear(in_features=2, out_features=8, bias=True)
      (1): Sigmoid()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """The output of the last module."""
        for module in self.items:
            x = module(x)
        return x
