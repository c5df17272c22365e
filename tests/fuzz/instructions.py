"""What a random program is made of: each instruction is one formula in names that all libraries are given.

`run(lib, *operands, *params)` computes it with gradcore, JAX or PyTorch.  `accepts(*arrays)` says whether the operands
are inside its domain and away from its kinks, so that a small rounding error cannot change the result by much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

Accepts = Callable[..., bool]
Params = Callable[..., Any]  # of the operands; gives a strategy of a tuple
MARGIN = 1e-2


@dataclass(frozen=True)
class Instruction:
    """A formula, its domain, how its operands meet ("float", "common" or "none"), and its parameters."""

    name: str
    run: Callable[..., Any]
    accepts: Accepts
    arity: int = 1
    promotion: str = "float"
    params: Params = lambda *arrays: st.just(())


# --- domains ----------------------------------------------------------------------------------------------------------


def number(*xs: Any) -> bool:
    return all(x.dtype.kind in "fi" for x in xs)


def below(limit: float) -> Accepts:
    return lambda x: number(x) and bool(np.abs(x).max() < limit)


def apart(*places: float) -> Accepts:
    """Floating, and no element near one of `places`."""
    return lambda x: x.dtype.kind == "f" and all(np.abs(x - place).min() > MARGIN for place in places)


def fractional(shift: float) -> Accepts:
    """Floating, and away from the integers plus `shift`."""
    return lambda x: x.dtype.kind == "f" and bool(np.abs(x - shift - np.round(x - shift)).min() > MARGIN)


def broadcasts(*xs: Any) -> bool:
    try:
        return number(*xs) and len(np.broadcast_shapes(*[x.shape for x in xs])) <= 4
    except ValueError:
        return False


def different(x: Any, y: Any) -> bool:
    return broadcasts(x, y) and bool(np.abs(x - y).min() > MARGIN)


def far_from_origin(x: Any, y: Any) -> bool:
    return broadcasts(x, y) and bool(np.hypot(x, y).min() > 0.2) and bool((np.hypot(y, 0) > MARGIN).all())


def dividing(x: Any, y: Any) -> bool:
    return broadcasts(x, y) and bool(np.abs(y).min() > 0.2)


def without_ties(x: Any) -> bool:
    """No two elements are near each other."""
    return x.dtype.kind == "f" and bool((np.diff(np.sort(x, axis=None)) > MARGIN).all())


def axes(low: int, more: Accepts = lambda x: True) -> Accepts:
    return lambda x: number(x) and x.ndim >= low and more(x)


def spread(x: Any) -> bool:
    """Along no axis, nor over all, is the norm or the deviation near 0."""
    return x.ndim > 0 and min(x.std(axis=k).min() for k in range(x.ndim)) > 0.1


def long(x: Any) -> bool:
    return bool(np.sqrt((np.asarray(x, float) ** 2).min()) > MARGIN)


# --- parameters -------------------------------------------------------------------------------------------------------


def axis_of(x: Any, *rest: Any) -> Any:
    return st.integers(-x.ndim, x.ndim - 1).map(lambda axis: (axis,))


def reduction(x: Any) -> Any:
    axis = st.none() | st.integers(-x.ndim, x.ndim - 1) if x.ndim else st.none()
    return st.tuples(axis, st.booleans())


def permutation(x: Any) -> Any:
    return st.permutations(range(x.ndim)).map(lambda order: (tuple(order),))


def other_shape(x: Any) -> Any:
    known = [(-1,), (x.size,), (1, x.size), tuple(reversed(x.shape)), (*x.shape, 1)]
    return st.sampled_from(known).map(lambda shape: (shape,))


def larger_shape(x: Any) -> Any:
    wide = tuple([3 if size == 1 else size for size in x.shape])
    return st.sampled_from([wide, (2, *x.shape), (2, *wide)]).map(lambda shape: (shape,))


def basic_key(x: Any) -> Any:
    """Integers, slices, None and `...`."""

    def part(size: int) -> Any:
        slices = [slice(None), slice(1, None), slice(None, -1), slice(None, None, 2), slice(None, None, -1)]
        return st.integers(-size, size - 1) | st.sampled_from(slices[: 1 if size == 1 else None])

    parts = st.tuples(*[part(size) for size in x.shape])
    return st.one_of(
        parts, parts.map(lambda key: (None, *key)), parts.map(lambda key: (..., *key[1:])), parts.map(lambda k: k[:1])
    ).map(lambda key: (key,))


def places(x: Any) -> Any:
    """An axis and a list of positions, some of them twice."""
    axis = st.integers(0, x.ndim - 1)
    return axis.flatmap(
        lambda k: st.tuples(st.just(k), st.lists(st.integers(-x.shape[k], x.shape[k] - 1), min_size=1, max_size=4))
    ).map(lambda pair: (pair[0], tuple(pair[1])))


# --- the table --------------------------------------------------------------------------------------------------------


def named(*names: str, accepts: Accepts = number, promotion: str = "float") -> list[Instruction]:
    """Functions of one operand that all libraries call by the same name."""
    made = [(name, lambda lib, x, name=name: getattr(lib, name)(x)) for name in names]
    return [Instruction(name, function, accepts, 1, promotion) for name, function in made]


def reduced(*names: str, accepts: Accepts, promotion: str = "float") -> list[Instruction]:
    def run(lib: Any, x: Any, axis: Any, keepdims: bool, name: str) -> Any:
        return getattr(lib, name)(x, axis=axis, keepdims=keepdims)

    made = [(name, lambda *args, name=name: run(*args, name=name)) for name in names]
    return [Instruction(name, function, accepts, 1, promotion, reduction) for name, function in made]


def along(*names: str, accepts: Accepts, promotion: str = "float") -> list[Instruction]:
    made = [(name, lambda lib, x, axis, name=name: getattr(lib, name)(x, axis=axis)) for name in names]
    return [Instruction(name, function, accepts, 1, promotion, axis_of) for name, function in made]


def pairs(*names: str, accepts: Accepts = broadcasts, promotion: str = "common") -> list[Instruction]:
    made = [(name, lambda lib, x, y, name=name: getattr(lib, name)(x, y)) for name in names]
    return [Instruction(name, function, accepts, 2, promotion) for name, function in made]


def multiplies(x: Any, y: Any) -> bool:
    try:
        return number(x, y) and bool(np.matmul(x, y).size)
    except ValueError:
        return False


def solves(x: Any, y: Any) -> bool:
    return number(x, y) and x.ndim >= 2 and y.ndim == x.ndim and x.shape[:-1] == y.shape[:-1]


def concatenates(x: Any, y: Any) -> bool:
    return number(x, y) and x.ndim == y.ndim > 0 and x.shape[1:] == y.shape[1:]


def selects(mask: Any, x: Any, y: Any) -> bool:
    return mask.dtype == bool and broadcasts(x, y) and broadcasts(np.zeros(mask.shape), x + y)


def indexes(i: Any, x: Any) -> bool:
    return i.dtype.kind == "i" and x.dtype.kind == "f" and 0 < x.ndim <= 3 and i.ndim <= 2 and _inside(i, x.shape[0])


def once(i: Any, x: Any) -> bool:
    return indexes(i, x) and i.ndim == 1 and len(set(i.tolist())) == i.size


def _inside(i: Any, size: int) -> bool:
    return bool((i >= 0).all() and (i < size).all())


ELEMENTWISE = [
    *named("sin", "cos", "tanh", "sigmoid", "softplus", "arctan", "arcsinh", "erf", "erfc", "gelu", "silu", "mish"),
    *named("softsign", "log_sigmoid"),
    *named("square", "stop_gradient", promotion="common"),
    *named("exp", "expm1", "exp2", "sinh", "cosh", accepts=below(3)),
    *named("tan", accepts=below(1.2)),
    *named("arcsin", "arccos", "arctanh", accepts=below(0.9)),
    *named("abs", "relu", "elu", "selu", "leaky_relu", "sign", accepts=apart(0.0)),
    *named("hardtanh", accepts=apart(-1.0, 1.0)),
    *named("floor", "ceil", accepts=fractional(0.0)),
    *named("round", accepts=fractional(0.5)),
    Instruction("log", lambda lib, x: lib.log(lib.abs(x) + 0.5), apart(0.0)),
    Instruction("log1p", lambda lib, x: lib.log1p(lib.square(x)), number),
    Instruction("log2", lambda lib, x: lib.log2(lib.square(x) + 0.5), number),
    Instruction("log10", lambda lib, x: lib.log10(lib.square(x) + 0.5), number),
    Instruction("sqrt", lambda lib, x: lib.sqrt(lib.square(x) + 0.5), number),
    Instruction("rsqrt", lambda lib, x: lib.rsqrt(lib.square(x) + 0.5), number),
    Instruction("arccosh", lambda lib, x: lib.arccosh(lib.square(x) + 1.5), number),
    Instruction("reciprocal", lambda lib, x: 1 / (x * x + 0.5), number),
    Instruction("cube", lambda lib, x: x**3, below(4), promotion="common"),
    Instruction("clip", lambda lib, x: lib.clip(x, -0.5, 0.5), apart(-0.5, 0.5)),
    Instruction("affine", lambda lib, x: 2 - x * 0.5, number),
    Instruction("float32", lambda lib, x: lib.cast(x, "float32"), number, promotion="none"),
    Instruction("float64", lambda lib, x: lib.cast(x, "float64"), number, promotion="none"),
]
BINARY = [
    *pairs("add", "sub", "mul"),
    *pairs("maximum", "minimum", accepts=different),
    *pairs("div", accepts=dividing, promotion="float"),
    *pairs("logaddexp", promotion="float"),
    *pairs("hypot", "arctan2", accepts=far_from_origin, promotion="float"),
    *pairs("less", "greater_equal", accepts=different),
    Instruction(
        "power", lambda lib, x, y: (lib.abs(x) + 0.5) ** lib.tanh(y), lambda x, y: broadcasts(x, y) and long(x), 2
    ),
    Instruction("safe_div", lambda lib, x, y: x / (lib.square(y) + 0.5), broadcasts, 2),
    Instruction("where_less", lambda lib, x, y: lib.where(x < y, lib.sin(x), x * y), different, 2),
    Instruction("where", lambda lib, mask, x, y: lib.where(mask, x, y), selects, 3, "common"),
]
REDUCTIONS = [
    *reduced("sum", "prod", accepts=number, promotion="common"),
    *reduced("mean", "logsumexp", accepts=number),
    *reduced("max", "min", accepts=axes(1, without_ties), promotion="common"),
    *reduced("var", accepts=axes(1)),
    *reduced("std", accepts=axes(1, spread)),
    *reduced("norm", accepts=axes(1, long)),
    *along("softmax", "log_softmax", accepts=axes(1)),
    *along("cumsum", "cumprod", accepts=axes(1), promotion="common"),
    *along("sort", "argsort", "argmax", "argmin", accepts=axes(1, without_ties)),
    Instruction("layer_norm", lambda lib, x: lib.layer_norm(x), lambda x: x.dtype.kind == "f" and spread(x)),
]
SHAPES = [
    Instruction("reshape", lambda lib, x, shape: lib.reshape(x, shape), number, 1, "none", other_shape),
    Instruction("transpose", lambda lib, x, order: lib.transpose(x, order), number, 1, "none", permutation),
    Instruction("broadcast_to", lambda lib, x, s: lib.broadcast_to(x, s), number, 1, "none", larger_shape),
    Instruction("flip", lambda lib, x, axis: lib.flip(x, axis), axes(1), 1, "none", axis_of),
    Instruction("roll", lambda lib, x, axis: lib.roll(x, 1, axis), axes(1), 1, "none", axis_of),
    Instruction("expand_dims", lambda lib, x, k: lib.expand_dims(x, k), axes(1), 1, "none", axis_of),
    Instruction("repeat", lambda lib, x, axis: lib.repeat(x, 2, axis), axes(1), 1, "none", axis_of),
    Instruction("tile", lambda lib, x: lib.tile(x, (2, 1)), axes(1), 1, "none"),
    Instruction("pad", lambda lib, x: lib.pad(x, ((1, 0),) + ((0, 2),) * (len(x.shape) - 1)), axes(1), 1, "none"),
    Instruction("tril", lambda lib, x: lib.tril(x, -1), axes(2), 1, "none"),
    Instruction("triu", lambda lib, x: lib.triu(x, 1), axes(2), 1, "none"),
    Instruction("diagonal", lambda lib, x: lib.diagonal(x), lambda x: number(x) and x.ndim == 2, 1, "none"),
    Instruction("concatenate", lambda lib, x, y: lib.concatenate([x, y, x]), concatenates, 2, "common"),
    Instruction(
        "stack",
        lambda lib, x, y, k: lib.stack([x, y], k),
        lambda x, y: x.ndim > 0 and number(x, y) and x.shape == y.shape,
        2,
        "common",
        axis_of,
    ),
    Instruction("getitem", lambda lib, x, key: lib.getitem(x, key), axes(1), 1, "none", basic_key),
    Instruction("take", lambda lib, x, axis, i: lib.take(x, np.array(i), axis), axes(1), 1, "none", places),
    Instruction("index", lambda lib, i, x: lib.getitem(x, i), indexes, 2, "none"),
    Instruction("at_add", lambda lib, i, x: lib.at_add(x, i, lib.sin(lib.getitem(x, i))), indexes, 2, "none"),
]
SELECTIONS = [
    Instruction("at_set", lambda lib, i, x: lib.at_set(x, i, lib.sin(lib.getitem(x, i)) * 2), once, 2, "none"),
    Instruction(
        "take_along_axis",
        lambda lib, x, axis: lib.take_along_axis(x, lib.argsort(lib.sin(x), axis=axis), axis),
        axes(1, lambda x: without_ties(np.sin(x))),
        promotion="none",
        params=axis_of,
    ),
    Instruction("median", lambda lib, x, axis: lib.median(x, axis=axis), axes(1, without_ties), params=axis_of),
    Instruction(
        "quantile", lambda lib, x, axis: lib.quantile(x, 0.3, axis=axis), axes(1, without_ties), params=axis_of
    ),
    Instruction("mod", lambda lib, x: lib.mod(x, 0.7), lambda x: number(x) and fractional(0.0)(x / 0.7)),
    Instruction("trace", lambda lib, x: lib.trace(x), lambda x: number(x) and x.ndim == 2, 1, "none"),
]
PRODUCTS = [
    *pairs("matmul", accepts=multiplies),
    Instruction("gram", lambda lib, x: lib.einsum("...ij,...kj->...ik", x, x), axes(2), promotion="common"),
    Instruction(
        "outer", lambda lib, x, y: lib.outer(x, y), lambda x, y: number(x, y) and x.size * y.size <= 60, 2, "common"
    ),
    Instruction(
        "kron",
        lambda lib, x, y: lib.kron(x, y),
        lambda x, y: number(x, y) and x.ndim == y.ndim == 2 and x.size * y.size <= 60,
        2,
        "common",
    ),
    Instruction(
        "tensordot",
        lambda lib, x, y: lib.tensordot(x, y, 1),
        lambda x, y: number(x, y) and x.ndim > 0 < y.ndim and x.shape[-1] == y.shape[0] and x.ndim + y.ndim <= 6,
        2,
        "common",
    ),
]


def definite(lib: Any, x: Any) -> Any:
    """A symmetric matrix whose eigenvalues are 1 or more."""
    return lib.einsum("...ij,...kj->...ik", x, x) + lib.cast(lib.constant(np.eye(x.shape[-2])), lib.dtype(x))


LINALG = [
    Instruction("cholesky", lambda lib, x: lib.linalg.cholesky(definite(lib, x)), axes(2)),
    Instruction("inv", lambda lib, x: lib.linalg.inv(definite(lib, x)), axes(2)),
    Instruction("det", lambda lib, x: lib.linalg.det(definite(lib, x)), axes(2)),
    Instruction("slogdet", lambda lib, x: lib.linalg.slogdet(definite(lib, x))[1], axes(2)),
    Instruction("solve", lambda lib, x, y: lib.linalg.solve(definite(lib, x), y), solves, 2),
]
EVERY = [*ELEMENTWISE, *BINARY, *REDUCTIONS, *SHAPES, *SELECTIONS, *PRODUCTS, *LINALG]
TABLE = {instruction.name: instruction for instruction in EVERY}
