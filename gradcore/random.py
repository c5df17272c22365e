"""Random numbers for users: seed once, then draw.

All draws go through one cell that holds (seed, count).  A draw takes the cell's value as its key and assigns the
successor, so a seeded program gives the same bits each time, and a captured graph shows the counter as an input and a
donated output.

    >>> import gradcore as gc
    >>> gc.random.seed(0)
    >>> a = gc.random.uniform((2,))
    >>> gc.random.seed(0)
    >>> bool((gc.random.uniform((2,)).numpy() == a.numpy()).all())
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.batch import Batch, BatchTensor
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.state import state
from gradcore.core.tensor import Tensor
from gradcore.ops.random import next_key_op, split_key_op, uniform_op

SOURCE = Cell(Tensor(np.zeros(2, np.uint64)), "random")


def seed(number: int) -> None:
    """Start the stream of keys that belongs to a number; it starts at that of 0 when the library is imported.

    Args:
        number: an integer in [0, 2**64).

    Raises:
        ValueError: the number is outside that range.
    """
    if not 0 <= number < 2**64:
        raise ValueError(f"a seed must lie in [0, 2**64), not {number}")
    SOURCE.assign(Tensor(np.array([number, 0], np.uint64)))


def key() -> Any:
    """The next key, a Tensor of uint64[2]; inside vmap each example gets a key of its own.

    >>> import gradcore as gc
    >>> gc.random.seed(7)
    >>> gc.random.key(), gc.random.key()
    (tensor([7, 0], dtype=uint64, device='cpu'), tensor([7, 1], dtype=uint64, device='cpu'))
    """
    drawn = SOURCE.read()
    SOURCE.assign(bind(next_key_op, (drawn,)))
    for level in state.levels:
        if isinstance(level, Batch):
            drawn = BatchTensor(level, bind(split_key_op, (drawn,), (level.size,)))
    return drawn


def uniform(shape: Sequence[int] = (), dtype: Any = np.float32) -> Any:
    """Uniform numbers in [0, 1), the stream of `numpy.random.Philox` for the next key.

    Args:
        shape: of the result.
        dtype: a floating dtype.
    """
    return bind(uniform_op, (key(),), (tuple(map(int, shape)), np.dtype(dtype)))


def generator() -> np.random.Generator:
    """A NumPy generator for the next key: for work on the host, such as shuffling and initial values.

    Raises:
        GradcoreError: called while a graph is captured or inside vmap, where a key has no elements.
    """
    return np.random.Generator(np.random.Philox(key=key().numpy()))
