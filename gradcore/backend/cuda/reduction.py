"""Reductions through `cupy.ReductionKernel`: terms are computed and combined in one kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy
import numpy as np

from gradcore.backend.cuda import elementwise
from gradcore.backend.cuda.plans import MOST_PREPARED, run_plan
from gradcore.backend.half import HALF
from gradcore.kernels.column_sum import COLUMN_SUM
from gradcore.kernels.emit_cuda import emit_reduction
from gradcore.kernels.expr import var
from gradcore.kernels.spec import ElementwiseSpec, ReductionSpec
from gradcore.kernels.total import total

OPTIONS = ("--fmad=false",)
_PLAIN = {
    kind: ReductionSpec(name, ("x",), var("x"), kind)
    for kind, name in [
        ("add", "sum"),
        ("multiply", "prod"),
        ("maximum", "max"),
        ("minimum", "min"),
        ("logical_or", "any"),
        ("logical_and", "all"),
    ]
}
_kernels: dict[Any, Any] = {}


def reduce(backend: Any, kind: str, x: Any, axes: Any, out: Any, keepdims: bool) -> Any:
    """A ufunc's reduction of one array."""
    axes = _axes(axes, x.ndim)
    if kind in ("maximum", "minimum") and 0 in (x.shape[axis] for axis in axes):
        raise ValueError(f"zero-size array to reduction operation {kind} which has no identity")
    return reduce_terms(backend, _PLAIN[kind], (x,), axes, out, keepdims)


_checked: set[Any] = set()


def reduce_op(
    backend: Any, op: Any, spec: ReductionSpec, out: Any, values: Sequence[Any], params: tuple[Any, ...]
) -> Any:
    """An op that is one reduction, over its parameter `axes` or over all; its `abstract` sees each shape once."""
    key = op.name, params, *[(value.shape, value.dtype) for value in values]
    if key not in _checked:
        if len(_checked) >= MOST_PREPARED:
            _checked.clear()
        op.shapes_and_dtypes(values, params)
        _checked.add(key)
    named = dict(zip(op.params, params, strict=True))
    return reduce_terms(backend, spec, values, named.get("axes"), out, named.get("keepdims", False))


def reduce_terms(backend: Any, spec: ReductionSpec, arrays: Sequence[Any], axes: Any, out: Any, keepdims: bool) -> Any:
    """The terms of a spec, combined over `axes` (None: all) of the first array."""
    x = arrays[0]
    axes = _axes(axes, x.ndim)
    if _sums_columns(spec, x, axes):
        terms = x if spec.term.leaf == "var" else elementwise.launch(_terms(spec), None, arrays)
        sums = _column_sum(backend, terms, len(axes), out, keepdims)
        return cupy.true_divide(sums, _count(x.shape, axes), sums) if spec.mean else sums
    if _is_total(spec, arrays, axes):
        out = cupy.empty((1,) * x.ndim if keepdims else (), x.dtype) if out is None else out
        run_plan(backend, total(spec), None, out, arrays, ())
        return out
    kernel = _kernel(spec, x.dtype, _result_dtype(spec.combine, x.dtype))
    return kernel(*arrays, *(() if out is None else (out,)), axis=axes, keepdims=keepdims)


def _sums_columns(spec: ReductionSpec, x: Any, axes: tuple[int, ...]) -> bool:
    """Is it a sum over the first axes, which CuPy's kernel would read with a few threads only?

    Terms of float16, and their sums before a division, would be rounded on the way.
    """
    exact = x.dtype.kind == "f" and (x.dtype != HALF or (spec.term.leaf == "var" and not spec.mean))
    first = bool(axes) and axes[-1] == len(axes) - 1 < x.ndim - 1
    return spec.combine == "add" and exact and first and x.size > 0


def _is_total(spec: ReductionSpec, arrays: Sequence[Any], axes: tuple[int, ...]) -> bool:
    """Is it a reduction of whole floating arrays of one shape?"""
    x = arrays[0]
    same = x.dtype.kind == "f" and x.size > 0 and all(array.shape == x.shape for array in arrays)
    return same and len(axes) == x.ndim and spec.combine in ("add", "maximum", "minimum")


@cache
def _terms(spec: ReductionSpec) -> ElementwiseSpec:
    return ElementwiseSpec(f"{spec.name}_terms", spec.inputs, (spec.term,))


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod([shape[axis] for axis in axes])


def _kernel(spec: ReductionSpec, operand: Any, result: Any) -> Any:
    key = spec.name, spec.combine, operand
    if key not in _kernels:
        cuda = emit_reduction(spec, operand, result)
        _kernels[key] = cupy.ReductionKernel(
            cuda.in_params,
            cuda.out_params,
            cuda.map_expr,
            cuda.reduce_expr,
            cuda.post_map_expr,
            cuda.identity,
            cuda.name,
            cuda.reduce_type,
            options=OPTIONS,
            preamble=cuda.preamble,
        )
    return _kernels[key]


def _column_sum(backend: Any, x: Any, count: int, out: Any, keepdims: bool) -> Any:
    """Sums over the first `count` axes: CuPy's kernel would read a tall matrix with a few threads only."""
    rest = x.shape[count:]
    flat = x.reshape((_count(x.shape, tuple(range(count))), math.prod(rest)))
    total = cupy.empty(rest, x.dtype) if out is None else out
    run_plan(backend, COLUMN_SUM, None, total.reshape(-1), (flat,), ())
    return total.reshape((*(1,) * count, *rest)) if keepdims and out is None else total


def _axes(axes: Any, ndim: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(ndim))
    return tuple(sorted([axis % ndim for axis in (axes if isinstance(axes, tuple) else (axes,))]))


def _result_dtype(kind: str, dtype: Any) -> Any:
    if kind.startswith("logical"):
        return np.dtype(np.bool_)
    if kind in ("add", "multiply") and dtype.kind in "biu":
        return np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
    return dtype
