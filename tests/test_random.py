"""gradcore.random: seeded keys, equal to NumPy's Philox, one per example under vmap."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc


def philox(seed: int, count: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, count], np.uint64)))


def test_the_same_seed_gives_the_same_bits() -> None:
    gc.random.seed(3)
    first = [gc.random.uniform((5,)).numpy() for _ in range(3)]
    gc.random.seed(3)
    for expected in first:
        np.testing.assert_array_equal(gc.random.uniform((5,)).numpy(), expected)
    assert (first[0] != first[1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_are_numpys_philox_stream(dtype: type) -> None:
    gc.random.seed(11)
    for count in range(3):
        drawn = gc.random.uniform((4, 3), dtype).numpy()
        np.testing.assert_array_equal(drawn, philox(11, count).random((4, 3), dtype))
        assert drawn.dtype == dtype


def test_generator_is_of_the_next_key() -> None:
    gc.random.seed(5)
    gc.random.key()
    np.testing.assert_array_equal(gc.random.generator().permutation(10), philox(5, 1).permutation(10))


def test_numpys_global_state_plays_no_part() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    gc.random.seed(1)
    gc.nn.init.normal_(gc.nn.Linear(3, 3).weight)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_seeds_have_a_range(number: int) -> None:
    with pytest.raises(ValueError, match="seed must lie in"):
        gc.random.seed(number)


def test_the_largest_seed() -> None:
    gc.random.seed(2**64 - 1)
    assert gc.random.key().numpy().tolist() == [2**64 - 1, 0]
    gc.random.seed(0)


def test_examples_of_vmap_get_keys_of_their_own() -> None:
    gc.random.seed(2)
    x = gc.ones(6, 50)
    masks = gc.vmap(lambda row: gc.nn.functional.dropout(row, 0.5))(x).numpy()
    assert len({row.tobytes() for row in masks}) == 6
    assert set(np.unique(masks)) == {0.0, 2.0}
    assert gc.random.key().numpy().tolist() == [2, 1]  # one draw of the source, split among the examples


def test_nested_vmap_splits_twice() -> None:
    x = gc.ones(3, 4, 40)
    drop = lambda row: gc.nn.functional.dropout(row, 0.5)  # noqa: E731
    masks = gc.vmap(gc.vmap(drop))(x).numpy().reshape(12, 40)
    assert len({row.tobytes() for row in masks}) == 12


def test_vmap_of_grad_uses_one_mask_forward_and_backward() -> None:
    x = gc.ones(3, 20)
    function = gc.value_and_grad(lambda row: gc.nn.functional.dropout(row, 0.5).sum())
    value, gradient = gc.vmap(function)(x)
    np.testing.assert_array_equal(gradient.numpy().sum(1), value.numpy())


def test_keys_of_examples_are_split_keys() -> None:
    gc.random.seed(9)
    keys = gc.vmap(lambda row: gc.random.key())(gc.ones(3, 1)).numpy()
    words = np.random.Philox(key=np.array([9, 0], np.uint64)).random_raw(6)
    np.testing.assert_array_equal(keys, words.reshape(3, 2))


def test_a_graph_shows_the_counter_as_a_donated_cell() -> None:
    gc.random.seed(4)
    graph = gc.make_graph(lambda x: gc.nn.functional.dropout(x, 0.5) + gc.random.uniform((3,)))(gc.ones(3))
    (slot,) = graph.cells
    assert slot.donated
    assert slot.cell.name == "random"
    assert "cell random: " in str(graph)
    assert gc.random.key().numpy().tolist() == [4, 0]  # the capture drew nothing
