"""Batches in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Protocol

import numpy as np

from gradcore import random
from gradcore.core.tensor import Tensor
from gradcore.data.prefetch import prefetched
from gradcore.factories import tensor


class Dataset(Protocol):
    """What a DataLoader reads."""

    def __len__(self) -> int:
        """How many examples there are."""

    def __getitem__(self, indices: Any, /) -> tuple[Any, ...]:
        """The batch of several examples; `indices` is a NumPy array of integers."""


class DataLoader:
    """Batches of a data set.  Each `for` over it is one epoch.

    The order of an epoch depends on nothing but a key, drawn from `gradcore.random` when a shuffling loader is made,
    and on the epoch's number.  After `load_state_dict` the next `for` goes on in the middle of the epoch; a `for` after
    one that was left early starts the next epoch.  The state is that of the loop that took the last batch.

    Args:
        dataset: an ArrayDataset, or anything with `len` whose items at an array of integers are a tuple of tensors.
        batch_size: examples per batch; the last batch may be smaller.
        shuffle: take the examples in a new random order in each epoch.
        drop_last: leave a smaller last batch out.
        prefetch: how many batches a background thread prepares ahead; 0 prepares each when it is asked for. The
            batches are the same, unless the data set draws from `gradcore.random`: it shares that with the loop.

    Raises:
        ValueError: an epoch would have no batches, or a number is out of range.

    Example:
        >>> import gradcore as gc
        >>> loader = gc.data.DataLoader(gc.data.ArrayDataset(gc.arange(5)), batch_size=2)
        >>> [x.numpy().tolist() for x, in loader]
        [[0, 1], [2, 3], [4]]
        >>> len(loader)
        3
    """

    def __init__(
        self, dataset: Dataset, batch_size: int = 1, shuffle: bool = False, drop_last: bool = False, prefetch: int = 0
    ) -> None:
        if batch_size < 1 or prefetch < 0:
            raise ValueError(f"DataLoader needs batch_size >= 1 and prefetch >= 0, not {batch_size} and {prefetch}")
        self.dataset = dataset
        self.batch_size, self.shuffle, self.drop_last, self.prefetch = batch_size, shuffle, drop_last, prefetch
        if not len(self):
            raise ValueError(f"{len(dataset)} examples give no batch of {batch_size} with drop_last={drop_last}")
        self._key = random.key() if shuffle else tensor([0, 0], np.uint64)
        self._epoch = self._position = 0
        self._continue = False

    def __len__(self) -> int:
        examples = len(self.dataset)
        return examples // self.batch_size if self.drop_last else -(-examples // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._position and not self._continue:
            self._epoch, self._position = self._epoch + 1, 0
        self._continue = False
        epoch, position = self._epoch, self._position
        order, size = self._order(epoch), self.batch_size
        items = (self.dataset[order[i * size : (i + 1) * size]] for i in range(position, len(self)))
        with closing(prefetched(items, self.prefetch)) as batches:
            for done, batch in enumerate(batches, position + 1):
                self._epoch, self._position = epoch, done
                yield batch
        self._epoch, self._position = epoch + 1, 0

    def _order(self, epoch: int) -> Any:
        """Sorting random words gives an order that is the same in every version of NumPy."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        words = np.random.Philox(key=self._key.numpy(), counter=[0, 0, 0, epoch]).random_raw(len(self.dataset))
        return words.argsort(kind="stable")

    def state_dict(self) -> dict[str, Tensor]:
        """The place after the last batch that was handed out, the key of the order, and what the order depends on."""
        numbers = {"epoch": self._epoch, "position": self._position, **self._fixed()}
        return {"key": self._key, **{name: tensor(number, np.int64) for name, number in numbers.items()}}

    def _fixed(self) -> dict[str, int]:
        return {
            "length": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": int(self.shuffle),
            "drop_last": int(self.drop_last),
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Go on, with the next `for`, where a loader was when it gave this `state_dict`.

        Raises:
            KeyError: names are missing or unexpected.
            ValueError: it comes from a loader of other settings or another number of examples, or it is damaged.
                Nothing has changed then.
        """
        old = self.state_dict()
        if values.keys() != old.keys():
            raise KeyError(f"the state of a DataLoader has {sorted(old)}, not {sorted(values)}")
        new = {name: tensor(value, device="cpu") for name, value in values.items()}
        for name, value in new.items():
            if (value.shape, value.dtype) != (old[name].shape, old[name].dtype):
                raise ValueError(f"{name} is {value.dtype}{list(value.shape)} and must be like {old[name]}")
        for name, number in self._fixed().items():
            if int(new[name]) != number:
                raise ValueError(f"the state has {name} = {int(new[name])}, and this DataLoader has {number}")
        epoch, position = int(new["epoch"]), int(new["position"])
        if epoch < 0 or not 0 <= position <= len(self):
            raise ValueError(f"there is no epoch {epoch} with {position} of {len(self)} batches done")
        self._key, self._epoch, self._position, self._continue = new["key"], epoch, position, True
