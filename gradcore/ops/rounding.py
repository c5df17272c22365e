"""Signs, whole numbers, remainders and bounds.

Where a derivative is 0 everywhere, the cotangent is absent: `grad` gives zeros, and `backward()` leaves `.grad` as it
was, None at first (PyTorch stores zeros).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradcore.core.op import Promotion
from gradcore.kernels import expr as e
from gradcore.ops.arithmetic import div, mul
from gradcore.ops.conversion import cast
from gradcore.ops.elementwise import elementwise
from gradcore.ops.operands import named_tensor
from gradcore.ops.samples import binary, normal, sample, unary

COMMON = Promotion.COMMON
FRACTIONS = unary(low=0.1, high=0.4)

sign = elementwise(
    "sign",
    lambda x: e.sign(x),
    promotion=COMMON,
    samples=unary(away=0.2),
    doc="-1, 0 or 1, as x is below, at or above 0; its derivative is 0.",
    example=("[-2.0, 0.0, 3.0]", "[-1.,  0.,  1.]"),
)
mod = elementwise(
    "mod",
    lambda a, b: e.mod(a, b),
    promotion=COMMON,
    samples=binary(low=0.5, high=2.0),
    doc="Remainder of a / b, with the sign of b (`numpy.remainder`).",
    example=("[5.0, -5.0]", "3.0", "[2., 1.]"),
)
floor_divide = elementwise(
    "floor_divide",
    lambda a, b: e.floor_divide(a, b),
    promotion=COMMON,
    samples=binary(low=0.5, high=2.0),
    doc="Largest whole number not above a / b; its derivatives are 0.",
    example=("[5.0, -5.0]", "3.0", "[ 1., -2.]"),
)
_floor = elementwise("floor", lambda x: e.floor(x), samples=FRACTIONS, doc="Largest whole number not above x.")
_ceil = elementwise("ceil", lambda x: e.ceil(x), samples=FRACTIONS, doc="Smallest whole number not below x.")
_round = elementwise(
    "round", lambda x: e.round(x), samples=FRACTIONS, doc="Nearest whole number; halves go to even ones."
)


def floor(x: Any) -> Any:
    """Largest whole number not above x; its derivative is 0. Integers and booleans stay as they are.

    Example:
        >>> import gradcore as gc
        >>> gc.floor(gc.tensor([-1.5, 1.5]))
        tensor([-2.,  1.], dtype=float32, device='cpu')
    """
    return _whole(_floor, "iub", x)


def ceil(x: Any) -> Any:
    """Smallest whole number not below x; its derivative is 0. Integers and booleans stay as they are.

    Example:
        >>> import gradcore as gc
        >>> gc.ceil(gc.tensor([-1.5, 1.5]))
        tensor([-1.,  2.], dtype=float32, device='cpu')
    """
    return _whole(_ceil, "iub", x)


def _whole(function: Callable[[Any], Any], exact: str, x: Any) -> Any:
    """The function of x, or x itself where it is of an exact kind."""
    x = named_tensor(x, function.__name__)
    return x if x.dtype.kind in exact else function(x)


def round(x: Any, decimals: int = 0) -> Any:
    """Nearest number with that many decimals; halves go to even digits; its derivative is 0.

    Args:
        x: tensor of any shape; integers stay integers.
        decimals: digits behind the point; negative ones stand before it.

    Example:
        >>> import gradcore as gc
        >>> gc.round(gc.tensor([0.5, 1.5, 2.6]))
        tensor([0., 2., 3.], dtype=float32, device='cpu')
        >>> gc.round(gc.tensor([15, 26]), -1)
        tensor([20, 30], dtype=int64, device='cpu')
    """
    x = named_tensor(x, "round")
    if decimals == 0:
        return _whole(_round, "iu", x)
    if x.dtype.kind in "iu":
        return x if decimals > 0 else cast(_decimal(x, decimals), x.dtype)
    return _decimal(x, decimals)


def _decimal(x: Any, decimals: int) -> Any:
    scale = 10.0 ** abs(decimals)
    return div(_round(mul(x, scale)), scale) if decimals > 0 else mul(_round(div(x, scale)), scale)


# --- bounds -----------------------------------------------------------------------------------------------------------

_clip_min = elementwise(
    "clip_min",
    lambda x, low: e.maximum(x, low),
    partials=lambda y, x, low: (e.where(x >= low, 1, 0), e.where(x < low, 1, 0)),
    promotion=COMMON,
    samples=binary(low=-5.0, high=5.0),
    doc="The larger of x and low; where they are equal, x gets the gradient.",
)
_clip_max = elementwise(
    "clip_max",
    lambda x, high: e.minimum(x, high),
    partials=lambda y, x, high: (e.where(x <= high, 1, 0), e.where(x > high, 1, 0)),
    promotion=COMMON,
    samples=binary(low=-5.0, high=5.0),
    doc="The smaller of x and high; where they are equal, x gets the gradient.",
)
_clip = elementwise(
    "clip",
    lambda x, low, high: e.minimum(e.maximum(x, low), high),
    partials=lambda y, x, low, high: (
        e.where((x >= low) & (x <= high), 1, 0),
        e.where((x < low) & (low <= high), 1, 0),
        e.where((x > high) | (low > high), 1, 0),
    ),
    promotion=COMMON,
    samples=(
        sample(normal(3, 4), normal(low=-0.9, high=-0.2), normal(low=0.2, high=0.9), label="numbers"),
        sample(normal(3, 1), normal(2, 1, 4), normal(4), label="broadcast, bounds crossed"),
        sample(normal(), normal(), normal(), label="()"),
        sample(normal(0, 3), normal(), normal(3), label="empty"),
    ),
    doc="min(max(x, low), high); at a bound, x gets the gradient.",
)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """x, but at least min and at most max; max where they cross, NaN stays NaN.

    Works element by element, with broadcasting. Where x is equal to a bound, x gets the gradient. A Python integer as
    a bound must fit the dtype of x (NumPy takes any).

    Args:
        x: tensor of any shape.
        min: lower bound, or None for none.
        max: upper bound, or None for none.

    Raises:
        ValueError: both bounds are None.

    Example:
        >>> import gradcore as gc
        >>> gc.clip(gc.tensor([-2.0, 0.5, 2.0]), -1.0, 1.0)
        tensor([-1. ,  0.5,  1. ], dtype=float32, device='cpu')
        >>> gc.clip(gc.tensor([-2, 3]), min=0)
        tensor([0, 3], dtype=int64, device='cpu')
    """
    if min is None and max is None:
        raise ValueError("'clip' needs a bound: min, max or both")
    if min is None:
        return _clip_max(x, max)
    return _clip_min(x, min) if max is None else _clip(x, min, max)
