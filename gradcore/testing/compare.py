"""Comparisons of results, and messages that name the worst entry with both values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.core.tensor import Tensor


def raw(value: Any) -> Any:
    """The array of a plain Tensor; arrays and numbers pass."""
    return np.asarray(value.data if isinstance(value, Tensor) else value)


def assert_close(got: Any, want: Any, what: str, tol: float = 1e-12) -> None:
    """Equal shapes and dtypes, and errors of at most tol * max(1, |want|)."""
    got, want = raw(got), raw(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape} instead of {want.shape}"
    assert got.dtype == want.dtype, f"{what}: dtype {got.dtype} instead of {want.dtype}"
    if want.dtype.kind != "f":
        assert (got == want).all(), f"{what}: {got} instead of {want}"
        return
    assert_near(got, want, what, tol * max(1.0, _largest(want)))


def _largest(x: Any) -> float:
    finite = np.abs(x[np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0


def assert_near(got: Any, want: Any, what: str, allowed: Any) -> None:
    """Entries differ by at most `allowed`; equal infinities and NaN in the same places agree."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    error = _errors(got, want)
    bad = ~(error <= allowed)
    if bad.any():
        worst = np.unravel_index(np.argmax(np.where(bad, np.nan_to_num(error, nan=np.inf), -1.0)), got.shape)
        place = tuple(map(int, worst))
        raise AssertionError(f"{what}: entry {list(place)} is {float(got[place])!r}, expected {float(want[place])!r}")


def _errors(got: Any, want: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, np.abs(got - want))


def worst_entry(got: Any, want: Any) -> tuple[tuple[int, ...], float]:
    """Index and size of the largest difference; one of NaN is infinite."""
    error = np.nan_to_num(_errors(got, want), nan=np.inf)
    place = tuple(map(int, np.unravel_index(np.argmax(error), error.shape)))
    return place, float(error[place])


def assert_same_bits(got: Any, want: Any, what: str) -> None:
    """Equal shapes, dtypes and bits."""
    got, want = raw(got), raw(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype), (
        f"{what}: {got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    )
    if got.tobytes() != want.tobytes():
        differing = np.argwhere(got != want)
        where = list(map(int, differing[0])) if len(differing) else "a sign of zero or a NaN"
        raise AssertionError(f"{what}: bits differ, first at {where}: {got!r} instead of {want!r}")


def assert_all(check: Any, got: Sequence[Any], want: Sequence[Any], what: str, **options: Any) -> None:
    """`check` on each pair of two equally long sequences."""
    assert len(got) == len(want), f"{what}: {len(got)} results instead of {len(want)}"
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        check(g, w, f"{what}, result {k}", **options)
