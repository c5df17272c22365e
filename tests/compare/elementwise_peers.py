"""Elementwise functions and activations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .libraries import F, jax, jnp, jsp, torch
from .peers import Peer, elements, ours


def unary(name: str, low: float | None = None, high: float = 1.0, at: Any = None, jx: Any = None) -> Peer:
    """A function with its own name in both libraries, unless said otherwise."""
    there = at or getattr(torch, name, None) or getattr(torch.special, name)
    return Peer(name, ours(name), there, jx or getattr(jnp, name, None), elements(1, low, high))


def binary(name: str, low: float | None = None, high: float = 1.0, at: Any = None, jx: Any = None) -> Peer:
    there = at or getattr(torch, name)
    return Peer(name, ours(name), there, jx or getattr(jnp, name), elements(2, low, high))


UNARY = [
    *[
        unary(name)
        for name in ("abs", "sign", "square", "exp", "expm1", "sin", "cos", "arctan", "sinh", "cosh", "tanh")
    ],
    *[unary(name) for name in ("arcsinh", "floor", "ceil", "exp2")],
    *[unary(name, 0.2, 4.0) for name in ("sqrt", "log", "log2", "log10", "reciprocal")],
    *[unary(name, -0.9, 0.9) for name in ("arcsin", "arccos", "arctanh", "tan")],
    unary("log1p", -0.9, 4.0),
    unary("arccosh", 1.1, 4.0),
    unary("rsqrt", 0.2, 4.0, jx=jax.lax.rsqrt),
    unary("neg", jx=jnp.negative),
    unary("erf", jx=jsp.erf),
    unary("erfc", jx=jsp.erfc),
    unary("round"),
    unary("isnan"),
    unary("isinf"),
    unary("isfinite"),
    unary("logical_not"),
]
BINARY = [
    *[binary(name) for name in ("maximum", "minimum", "logaddexp", "arctan2", "hypot")],
    *[binary(name) for name in ("less", "less_equal", "greater", "greater_equal", "not_equal")],
    *[binary(name) for name in ("logical_and", "logical_or", "logical_xor")],
    binary("equal", at=torch.eq),
    binary("add"),
    binary("sub", jx=jnp.subtract),
    binary("mul", jx=jnp.multiply),
    binary("div", 0.5, 2.0, jx=jnp.divide),
    binary("power", 0.5, 2.0, at=torch.pow),
    Peer("floor_divide", ours("floor_divide"), None, jnp.floor_divide, elements(2, 0.5, 2.0)),
    binary("mod", 0.5, 2.0, at=torch.remainder),
    Peer("where", lambda c, a, b: ours("where")(c > 0, a, b), lambda c, a, b: torch.where(c > 0, a, b),
         lambda c, a, b: jnp.where(c > 0, a, b), elements(3)),
]  # fmt: skip


BOUNDS = {"min": st.sampled_from([-0.5, None]), "max": st.sampled_from([0.5, 0.75])}
ACTIVATIONS = [
    unary("sigmoid", jx=jax.nn.sigmoid),
    unary("relu", jx=jax.nn.relu),
    unary("softplus", at=F.softplus, jx=jax.nn.softplus),
    unary("selu", at=F.selu, jx=jax.nn.selu),
    unary("silu", at=F.silu, jx=jax.nn.silu),
    unary("mish", at=F.mish, jx=jax.nn.mish),
    unary("hardtanh", at=F.hardtanh, jx=jax.nn.hard_tanh),
    unary("softsign", at=F.softsign, jx=jax.nn.soft_sign),
    unary("log_sigmoid", at=F.logsigmoid, jx=jax.nn.log_sigmoid),
    Peer("gelu", ours("gelu"), F.gelu, lambda x: jax.nn.gelu(x, approximate=False), elements(1)),
    Peer("leaky_relu", ours("leaky_relu"), F.leaky_relu, jax.nn.leaky_relu,
         elements(1, negative_slope=st.floats(0.01, 0.5))),
    Peer("elu", ours("elu"), F.elu, jax.nn.elu, elements(1, alpha=st.floats(0.5, 2.0))),
    Peer("hardtanh-bounds", ours("hardtanh"), F.hardtanh, None,
         elements(1, min_val=st.floats(-2, -0.5), max_val=st.floats(0.5, 2))),
    Peer("clip", ours("clip"), torch.clip, jnp.clip, elements(1, **BOUNDS)),
    Peer("gelu-tanh", ours("gelu"), F.gelu, lambda x, approximate: jax.nn.gelu(x, approximate=True),
         elements(1, approximate=st.just("tanh"))),
]  # fmt: skip
PEERS = [*UNARY, *BINARY, *ACTIVATIONS]
