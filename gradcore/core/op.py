"""The op record.  An op is defined once; everything in the library reads its record."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gradcore.core.aval import aval_of

Rule = Callable[..., Any]
Mask = tuple[bool, ...]


class Family(enum.Enum):
    """Which law an op obeys.  The family fills the fields that the op does not state."""

    ELEMENTWISE = "elementwise"  # a scalar expression per element
    LINEAR = "linear"  # its own derivative; the vjp is the transpose; saves nothing
    BILINEAR = "bilinear"  # linear in each operand
    INDEXED = "indexed"  # reads indices or a key that carry no derivative
    FUSED = "fused"  # a composition of other ops, with optional kernels
    CALL = "call"  # holds a graph


class Promotion(enum.Enum):
    """How operands of different dtypes meet before an op is bound (NumPy 2's rules)."""

    COMMON = "common"  # one common dtype, integers stay integers: add, maximum
    FLOAT = "float"  # one common floating dtype, as NumPy's exp does
    NONE = "none"  # operands keep their dtypes


class Saved(NamedTuple):
    """What a vjp reads: positions of inputs and of outputs.  All else is kept as shape and dtype only."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


class Sample(NamedTuple):
    """One call for the generated tests: operands, static parameters, and which operands to differentiate.

    Attributes:
        args: a function of a `numpy.random.Generator` and a floating dtype that returns the operands.
        params: static parameters, in the op's order.
        label: shown in the test's name.
        order: highest derivative order to test (3 by default).
        smooth: False where a finite difference may cross a kink.
        wrt: positions of the operands to differentiate; all by default.
    """

    args: Callable[..., Sequence[Any]]
    params: tuple[Any, ...] = ()
    label: str = ""
    order: int = 3
    smooth: bool = True
    wrt: tuple[int, ...] | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Op:
    """One operation, complete.

    `impl(xp, out, *arrays, *params)` is the only code of an op that sees arrays; `xp` is a backend; it writes to
    `out` where that is given (an array, or a tuple of arrays when there are several outputs).  Every other rule is
    written in ops, so that every interpreter sees what it does.

    Rules:
        abstract(*avals, *params) -> Aval | tuple[Aval, ...]
        vjp(needed, g, xs, ys, params) -> one cotangent (or None) per input; `g` is a tuple where there are
            several outputs; `xs` and `ys` hold an Aval for every value that `saves` does not name
        vjp_op(needed, params) -> an op on (g, *saved) that returns the needed cotangents; used instead of `vjp`
        jvp(tangents, xs, ys, params) -> tangent of each output (None for zero)
        batch(size, mapped, xs, params) -> outputs with the mapped axis in front; `xs` have it in front where mapped
        saves(needed, params) -> Saved
        alias(*avals, *params) -> which input the output is a view of, or None
    """

    name: str
    family: Family
    inputs: tuple[str, ...]
    impl: Rule
    abstract: Rule
    params: tuple[str, ...] = ()
    outputs: int = 1  # -1: as many as the operands ask for
    aux: int = 0  # how many of the outputs, at the end, only kernels may read
    variadic: bool = False  # takes any number of operands
    promotion: Promotion = Promotion.NONE
    differentiable: Mask | None = None  # None: every floating operand
    half: bool = True  # the backend computes float16 in float32 and rounds once
    cuda_half: bool = False  # on CUDA `impl` does that itself
    host: frozenset[int] = frozenset()  # operands that may stay on the CPU, so that no step copies them: keys, rates
    alias: Rule | None = None
    vjp: Rule | None = None
    vjp_op: Rule | None = None
    jvp: Rule | None = None
    batch: Rule | None = None
    saves: Rule = lambda needed, params: Saved()
    spec: Any = None  # the scalar expression (elementwise)
    meaning: Rule | None = None  # the composition of other ops (fused)
    kernels: dict[str, Any] = field(default_factory=dict)  # "cuda": RowSpec, ReductionSpec, or another `impl`
    samples: tuple[Sample, ...] = ()
    internal: bool = False  # derived from another op; not listed, no samples of its own
    doc: str = ""
    cache: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.internal:
            if self.name in OPS:
                raise ValueError(f"an op named {self.name!r} exists already")
            OPS[self.name] = self

    @property
    def multiple(self) -> bool:
        """Does `impl` return a tuple?"""
        return self.outputs != 1

    @property
    def visible(self) -> int:
        """How many outputs users see (-1: all)."""
        return self.outputs - self.aux

    def shapes_and_dtypes(self, values: Sequence[Any], params: tuple[Any, ...]) -> tuple[tuple[Any, Any], ...]:
        """Of the outputs, for operands that are arrays or numbers."""
        avals = self.abstract(*[aval_of(value) for value in values], *params)
        return tuple([(aval.shape, aval.dtype) for aval in (avals if type(avals) is tuple else (avals,))])

    def can_differentiate(self, position: int) -> bool:
        return self.differentiable is None or self.variadic or self.differentiable[position]

    def __repr__(self) -> str:
        return f"Op({self.name})"


OPS: dict[str, Op] = {}
