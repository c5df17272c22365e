"""gradcore.random: seeded keys, equal to NumPy's Philox, one per example under vmap."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

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


@pytest.mark.parametrize("number", ["a", 1.5, None, np.float32(2)])
def test_seeds_are_integers(number: Any) -> None:
    with pytest.raises(TypeError, match="a seed must be an integer"):
        gc.random.seed(number)


def test_seeds_of_numpy() -> None:
    gc.random.seed(np.int64(7))  # type: ignore[arg-type]
    assert gc.random.key().numpy().tolist() == [7, 0]


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
def test_no_two_threads_draw_the_same_key() -> None:
    gc.random.seed(0)
    drawn: list[int] = []
    threads = [
        threading.Thread(target=lambda: drawn.extend([int(gc.random.key().numpy()[1]) for _ in range(300)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(drawn) == list(range(1200))


def test_a_hook_may_draw_a_key() -> None:
    from gradcore.core.hooks import Hook, hooked

    class Drawing(Hook):
        done = False

        def before(self, op: Any, values: Any, params: Any) -> None:
            if not self.done:
                self.done = True
                keys.append(gc.random.key().numpy().tolist())

    gc.random.seed(0)
    keys: list[Any] = []
    with hooked(Drawing()):
        keys.append(gc.random.key().numpy().tolist())
    assert keys == [[0, 0], [0, 1]]


@pytest.mark.parametrize(("shape", "expected"), [(3, (3,)), ([2, 3], (2, 3)), (np.int64(2), (2,)), ((), ())])
def test_shapes_of_uniform(shape: Any, expected: tuple[int, ...]) -> None:
    assert gc.random.uniform(shape).shape == expected


@pytest.mark.parametrize("shape", [2.5, "ab", (1.0, 2)])
def test_uniform_refuses_other_shapes(shape: Any) -> None:
    with pytest.raises(TypeError, match="a shape is an integer or several"):
        gc.random.uniform(shape)


@pytest.mark.parametrize("dtype", [int, bool, np.complex64, np.longdouble])
def test_uniform_refuses_other_dtypes(dtype: Any) -> None:
    with pytest.raises(TypeError, match="uniform numbers are float16, float32 or float64, not"):
        gc.random.uniform((2,), dtype)


@pytest.mark.parametrize("key", [3, [0, 1], np.zeros(2, np.int64), np.zeros(3, np.uint64), gc.ones(2)])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_refuses_what_is_no_key(key: Any, rate: float) -> None:
    with pytest.raises(TypeError, match=r"key must be uint64\[2\], as gradcore\.random\.key\(\) gives, not"):
        gc.dropout(gc.ones(3), key, rate)


@pytest.mark.parametrize("x", [gc.arange(3), np.ones(2, bool), 3])
def test_dropout_refuses_integers(x: Any) -> None:
    with pytest.raises(TypeError, match=r"x must be floating, not (int64|bool); cast it with"):
        gc.dropout(x, gc.random.key())
    with pytest.raises(TypeError, match="x must be floating"):
        gc.nn.functional.dropout(x)


def test_dropout_takes_arrays_as_keys() -> None:
    key = np.array([5, 0], np.uint64)
    gc.random.seed(5)
    np.testing.assert_array_equal(
        gc.dropout(gc.ones(20), key).numpy(), gc.dropout(gc.ones(20), gc.random.key()).numpy()
    )


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
