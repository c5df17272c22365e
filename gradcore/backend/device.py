"""Devices by name."""

from __future__ import annotations

import re
from collections.abc import Callable


class GradcoreError(Exception):
    """Base class of gradcore's own exceptions; `gradcore.core.errors` has them all."""


class DeviceError(GradcoreError, RuntimeError):
    """Arrays of two devices met, or a device is not there."""


class OutOfMemoryError(GradcoreError, MemoryError):
    """A device has no memory left for what was asked."""


class KernelError(GradcoreError, RuntimeError):
    """A kernel was not accepted by the compiler."""


class StreamError(GradcoreError, RuntimeError):
    """An array was used in another stream than the one that makes it, without a wait."""


_FULL = {"cuda": "cuda:0"}


class Device:
    """Where a Tensor's data lives: `Device("cpu")`, `Device("cuda")`, `Device("cuda:1")`.

    >>> Device("cuda")
    Device('cuda:0')
    >>> Device("cpu") == "cpu", Device("cuda:0") == "cuda"
    (True, True)
    """

    __slots__ = ("index", "kind")

    def __init__(self, name: str | Device) -> None:
        found = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", str(name))
        if found is None or (found[1] == "cpu" and found[2]):
            raise ValueError(f"no device is named {str(name)!r}; use 'cpu', 'cuda' or 'cuda:N'")
        self.kind = found[1]
        self.index = int(found[2] or 0)

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    def __repr__(self) -> str:
        return f"Device({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str(self) == _FULL.get(other, other)
        return str(self) == str(other) if isinstance(other, Device) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


explainers: list[Callable[[str], str]] = []  # device -> who holds most of its memory; the floors above fill it in


def largest_holders(device: str) -> str:
    """Who holds most of a device's memory, in words; "" where nobody can say."""
    try:
        return "".join([explain(device) for explain in explainers])
    except Exception:  # there may be no memory left to find out
        return ""


def name_holders(error: MemoryError, device: str) -> None:
    """Add a note to an error, once, that says who holds most of the memory."""
    if not getattr(error, "__notes__", None) and (text := largest_holders(device)):
        error.add_note(text)
