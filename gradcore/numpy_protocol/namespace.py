"""The array API standard (2024.12): `x.__array_namespace__()`, as far as gradcore goes.

Every name that stands here does what the standard says on real numbers and booleans; what the standard asks for and is
missing raises AttributeError, so that libraries can test for it. https://data-apis.org/array-api/2024.12/
"""

from __future__ import annotations

import importlib
import math
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from gradcore import linalg, ops
from gradcore.numpy_protocol import composed, matrices, statistics, ufuncs

VERSION = "2024.12"
SAME = (
    *("abs", "add", "exp", "expm1", "floor", "ceil", "log", "log1p", "log2", "log10", "logaddexp", "hypot", "sign"),
    *("sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "square", "round", "maximum", "minimum", "reciprocal"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf", "isfinite"),
    *("logical_and", "logical_or", "logical_xor", "logical_not", "floor_divide", "where", "clip", "matmul"),
    *("sum", "prod", "mean", "max", "min", "var", "std", "all", "any", "argmax", "argmin", "tensordot"),
    *("reshape", "squeeze", "expand_dims", "broadcast_to", "broadcast_arrays", "moveaxis", "flip", "roll", "repeat"),
    *("tile", "stack", "take", "take_along_axis", "tril", "triu", "meshgrid", "zeros_like", "ones_like", "full_like"),
    *("sort", "argsort", "searchsorted"),
)
RENAMED: dict[str, Any] = {
    "subtract": ops.sub,
    "multiply": ops.mul,
    "divide": ops.div,
    "negative": ops.neg,
    "pow": ops.power,
    "remainder": ops.mod,
    "positive": ufuncs.positive,
    "trunc": ufuncs.trunc,
    "concat": ops.concatenate,
    "acos": ops.arccos,
    "asin": ops.arcsin,
    "atan": ops.arctan,
    "atan2": ops.arctan2,
    "permute_dims": ops.transpose,
    "acosh": ops.arccosh,
    "asinh": ops.arcsinh,
    "atanh": ops.arctanh,
    "matrix_transpose": composed.matrix_transpose,
    "astype": composed.astype,
    "unstack": composed.unstack,
    "cumulative_sum": statistics.cumulative_sum,
    "cumulative_prod": statistics.cumulative_prod,
    "count_nonzero": statistics.count_nonzero,
    "diff": statistics.diff,
    "vecdot": matrices.vecdot,
    "result_type": composed.result_type,
}
NUMBERS = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan, "newaxis": None}
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


@cache
def _module() -> ModuleType:
    module = ModuleType("gradcore.array_api", __doc__)
    public = importlib.import_module("gradcore.factories")
    made = {name: getattr(public, name) for name in ("arange", "asarray", "full", "ones", "zeros")}
    vars(module).update({name: getattr(ops, name) for name in SAME} | RENAMED | NUMBERS | made)
    vars(module).update({name: np.dtype(name) for name in DTYPES})
    vars(module).update({"finfo": np.finfo, "iinfo": np.iinfo, "linalg": linalg})
    vars(module)["__array_api_version__"] = VERSION
    return module


def array_namespace(self: Any, api_version: str | None = None) -> ModuleType:
    """The functions of the array API standard that take this tensor.

    Raises:
        ValueError: another version of the standard is asked for.
    """
    if api_version not in (None, VERSION):
        raise ValueError(f"gradcore follows version {VERSION} of the array API standard, not {api_version}")
    return _module()
