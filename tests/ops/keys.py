"""Random keys for x[key] and x.at[key]."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@st.composite
def keys(draw, shape):
    """Any mixture of indices that NumPy takes for a shape, and some that do not broadcast together."""
    common = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    key, axis = [], 0
    while axis < len(shape) and draw(st.integers(0, 9)):
        n = shape[axis]
        kinds = ["slice", "none", "boolean", "mask", "mask", "dots", *["integer", "array", "array", "array"] * (n > 0)]
        kind = draw(st.sampled_from(kinds))
        taken = draw(st.integers(1, len(shape) - axis)) if kind in ("mask", "dots") else kind not in ("none", "boolean")
        if kind == "dots" and any(k is Ellipsis for k in key):
            continue
        key.append(draw(index_of(kind, shape[axis : axis + taken], common)))
        axis += taken
    left = [slice(None)] * (len(shape) - axis) if any(k is Ellipsis for k in key) else []  # so that masks fit
    return (*key, *left)


def index_of(kind, sizes, common):
    simple = {"none": st.none(), "dots": st.just(...), "boolean": st.sampled_from([True, np.False_, np.array(True)])}
    if kind in simple:
        return simple[kind]
    if kind == "mask":
        return hnp.arrays(bool, sizes)
    n = sizes[0]
    if kind != "array":
        return slices(n) if kind == "slice" else st.integers(-n, n - 1)
    shapes = st.sampled_from([common, common[1:], (1, *common[1:])])
    return shapes.flatmap(
        lambda s: hnp.arrays(st.sampled_from([np.int64, np.int8]), s, elements=st.integers(-n, n - 1))
    )


def slices(n):
    """Bounds may lie before the first and behind the last element."""
    bounds = st.none() | st.integers(-n - 2, n + 2)
    return st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1, -2, -3]))


@st.composite
def shapes_and_keys(draw):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
    return shape, draw(keys(shape))


def attempt(function):
    try:
        return function()
    except IndexError:
        return None
