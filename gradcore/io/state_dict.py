"""Cells to a dictionary of tensors and back: what modules and optimisers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gradcore.autodiff.arguments import as_value
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor


class KeyDifference(NamedTuple):
    """Names that a dictionary lacks, and names that nothing takes."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def few(names: list[str]) -> str:
    """The first names of a list, for a message.

    Example:
        >>> few(["a", "b"]), few(list("abcdefgh"))
        ("['a', 'b']", "['a', 'b', 'c', 'd', 'e'] and 3 more")
    """
    return f"{names[:5]}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def snapshot(cells: Mapping[str, Cell]) -> dict[str, Tensor]:
    """What the cells hold now; later steps do not change it, and no element is copied.

    Example:
        >>> import gradcore as gc
        >>> snapshot({"count": Cell(gc.tensor(3))})
        {'count': tensor(3, dtype=int64, device='cpu')}
    """
    return {name: cell.read().detach() for name, cell in cells.items()}


def restore(cells: Mapping[str, Cell], values: Mapping[str, Any], strict: bool = True) -> KeyDifference:
    """Assign values by name; each goes to the device of its cell.  Everything is checked before the first assignment.

    Args:
        cells: the cells to assign.
        values: tensors or arrays of the same shapes and dtypes, on any device.
        strict: refuse missing and unexpected names.

    Raises:
        KeyError: names differ, and `strict`.
        ValueError: a shape or dtype differs.

    Example:
        >>> import gradcore as gc
        >>> cells = {"count": Cell(gc.tensor(3))}
        >>> restore(cells, {"count": gc.tensor(5), "other": gc.tensor(1)}, strict=False)
        KeyDifference(missing_keys=[], unexpected_keys=['other'])
        >>> cells["count"].read()
        tensor(5, dtype=int64, device='cpu')
    """
    difference = KeyDifference(
        [name for name in cells if name not in values], [name for name in values if name not in cells]
    )
    if strict and any(difference):
        raise KeyError(
            f"state_dict does not fit: missing {few(difference.missing_keys)}, "
            f"unexpected {few(difference.unexpected_keys)}; pass strict=False to load what fits"
        )
    tensors = {name: as_value(values[name], name) for name in cells if name in values}
    for name, value in tensors.items():
        _check(name, cells[name], value)
    owned = {name: _owned(value, values[name], cells[name].read().device) for name, value in tensors.items()}
    for name, value in owned.items():
        cells[name].assign(value)
    return difference


def _owned(value: Any, given: Any, device: Any) -> Any:
    """The value on a device, in memory that no user's array shares."""
    moved = value.to(device)
    return moved if value is given or moved is not value else Tensor(value.data.copy())


def _check(name: str, cell: Cell, value: Any) -> None:
    old = cell.read()
    if old.shape != value.shape or old.dtype != value.dtype:
        raise ValueError(
            f"state_dict has {value.dtype}{list(value.shape)} for {name}, which holds {old.dtype}{list(old.shape)}; "
            "cast or reshape it first"
        )
