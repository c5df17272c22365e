"""`gradcore.explain`: how a number was computed, and how its gradients are found."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from gradcore.backend import is_cupy
from gradcore.core.cell import Cell, Leaf
from gradcore.core.errors import GradcoreError
from gradcore.core.state import user_frame
from gradcore.core.tensor import Tensor, Traced
from gradcore.core.trees import flatten, split, unflatten
from gradcore.explanation import page, text
from gradcore.explanation.graph import CURE, Graph, bring_to_host, graph_of
from gradcore.explanation.log import Log, latest, told
from gradcore.explanation.names import argument_names, name_values, scope_of
from gradcore.explanation.picture import draw
from gradcore.factories import tensor

ARRAYS = (Tensor, np.ndarray, np.generic, float)


class Explanation:
    """The graph of a computed scalar, with the value and the gradient of everything in it.

    Print it, or `save` it as a page; a notebook shows the page.

    Attributes:
        title: the heading.
        graph: the steps, with every value and gradient.
    """

    def __init__(self, graph: Graph, title: str) -> None:
        self.graph = graph
        self.title = title

    @property
    def values(self) -> dict[str, Tensor]:
        """What was computed, by name, on the CPU."""
        return {value.name: Tensor(value.array) for value in self.graph.values}

    @property
    def gradients(self) -> dict[str, Tensor]:
        """The derivatives of the explained scalar, by name and on the CPU, where there are any."""
        return {value.name: Tensor(value.gradient) for value in self.graph.values if value.gradient is not None}

    def text(self, colour: bool | None = None) -> str:
        """A table of values and gradients, and how each gradient is found.

        Args:
            colour: values green and gradients red; by default where the output is a terminal and NO_COLOR is not set.
        """
        return text.describe(self.graph, text.supports_colour() if colour is None else colour)

    def svg(self) -> str:
        """The picture: values above the lines, gradients below."""
        return ElementTree.tostring(draw(self.graph, self.title), encoding="unicode") + "\n"

    def html(self) -> str:
        """A page with the picture and all steps; it needs nothing but itself."""
        return page.page(self.graph, self.title)

    def save(self, path: str | Path) -> None:
        """Write the page (".html") or the picture (".svg") to a file.

        Raises:
            ValueError: the name of the file ends in neither.
        """
        path = Path(path)
        if path.suffix not in (".html", ".svg"):
            raise ValueError(f"an explanation can be saved as .html or .svg, not as {path.name!r}")
        path.write_text(self.html() if path.suffix == ".html" else self.svg(), encoding="utf-8")

    def __str__(self) -> str:
        return text.spelled(self.text(), sys.stdout.encoding)

    def __repr__(self) -> str:
        return f"<Explanation of {self.title}: {len(self.graph.steps)} steps>"

    def _repr_html_(self) -> str:
        return ElementTree.tostring(page.article(self.graph, self.title), encoding="unicode", method="html")


def explain(what: Any, *args: Any, expand: bool = False) -> Explanation:
    """Show how a scalar was computed and how its gradients are found, so that one can check it by hand.

    Args:
        what: a scalar Tensor that was computed inside `with gradcore.keep_values():`, or a function that returns one.
        args: arguments of the function: trees of tensors, arrays and numbers. Gradients are shown for floating ones
            and for the parameters that the function reads.
        expand: show fused ops (linear, softmax, cross_entropy) as the elementary ops that they mean.

    Returns:
        An `Explanation`: print it, or `.save("page.html")`.

    Raises:
        GradcoreError: the values were not kept, or nothing requires a gradient.
        TypeError: `what` is neither a Tensor nor a function, or the function does not return a Tensor.
        ValueError: the value is not a scalar.

    Example:
        >>> import gradcore as gc
        >>> def loss(w):
        ...     error = 3 * w - 1
        ...     return error**2
        >>> print(gc.explain(loss, 2.0))
                         value   gradient
        w                2       30
        a1 = 3 × w       6       10
        error = a1 - 1   5       10
        L = error²       25      1
        <BLANKLINE>
        Backward, local derivative × incoming gradient
        L = error²
           ∂L/∂error = 2 × error = 10 × 1 = 10
        error = a1 - 1
           ∂error/∂a1 = 1
           ∂L/∂a1 = ∂error/∂a1 × ∂L/∂error = 1 × 10 = 10
        a1 = 3 × w
           ∂a1/∂w = 3
           ∂L/∂w = ∂a1/∂w × ∂L/∂a1 = 3 × 10 = 30
    """
    frame = user_frame()
    scope = {**frame.f_globals, **frame.f_locals}
    if isinstance(what, Tensor):
        if args:
            raise TypeError("explain takes arguments only together with a function")
        _check(what, f"make a leaf with requires_grad=True and {CURE}")
        return _explanation(what, latest.log or Log(), scope, expand, "")
    if not callable(what):
        raise TypeError(f"explain takes a scalar tensor or a function, not {type(what).__name__}")
    loss, log, named = _called(what, args)
    return _explanation(loss, log, {**scope, **scope_of(what), **named}, expand, getattr(what, "__name__", ""))


def _called(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Tensor, Log, dict[str, Any]]:
    """The result of the function, what was computed, and the leaves of its arguments by name."""
    log, inputs = Log(getattr(inspect.unwrap(function), "__code__", None)), []
    named: dict[str, Any] = {}
    for argument, name in zip(args, argument_names(function, len(args)), strict=True):
        leaves, structure = flatten(argument)
        paths = list(_paths(argument, name))
        made = list(map(_leaf, leaves, paths))
        named |= dict(zip(paths, made, strict=True))
        inputs.append(unflatten(structure, made))
    with told(log):
        loss = function(*inputs)
    if not isinstance(loss, Tensor):
        kind = type(loss).__name__
        raise TypeError(f"explain needs a function that returns a tensor, not {kind}; give it floating arguments")
    _check(loss, "give the function floating arguments, or let it use parameters")
    return loss, log, named


def _explanation(loss: Tensor, log: Log, scope: dict[str, Any], expand: bool, title: str) -> Explanation:
    graph = graph_of(loss, log, expand)
    name_values(graph, scope)
    bring_to_host(graph)
    return Explanation(graph, title if title.isidentifier() else graph.root.name)


def _check(loss: Tensor, cure: str) -> None:
    if isinstance(loss, Traced):
        raise GradcoreError(f"explain was called inside {loss.level.name}; call it outside")
    if loss.shape != ():
        raise ValueError(f"explain needs a scalar, and this tensor has shape {loss.shape}; use .sum() or .mean()")
    if isinstance(loss.node, Leaf):
        raise GradcoreError("explain got a leaf: nothing was computed")
    if loss.node is None:
        raise GradcoreError(f"explain: this tensor records no gradient; {cure}")


def _paths(tree: Any, name: str) -> Iterator[str]:
    """A name for each leaf: `params.w`, `layers.0`."""
    parts = split(tree)
    if parts is None:
        yield name
        return
    _, children, rest = parts
    for key, child in zip(rest if isinstance(rest, tuple) else range(len(children)), children, strict=True):
        yield from _paths(child, f"{name}.{key}")


def _leaf(argument: Any, name: str) -> Any:
    """Floating values as leaves with a name."""
    if isinstance(argument, Cell) or not (isinstance(argument, ARRAYS) or is_cupy(argument)):
        return argument
    value = argument if isinstance(argument, Tensor) else tensor(argument)
    return Tensor(value.data, Leaf(name)) if value.dtype.kind == "f" else Tensor(value.data)
