"""One call of a function whose derivative is written by hand, on flat lists of tensors; and the same call batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcore.autodiff.arguments import as_value
from gradcore.autodiff.map_axes import vmap
from gradcore.autodiff.record import zeros
from gradcore.backend import is_cupy
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.errors import GradcoreError
from gradcore.core.op import OPS
from gradcore.core.tensor import Tensor
from gradcore.core.trees import Structure, flatten, unflatten
from gradcore.custom.formula import site_of

Function = Callable[..., Any]


def is_operand(leaf: Any) -> bool:
    return isinstance(leaf, (Tensor, Cell, np.ndarray, np.generic)) or is_cupy(leaf)


class Mould(NamedTuple):
    """A tree with places for tensors; the other leaves are kept."""

    structure: Structure
    kept: list[Any]  # PLACE where a tensor goes

    def fill(self, tensors: Sequence[Any]) -> Any:
        left = iter(tensors)
        return unflatten(self.structure, [next(left) if leaf is PLACE else leaf for leaf in self.kept])


PLACE: Any = object()


def cut(tree: Any, chosen: Callable[[Any], bool] = is_operand) -> tuple[list[Any], Mould]:
    """The tensors of a tree, and what is left."""
    leaves, structure = flatten(tree)
    tensors = [as_value(leaf) for leaf in leaves if chosen(leaf)]
    return tensors, Mould(structure, [PLACE if chosen(leaf) else leaf for leaf in leaves])


class Call:
    """The function and its rules on the tensors of one call.

    Attributes:
        rules: the functions that the user wrote, by name.
        arguments: where the tensors stand in the arguments.
    """

    def __init__(self, rules: dict[str, Function], arguments: Mould) -> None:
        self.rules, self.arguments = rules, arguments
        self.avals: list[Aval] = []  # of the operands, and of the results
        self.results: list[Aval] = []
        self.out: Structure
        self.residuals: Mould

    def primal(self, xs: Sequence[Any]) -> tuple[Any, ...]:
        return self._results(self.rules["f"](*self.arguments.fill(xs)), "f", xs)

    def forward(self, xs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Results and residuals."""
        result = self.rules["fwd"](*self.arguments.fill(xs))
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{self.site('fwd')} must return a pair (result, residuals), not {type(result).__name__}")
        outs = self._results(result[0], "fwd", xs)
        residuals, self.residuals = cut(result[1], lambda leaf: isinstance(leaf, Tensor))
        return outs, tuple(residuals)

    def backward(self, residuals: Sequence[Any], gs: Sequence[Any]) -> tuple[Any, ...]:
        """A cotangent, or None, for each operand."""
        result = self.rules["bwd"](self.residuals.fill(residuals), unflatten(self.out, list(gs)))
        parts = self.arguments.structure.children
        if not isinstance(result, (tuple, list)) or len(result) != len(parts):
            found = f"{len(result)} parts" if isinstance(result, (tuple, list)) else type(result).__name__
            raise TypeError(
                f"{self.site('bwd')} must return a tuple with a cotangent (or None) for each of the {len(parts)} "
                f"arguments of {self.site('f')}, not {found}"
            )
        leaves: list[Any] = []
        for position, (part, child) in enumerate(zip(result, parts, strict=True)):
            leaves += [None] * child.size if part is None else self._fitting(part, child, "bwd", f"argument {position}")
        chosen = [leaf for leaf, kept in zip(leaves, self.arguments.kept, strict=True) if kept is PLACE]
        return tuple([self.checked(c, aval, "bwd", "cotangent") for c, aval in zip(chosen, self.avals, strict=True)])

    def push(self, xs: Sequence[Any], ts: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Results, and the tangent of each."""
        tangents = Mould(
            self.arguments.structure,
            [k if k is PLACE else 0.0 if type(k) is float else None for k in self.arguments.kept],
        )
        result = self.rules["jvp"](self.arguments.fill(xs), tangents.fill(ts))
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{self.site('jvp')} must return a pair (result, tangent), not {type(result).__name__}")
        outs = self._results(result[0], "jvp", xs)
        made = self._fitting(result[1], self.out, "jvp", "the result")
        return outs, tuple(
            [self.checked(t, aval, "jvp", "tangent") for t, aval in zip(made, self.results, strict=True)]
        )

    def site(self, rule: str) -> str:
        return site_of(self.rules[rule])

    def _results(self, tree: Any, rule: str, xs: Sequence[Any]) -> tuple[Any, ...]:
        leaves, self.out = flatten(tree)
        outs = tuple([as_value(leaf, f"a result of {self.site(rule)}") for leaf in leaves])
        self.avals, self.results = [x.aval for x in xs], [out.aval for out in outs]
        return outs

    def _fitting(self, tree: Any, structure: Structure, rule: str, of: str) -> list[Any]:
        leaves, found = flatten(tree)
        if found != structure:
            raise TypeError(f"{self.site(rule)} returned {found} for {of}, which is {structure} (* is a tensor)")
        return leaves

    def checked(self, value: Any, aval: Aval, rule: str, what: str) -> Any:
        """The derivative of a value; it has its shape and dtype."""
        if value is None or aval.dtype.kind != "f":
            return None
        if type(value) in (int, float) and aval.shape == ():
            value = np.asarray(value, aval.dtype)
        value = as_value(value, f"a {what} that {self.site(rule)} returned")
        if (value.shape, value.dtype) != (aval.shape, aval.dtype):
            raise TypeError(
                f"{self.site(rule)} returned a {what} of {value.dtype}{list(value.shape)} for a value of "
                f"{aval.dtype}{list(aval.shape)}; it must have the same shape and dtype"
            )
        return value


class Batched(Call):
    """A call for every example along the first axis of the mapped operands."""

    def __init__(self, inner: Call, mapped: Sequence[bool]) -> None:
        super().__init__(inner.rules, inner.arguments)
        self.inner, self.mapped = inner, mapped
        self.axes = tuple([0 if own else None for own in mapped])

    def primal(self, xs: Sequence[Any]) -> tuple[Any, ...]:
        return self._kept(vmap(lambda *vs: self.inner.primal(vs), self.axes)(*xs))

    def forward(self, xs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        outs, residuals = vmap(lambda *vs: self.inner.forward(vs), self.axes)(*xs)
        return self._kept(outs), residuals

    def backward(self, residuals: Sequence[Any], gs: Sequence[Any]) -> tuple[Any, ...]:
        parts = vmap(lambda rs, cs: self.inner.backward(rs, cs))(tuple(residuals), tuple(gs))
        pairs = zip(parts, self.mapped, strict=True)
        return tuple([p if p is None or own else bind(OPS["sum"], (p,), ((0,), False)) for p, own in pairs])

    def push(self, xs: Sequence[Any], ts: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        axes = tuple([a if t is not None else None for a, t in zip(self.axes, ts, strict=True)])
        outs, tangents = vmap(lambda vs, cs: self.inner.push(vs, cs), (self.axes, axes))(tuple(xs), tuple(ts))
        return self._kept(outs), tangents

    def _kept(self, outs: tuple[Any, ...]) -> tuple[Any, ...]:
        self.out, self.results = self.inner.out, [out.aval for out in outs]
        return outs


def dense_tangents(xs: Sequence[Any], ts: Sequence[Any]) -> list[Any]:
    """Zeros where a floating operand has no tangent."""
    pairs = zip(xs, ts, strict=True)
    return [zeros(x.aval, x) if t is None and x.dtype.kind == "f" else t for x, t in pairs]


def closed_over(site: str) -> GradcoreError:
    return GradcoreError(
        f"{site} uses a tensor from outside whose derivative is wanted (a parameter?), and the rule of a function with "
        "its own derivative covers its arguments only: pass that tensor as an argument, or .detach() it"
    )
