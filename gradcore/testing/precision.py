"""float16, float32 and float64: dtypes are kept, and errors are those of the dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.testing.cases import Case, Function, cotangents_for, pulled
from gradcore.testing.compare import assert_near, raw

HALF, SINGLE, DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)


def check_precision(case: Case) -> None:
    """Values and gradients in each floating dtype against the next wider one."""
    operands = case.operands(DOUBLE)
    if not case.moving(operands):
        return
    assert_precision(case.call, operands, str(case))
    if case.differentiable():
        ws = cotangents_for(case, operands)
        assert_precision(pulled(case, len(operands)), [*operands, *ws], f"vjp of {case}", exact_half=False)


def assert_precision(function: Function, operands: Sequence[Any], what: str, exact_half: bool = True) -> None:
    """float32 within 1e-5 of float64; float16 as float32, rounded once (`exact_half`: to the last place)."""
    if not any(x.dtype == np.uint64 for x in operands):  # float32 and float64 draw different numbers from a key
        _check_single(function, _cast(operands, SINGLE), what)
    half = _cast(operands, HALF)
    for got, want in zip(_run(function, half), _run(function, _cast(half, SINGLE)), strict=True):
        expected = HALF if want.dtype == SINGLE else want.dtype
        assert got.dtype == expected, f"float16 {what}: dtype {got.dtype} instead of {expected}"
        if got.dtype == HALF:
            rounded = want.astype(HALF)
            unit = np.abs(np.spacing(rounded)) if exact_half else 4e-3 * max(1.0, float(np.abs(want).max(initial=0)))
            assert_near(got, rounded, f"float16 {what}", np.asarray(unit, np.float64))


def _check_single(function: Function, single: Sequence[Any], what: str) -> None:
    for got, want in zip(_run(function, single), _run(function, _cast(single, DOUBLE)), strict=True):
        assert got.dtype == SINGLE or got.dtype == want.dtype, f"float32 {what}: dtype {got.dtype}"
        if got.dtype == SINGLE:
            assert_near(got, want, f"float32 {what}", 1e-5 * np.maximum(np.abs(want), 1))


def _cast(operands: Sequence[Any], dtype: Any) -> list[Any]:
    return [x.astype(dtype) if x.dtype.kind == "f" else x for x in operands]


def _run(function: Function, operands: Sequence[Any]) -> list[Any]:
    return [raw(out) for out in function(*operands)]
