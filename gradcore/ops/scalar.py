"""The expressions of an elementwise op: its meaning, and its partial derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.core.op import Mask, Saved
from gradcore.kernels.calculus import differentiate, free_variables, pullback, replace, simplify
from gradcore.kernels.expr import Expr, trace, var
from gradcore.kernels.spec import ElementwiseSpec


class Scalar:
    """The expressions of an elementwise op, traced and differentiated on first use."""

    def __init__(
        self,
        name: str,
        inputs: tuple[str, ...],
        meaning: Callable[..., Any] | None,
        partials: Callable[..., Any] | None = None,
        differentiable: Mask | None = None,
        outputs: tuple[Expr, ...] | None = None,
        count: int = 1,
        doc: str = "",
        hyper: tuple[str, ...] = (),
    ) -> None:
        self.doc = doc
        self.name, self.inputs, self.meaning, self._partials = name, inputs, meaning, partials
        self.differentiable = differentiable
        self.count = len(outputs) if outputs else count
        self._outputs = outputs
        self.hyper = hyper
        self._spec: ElementwiseSpec | None = None
        self._rows: list[list[Expr]] | None = None
        self.y = _fresh("y", inputs)  # the output, in partials
        g = _fresh("g", inputs)
        self.cotangents = [g] if self.count == 1 else [f"{g}{j}" for j in range(self.count)]

    @property
    def outputs(self) -> tuple[Expr, ...]:
        if self._outputs is None:
            assert self.meaning is not None
            self._outputs = trace(self.meaning, *self.inputs)
        return self._outputs

    @property
    def conditions(self) -> frozenset[str]:
        if self.differentiable is None or not any(self.differentiable):
            return frozenset()
        return frozenset(n for n, d in zip(self.inputs, self.differentiable, strict=True) if not d)

    @property
    def forward(self) -> ElementwiseSpec:
        """The kernel of the op itself."""
        if self._spec is None:
            hyper = frozenset(self.hyper)
            self._spec = ElementwiseSpec(self.name, self.inputs, self.outputs, self.doc, self.conditions, hyper)
        return self._spec

    def rows(self) -> list[list[Expr]]:
        """Partial derivatives of each output by each input; a single output may be read by its name."""
        if self._rows is None:
            self._rows = self._stated() if self._partials else self._derived()
        return self._rows

    def _stated(self) -> list[list[Expr]]:
        assert self._partials is not None
        return [[simplify(p) for p in trace(self._partials, self.y, *self.inputs)]]

    def _derived(self) -> list[list[Expr]]:
        rows = [[differentiate(output, name) for name in self.inputs] for output in self.outputs]
        if self.count == 1 and self.outputs[0].args:
            rows = [[replace(partial, simplify(self.outputs[0]), var(self.y)) for partial in rows[0]]]
        return rows

    def gradients(self, needed: Mask) -> list[Expr]:
        """The cotangent of each wanted input, in terms of cotangents, inputs and output."""
        every = pullback(self.outputs, self.inputs, [var(g) for g in self.cotangents], self.rows())
        return [e for e, need in zip(every, needed, strict=True) if need]

    def reads(self, expressions: Sequence[Expr]) -> Saved:
        """Which inputs and outputs these expressions read."""
        free = free_variables(*expressions)
        inputs = tuple([i for i, name in enumerate(self.inputs) if name in free])
        return Saved(inputs, (0,) if self.y in free else ())


def _fresh(name: str, taken: Sequence[str]) -> str:
    """`name`, with more of its last letter until no operand is called so."""
    while any((other.startswith(name) and other[len(name) :].isdigit()) or other == name for other in taken):
        name += name[-1]
    return name
