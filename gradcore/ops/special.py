"""Functions of `scipy.special` that are elementwise and stand nowhere else."""

from __future__ import annotations

from gradcore.kernels import expr as e
from gradcore.ops.elementwise import elementwise
from gradcore.ops.samples import binary

xlogy = elementwise(
    "xlogy",
    lambda x, y: e.where(e.equal(x, 0), e.where(e.isnan(y), y, 0), x * e.log(e.where(e.equal(x, 0), 1, y))),
    partials=lambda result, x, y: (e.log(y), x / y),
    samples=binary(low=0.5, high=3.0),
    doc="x * log(y), and 0 where x is 0 and y is not NaN.",
)
