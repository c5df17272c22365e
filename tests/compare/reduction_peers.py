"""Reductions, cumulative functions, sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .libraries import jax, jnp, torch
from .peers import Draw, Peer, axes_for_torch, distinct, numbers, operand, ours, reduced, shapes

KEEP = {"keepdims": st.booleans()}


def over_axes(name: str, there: Any, jx: Any = None, draws: Any = None) -> Peer:
    """A reduction whose PyTorch function takes `dim` as one axis or several."""

    def torch_function(x: Any, axis: Any = None, keepdims: bool = False, **params: Any) -> Any:
        return there(x, dim=axes_for_torch(x, axis), keepdim=keepdims, **params)

    draws = reduced(**KEEP) if draws is None else draws
    return Peer(name, ours(name), torch_function, jx or getattr(jnp, name), draws)


def torch_prod(x: Any, dim: tuple[int, ...] | int, keepdim: bool) -> Any:
    for axis in sorted({d % x.ndim for d in ([dim] if isinstance(dim, int) else dim)}, reverse=True):
        x = torch.prod(x, dim=axis, keepdim=keepdim)
    return x


def with_zeros(rng: Any, shape: Any, dtype: Any) -> Any:
    """Numbers of which about a quarter are 0."""
    return np.asarray(rng.normal(size=shape) * (rng.random(shape) < 0.75), dtype)


REDUCTIONS = [
    over_axes("sum", torch.sum, draws=reduced(side=0, **KEEP)),
    over_axes("mean", torch.mean),
    over_axes("max", torch.amax, draws=reduced(distinct, **KEEP)),
    over_axes("min", torch.amin, draws=reduced(distinct, **KEEP)),
    over_axes("prod", torch_prod, draws=reduced(with_zeros, **KEEP)),
    over_axes("logsumexp", torch.logsumexp, jax.scipy.special.logsumexp),
    over_axes("var", lambda x, dim, keepdim: torch.var(x, dim=dim, correction=0, keepdim=keepdim)),
    over_axes("any", torch.any, draws=reduced(with_zeros, **KEEP)),
    over_axes("all", torch.all, draws=reduced(with_zeros, **KEEP)),
]


def one_axis(name: str, there: Any, jx: Any = None, make: Any = distinct, **params: Any) -> Peer:
    """A function along one axis; PyTorch calls it `dim`."""
    return Peer(name, ours(name), lambda x, axis, **p: there(x, dim=axis, **p), jx or getattr(jnp, name),
                reduced(make, several=False, **params))  # fmt: skip


@st.composite
def quantiles(draw: Any) -> Draw:
    found = draw(reduced(distinct, several=False, **KEEP))
    return Draw(found.arrays, {**found.params, "q": draw(st.sampled_from([0.0, 0.25, 0.5, 0.61, 1.0]))})


def torch_quantile(x: Any, q: float, axis: int, keepdims: bool) -> Any:
    return torch.quantile(x, q, dim=axis, keepdim=keepdims)


def torch_median(x: Any, axis: int, keepdims: bool) -> Any:
    """PyTorch's own `median` takes the lower of two middle values; NumPy's is the quantile at one half."""
    return torch.quantile(x, 0.5, dim=axis, keepdim=keepdims)


@st.composite
def vectors(draw: Any) -> Draw:
    found = draw(reduced(several=False, **KEEP))
    return Draw(found.arrays, {**found.params, "ord": draw(st.sampled_from([1, 2, 3, np.inf, -np.inf]))})


def torch_norm(x: Any, axis: int, keepdims: bool, **order: Any) -> Any:
    return torch.linalg.vector_norm(x, dim=axis, keepdim=keepdims, **order)


@st.composite
def along(draw: Any) -> Draw:
    """A tensor and integers of its shape but for one axis."""
    found = draw(reduced(numbers, several=False))
    (x,), axis = found.arrays, found.params["axis"]
    sizes = list(x.shape)
    sizes[axis] = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Draw([x, rng.integers(0, x.shape[axis], sizes)], {"axis": axis})


def _search(draw: Any, rng: Any, dtype: Any) -> Draw:
    row = np.sort(numbers(rng, draw(st.integers(0, 6)), dtype))
    return Draw([row, numbers(rng, draw(shapes()), dtype)], {"side": draw(st.sampled_from(["left", "right"]))})


def _top(draw: Any, rng: Any, dtype: Any) -> Draw:
    shape = draw(shapes(1, 3, 1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    params = {"k": draw(st.integers(1, shape[axis])), "axis": axis, "largest": draw(st.booleans())}
    return Draw([distinct(rng, shape, dtype)], params)


def torch_top(x: Any, k: int, axis: int, largest: bool) -> Any:
    return torch.topk(x, k, dim=axis, largest=largest)[0]


ALONG = [
    one_axis("argmax", torch.argmax),
    one_axis("argmin", torch.argmin),
    one_axis("argsort", torch.argsort),
    one_axis("sort", lambda x, dim: torch.sort(x, dim=dim)[0]),
    one_axis("cumsum", torch.cumsum, make=numbers),
    one_axis("cumprod", torch.cumprod, make=with_zeros),
    Peer("std", ours("std"), lambda x, axis, keepdims: torch.std(x, dim=axis, correction=0, keepdim=keepdims),
         jnp.std, reduced(distinct, side=2, several=False, **KEEP)),
    Peer("quantile", ours("quantile"), torch_quantile, jnp.quantile, quantiles()),
    Peer("median", ours("median"), torch_median, jnp.median, reduced(distinct, several=False, **KEEP)),
    Peer("norm", ours("norm"), torch_norm,
         jnp.linalg.norm, vectors()),
    Peer("take_along_axis", ours("take_along_axis"), lambda x, i, axis: torch.take_along_dim(x, i, axis),
         jnp.take_along_axis, along()),
    Peer("searchsorted", ours("searchsorted"), lambda row, v, side: torch.searchsorted(row, v, side=side),
         jnp.searchsorted, operand(_search)),
    Peer("topk", lambda x, **p: ours("topk")(x, **p)[0], torch_top, None, operand(_top)),
]  # fmt: skip
PEERS = [*REDUCTIONS, *ALONG]
