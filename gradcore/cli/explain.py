"""gradcore explain."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gradcore.cli.output import output_file


class Example(StrEnum):
    """Worked examples by name."""

    NEURON = "neuron"
    TWO_LAYER = "two-layer"
    XOR = "xor"


def explain(
    example: Annotated[Example, typer.Argument(help="One neuron, a network of two layers, or XOR.")],
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Also write a page with a picture.")] = None,
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the picture.")] = None,
    expand: Annotated[bool, typer.Option("--expand", help="Show fused ops as the elementary ops they mean.")] = False,
) -> None:
    """Show every value and gradient of a small example, and the chain rule at each step."""
    from gradcore.explanation.examples import example as explained

    with output_file(html, "--html") as finish_html, output_file(svg, "--svg") as finish_svg:
        explanation = explained(example.value, expand)
        finish_html(lambda path: _write(path, explanation.html()))
        finish_svg(lambda path: _write(path, explanation.svg()))
    print(explanation)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
