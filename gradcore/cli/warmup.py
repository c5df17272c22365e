"""gradcore warmup."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from gradcore.cli.output import CommandError


class Precisions(StrEnum):
    """Floating dtypes by name, and all of them."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    FLOAT64 = "float64"
    ALL = "all"


def warmup(
    dtype: Annotated[Precisions, typer.Option(help="Dtype to compile for.")] = Precisions.FLOAT32,
    device: Annotated[str, typer.Option(metavar="CUDA:N", help="Device whose kernels to compile.")] = "cuda",
    every: Annotated[bool, typer.Option("--every-op", help="The whole table of ops; takes minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compile the CUDA kernels that training uses, so that the first step need not wait for them."""
    from gradcore.core.errors import DeviceError
    from gradcore.train import warmup

    dtypes = [name.value for name in Precisions if name != Precisions.ALL] if dtype == Precisions.ALL else [dtype.value]
    try:
        done = warmup(dtypes, device, every, _bar)
    except (DeviceError, ValueError) as error:
        raise CommandError(str(error), 2) from error
    print(json.dumps(done._asdict(), indent=2) if as_json else "\n".join(_lines(done)))
    raise typer.Exit(1 if done.failed else 0)


def _bar(tasks: Sequence[Any]) -> Iterator[Any]:
    """The tasks, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(tasks, unit="task", disable=None, leave=False) as bar:
        for task in bar:
            bar.set_description(task[0])
            yield task


def _lines(done: Any) -> Iterator[str]:
    kernels = f"{done.kernels} kernel{'' if done.kernels == 1 else 's'}"
    if done.folder is None:
        yield f"all kernels are compiled, for this process only: CUPY_CACHE_IN_MEMORY is set; {done.seconds:.1f} s"
    else:
        known = "" if done.kernels else "; all were there already"
        yield f"{kernels} compiled in {done.seconds:.1f} s, kept in {done.folder}{known}"
    for name, reason in done.failed.items():
        yield f"FAILED {name}: {reason}"
