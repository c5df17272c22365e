"""What the comparison with PyTorch and JAX is made of: one `Peer` for each function that exists there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gradcore as gc

Arrays = list[Any]
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float64, np.float64, np.float32])


@dataclass(frozen=True)
class Draw:
    """One call: operands, keyword arguments, and which operands to differentiate (by default all floating ones)."""

    arrays: Arrays
    params: dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """The same function in three libraries.

    `torch` and `jax` are functions of their own arrays and the keyword arguments, or None where there is no such
    function; `draws` is a strategy of `Draw`.
    """

    name: str
    ours: Callable[..., Any]
    torch: Callable[..., Any] | None
    jax: Callable[..., Any] | None
    draws: Any

    def __str__(self) -> str:
        return self.name


def numbers(rng: Any, shape: Any, dtype: Any, low: float | None = None, high: float = 1.0) -> Any:
    """Normal numbers, or uniform ones in [low, high]."""
    x = rng.normal(size=shape) if low is None else rng.uniform(low, high, shape)
    return np.asarray(x, dtype)


def distinct(rng: Any, shape: Any, dtype: Any) -> Any:
    """Numbers without ties."""
    size = int(np.prod(shape))
    return np.asarray((rng.permutation(size) - size / 3).reshape(shape) * 0.37, dtype)


def shapes(low: int = 0, high: int = 3, side: int = 0) -> Any:
    """Shapes of `low` to `high` axes with sizes from `side` to 4."""
    return hnp.array_shapes(min_dims=low, max_dims=high, min_side=max(side, 1), max_side=4) | (
        hnp.array_shapes(min_dims=max(low, 1), max_dims=high, min_side=0, max_side=3) if side == 0 else st.nothing()
    )


@st.composite
def elements(draw: Any, count: int, low: float | None = None, high: float = 1.0, **params: Any) -> Draw:
    """`count` operands whose shapes broadcast; keyword arguments from strategies."""
    found = draw(hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=4))
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    arrays = [numbers(rng, shape, dtype, low, high) for shape in found.input_shapes]
    return Draw(arrays, {name: draw(strategy) for name, strategy in params.items()})


@st.composite
def reduced(draw: Any, make: Callable[..., Any] = numbers, side: int = 1, several: bool = True, **params: Any) -> Draw:
    """One operand, an axis or several, and `keepdims`."""
    shape = draw(shapes(1, 3, side))
    rng, dtype = np.random.default_rng(draw(SEEDS)), draw(DTYPES)
    one = st.integers(-len(shape), len(shape) - 1)
    many = st.sets(st.integers(0, len(shape) - 1), min_size=1).map(lambda axes: tuple(sorted(axes)))
    axis = draw(st.one_of(one, many, st.none()) if several else one)
    drawn = {name: draw(strategy) for name, strategy in params.items()}
    return Draw([make(rng, shape, dtype)], {"axis": axis, **drawn})


def operand(function: Callable[..., Any]) -> Any:
    """A strategy from a function `(draw, rng, dtype)` to a Draw."""

    @st.composite
    def strategy(draw: Any) -> Draw:
        return function(draw, np.random.default_rng(draw(SEEDS)), draw(DTYPES))

    return strategy()


def ours(name: str) -> Callable[..., Any]:
    """Our function of this name, looked up when it is called."""
    return lambda *arrays, **params: getattr(gc, name)(*arrays, **params)


def functional(name: str) -> Callable[..., Any]:
    """Our function in `nn.functional`."""
    return lambda *arrays, **params: getattr(gc.nn.functional, name)(*arrays, **params)


def axes_for_torch(x: Any, axis: Any) -> Any:
    """PyTorch's `dim` for an axis that may be None."""
    return tuple(range(x.ndim)) if axis is None else axis
