"""The graph as text for a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from gradcore.explanation.graph import Graph, Step, Value
from gradcore.explanation.numbers import beside, block, written
from gradcore.explanation.rules import equations, formula, total

GREEN, RED, BOLD, PLAIN = "\033[32m", "\033[31m", "\033[1m", "\033[0m"


ASCII = str.maketrans({"∂": "d", "×": "*", "²": "^2", "ᵀ": "'"})


def describe(graph: Graph, colour: bool) -> str:
    """Values and gradients in a table, and below it how each gradient is found, from the root back to the leaves."""
    lines = [*_table(graph, colour), "", _painted("Backward, local derivative × incoming gradient", BOLD, colour)]
    for step in reversed(graph.steps):
        lines += _backward(step, graph.root.name)
    sums = [whole for leaf in graph.leaves if (whole := total(leaf, graph.root.name))]
    lines += ["leaves that are used several times"] * bool(sums)
    for equation in sums:
        lines += beside(["   "], written(equation))
    return "\n".join(lines)


def supports_colour() -> bool:
    """Is the output a terminal, and has nobody asked for no colour (https://no-color.org)?"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def spelled(text: str, encoding: str | None) -> str:
    """The text in letters that this encoding has.

    >>> spelled("∂y/∂x = 2 × x", "ascii")
    'dy/dx = 2 * x'
    """
    try:
        text.encode(encoding or "utf-8")
        return text
    except UnicodeEncodeError:
        return text.translate(ASCII).encode("ascii", "replace").decode("ascii")


def _table(graph: Graph, colour: bool) -> Iterator[str]:
    rows = [(_heading(value), block(value.array), _gradient(value)) for value in graph.values]
    widths = [max(len(line) for row in rows for line in row[i]) for i in range(2)]
    yield _painted(f"{'':{widths[0]}}   {'value':{widths[1]}}   gradient", BOLD, colour)
    for name, value, gradient in rows:
        height = max(map(len, (name, value, gradient)))
        for a, b, c in zip(*[part + [""] * (height - len(part)) for part in (name, value, gradient)], strict=True):
            green, red = _painted(f"{b:{widths[1]}}", GREEN, colour), _painted(c, RED, colour)
            yield f"{a:{widths[0]}}   {green}   {red}".rstrip()


def _heading(value: Value) -> list[str]:
    if value.maker is None:
        return [value.name]
    results = value.maker.results
    place = f"[{results.index(value)}]" if len(results) > 1 else ""
    return [f"{value.name} = {formula(value.maker)}{place}"]


def _gradient(value: Value) -> list[str]:
    return ["-"] if value.gradient is None else block(value.gradient)


def _backward(step: Step, of: str) -> Iterator[str]:
    found = list(equations(step, of))
    if found:
        yield ", ".join(value.name for value in step.results) + f" = {formula(step)}"
    for equation in found:
        yield from beside(["   "], written(equation))


def _painted(text: str, paint: str, colour: bool) -> str:
    return f"{paint}{text}{PLAIN}" if colour else text
