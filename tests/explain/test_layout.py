"""Nothing overlaps, whatever the graph."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from gradcore.explanation.layout import Node, _crossings, arrange

ROUNDING = 1e-6  # sums of floats


def random_graph(seed: int, count: int) -> list[Node]:
    """Boxes and labels as pictures have them: every line goes from a box through a label to a later box."""
    rng = np.random.default_rng(seed)
    boxes: list[Node] = []
    nodes: list[Node] = []
    for i in range(count):
        box = Node(*rng.uniform(20, 200, 2))
        for source in rng.choice(i, min(i, int(rng.integers(0, 4))), replace=False) if i else ():
            label = Node(*rng.uniform(20, 100, 2))
            boxes[source].connect(label)
            label.connect(box)
            nodes.append(label)
        boxes.append(box)
        nodes.append(box)
    return nodes


@pytest.mark.parametrize("seed", range(8))
def test_no_two_rows_of_a_column_overlap(seed: int) -> None:
    nodes, width, height = arrange(random_graph(seed, 25))
    for a, b in combinations(nodes, 2):
        assert abs(a.y - b.y) > (a.height + b.height) / 2 or a.right < b.left or b.right < a.left
    for node in nodes:
        assert node.left - ROUNDING <= node.x - node.width / 2
        assert node.x + node.width / 2 <= node.right + ROUNDING <= width + 2 * ROUNDING
        assert node.y - node.height / 2 >= -ROUNDING
        assert node.y + node.height / 2 <= height + ROUNDING


@pytest.mark.parametrize("seed", range(8))
def test_lines_run_from_column_to_next_column(seed: int) -> None:
    nodes, _, _ = arrange(random_graph(seed, 25))
    for node in nodes:
        for after in node.into:
            assert after.layer == node.layer + 1
            assert node.right < after.left
            assert abs(node.row(after) - node.y) < node.height / 2


def test_crossings_are_taken_out() -> None:
    left = [Node(10, 10) for _ in range(6)]
    right = [Node(10, 10) for _ in range(6)]
    for i, j in enumerate([3, 5, 0, 4, 1, 2]):
        left[i].connect(right[j])
    assert _crossings([left, right]) == 9
    nodes, _, _ = arrange([*left, *right])
    columns = [sorted([n for n in nodes if n.layer == layer], key=lambda n: n.y) for layer in (0, 1)]
    assert _crossings(columns) == 0


def test_a_chain_of_sixty_is_straight() -> None:
    chain = [Node(50, 30) for _ in range(60)]
    for a, b in pairwise(chain):
        a.connect(b)
    nodes, *_ = arrange(chain)
    assert {round(node.y, 6) for node in nodes} == {15.0}
    assert [node.layer for node in nodes] == list(range(60))
