"""Trees: nested dicts, lists, tuples and dataclasses with values at the leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

Flatten = Callable[[Any], tuple[list[Any], Any]]  # node -> children, and what is needed to rebuild it
Unflatten = Callable[[Any, list[Any]], Any]

_KINDS: dict[type, tuple[Flatten, Unflatten]] = {}


@dataclasses.dataclass(frozen=True, repr=False)
class Structure:
    """A tree without its leaves, shown as `{'a': *, 'b': [*, *]}`.  `kind` is None at a leaf."""

    kind: type | None
    rest: Any = None
    children: tuple[Structure, ...] = ()

    @property
    def size(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is None else sum(child.size for child in self.children)

    def __repr__(self) -> str:
        parts = list(map(repr, self.children))
        if self.kind is None:
            return "*"
        if self.kind is dict:
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(self.rest, parts, strict=True)) + "}"
        if self.kind is type(None):
            return "None"
        if dataclasses.is_dataclass(self.kind) and self.kind not in _KINDS:
            parts = [f"{name}={part}" for name, part in zip(self.rest, parts, strict=True)]
        opening, closing = _BRACKETS.get(self.kind, (f"{self.kind.__name__}(", ")"))
        return opening + ", ".join(parts) + ("," if self.kind is tuple and len(parts) == 1 else "") + closing


_BRACKETS: dict[type, tuple[str, str]] = {list: ("[", "]"), tuple: ("(", ")")}


LEAF = Structure(None)


def register_tree(kind: type, flatten: Flatten, unflatten: Unflatten) -> None:
    """Teach trees a container type.

    Args:
        kind: the type; subclasses are leaves unless they are registered too.
        flatten: returns the children and anything hashable that `unflatten` needs.
        unflatten: rebuilds a container from that and new children.
    """
    _KINDS[kind] = flatten, unflatten


def _rules(tree: Any) -> tuple[type, Flatten, Unflatten] | None:
    kind = type(tree)
    if kind in _KINDS:
        return (kind, *_KINDS[kind])
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind, lambda t: (list(t), None), lambda rest, children: kind(*children)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = tuple(field.name for field in dataclasses.fields(tree))
        return kind, lambda t: ([getattr(t, n) for n in names], names), _rebuild_dataclass(kind)
    return None


def _rebuild_dataclass(kind: type) -> Unflatten:
    return lambda names, children: kind(**dict(zip(names, children, strict=True)))


def split(tree: Any) -> tuple[type, list[Any], Any] | None:
    """One level of a tree: its kind, its children, and what is needed to rebuild it; None at a leaf."""
    rules = _rules(tree)
    return None if rules is None else (rules[0], *rules[1](tree))


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Leaves in order, and the structure.  None is a container without children; dicts go by sorted key."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    parts = split(tree)
    if parts is None:
        leaves.append(tree)
        return LEAF
    kind, children, rest = parts
    return Structure(kind, rest, tuple([_flatten(child, leaves) for child in children]))


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The tree of this structure with these leaves."""
    remaining = iter(leaves)
    tree = _unflatten(structure, remaining)
    if next(remaining, _END) is not _END:
        raise ValueError(f"a tree of {structure.size} leaves was given {len(leaves)}")
    return tree


_END = object()


def _unflatten(structure: Structure, leaves: Any) -> Any:
    if structure.kind is None:
        return next(leaves)
    children = [_unflatten(child, leaves) for child in structure.children]
    if structure.kind in _KINDS:
        return _KINDS[structure.kind][1](structure.rest, children)
    if structure.rest is not None:
        return _rebuild_dataclass(structure.kind)(structure.rest, children)
    return structure.kind(*children)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply `function` to the leaves of trees of one structure.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
    {'a': 11, 'b': [22]}
    """
    leaves, structure = flatten(tree)
    rows = [leaves, *(flatten_like(structure, other) for other in others)]
    return unflatten(structure, [function(*row) for row in zip(*rows, strict=True)])


def flatten_like(structure: Structure, tree: Any, what: str = "this tree") -> list[Any]:
    """Leaves of `tree`, which must have the given structure."""
    leaves, found = flatten(tree)
    if found != structure:
        raise ValueError(f"{what} has the structure {found}, expected {structure}")
    return leaves


def _sorted_keys(tree: dict[Any, Any]) -> list[Any]:
    try:
        return sorted(tree)
    except TypeError:
        return list(tree)


def _flatten_dict(tree: dict[Any, Any]) -> tuple[list[Any], Any]:
    keys = _sorted_keys(tree)
    return [tree[key] for key in keys], tuple(keys)


register_tree(dict, _flatten_dict, lambda keys, children: dict(zip(keys, children, strict=True)))
register_tree(list, lambda t: (t, None), lambda _, children: children)
register_tree(tuple, lambda t: (list(t), None), lambda _, children: tuple(children))
register_tree(type(None), lambda _: ([], None), lambda _, __: None)
