"""The graph as one self-contained HTML page."""

from __future__ import annotations

from html import escape
from string import Template
from xml.etree import ElementTree

from gradcore.explanation.graph import Graph, Step
from gradcore.explanation.numbers import block
from gradcore.explanation.picture import draw
from gradcore.explanation.rules import Equation, equations, formula, total

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>body { margin: 0; } body > div { min-height: 100vh; box-sizing: border-box; }</style>
</head>
<body>
$content
</body>
</html>
""")

STYLE = """
div.gradcore { padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
div.gradcore h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
div.gradcore h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
div.gradcore .picture { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0; }
div.gradcore .picture svg { display: block; margin: auto; max-width: 100%; height: auto; }
div.gradcore .value { color: var(--value); }
div.gradcore .gradient { color: var(--gradient); }
div.gradcore ol { padding-left: 2.2rem; }
div.gradcore li { margin: .9rem 0; }
div.gradcore .equation { font: 13px/1.35 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre;
  display: flex; align-items: center; overflow-x: auto; padding: .15rem 0 .15rem 1rem; }
div.gradcore .formula { font: 600 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
"""

WIDEST = 8  # rows and columns of arrays in the steps
SMALLEST = 0.7  # scale of the picture

LEGEND = """\
Every box is one step. Above a line stands the value that flows forward along it, below the line the gradient that flows
back. At each step the gradient that comes in from the right is multiplied by the local derivative, and goes on to the
left; where a value is used several times, its gradients add up. Dashed lines carry no gradient. In a rule, g is the
gradient that comes in."""


def page(graph: Graph, title: str) -> str:
    """The whole page."""
    content = ElementTree.tostring(article(graph, title), encoding="unicode", method="html")
    return PAGE.substitute(title=escape(title), content=content)


def article(graph: Graph, title: str) -> ElementTree.Element:
    """Picture, legend and steps, as one element."""
    root = ElementTree.Element("div", {"class": "gradcore"})
    _child(root, "style", STYLE)
    _child(root, "h1", title)
    legend = _child(root, "p", LEGEND + " ")
    _child(legend, "span", "Values are green", "value").tail = ", "
    _child(legend, "span", "gradients are red", "gradient").tail = "."
    root.append(_picture(graph, title))
    _child(root, "h2", "Leaves")
    for value in graph.leaves:
        if value.gradient is not None:
            _write(root, [f"{value.name} = ", value.array], graph.root.name)
            plain = [f"∂{graph.root.name}/∂{value.name} = ", value.gradient]
            _write(root, total(value, graph.root.name) or plain, graph.root.name)
    _child(root, "h2", "Backward, step by step: local derivative × incoming gradient")
    steps = ElementTree.SubElement(root, "ol")
    for step in reversed(graph.steps):
        _list(steps, step, graph.root.name)
    return root


def _picture(graph: Graph, title: str) -> ElementTree.Element:
    """The drawing, which shrinks to fit, but not below what can be read; then it scrolls, with keys as well."""
    frame = ElementTree.Element("div", {"class": "picture", "tabindex": "0", "role": "region", "aria-label": "Picture"})
    drawing = draw(graph, title)
    drawing.set("style", f"min-width: {SMALLEST * float(drawing.attrib['width']):.0f}px")
    frame.append(drawing)
    return frame


def _list(parent: ElementTree.Element, step: Step, of: str) -> None:
    found = list(equations(step, of))
    if found:
        item = ElementTree.SubElement(parent, "li")
        names = ", ".join(value.name for value in step.results)
        _child(item, "div", f"{names} = {formula(step)}", "formula")
        for equation in found:
            _write(item, equation, of)


def _write(parent: ElementTree.Element, parts: Equation, of: str) -> None:
    """An equation; a gradient that it finds is red."""
    row = _child(parent, "div", "", "equation")
    spans = [_child(row, "span", part if isinstance(part, str) else "\n".join(block(part, WIDEST))) for part in parts]
    if str(parts[0]).startswith(f"∂{of}/"):
        spans[-1].set("class", "gradient")


def _child(parent: ElementTree.Element, tag: str, text: str, kind: str = "") -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, {"class": kind} if kind else {})
    child.text = text
    return child
