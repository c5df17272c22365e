"""The graph as a drawing: an SVG element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from gradcore.explanation.graph import Graph, Step, Use, Value
from gradcore.explanation.layout import Node, arrange
from gradcore.explanation.numbers import block, written
from gradcore.explanation.rules import derivative, elementwise, formula, local, product

LETTER, LINE, MARGIN, PADDING = 7.83, 17.0, 24.0, 10.0  # of a 13 px monospaced font

STYLE = """
.gradcore { --ink: #1f2328; --faint: #59636e; --line: #8c959f; --paper: #ffffff; --op: #f6f8fa; --leaf: #ddf4ff;
  --value: #1a7f37; --gradient: #cf222e; }
@media (prefers-color-scheme: dark) { .gradcore { --ink: #e6edf3; --faint: #9198a1; --line: #656c76; --paper: #0d1117;
  --op: #1c2128; --leaf: #12324f; --value: #4ac26b; --gradient: #ff7b72; } }
svg.gradcore { background: var(--paper); }
svg.gradcore text { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--ink);
  white-space: pre; }
svg.gradcore text.value { fill: var(--value); }
svg.gradcore text.gradient { fill: var(--gradient); }
svg.gradcore text.local { fill: var(--faint); }
svg.gradcore text.name { font-weight: 600; }
svg.gradcore path { fill: none; stroke: var(--line); stroke-width: 1.4; }
svg.gradcore path.constant { stroke-dasharray: 4 4; }
svg.gradcore rect { fill: var(--op); stroke: var(--line); }
svg.gradcore rect.leaf { fill: var(--leaf); }
svg.gradcore rect.constant { fill: var(--paper); stroke-dasharray: 4 4; }
"""


@dataclass(frozen=True)
class Line:
    """A line of text and its class."""

    text: str
    kind: str


@dataclass
class Box:
    """What is drawn at a node: a framed box, or a label around its line."""

    node: Node
    lines: list[Line]
    frame: str = ""  # class of the rectangle
    hint: str = ""


def draw(graph: Graph, title: str) -> ElementTree.Element:
    """The whole picture."""
    boxes = _boxes(graph)
    nodes, width, height = arrange([box.node for box in boxes])
    width, height = width + 2 * MARGIN, height + 2 * MARGIN
    svg = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "gradcore", "role": "img"})
    svg.attrib |= {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "height": f"{height:.0f}"}
    ElementTree.SubElement(svg, "title").text = title
    ElementTree.SubElement(svg, "style").text = STYLE
    inside = ElementTree.SubElement(svg, "g", transform=f"translate({MARGIN:.0f} {MARGIN:.0f})")
    framed = {box.node for box in boxes if box.frame}
    constant = {box.node for box in boxes if not any(line.kind == "gradient" for line in box.lines)} - framed
    for node in nodes:
        dashed = _is_constant(node, constant)
        if node not in framed:
            _path(inside, f"M {node.left:.1f} {node.y:.1f} H {node.right:.1f}", dashed)
        for after in node.into:
            _wire(inside, node, after, framed, dashed or _is_constant(after, constant))
    for box in boxes:
        _draw(inside, box)
    return svg


# --- what is shown ----------------------------------------------------------------------------------------------------


def _boxes(graph: Graph) -> list[Box]:
    """Boxes and labels in topological order; each use of a value is a label between two boxes."""
    boxes: list[Box] = []
    at: dict[Any, Node] = {}
    for value in graph.leaves:
        at[value] = _add(boxes, _leaf_lines(value), "leaf" if value.gradient is not None else "constant")
    for step in graph.steps:
        labels = [_label(boxes, at[use.value], use.value.array, use.gradient) for use in step.uses]
        box = _add(boxes, list(_step_lines(step, graph.root.name)), "op", step.application.op.doc)
        for label in labels:
            label.connect(box)
        at |= dict.fromkeys(step.results, box)
    end = _label(boxes, at[graph.root], graph.root.array, graph.root.gradient)
    end.connect(_add(boxes, [Line(graph.root.name, "name")], "leaf"))
    return boxes


def _add(boxes: list[Box], lines: list[Line], frame: str, hint: str = "") -> Node:
    width = max(len(line.text) for line in lines) * LETTER + 2 * PADDING
    node = Node(width, len(lines) * LINE + 2 * PADDING)
    boxes.append(Box(node, lines, frame, hint))
    return node


def _label(boxes: list[Box], source: Node, value: Any, gradient: Any) -> Node:
    """The value above its line, the gradient below it."""
    lines = [Line(text, "value") for text in block(value)]
    below = [] if gradient is None else [Line(text, "gradient") for text in block(gradient)]
    width = max(len(line.text) for line in (*lines, *below)) * LETTER
    node = Node(width, 2 * max(len(lines), len(below)) * LINE + 8)
    boxes.append(Box(node, [*lines, *below]))
    source.connect(node)
    return node


def _leaf_lines(value: Value) -> list[Line]:
    several = sum(use.gradient is not None for use in value.uses) > 1
    return [Line(value.name, "name"), *(_totals(value) if several else [])]


def _step_lines(step: Step, of: str) -> Iterator[Line]:
    names = ", ".join(value.name for value in step.results)
    yield Line(f"{names} = {formula(step)}", "name")
    for use in step.uses:
        if use.gradient is not None:
            yield from _rule(use, of)
    for value in step.results:
        if sum(use.gradient is not None for use in value.uses) > 1:
            yield from _totals(value)


def _totals(value: Value) -> list[Line]:
    """The sum of the gradients that arrive from several uses."""
    return [Line(text, "gradient") for text in written(["sum: ", value.gradient])]


def _rule(use: Use, of: str) -> Iterator[Line]:
    """The local derivative, and where all is numbers its product with the incoming gradient."""
    if not elementwise(use.step):
        yield Line(f"∂{of}/∂{use.value.name} = {local(use).text}", "local")
        return
    whole, parts = written(derivative(use)), written(product(use))
    yield Line(whole[0] if len(whole) == 1 else derivative(use)[0].removesuffix(" = "), "local")
    if use.step.results[0].array.ndim == 0 and len(parts) == 1:
        yield Line(parts[0], "local")


# --- how it is drawn --------------------------------------------------------------------------------------------------


def _wire(parent: ElementTree.Element, node: Node, after: Node, framed: set[Node], constant: bool) -> None:
    """From the edge of a node to its column's, over the gap, and to the edge of the next node."""
    start, end = _edge(node, 1, framed), _edge(after, -1, framed)
    y0, y1 = node.row(after), after.row(node)
    middle = (node.right + after.left) / 2
    curve = f"C {middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {after.left:.1f} {y1:.1f}"
    _path(parent, f"M {start:.1f} {y0:.1f} H {node.right:.1f} {curve} H {end:.1f}", constant)


def _edge(node: Node, side: int, framed: set[Node]) -> float:
    """Lines end at boxes; through the columns of labels and bends they go straight."""
    if node not in framed:
        return node.right if side > 0 else node.left
    return node.x + side * node.width / 2


def _is_constant(node: Node, constant: set[Node]) -> bool:
    """Does the line through a label or a bend carry no gradient?"""
    return any(end in constant for end in node.ends or (node,))


def _path(parent: ElementTree.Element, d: str, constant: bool) -> None:
    ElementTree.SubElement(parent, "path", {"d": d, **({"class": "constant"} if constant else {})})


def _draw(parent: ElementTree.Element, box: Box) -> None:
    node = box.node
    group = ElementTree.SubElement(parent, "g")
    if box.hint:
        ElementTree.SubElement(group, "title").text = box.hint
    if box.frame:
        place = {"x": node.x - node.width / 2, "y": node.y - node.height / 2}
        size = {"width": node.width, "height": node.height, "rx": 6}
        attributes = {name: f"{number:.1f}" for name, number in {**place, **size}.items()}
        ElementTree.SubElement(group, "rect", attributes, **{"class": box.frame})
        _write(group, box.lines, node.x - node.width / 2 + PADDING, node.y - node.height / 2 + PADDING)
    else:
        above = [line for line in box.lines if line.kind == "value"]
        _write(group, above, node.x - node.width / 2, node.y - 4 - len(above) * LINE)
        _write(group, [line for line in box.lines if line.kind != "value"], node.x - node.width / 2, node.y + 4)


def _write(group: ElementTree.Element, lines: list[Line], x: float, top: float) -> None:
    for i, line in enumerate(lines):
        place = {"x": f"{x:.1f}", "y": f"{top + (i + 0.76) * LINE:.1f}", "class": line.kind, "xml:space": "preserve"}
        ElementTree.SubElement(group, "text", place).text = line.text
