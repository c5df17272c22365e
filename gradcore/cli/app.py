"""All commands."""

from __future__ import annotations

from typing import Annotated

import typer

from gradcore.cli import bench, doctor, explain, ops, profile, train, warmup
from gradcore.version import __version__

app = typer.Typer(
    help="Automatic differentiation and network training on NumPy and CuPy arrays.",
    epilog="Example: gradcore train digits --seed 0",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog="Example: gradcore explain neuron --html neuron.html")(explain.explain)
app.command(epilog=profile.EXAMPLES)(profile.profile)
app.command(epilog="Example: gradcore doctor --json")(doctor.doctor)
app.command(epilog="Example: gradcore ops sigmoid")(ops.ops)
app.command(epilog="Example: gradcore warmup --dtype float16")(warmup.warmup)
app.command(epilog="Example: gradcore bench --device cuda --json > bench.json")(bench.bench)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Automatic differentiation and network training on NumPy and CuPy arrays."""
