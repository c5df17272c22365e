"""NumPy's universal functions on tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gradcore import ops
from gradcore.core.op import Promotion
from gradcore.ops.operands import common_dtype, named_tensor
from gradcore.ops.special import xlogy

Function = Callable[..., Any]


def positive(x: Any) -> Any:
    return named_tensor(x, "positive")


def fabs(x: Any) -> Any:
    return ops.abs(_floating(x, "fabs"))


def _floating(x: Any, name: str) -> Any:
    return _together(named_tensor(x, name))[0]


def _together(*operands: Any) -> list[Any]:
    """Operands in the floating dtype in which they meet; Python numbers stay weak."""
    dtype = common_dtype(operands, Promotion.FLOAT)
    return [x.astype(dtype) if hasattr(x, "dtype") and x.dtype != dtype else x for x in operands]


def cbrt(x: Any) -> Any:
    x = _floating(x, "cbrt")
    return ops.mul(ops.sign(x), ops.power(ops.abs(x), 1 / 3))


def rint(x: Any) -> Any:
    return ops.round(_floating(x, "rint"))


def trunc(x: Any) -> Any:
    x = named_tensor(x, "trunc")
    return ops.where(ops.less(x, 0), ops.ceil(x), ops.floor(x))


def degrees(x: Any) -> Any:
    return ops.mul(_floating(x, "degrees"), 180 / math.pi)


def radians(x: Any) -> Any:
    return ops.mul(_floating(x, "radians"), math.pi / 180)


def fmax(a: Any, b: Any) -> Any:
    return ops.where(ops.isnan(a), b, ops.where(ops.isnan(b), a, ops.maximum(a, b)))


def fmin(a: Any, b: Any) -> Any:
    return ops.where(ops.isnan(a), b, ops.where(ops.isnan(b), a, ops.minimum(a, b)))


def fmod(a: Any, b: Any) -> Any:
    """The remainder with the sign of a."""
    size = ops.mod(abs(a), abs(b))  # of Python numbers too, which stay weak
    return ops.where(ops.less(a, 0), ops.neg(size), size)


def logaddexp2(a: Any, b: Any) -> Any:
    a, b = _together(a, b)
    scale = math.log(2)
    return ops.div(ops.logaddexp(a * scale, b * scale), scale)


def heaviside(a: Any, b: Any) -> Any:
    dtype = common_dtype([a, b], Promotion.FLOAT)
    a = _floating(a, "heaviside")
    step = ops.where(ops.equal(a, 0), b, ops.where(ops.less(a, 0), 0.0, 1.0))
    return ops.cast(ops.where(ops.isnan(a), a, step), dtype)


def float_power(a: Any, b: Any) -> Any:
    return ops.power(ops.cast(named_tensor(a, "float_power"), float), b)


def divmod(a: Any, b: Any) -> Any:
    return ops.floor_divide(a, b), ops.mod(a, b)


def modf(x: Any) -> Any:
    x = _floating(x, "modf")
    whole = trunc(x)
    return ops.where(ops.isinf(x), 0.0, ops.sub(x, whole)), whole


def vecdot(a: Any, b: Any) -> Any:
    return ops.sum(ops.mul(a, b), -1)


def matvec(a: Any, b: Any) -> Any:
    return ops.squeeze(_product(a, ops.expand_dims(b, -1)), -1)


def vecmat(a: Any, b: Any) -> Any:
    return ops.squeeze(_product(ops.expand_dims(a, -2), b), -2)


def _product(a: Any, b: Any) -> Any:
    return ops.matmul(a, b)


def _of_booleans(function: Function, symbol: str) -> Function:
    """Logic; NumPy applies it to the bits of integers too, for which there is no op."""

    def logic(*operands: Any) -> Any:
        tensors = [named_tensor(x, symbol) for x in operands]
        if any(x.dtype.kind != "b" for x in tensors):
            raise TypeError(f"numpy.{symbol} takes boolean tensors, such as x > 0; those of integers have no rule")
        return function(*tensors)

    return logic


DIFFERENTIABLE: dict[str, Function] = {
    **{name: getattr(ops, name) for name in ("add", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt")},
    **{name: getattr(ops, name) for name in ("square", "reciprocal", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{name: getattr(ops, name) for name in ("arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "arctan2")},
    **{name: getattr(ops, name) for name in ("hypot", "logaddexp", "maximum", "minimum", "power", "matmul")},
    "subtract": ops.sub,
    "multiply": ops.mul,
    "divide": ops.div,
    "negative": ops.neg,
    "absolute": ops.abs,
    "remainder": ops.mod,
    "conjugate": positive,
    "positive": positive,
    "fabs": fabs,
    "cbrt": cbrt,
    "degrees": degrees,
    "radians": radians,
    "rad2deg": degrees,
    "deg2rad": radians,
    "fmax": fmax,
    "fmin": fmin,
    "fmod": fmod,
    "logaddexp2": logaddexp2,
    "float_power": float_power,
    "divmod": divmod,
    "modf": modf,
    "vecdot": vecdot,
    "matvec": matvec,
    "vecmat": vecmat,
    "heaviside": heaviside,
}
CONSTANT: dict[str, Function] = {
    **{name: getattr(ops, name) for name in ("ceil", "floor", "sign", "floor_divide", "isnan", "isinf", "isfinite")},
    **{name: getattr(ops, name) for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")},
    **{name: getattr(ops, name) for name in ("logical_and", "logical_or", "logical_xor", "logical_not")},
    "rint": rint,
    "trunc": trunc,
    "bitwise_and": _of_booleans(ops.logical_and, "bitwise_and"),
    "bitwise_or": _of_booleans(ops.logical_or, "bitwise_or"),
    "bitwise_xor": _of_booleans(ops.logical_xor, "bitwise_xor"),
    "invert": _of_booleans(ops.logical_not, "invert"),
}
SPECIAL: dict[str, Function] = {  # of scipy.special
    "erf": ops.erf,
    "erfc": ops.erfc,
    "expit": ops.sigmoid,
    "log_expit": ops.log_sigmoid,
    "xlogy": xlogy,
    "exp2": ops.exp2,
    "expm1": ops.expm1,
    "log1p": ops.log1p,
}
UFUNCS = DIFFERENTIABLE | CONSTANT
REDUCTIONS: dict[str, Function] = {  # ufunc.reduce
    "add": ops.sum,
    "multiply": ops.prod,
    "maximum": ops.max,
    "minimum": ops.min,
    "logical_and": ops.all,
    "logical_or": ops.any,
}
ACCUMULATIONS: dict[str, Function] = {"add": ops.cumsum, "multiply": ops.cumprod}  # ufunc.accumulate
