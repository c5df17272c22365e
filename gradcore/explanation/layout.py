"""Layered layout, left to right, after Sugiyama, Tagawa and Toda (1981).

Every label is a node of its own, in a column of its own.  Lines run freely only in the gaps between columns and cross a
column in a row that is theirs, so no text can lie on a box or on a line.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GAP, ROW = 32.0, 14.0  # between columns, between rows
SWEEPS, WORK = 12, 60_000  # passes over the columns; fewer where this many nodes would be passed


@dataclass(eq=False, repr=False)
class Node:
    """A rectangle; `x`, `y` is the middle of it, `left` and `right` bound its column."""

    width: float
    height: float
    into: list[Node] = field(default_factory=list)  # what it has lines to
    comes_from: list[Node] = field(default_factory=list)
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    left: float = 0.0
    right: float = 0.0
    ends: tuple[Node, Node] | None = None  # of the line, where this is only a place that one passes

    def connect(self, other: Node) -> None:
        self.into.append(other)
        other.comes_from.append(self)

    def row(self, other: Node) -> float:
        """Where the line to or from `other` meets this node: lines share a side in the order of their other ends."""
        side = self.into if other in self.into else self.comes_from
        if len(side) == 1:
            return self.y
        ends = sorted(side, key=lambda node: node.y)
        return self.y + self.height * ((ends.index(other) + 1) / (len(ends) + 1) - 0.5)


def arrange(nodes: Sequence[Node]) -> tuple[list[Node], float, float]:
    """Place nodes (given in topological order): all of them with the bends of long lines, and the whole size."""
    _layer(nodes)
    every = [*nodes, *_bends(nodes)]
    columns = [[n for n in every if n.layer == layer] for layer in range(max(n.layer for n in every) + 1)]
    sweeps = max(2, min(SWEEPS, WORK // len(every)))
    columns = _uncrossed(columns, sweeps)
    width = _place_columns(columns)
    _place_rows(columns, sweeps)
    top = min(n.y - n.height / 2 for n in every)
    for node in every:
        node.y -= top
    return every, width, max(n.y + n.height / 2 for n in every)


def _layer(nodes: Sequence[Node]) -> None:
    """By the longest path to the right end, so that every node stands as near as it can to what uses it."""
    for node in reversed(nodes):
        node.layer = min((after.layer for after in node.into), default=0) - 1
    first = min(node.layer for node in nodes)
    for node in nodes:
        node.layer -= first


def _bends(nodes: Sequence[Node]) -> Iterator[Node]:
    """Split lines over several layers."""
    for node in nodes:
        for after in list(node.into):
            at = node
            for layer in range(node.layer + 1, after.layer):
                bend = Node(0, ROW, layer=layer, ends=(node, after))
                _replace(at, after, bend)
                at = bend
                yield bend


def _replace(node: Node, after: Node, bend: Node) -> None:
    """Put a bend between two nodes."""
    node.into[node.into.index(after)] = bend
    after.comes_from[after.comes_from.index(node)] = bend
    bend.comes_from, bend.into = [node], [after]


# --- order ------------------------------------------------------------------------------------------------------------


def _uncrossed(columns: list[list[Node]], sweeps: int) -> list[list[Node]]:
    """Sort each column by the mean place of its neighbours, to and fro, and keep the order with fewest crossings."""
    best, fewest = columns, _crossings(columns)
    for sweep in range(sweeps):
        forth = sweep % 2 == 0
        columns = [list(column) for column in columns]
        pairs = list(pairwise(columns if forth else columns[::-1]))
        for fixed, moved in pairs:
            place = {node: i for i, node in enumerate(fixed)}
            own = {node: i for i, node in enumerate(moved)}
            moved.sort(key=lambda n: _mean([place[m] for m in (n.comes_from if forth else n.into)], own[n]))
        if (count := _crossings(columns)) < fewest:
            best, fewest = columns, count
    return best


def _mean(places: Sequence[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise


def _crossings(columns: list[list[Node]]) -> int:
    count = 0
    for before, after in pairwise(columns):
        place = {node: i for i, node in enumerate(after)}
        ends = [sorted(place[other] for other in node.into) for node in before]
        seen: list[int] = []
        for row in ends:
            count += sum(len(seen) - bisect_right(seen, end) for end in row)
            for end in row:
                insort(seen, end)
    return count


# --- coordinates ------------------------------------------------------------------------------------------------------


def _place_columns(columns: list[list[Node]]) -> float:
    left = 0.0
    for column in columns:
        right = left + max(node.width for node in column)
        for node in column:
            node.left, node.right, node.x = left, right, (left + right) / 2
        left = right + GAP
    return left - GAP


def _place_rows(columns: list[list[Node]], sweeps: int) -> None:
    """Rows as near to their neighbours' as the order and the distances allow."""
    for column in columns:
        _settle(column, [0.0] * len(column))
    for sweep in range(sweeps):
        for column in columns[:: 1 if sweep % 2 == 0 else -1]:
            _settle(column, [n.y + _mean(list(_falls(n)), 0) for n in column])


def _falls(node: Node) -> Iterator[float]:
    """How far the lines of a node go down."""
    for other in (*node.comes_from, *node.into):
        yield other.row(node) - node.row(other)


def _settle(column: Sequence[Node], wanted: Sequence[float]) -> None:
    """The rows nearest to the wanted ones (least squares) that keep the order and the distances.

    Less the distances this is isotonic regression, solved by pooling neighbours that are in the wrong order.
    """
    offsets = [0.0]
    for above, below in pairwise(column):
        offsets.append(offsets[-1] + (above.height + below.height) / 2 + ROW)
    pools: list[list[float]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append([want - offset])
        while len(pools) > 1 and _mean(pools[-2], 0) > _mean(pools[-1], 0):
            last = pools.pop()
            pools[-1] += last
    rows = [_mean(pool, 0) for pool in pools for _ in pool]
    for node, row, offset in zip(column, rows, offsets, strict=True):
        node.y = row + offset
