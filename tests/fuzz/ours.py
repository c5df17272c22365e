"""gradcore under the names that the instructions use."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradcore as gc

from .programs import weights


class Gradcore:
    """The library on one device."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(gc, name)

    def constant(self, array: Any) -> Any:
        return gc.tensor(array, device=self.device)

    def weights(self, x: Any) -> Any:
        return self.constant(weights(x.shape, x.dtype))

    def dtype(self, x: Any) -> Any:
        return x.dtype

    def floating(self, x: Any) -> bool:
        return bool(x.dtype.kind == "f")

    def promoted(self, promotion: str, operands: list[Any]) -> list[Any]:
        return operands  # gradcore does that itself

    def array(self, x: Any) -> Any:
        return np.asarray(x.numpy())

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        return gc.take(x, self.constant(indices), axis)

    def getitem(self, x: Any, key: Any) -> Any:
        return x[key]

    def at_add(self, x: Any, i: Any, y: Any) -> Any:
        return x.at[i].add(y)

    def at_set(self, x: Any, i: Any, y: Any) -> Any:
        return x.at[i].set(y)

    def layer_norm(self, x: Any) -> Any:
        return gc.nn.functional.layer_norm(x, x.shape[-1:])

    def vjp(self, function: Any, x: Any, cotangent: Any) -> Any:
        y, pull = gc.vjp(function, x)
        return pull(cotangent(y))[0]

    def batched(self, function: Any, axes: Any) -> Any:
        return gc.vmap(function, axes)

    def derivatives(self, loss: Any, xs: Any, vs: Any) -> tuple[Any, ...]:
        """Each by the shortest way."""
        gradient = gc.grad(loss, tuple(range(len(xs))))
        return loss(*xs), gc.jvp(loss, xs, vs)[1], *gradient(*xs), *gc.jvp(gradient, xs, vs)[1]


CPU = Gradcore()
