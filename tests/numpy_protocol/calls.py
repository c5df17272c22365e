"""One call or more of every function of NumPy that has a rule: what the generated tests are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcore.numpy_protocol.ufuncs import UFUNCS


@dataclass(frozen=True)
class Call:
    """`function(np, *operands)`; operands are drawn in `[low, high]`, in these shapes."""

    name: str
    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    low: float = -2.0
    high: float = 2.0
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name}-{self.note}" if self.note else self.name

    def operands(self, dtype: Any = np.float64) -> list[Any]:
        rng = np.random.default_rng(len(self.name))
        draws = [rng.uniform(self.low, self.high, shape) for shape in self.shapes]
        return [x.astype(dtype) for x in draws]


RANGES = {
    **dict.fromkeys(["log", "log2", "log10", "log1p", "sqrt", "reciprocal", "power", "float_power"], (0.5, 2.0)),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], (-0.8, 0.8)),
    "arccosh": (1.5, 3.0),
    "cbrt": (0.5, 2.0),
    **dict.fromkeys(["divide", "floor_divide", "remainder", "fmod", "divmod"], (0.6, 2.4)),
}
SHAPES = {
    "matmul": ((2, 3), (3, 2)),
    "vecdot": ((2, 3), (3,)),
    "matvec": ((2, 3), (3,)),
    "vecmat": ((3,), (3, 2)),
}
ON_BOOLEANS = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert"}


def _of_ufunc(name: str) -> Call | None:
    ufunc = getattr(np, name, None)
    if ufunc is None:  # in an older NumPy
        return None
    low, high = RANGES.get(name, (-2.0, 2.0))
    shapes = SHAPES.get(name, ((2, 3), (3,))[: ufunc.nin])

    def function(xp: Any, *xs: Any) -> Any:
        return getattr(xp, name)(*[x > 0 for x in xs] if name in ON_BOOLEANS else xs)

    return Call(name, function, shapes, low, high)


V, M, T, S = ((4,),), ((3, 4),), ((2, 3, 4),), ((3, 3),)
MASK = np.array([[True, False, True, True]] * 3)
PLAIN: dict[str, tuple[tuple[tuple[int, ...], ...], Callable[..., Any]]] = {
    "sum": (T, lambda xp, x: xp.sum(x, axis=(0, 2), keepdims=True)),
    "prod": (M, lambda xp, x: xp.prod(x, axis=1)),
    "mean": (T, lambda xp, x: xp.mean(x, axis=1)),
    "max": (M, lambda xp, x: xp.max(x, axis=0)),
    "min": (M, lambda xp, x: xp.min(x)),
    "amax": (M, lambda xp, x: xp.amax(x, 1)),
    "amin": (M, lambda xp, x: xp.amin(x, axis=1, keepdims=True)),
    "median": (M, lambda xp, x: xp.median(x, axis=1)),
    "cumsum": (M, lambda xp, x: xp.cumsum(x, axis=1)),
    "cumprod": (M, lambda xp, x: xp.cumprod(x)),
    "cumulative_sum": (M, lambda xp, x: xp.cumulative_sum(x, axis=1, include_initial=True)),
    "cumulative_prod": (M, lambda xp, x: xp.cumulative_prod(x, axis=0)),
    "quantile": (M, lambda xp, x: xp.quantile(x, 0.3, axis=1)),
    "percentile": (M, lambda xp, x: xp.percentile(x, 30, axis=0)),
    "var": (M, lambda xp, x: xp.var(x, axis=1, ddof=1)),
    "std": (M, lambda xp, x: xp.std(x, axis=0)),
    "ptp": (M, lambda xp, x: xp.ptp(x, axis=1)),
    "average": (((3, 4), (4,)), lambda xp, x, w: xp.average(x, axis=1, weights=w * w + 1)),
    "nansum": (M, lambda xp, x: xp.nansum(xp.where(MASK, x, np.nan), axis=1)),
    "nanprod": (M, lambda xp, x: xp.nanprod(xp.where(MASK, x, np.nan), axis=1)),
    "nanmean": (M, lambda xp, x: xp.nanmean(xp.where(MASK, x, np.nan), axis=1)),
    "nanvar": (M, lambda xp, x: xp.nanvar(xp.where(MASK, x, np.nan), axis=1, ddof=1)),
    "nanstd": (M, lambda xp, x: xp.nanstd(xp.where(MASK, x, np.nan), axis=1)),
    "nanmax": (M, lambda xp, x: xp.nanmax(xp.where(MASK, x, np.nan), axis=1)),
    "nanmin": (M, lambda xp, x: xp.nanmin(xp.where(MASK, x, np.nan), axis=1)),
    "cov": (M, lambda xp, x: xp.cov(x)),
    "corrcoef": (M, lambda xp, x: xp.corrcoef(x)),
    "trapezoid": (((3, 4), (4,)), lambda xp, y, x: xp.trapezoid(y, x, axis=1)),
    "diff": (M, lambda xp, x: xp.diff(x, 2, axis=1, prepend=0.5)),
    "ediff1d": (M, lambda xp, x: xp.ediff1d(x, to_end=[1.0])),
    "gradient": (M, lambda xp, x: xp.gradient(x, 0.5, axis=1)),
    "all": (M, lambda xp, x: xp.all(x > 0, axis=1)),
    "any": (M, lambda xp, x: xp.any(x > 0)),
    "argmax": (M, lambda xp, x: xp.argmax(x, axis=1)),
    "argmin": (M, lambda xp, x: xp.argmin(x, keepdims=True)),
    "searchsorted": (V, lambda xp, x: xp.searchsorted(xp.sort(x), x)),
    "count_nonzero": (M, lambda xp, x: xp.count_nonzero(x > 0, axis=0)),
    "ravel": (M, lambda xp, x: xp.ravel(x)),
    "squeeze": (((3, 1, 4),), lambda xp, x: xp.squeeze(x, 1)),
    "expand_dims": (M, lambda xp, x: xp.expand_dims(x, (0, -1))),
    "swapaxes": (T, lambda xp, x: xp.swapaxes(x, 0, 2)),
    "moveaxis": (T, lambda xp, x: xp.moveaxis(x, 0, -1)),
    "rollaxis": (T, lambda xp, x: xp.rollaxis(x, 2)),
    "broadcast_to": (V, lambda xp, x: xp.broadcast_to(x, (3, 4))),
    "flip": (M, lambda xp, x: xp.flip(x, 1)),
    "fliplr": (M, lambda xp, x: xp.fliplr(x)),
    "flipud": (M, lambda xp, x: xp.flipud(x)),
    "rot90": (M, lambda xp, x: [xp.rot90(x, k) for k in (0, 1, 2, 3)]),
    "roll": (M, lambda xp, x: xp.roll(x, 2, axis=1)),
    "repeat": (M, lambda xp, x: xp.repeat(x, 2, axis=0)),
    "tile": (M, lambda xp, x: xp.tile(x, (2, 1))),
    "split": (M, lambda xp, x: xp.split(x, 2, axis=1)),
    "array_split": (M, lambda xp, x: xp.array_split(x, 3, axis=1)),
    "hsplit": (M, lambda xp, x: xp.hsplit(x, 2)),
    "vsplit": (M, lambda xp, x: xp.vsplit(x, [1])),
    "dsplit": (T, lambda xp, x: xp.dsplit(x, 2)),
    "unstack": (M, lambda xp, x: xp.unstack(x, axis=1)),
    "take": (M, lambda xp, x: xp.take(x, [1, 0, 1], axis=1)),
    "take_along_axis": (M, lambda xp, x: xp.take_along_axis(x, np.array([[0], [2], [1]]), axis=1)),
    "diagonal": (M, lambda xp, x: xp.diagonal(x, 1)),
    "trace": (M, lambda xp, x: xp.trace(x)),
    "tril": (M, lambda xp, x: xp.tril(x, 1)),
    "triu": (M, lambda xp, x: xp.triu(x)),
    "diag": (V, lambda xp, x: xp.diag(x, 1)),
    "diagflat": (((2, 2),), lambda xp, x: xp.diagflat(x)),
    "pad": (M, lambda xp, x: xp.pad(x, 1, mode="edge")),
    "transpose": (T, lambda xp, x: xp.transpose(x, (2, 0, 1))),
    "permute_dims": (T, lambda xp, x: xp.permute_dims(x, (2, 0, 1))),
    "matrix_transpose": (T, lambda xp, x: xp.matrix_transpose(x)),
    "reshape": (M, lambda xp, x: [xp.reshape(x, (2, -1)), xp.reshape(x, (2, 6), order="F")]),
    "sort": (M, lambda xp, x: xp.sort(x, axis=0)),
    "argsort": (M, lambda xp, x: xp.argsort(x)),
    "append": (((3, 4), (3, 2)), lambda xp, x, y: xp.append(x, y, axis=1)),
    "copy": (M, lambda xp, x: xp.copy(x)),
    "astype": (M, lambda xp, x: xp.astype(x, np.float64)),
    "real": (M, lambda xp, x: xp.real(x)),
    "imag": (M, lambda xp, x: xp.imag(x)),
    "meshgrid": (((3,), (2,)), lambda xp, x, y: xp.meshgrid(x, y, indexing="ij")),
    "broadcast_arrays": (((3, 1), (2,)), lambda xp, x, y: xp.broadcast_arrays(x, y)),
    "atleast_1d": (((),), lambda xp, x: xp.atleast_1d(x)),
    "atleast_2d": (V, lambda xp, x: xp.atleast_2d(x)),
    "atleast_3d": (M, lambda xp, x: xp.atleast_3d(x)),
    "concatenate": (((3, 4), (3, 2)), lambda xp, x, y: xp.concatenate([x, y], axis=1)),
    "concat": (((3, 4), (2, 4)), lambda xp, x, y: xp.concat((x, y))),
    "stack": (((3,), (3,)), lambda xp, x, y: xp.stack([x, y], axis=1)),
    "hstack": (((3,), (2,)), lambda xp, x, y: xp.hstack([x, y])),
    "vstack": (((3,), (3,)), lambda xp, x, y: xp.vstack([x, y])),
    "dstack": (((2, 3), (2, 3)), lambda xp, x, y: xp.dstack([x, y])),
    "column_stack": (((3,), (3, 2)), lambda xp, x, y: xp.column_stack([x, y])),
    "where": (((3, 4), (4,)), lambda xp, x, y: xp.where(MASK, x, y)),
    "select": (((3, 4), (3, 4)), lambda xp, x, y: xp.select([x > 1, x < 0], [x, y], 0.5)),
    "clip": (M, lambda xp, x: xp.clip(x, -1, 1)),
    "nan_to_num": (M, lambda xp, x: xp.nan_to_num(xp.where(MASK, x, np.inf), posinf=3.0)),
    "round": (M, lambda xp, x: xp.round(x, 1)),
    "around": (M, lambda xp, x: xp.around(x)),
    "fix": (M, lambda xp, x: xp.fix(x)),
    "isclose": (M, lambda xp, x: xp.isclose(x, x + 1e-12)),
    "allclose": (M, lambda xp, x: xp.allclose(x, x)),
    "array_equal": (M, lambda xp, x: xp.array_equal(x, x + 1)),
    "isposinf": (M, lambda xp, x: xp.isposinf(x)),
    "isneginf": (M, lambda xp, x: xp.isneginf(x)),
    "shape": (M, lambda xp, x: xp.shape(x)),
    "ndim": (M, lambda xp, x: xp.ndim(x)),
    "size": (M, lambda xp, x: xp.size(x)),
    "iscomplexobj": (M, lambda xp, x: xp.iscomplexobj(x)),
    "isrealobj": (M, lambda xp, x: xp.isrealobj(x)),
    "zeros_like": (M, lambda xp, x: xp.zeros_like(x)),
    "ones_like": (M, lambda xp, x: xp.ones_like(x, shape=(2, 2))),
    "empty_like": (M, lambda xp, x: xp.shape(xp.empty_like(x))),
    "full_like": (M, lambda xp, x: xp.full_like(x, 3)),
    "dot": (((3, 4), (4, 2)), lambda xp, x, y: xp.dot(x, y)),
    "vdot": (((3, 2), (3, 2)), lambda xp, x, y: xp.vdot(x, y)),
    "inner": (((3, 4), (2, 4)), lambda xp, x, y: xp.inner(x, y)),
    "outer": (((3,), (2,)), lambda xp, x, y: xp.outer(x, y)),
    "kron": (((2, 2), (2, 3)), lambda xp, x, y: xp.kron(x, y)),
    "tensordot": (((2, 3, 4), (3, 2)), lambda xp, x, y: xp.tensordot(x, y, axes=([0, 1], [1, 0]))),
    "einsum": (((2, 3), (3, 4)), lambda xp, x, y: xp.einsum("ij,jk->ki", x, y)),
    "cross": (((2, 3), (3,)), lambda xp, x, y: xp.cross(x, y)),
    "convolve": (((5,), (3,)), lambda xp, x, y: [xp.convolve(x, y, m) for m in ("full", "same", "valid")]),
    "correlate": (((5,), (2,)), lambda xp, x, y: [xp.correlate(x, y, m) for m in ("full", "same", "valid")]),
    "polyval": (((3,), (2, 2)), lambda xp, p, x: xp.polyval(p, x)),
    "linalg.norm": (M, lambda xp, x: [xp.linalg.norm(x), xp.linalg.norm(x, np.inf), xp.linalg.norm(x, 3, axis=1)]),
    "linalg.matmul": (((2, 3), (3, 2)), lambda xp, x, y: xp.linalg.matmul(x, y)),
    "linalg.outer": (((3,), (2,)), lambda xp, x, y: xp.linalg.outer(x, y)),
    "linalg.tensordot": (((2, 3), (3, 2)), lambda xp, x, y: xp.linalg.tensordot(x, y, axes=1)),
    "linalg.solve": (((3, 3), (3,)), lambda xp, a, b: xp.linalg.solve(a + 5 * np.eye(3, dtype=a.dtype), b)),
    "linalg.inv": (((2, 3, 3),), lambda xp, a: xp.linalg.inv(a + 5 * np.eye(3, dtype=a.dtype))),
    "linalg.det": (((2, 3, 3),), lambda xp, a: xp.linalg.det(a)),
    "linalg.slogdet": (S, lambda xp, a: xp.linalg.slogdet(a)),
    "linalg.cholesky": (S, lambda xp, a: xp.linalg.cholesky(a @ a.T + np.eye(3, dtype=a.dtype))),
    "linalg.matrix_power": (S, lambda xp, a: [xp.linalg.matrix_power(a, n) for n in (0, 3, -1)]),
    "linalg.multi_dot": (((2, 3), (3, 2), (2,)), lambda xp, *xs: xp.linalg.multi_dot(xs)),
    "linalg.matrix_norm": (T, lambda xp, x: xp.linalg.matrix_norm(x)),
    "linalg.vector_norm": (T, lambda xp, x: [xp.linalg.vector_norm(x, axis=(0, 2), ord=3), xp.linalg.vector_norm(x)]),
    "linalg.matrix_transpose": (T, lambda xp, x: xp.linalg.matrix_transpose(x)),
    "linalg.diagonal": (T, lambda xp, x: xp.linalg.diagonal(x, offset=1)),
    "linalg.trace": (T, lambda xp, x: xp.linalg.trace(x)),
    "linalg.vecdot": (((2, 3), (2, 3)), lambda xp, x, y: xp.linalg.vecdot(x, y)),
    "linalg.cross": (((2, 3), (2, 3)), lambda xp, x, y: xp.linalg.cross(x, y)),
}
UNTESTED_HERE = {"result_type", "trapz"}  # the first returns a dtype, the second is gone since NumPy 2.4


def exists(name: str) -> bool:
    """In the NumPy that is installed."""
    return hasattr(np.linalg, name.removeprefix("linalg.")) if name.startswith("linalg.") else hasattr(np, name)


CALLS = [call for call in map(_of_ufunc, UFUNCS) if call]
CALLS += [Call(name, function, shapes) for name, (shapes, function) in PLAIN.items() if exists(name)]
