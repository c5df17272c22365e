"""Values and gradients equal those of PyTorch and JAX, on shapes that hypothesis draws."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradcore as gc

from . import elementwise_peers, loss_peers, reduction_peers, shape_peers
from .libraries import jax, torch
from .peers import Draw, Peer

pytestmark = pytest.mark.compare

TABLE = [*elementwise_peers.PEERS, *reduction_peers.PEERS, *shape_peers.PEERS, *loss_peers.PEERS]


def examples(count: int) -> settings:
    """The same examples in every run."""
    every = list(HealthCheck)
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=every)


TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}
ALONE = {
    "dropout": "random",
    "scan": "in test_transforms",
    "cond": "in test_transforms",
    **dict.fromkeys(["eye", "linspace", "zeros_like", "ones_like", "full_like"], "has no gradient"),
    "straight_through": "neither has it",
    **dict.fromkeys(["to_device", "name"], "changes no number"),
    "mse": "is mse_loss",
    "logsigmoid": "is log_sigmoid",
}


def test_every_function_is_compared() -> None:
    compared = {peer.name.partition("-")[0] for peer in TABLE}
    assert {*gc.ops.__all__, *gc.nn.functional.__all__} - compared == set(ALONE)


def floating(arrays: list[Any]) -> list[int]:
    return [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]


def or_zeros(draw: Draw, grads: Any) -> list[Any]:
    """Gradients of all floating operands; one that a library does not give is zero."""
    pairs = zip(floating(draw.arrays), grads, strict=True)
    return [np.zeros_like(draw.arrays[i]) if g is None else g.numpy() for i, g in pairs]


def with_torch(peer: Peer, draw: Draw, weigh: Any) -> tuple[Any, list[Any]]:
    wanted = floating(draw.arrays)
    xs = [torch.tensor(a, requires_grad=i in wanted) for i, a in enumerate(draw.arrays)]
    y = peer.torch(*xs, **draw.params)  # type: ignore[misc]
    if not y.requires_grad:
        return y.numpy(), or_zeros(draw, [None] * len(wanted))
    w = torch.tensor(weigh(tuple(y.shape)).astype(draw.arrays[wanted[0]].dtype))
    grads = torch.autograd.grad((y * w).sum(), [xs[i] for i in wanted], allow_unused=True)
    return y.detach().numpy(), or_zeros(draw, grads)


def with_jax(peer: Peer, draw: Draw, weigh: Any) -> tuple[Any, list[Any]]:
    def function(xs: list[Any]) -> Any:
        every = list(draw.arrays)
        for i, x in zip(wanted, xs, strict=True):
            every[i] = x
        return peer.jax(*every, **draw.params)  # type: ignore[misc]

    wanted = floating(draw.arrays)
    xs = [jax.numpy.asarray(draw.arrays[i]) for i in wanted]
    y, pull = jax.vjp(function, xs)
    if y.dtype.kind != "f" or not wanted:
        return np.asarray(y), or_zeros(draw, [None] * len(wanted))
    return np.asarray(y), [np.asarray(g) for g in pull(jax.numpy.asarray(weigh(y.shape), y.dtype))[0]]


def with_gradcore(peer: Peer, draw: Draw, weigh: Any) -> tuple[Any, list[Any]]:
    wanted = floating(draw.arrays)
    xs = [gc.tensor(a, requires_grad=i in wanted) for i, a in enumerate(draw.arrays)]
    y = peer.ours(*xs, **draw.params)
    if y.requires_grad:
        y.backward(gc.tensor(weigh(y.shape).astype(y.dtype)))
    return y.numpy(), or_zeros(draw, [xs[i].grad for i in wanted])


def weights(shape: tuple[int, ...]) -> Any:
    """Cotangents: the same for every library."""
    return np.random.default_rng(len(shape)).uniform(0.5, 1.5, shape)


def assert_close(got: Any, want: Any, tol: float, what: str) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    scale = np.abs(want).max(initial=1.0) if want.dtype.kind == "f" else 1.0
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol * scale, err_msg=what)


def compare(peer: Peer, draw: Draw, theirs: Any, library: str) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        want, want_grads = theirs(peer, draw, weights)
        got, got_grads = with_gradcore(peer, draw, weights)
    dtype = next((a.dtype for a in draw.arrays if a.dtype.kind == "f"), np.dtype(np.float32))
    tol = TOLERANCE[dtype]
    assert_close(got, want, tol, f"{peer} against {library}")
    for i, (g, w) in enumerate(zip(got_grads, want_grads, strict=True)):
        assert_close(g, w, tol, f"gradient {i} of {peer} against {library}")


def test_a_lost_gradient_is_noticed() -> None:
    lost = Peer("lost", lambda x: gc.sin(x).detach(), torch.sin, None, None)
    draw = Draw([np.ones(3)], {})
    with pytest.raises(AssertionError, match="gradient 0 of lost"):
        compare(lost, draw, with_torch, "PyTorch")


@pytest.mark.parametrize("peer", [p for p in TABLE if p.torch], ids=str)
@examples(12)
@given(data=st.data())
def test_pytorch(peer: Peer, data: Any) -> None:
    compare(peer, data.draw(peer.draws), with_torch, "PyTorch")


@pytest.mark.parametrize("peer", [p for p in TABLE if p.jax], ids=str)
@examples(5)  # each new shape is compiled, which takes JAX a tenth of a second
@given(data=st.data())
def test_jax(peer: Peer, data: Any) -> None:
    compare(peer, data.draw(peer.draws), with_jax, "JAX")
