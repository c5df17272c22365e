"""The source of keys: one cell, which holds (seed, count)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np

from gradcore.autodiff.batch import Batch, BatchTensor
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.state import state
from gradcore.core.tensor import Tensor
from gradcore.ops.conversion import to_device
from gradcore.ops.operands import as_tensor
from gradcore.ops.random import next_key_op, split_key_op

SOURCE = Cell(Tensor(np.zeros(2, np.uint64)), "random")
_drawing = threading.RLock()  # a finaliser that draws may run while its own thread holds it


def seed(number: int) -> None:
    """Start the stream of keys that belongs to a number; it starts at that of 0 when the library is imported.

    Args:
        number: an integer in [0, 2**64).

    Raises:
        TypeError: it is not an integer.
        ValueError: it is outside that range.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(3)
        >>> gc.random.uniform(2)
        tensor([0.8620584, 0.934282 ], dtype=float32, device='cpu')
    """
    if not hasattr(number, "__index__"):
        raise TypeError(f"a seed must be an integer in [0, 2**64), not {number!r}")
    if not 0 <= index(number) < 2**64:
        raise ValueError(f"a seed must lie in [0, 2**64), not {number}")
    with _drawing:
        SOURCE.assign(Tensor(np.array([index(number), 0], np.uint64)))


def key() -> Any:
    """The next key, a Tensor of uint64[2]; inside vmap each example gets a key of its own.

    >>> import gradcore as gc
    >>> gc.random.seed(7)
    >>> gc.random.key(), gc.random.key()
    (tensor([7, 0], dtype=uint64, device='cpu'), tensor([7, 1], dtype=uint64, device='cpu'))
    """
    drawn = _draw()
    for level in state.levels:
        if isinstance(level, Batch) and level.examples:
            drawn = BatchTensor(level, bind(split_key_op, (drawn,), (level.size,)))
    return drawn


def _draw() -> Any:
    """The source's value, which no other thread gets.  Hooks see the op, so the lock is not held while it runs."""
    while True:
        drawn = SOURCE.read()
        following = bind(next_key_op, (drawn,))
        with _drawing:
            if SOURCE.read() is drawn:
                SOURCE.assign(following)
                return drawn


def state_dict() -> dict[str, Tensor]:
    """The source of keys, for checkpoints: {"source": uint64[2]}.

    Example:
        >>> import gradcore as gc
        >>> gc.random.seed(7)
        >>> state = gc.random.state_dict()
        >>> a = gc.random.uniform(2)
        >>> gc.random.load_state_dict(state)
        >>> bool((gc.random.uniform(2).numpy() == a.numpy()).all())
        True
    """
    return {"source": SOURCE.read().detach()}


def load_state_dict(values: Mapping[str, Any]) -> None:
    """Continue from what `state_dict` gave.

    Raises:
        KeyError: "source" is missing, or there are other names.
        ValueError: it is not uint64[2]. Nothing has been assigned then.
    """
    if set(values) != {"source"}:
        raise KeyError(f"the state of gradcore.random has one name, 'source'; got {sorted(values)}")
    source = to_device(as_tensor(values["source"]), "cpu")
    if source.dtype != np.uint64 or source.shape != (2,):
        raise ValueError(f"'source' must be uint64[2], as state_dict() gives, not {source.dtype}{list(source.shape)}")
    with _drawing:
        SOURCE.assign(source if source is values["source"] else Tensor(source.data.copy()))


def generator() -> np.random.Generator:
    """A NumPy generator for the next key: for work on the host, such as shuffling and initial values.

    Raises:
        GradcoreError: called while a graph is captured or inside vmap, where a key has no elements.

    Example:
        >>> import gradcore as gc
        >>> sorted(gc.random.generator().permutation(4).tolist())
        [0, 1, 2, 3]
    """
    return np.random.Generator(np.random.Philox(key=key().numpy()))
