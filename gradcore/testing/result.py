"""What `gradcheck` finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class GradcheckResult:
    """One comparison of derivatives; it is true where they agree.

    Attributes:
        order: of the derivative.
        mode: "reverse" or "forward".
        what: the compared derivative, such as "forward mode of vjp(f), output 0".
        index: of the worst entry; None for a single number.
        value: the derivative there (its shape, where shapes differ).
        expected: what it should be.
        error: how far apart they are.
        allowed: how far they may be.
        op: the op inside of `f` whose own derivative is wrong, and its shapes; None if there is none.
    """

    order: int
    mode: str
    what: str
    index: tuple[int, ...] | None
    value: Any
    expected: Any
    error: float
    allowed: float
    op: str | None = None

    @property
    def closeness(self) -> float:
        """The error as a part of what is allowed."""
        return self.error / self.allowed if self.allowed else self.error

    def __bool__(self) -> bool:
        return self.error <= self.allowed

    def __str__(self) -> str:
        entry = f"entry {list(self.index)}" if self.index is not None else "it"
        kind = "has shape " if isinstance(self.value, tuple) else "is "
        text = f"{self.what}: {entry} {kind}{self.value!r}, expected {self.expected!r}"
        return f"{text}\n  the op with a wrong derivative: {self.op}" if self.op else text


class GradcheckError(AssertionError):
    """Two derivatives differ."""

    def __init__(self, result: GradcheckResult) -> None:
        super().__init__(str(result))
        self.result = result

    def caused_by(self, op: str | None) -> GradcheckError:
        """The same, with the op that is to blame."""
        return GradcheckError(replace(self.result, op=op))
