"""gradcore ops."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from difflib import get_close_matches
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gradcore.core.op import Op
    from gradcore.ops.table import Details, Row


class FamilyName(StrEnum):
    """Families of ops."""

    ELEMENTWISE = "elementwise"
    LINEAR = "linear"
    BILINEAR = "bilinear"
    INDEXED = "indexed"
    FUSED = "fused"
    CALL = "call"


def ops(
    name: Annotated[str | None, typer.Argument(help="Show all of one op.")] = None,
    family: Annotated[FamilyName | None, typer.Option(help="List one family.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the ops that everything is made of, or show one: its derivatives, samples and CUDA kernel."""
    from gradcore.ops.table import details_of, row_of, rows

    if name is None:
        table = [row for row in rows() if family is None or row.family == family.value]
        print(json.dumps([row.as_dict() for row in table], indent=2) if as_json else _table(table))
        return
    op = _find(name)
    row, details = row_of(op), details_of(op)
    print(json.dumps({**row.as_dict(), **asdict(details)}, indent=2) if as_json else _described(row, details))


def _find(name: str) -> Op:
    import gradcore.ops
    from gradcore.core.op import OPS

    if name in OPS:
        return OPS[name]
    if name in gradcore.ops.__all__:
        problem = f"{name} is a function made of other ops; see help(gradcore.{name})"
    else:
        near = get_close_matches(name, OPS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`gradcore ops` lists all"
        problem = f"there is no op {name!r}; {hint}"
    raise typer.BadParameter(problem, param_hint="'NAME'")


def _table(table: list[Row]) -> str:
    """All ops by topic; on a terminal every op takes one line."""
    from gradcore.ops.table import heading

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = [f"{'op':25}  {'family':11}  {'cuda':14}  order  what it does"]
    for topic, group in groupby(table, key=lambda row: row.topic):
        lines += ["", f"# {heading(topic)}", *map(_line, group)]
    lines += ["", "# order: the highest derivative tested; cuda: a kernel derived or written for it, or CuPy's"]
    return "\n".join(line if width is None else _cut(line, width) for line in lines)


def _line(row: Row) -> str:
    order = "none" if row.order is None else row.order
    return f"{row.name:25}  {row.family:11}  {row.devices['cuda']:14}  {order!s:5}  {row.doc.partition('. ')[0]}"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def _described(row: Row, details: Details) -> str:
    order = "none" if row.order is None else f"tested to order {row.order}"
    lines = [
        f"{row.name}({', '.join((*row.inputs, *row.params))})",
        f"  {row.doc}",
        "",
        f"family       {row.family}",
        f"defined in   gradcore/ops/{row.topic}.py",
        f"devices      cpu: {row.devices['cpu']}; cuda: {row.devices['cuda']}",
        f"derivatives  {order}",
        f"saved        {', '.join(row.saved) or 'nothing'}",
    ]
    lines += [f"expression   {text}" for text in details.expression or ()]
    for operand, partials in (details.derivatives or {}).items():
        lines += [f"  d/d{operand} = {partial}" for partial in partials]
    lines += ["", "samples", *[f"  {sample}" for sample in details.samples]]
    lines += ["", "meaning", *_indented(details.meaning)] if details.meaning else []
    for kernel in details.cuda:
        lines += ["", "CUDA kernel", *_indented(kernel)]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"  {line}".rstrip() for line in text.rstrip().splitlines()]
