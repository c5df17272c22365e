"""Batches: their order, where they go on, and the thread that prepares them."""

from __future__ import annotations

import gc as collector
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore.data import ArrayDataset, DataLoader
from gradcore.data.prefetch import prefetched

Epoch = list[list[int]]


def loader(examples: int = 10, size: int = 3, shuffle: bool = True, **options: Any) -> DataLoader:
    x = gc.arange(examples)
    return DataLoader(ArrayDataset(x, -x), size, shuffle=shuffle, **options)


def lists(batches: Any) -> Epoch:
    found = []
    for x, y in batches:
        assert (x.numpy() == -y.numpy()).all()
        found.append(x.numpy().tolist())
    return found


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# --- examples ---------------------------------------------------------------------------------------------------------


def test_items_of_a_dataset() -> None:
    x = np.arange(12.0).reshape(4, 3)
    dataset = ArrayDataset(x, gc.tensor([True, False, True, False]))
    assert [part.shape for part in dataset[-1]] == [(3,), ()]
    assert [part.dtype for part in dataset[0]] == [np.float64, bool]
    for key in ([2, 0], np.array([2, 0]), gc.tensor([2, 0]), slice(1, 3)):
        rows = key.numpy() if isinstance(key, gc.Tensor) else key
        np.testing.assert_array_equal(dataset[key][0].numpy(), x[rows])
    for wrong in (4, [0, 4]):
        with pytest.raises(IndexError):
            dataset[wrong]


def test_arrays_are_shared_and_record_nothing() -> None:
    x = np.zeros((2, 2), np.float32)
    dataset = ArrayDataset(x, gc.ones(2, requires_grad=True))
    assert np.shares_memory(dataset.tensors[0].numpy(), x)
    assert not dataset[0][1].requires_grad


@pytest.mark.parametrize("arrays", [(), (gc.ones(2), gc.ones(3)), (gc.tensor(1.0),)])
def test_arrays_must_be_equally_long(arrays: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="equally long"):
        ArrayDataset(*arrays)


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("examples", [9, 10])
def test_an_epoch_has_each_example_once(examples: int, drop_last: bool) -> None:
    batches = loader(examples, drop_last=drop_last)
    epochs = [lists(batches) for _ in range(3)]
    sizes = [3, 3, 3] + [1] * (examples == 10 and not drop_last)
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == sizes
        assert len({example for batch in epoch for example in batch}) == sum(sizes)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len(batches) == len(sizes)


def test_the_order_follows_the_seed() -> None:
    def epochs() -> list[Epoch]:
        batches = loader(20)
        return [lists(batches) for _ in range(2)]

    gc.random.seed(4)
    first, other = epochs(), epochs()
    gc.random.seed(4)
    assert epochs() == first != other


def test_the_order_sorts_the_words_of_key_and_epoch() -> None:
    """NumPy keeps these words for ever, but not what its `permutation` makes of them."""
    gc.random.seed(0)
    batches = loader(8, 8)
    words = [np.random.Philox(key=[0, 0], counter=[0, 0, 0, epoch]).random_raw(8) for epoch in (0, 1)]
    assert [lists(batches)[0] for _ in words] == [np.argsort(epoch).tolist() for epoch in words]


def test_every_order_comes_about_equally_often() -> None:
    gc.random.seed(0)
    batches = loader(3, 3)
    orders, counts = np.unique([lists(batches)[0] for _ in range(1200)], axis=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 150  # 200 on average, deviation 13


def test_without_shuffling_nothing_is_drawn() -> None:
    gc.random.seed(0)
    assert lists(loader(4, 3, shuffle=False)) == [[0, 1, 2], [3]]
    assert gc.random.key().numpy().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "batch_size >= 1"),
        ({"prefetch": -1}, "prefetch >= 0"),
        ({"examples": 0}, "0 examples give no batch"),
        ({"examples": 2, "drop_last": True}, "2 examples give no batch of 3 with drop_last=True"),
    ],
)
def test_wrong_numbers(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loader(**options)


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_going_on_gives_the_same_batches(shuffle: bool, prefetch: int) -> None:
    """From every place of three epochs."""
    batches = loader(shuffle=shuffle, prefetch=prefetch)
    states, expected = [batches.state_dict()], []
    for _ in range(3):
        for batch in batches:
            states.append(batches.state_dict())
            expected.append(lists([batch])[0])
    for done, state in enumerate(states):
        other = loader(shuffle=shuffle, prefetch=prefetch)
        other.load_state_dict({name: value.numpy() for name, value in state.items()})
        rest = []
        while len(rest) < len(expected) - done:
            rest += lists(other)
        assert rest == expected[done:]


def test_the_place_around_the_end_of_an_epoch() -> None:
    batches = loader()
    places = [place(batches) for _ in batches]
    assert places == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert place(batches) == (1, 0)


def place(batches: DataLoader) -> tuple[int, int]:
    state = batches.state_dict()
    return int(state["epoch"]), int(state["position"])


def test_a_state_after_the_last_batch_leaves_an_empty_rest() -> None:
    batches, other = loader(), loader()
    for _ in batches:
        last = batches.state_dict()
    other.load_state_dict(last)
    assert lists(other) == []
    assert lists(other) == lists(batches)


def test_a_loop_that_breaks_is_followed_by_the_next_epoch() -> None:
    batches, same = loader(), loader()
    same.load_state_dict(batches.state_dict())
    epochs = [lists(same) for _ in range(2)]
    for _ in range(2):
        assert lists([next(iter(batches))]) == epochs[0][:1]
        batches.load_state_dict({**batches.state_dict(), "position": gc.tensor(0)})
    for _ in batches:
        break
    assert lists(batches) == epochs[1]


def test_an_iterator_that_is_not_used_changes_nothing() -> None:
    batches, same = loader(), loader()
    next(iter(batches))
    same.load_state_dict(batches.state_dict())
    iter(same)
    assert place(same) == (0, 1)
    assert len(lists(same)) == len(same) - 1


def test_loops_at_the_same_time_are_different_epochs() -> None:
    batches = loader()
    for (first, _), (second, _) in zip(batches, batches, strict=True):
        assert first.numpy().tolist() != second.numpy().tolist()


def test_a_state_must_fit() -> None:
    batches = loader()
    state = batches.state_dict()
    for _ in batches:
        pass
    before = batches.state_dict()
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"epoch": gc.tensor(-1)}, ValueError, "no epoch -1"),
        ({"position": gc.tensor(5)}, ValueError, "5 of 4 batches"),
        ({"length": gc.tensor(11)}, ValueError, "the state has length = 11, and this DataLoader has 10"),
        ({"batch_size": gc.tensor(4)}, ValueError, "batch_size = 4"),
        ({"shuffle": gc.tensor(0)}, ValueError, "shuffle = 0"),
        ({"drop_last": gc.tensor(1)}, ValueError, "drop_last = 1"),
        ({"key": gc.tensor([1.0, 2.0])}, ValueError, r"key is float32\[2\]"),
        ({"position": gc.tensor([1])}, ValueError, r"position is int64\[1\]"),
        ({"more": gc.tensor(1)}, KeyError, "more"),
    ]
    for change, kind, words in wrong:
        with pytest.raises(kind, match=words):
            batches.load_state_dict({**state, **change})
    del state["epoch"]
    with pytest.raises(KeyError, match="epoch"):
        batches.load_state_dict(state)
    after = batches.state_dict()
    assert all((before[name].numpy() == after[name].numpy()).all() for name in before)


# --- the thread -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [1, 2, 100])
def test_prefetching_changes_no_bit(prefetch: int) -> None:
    gc.random.seed(1)
    plain = loader()
    gc.random.seed(1)
    ahead = loader(prefetch=prefetch)
    assert [lists(plain) for _ in range(3)] == [lists(ahead) for _ in range(3)]
    wait_for(lambda: not threads())


class Slow:
    """Counts what was prepared; fails at one batch."""

    def __init__(self, bad: int = -1) -> None:
        self.prepared: list[int] = []
        self.bad = bad

    def __len__(self) -> int:
        return 20

    def __getitem__(self, indices: Any) -> tuple[Any, ...]:
        self.prepared.append(int(indices[0]))
        if indices[0] == self.bad:
            raise LookupError("the file of example 3 is gone")
        return (gc.tensor(indices),)


def test_the_thread_stays_as_far_ahead_as_it_may() -> None:
    dataset = Slow()
    batches = iter(DataLoader(dataset, prefetch=3))
    assert not dataset.prepared
    next(batches)
    wait_for(lambda: len(dataset.prepared) == 4)
    time.sleep(0.02)
    assert dataset.prepared == [0, 1, 2, 3]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exception_comes_in_its_turn_with_its_traceback(prefetch: int) -> None:
    batches = DataLoader(Slow(bad=3), prefetch=prefetch)
    seen = []
    with pytest.raises(LookupError, match="example 3") as caught:
        for (x,) in batches:
            seen.append(int(x))
    assert seen == [0, 1, 2]
    assert place(batches) == (0, 3)
    assert "__getitem__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    wait_for(lambda: not threads())


@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_end_of_an_iterator_inside_a_dataset_is_an_error(prefetch: int) -> None:
    class Ended(Slow):
        def __getitem__(self, indices: Any) -> tuple[Any, ...]:
            return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Ended(), prefetch=prefetch))


def test_threads_end_when_the_loop_does() -> None:
    for _ in range(20):
        for _ in loader(prefetch=2):
            break
        dropped = iter(loader(prefetch=2))
        next(dropped)
        del dropped
        with pytest.raises(KeyboardInterrupt):
            for _ in loader(prefetch=2):
                raise KeyboardInterrupt
    wait_for(lambda: not threads())


def test_a_thread_ends_when_a_cycle_that_holds_it_is_collected() -> None:
    cycle: list[Any] = [iter(loader(prefetch=2))]
    cycle.append(cycle)
    next(cycle[0])
    assert threads()
    del cycle
    collector.collect()
    wait_for(lambda: not threads())


def test_an_interrupt_right_after_the_start_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading, "Thread", Interrupted)
        list(loader(prefetch=2))
    wait_for(lambda: not threads())


def test_no_thread_without_a_first_batch() -> None:
    batches = iter(loader(prefetch=2))
    assert not threads()
    del batches


def test_prefetching_nothing() -> None:
    assert list(prefetched(iter(()), 2)) == []
