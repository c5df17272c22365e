"""Names of values: those that the user gave them, where they can be found."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.explanation.graph import Graph, Value


def name_values(graph: Graph, scope: Mapping[str, Any]) -> None:
    """Name every value: by its cell, by a variable of `scope` that holds it, by the variable that its line assigns to,
    else x1, x2 (leaves) and a1, a2 (results); the scalar that is explained is L.
    """
    taken: set[str] = set()
    for leaf in graph.leaves:
        name = (leaf.leaf.name if leaf.leaf else "") or _variable(leaf, scope)
        leaf.name = _unique(name, "x", taken)
    for step, after in zip(graph.steps, [*graph.steps[1:], None], strict=True):
        name = "" if after is not None and step.call == after.call else _assigned(step.call.code, step.call.offset)
        for value in step.results:
            value.name = _unique(name or ("L" if value is graph.root else ""), "a", taken)


def _unique(name: str, letter: str, taken: set[str]) -> str:
    candidates = (f"{name}_{n}" if name else f"{letter}{n}" for n in range(2 if name else 1, len(taken) + 3))
    if not name or name in taken:
        name = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(name)
    return name


def _variable(value: Value, scope: Mapping[str, Any]) -> str:
    for name, held in scope.items():
        if isinstance(held, (Tensor, Cell)) and not name.startswith("_") and _holds(held, value):
            return name
    return ""


def _holds(held: Tensor | Cell, value: Value) -> bool:
    if isinstance(held, Cell):
        return held.leaf is value.leaf if value.leaf else held.tensor is not None and held.tensor.data is value.array
    return held.data is value.array and (value.leaf is None or held.node is value.leaf)


@lru_cache(maxsize=256)
def _assigned(code: CodeType, offset: int) -> str:
    """The variable that the result of this instruction is stored in at once, if any: "h" in `h = sigmoid(z)`."""
    after = next((i for i in dis.get_instructions(code) if i.offset > offset), None)
    if after is None or not after.opname.startswith("STORE_") or after.opname in ("STORE_SUBSCR", "STORE_SLICE"):
        return ""
    return str(after.argval[0] if isinstance(after.argval, tuple) else after.argval)


def scope_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Variables that a function closes over, its globals, and the attributes of the object that it belongs to or is."""
    attributes = getattr(getattr(function, "__self__", function), "__dict__", {})
    try:
        variables = inspect.getclosurevars(inspect.unwrap(function))
    except TypeError:
        return {**attributes}
    return {**variables.globals, **variables.nonlocals, **attributes}


def argument_names(function: Callable[..., Any], count: int) -> Iterator[str]:
    """Names of the first `count` positional parameters; "" where the signature has none."""
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return (named[i] if i < len(named) else "" for i in range(count))
