"""gradcore bench."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from gradcore.cli.output import CommandError


def bench(
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda or cuda:N.")] = "cpu",
    size: Annotated[
        float | None, typer.Option(metavar="MIB", min=0.001, help="Size of the arrays; 256 on CUDA, 64 on the CPU.")
    ] = None,
    product: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Size of the matrices; 4096 on CUDA, 1024 on the CPU.")
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Calls in each of the 5 blocks.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure copies, kernels, matrix products and training steps on this machine."""
    from gradcore.backend import Device, backend_on
    from gradcore.cli.measuring import Sizes, measure
    from gradcore.core.errors import DeviceError

    try:
        place = Device(device)
        backend_on(place)
    except (DeviceError, ValueError) as error:
        raise CommandError(str(error), 2) from error
    cuda = place.kind == "cuda"
    found = measure(place, Sizes(size or (256 if cuda else 64), product or (4096 if cuda else 1024), count), _bar)
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def _bar(names: Sequence[str]) -> Iterator[str]:
    """The names, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(names, disable=None, leave=False) as bar:
        for name in bar:
            bar.set_description(name)
            yield name


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['device']}: {found['name']}"
    if found["simulated"]:
        yield "A CPU plays this device: the times below say nothing about a GPU."
    yield f"\n{'copy of ' + format(found['MiB'], 'g') + ' MiB':<40}{found['copy'] / 1e9:>10.1f} GB/s, read and written"
    yield f"\n{'kernel':<40}{'µs':>10}{'GB/s':>10}{'of the copy':>14}"
    for name, kernel in found["kernels"].items():
        speed = kernel["bytes"] / kernel["seconds"]
        yield f"{name:<40}{kernel['seconds'] * 1e6:>10.1f}{speed / 1e9:>10.1f}{speed / found['copy']:>14.0%}"
    yield ""
    for dtype, speed in found["products"].items():
        yield f"{'matrix product, ' + dtype:<40}{speed / 1e12:>10.3f} TFLOP/s"
    for name, speed in found["steps"].items():
        yield f"{name:<40}{speed:>10.1f} steps/s"
