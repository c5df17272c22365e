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

from gradcore.random.distributions import bernoulli, categorical, normal, permutation, randint, uniform
from gradcore.random.source import generator, key, load_state_dict, seed, state_dict

__all__ = [
    "bernoulli",
    "categorical",
    "generator",
    "key",
    "load_state_dict",
    "normal",
    "permutation",
    "randint",
    "seed",
    "state_dict",
    "uniform",
]
