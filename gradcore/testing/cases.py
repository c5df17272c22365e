"""One case per op and sample: what the generated tests are made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcore.autodiff.transforms import jvp, vjp
from gradcore.core.bind import as_tuple
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import OPS, Op, Sample
from gradcore.core.state import INTERNAL
from gradcore.core.tensor import Tensor
from gradcore.ops.operands import bind_general

Function = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """An op on one of its samples."""

    op: Op
    sample: Sample
    number: int

    def __str__(self) -> str:
        label = f"-{self.sample.label}" if self.sample.label else ""
        return f"{self.op.name}-{self.number}{label}".replace(" ", "")

    def rng(self, seed: int = 0) -> np.random.Generator:
        return np.random.default_rng([seed, zlib.crc32(self.op.name.encode()), self.number])

    def operands(self, dtype: Any = np.float64, seed: int = 0) -> list[Any]:
        """Arrays, the same ones in every run."""
        return [np.asarray(value) for value in self.sample.args(self.rng(seed), np.dtype(dtype))]

    def call(self, *operands: Any) -> tuple[Any, ...]:
        """The visible outputs, by the general path."""
        return as_tuple(bind_general(self.op, operands, self.sample.params))

    def moving(self, operands: Sequence[Any]) -> list[int]:
        """Positions of the operands that have a derivative."""
        wrt = range(len(operands)) if self.sample.wrt is None else self.sample.wrt
        return [k for k in wrt if operands[k].dtype.kind == "f" and self.op.can_differentiate(k)]

    def differentiable(self) -> bool:
        """Whether some operand of the sample has a derivative, and some output a floating dtype."""
        operands = self.operands()
        outs = self.call(*operands)
        return bool(self.moving(operands)) and any(out.dtype.kind == "f" for out in outs)

    def function(self, operands: Sequence[Any], call: Function | None = None) -> Function:
        """Floating visible outputs as a function of the differentiable operands."""
        moving = self.moving(operands)
        run = call or self.call

        def function(*xs: Any) -> tuple[Any, ...]:
            every = list(operands)
            for k, x in zip(moving, xs, strict=True):
                every[k] = x
            return tuple([out for out in run(*every) if out.dtype.kind == "f"])

        return function


def cases_of(ops: Iterable[Op] | None = None) -> list[Case]:
    """All samples of `ops` (of the whole table by default)."""
    every = sorted(OPS.values(), key=lambda op: op.name) if ops is None else ops
    return [Case(op, sample, number) for op in every for number, sample in enumerate(op.samples)]


def without_samples(ops: Iterable[Op] | None = None) -> list[str]:
    """Names of the ops that nobody tests: neither samples nor derived from an op that has some."""
    return [op.name for op in (OPS.values() if ops is None else ops) if not op.samples and not op.internal]


# --- derivatives as functions -----------------------------------------------------------------------------------------


def cotangents_for(case: Case, operands: Sequence[Any], seed: int = 0) -> list[Any]:
    """Random cotangents of the floating visible outputs, in their dtypes."""
    rng = case.rng(seed + 1000)
    outs = case.function(operands)(*[operands[k] for k in case.moving(operands)])
    return [np.asarray(rng.standard_normal(out.shape), out.dtype) for out in outs]


def tangents_for(case: Case, operands: Sequence[Any], seed: int = 0) -> list[Any]:
    """Random tangents of the differentiable operands."""
    rng = case.rng(seed + 2000)
    return [np.asarray(rng.standard_normal(operands[k].shape), operands[k].dtype) for k in case.moving(operands)]


def pulled(case: Case, count: int, call: Function | None = None) -> Function:
    """Cotangents of the differentiable operands, as a function of `count` operands and the cotangents."""

    def function(*values: Any) -> tuple[Any, ...]:
        operands, ws = values[:count], values[count:]
        xs = [operands[k] for k in case.moving(operands)]
        return tuple(vjp(case.function(operands, call), *xs)[1](tuple(ws)))

    return function


def pushed(case: Case, count: int, call: Function | None = None) -> Function:
    """Tangents of the outputs, as a function of `count` operands and the tangents."""

    def function(*values: Any) -> tuple[Any, ...]:
        operands, vs = values[:count], values[count:]
        xs = [operands[k] for k in case.moving(operands)]
        return tuple(jvp(case.function(operands, call), tuple(xs), tuple(vs))[1])

    return function


# --- what an op and its derivatives perform ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Application:
    """One op as Eval performed it, on raw arrays."""

    op: Op
    values: tuple[Any, ...]
    params: tuple[Any, ...]
    outputs: tuple[Any, ...]

    def key(self) -> tuple[Any, ...]:
        return self.op.name, self.params, tuple([_kind(v) for v in self.values])

    def tensors(self) -> list[Any]:
        return [Tensor(v) if isinstance(v, np.ndarray) else v for v in self.values]


def _kind(value: Any) -> Any:
    return (value.shape, value.dtype, value.strides) if isinstance(value, np.ndarray) else type(value)


class _Collect(Hook):
    def __init__(self) -> None:
        self.found: dict[Any, Application] = {}

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        application = Application(op, tuple(values), params, outputs)
        self.found.setdefault(application.key(), application)


def applications(case: Case, operands: Sequence[Any]) -> list[Application]:
    """Every op that the forward pass, both derivatives and the derivative of the vjp perform."""
    collect = _Collect()
    with hooked(collect):
        case.call(*operands)
        if case.differentiable():
            ws, vs = cotangents_for(case, operands), tangents_for(case, operands)
            pushed(case, len(operands))(*operands, *vs)
            _twice(case, operands, ws)
    return list(collect.found.values())


def _twice(case: Case, operands: Sequence[Any], ws: Sequence[Any]) -> None:
    """The vjp of the vjp, by operands and cotangents."""
    first = pulled(case, len(operands))
    moving = case.moving(operands)

    def gradient(*values: Any) -> tuple[Any, ...]:
        every = list(operands)
        for k, x in zip(moving, values, strict=False):
            every[k] = x
        return first(*every, *values[len(moving) :])

    grads, pull = vjp(gradient, *[operands[k] for k in moving], *ws)
    pull(grads)


# --- the public function of an op -------------------------------------------------------------------------------------


def public_functions(modules: Iterable[Any]) -> dict[str, Callable[..., Any]]:
    """The generated functions in `modules`, by the name of their op."""
    found = {}
    for module in modules:
        for value in vars(module).values():
            code = getattr(value, "__code__", None)
            if code is not None and code.co_filename == f"<gradcore op {value.__name__}>":
                assert INTERNAL[code.co_filename]
                found[value.__name__] = value
    return found
