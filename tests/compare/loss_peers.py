"""Losses and layers as functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .libraries import F, jax, jnp, torch
from .peers import Draw, Peer, functional, numbers, operand, ours, shapes

REDUCTION = st.sampled_from(["mean", "sum", "none"])


def _labelled(draw: Any, rng: Any, dtype: Any) -> Draw:
    n, classes = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    return Draw([numbers(rng, (n, classes), dtype), rng.integers(0, classes, n)], {"reduction": draw(REDUCTION)})


def _log_probabilities(draw: Any, rng: Any, dtype: Any) -> Draw:
    found = _labelled(draw, rng, dtype)
    x = found.arrays[0]
    return Draw([x - np.log(np.exp(x).sum(1, keepdims=True)), found.arrays[1]], found.params)


def pairs(second: Any = numbers, **more: Any) -> Any:
    """Two operands of one shape and a reduction."""

    def make(draw: Any, rng: Any, dtype: Any) -> Draw:
        shape = draw(shapes(0, 3, 1))
        params = {name: draw(strategy) for name, strategy in more.items()}
        arrays = [numbers(rng, shape, dtype), second(rng, shape, dtype)]
        return Draw(arrays, {"reduction": draw(REDUCTION), **params})

    return operand(make)


def probabilities(rng: Any, shape: Any, dtype: Any) -> Any:
    return np.asarray(rng.uniform(0.1, 0.9, shape), dtype)


def along_last(name: str, there: Any, jx: Any) -> Peer:
    def make(draw: Any, rng: Any, dtype: Any) -> Draw:
        shape = draw(shapes(1, 3, 1))
        return Draw([numbers(rng, shape, dtype)], {"axis": draw(st.integers(-len(shape), len(shape) - 1))})

    return Peer(name, ours(name), lambda x, axis: there(x, dim=axis), jx, operand(make))


def _normalized(draw: Any, rng: Any, dtype: Any) -> Draw:
    x = numbers(rng, (*draw(shapes(0, 2, 1)), 4), dtype)
    return Draw([x, numbers(rng, 4, dtype), numbers(rng, 4, dtype)], {})


def jax_mse(x: Any, y: Any, reduction: str) -> Any:
    losses = (x - y) ** 2
    return losses if reduction == "none" else getattr(jnp, reduction)(losses)


PEERS = [
    Peer("cross_entropy", functional("cross_entropy"), F.cross_entropy, None, operand(_labelled)),
    Peer("nll_loss", functional("nll_loss"), F.nll_loss, None, operand(_log_probabilities)),
    Peer("mse_loss", functional("mse_loss"), F.mse_loss, jax_mse, pairs()),
    Peer("l1_loss", functional("l1_loss"), F.l1_loss, None, pairs()),
    Peer("huber_loss", functional("huber_loss"), F.huber_loss, None, pairs(delta=st.floats(0.5, 2.0))),
    Peer("binary_cross_entropy_with_logits", functional("binary_cross_entropy_with_logits"),
         F.binary_cross_entropy_with_logits, None, pairs(probabilities)),
    Peer("kl_div", functional("kl_div"), F.kl_div, None, pairs(probabilities, log_target=st.just(False))),
    Peer("kl_div-log", functional("kl_div"), F.kl_div, None, pairs(log_target=st.just(True))),
    along_last("softmax", torch.softmax, jax.nn.softmax),
    along_last("log_softmax", torch.log_softmax, jax.nn.log_softmax),
    Peer("layer_norm", ours("layer_norm"), lambda x, w, b: F.layer_norm(x, (4,), w, b), None, operand(_normalized)),
]  # fmt: skip
