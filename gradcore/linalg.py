"""Linear algebra of matrices and of stacks of matrices, with derivatives of every order."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcore.ops import linalg as _ops
from gradcore.ops import squeeze, swapaxes
from gradcore.ops.conversion import cast, to_device
from gradcore.ops.creation import eye
from gradcore.ops.matmul import matmul
from gradcore.ops.operands import named_tensor
from gradcore.ops.shapes import broadcast_to, expand_dims
from gradcore.ops.statistics import norm

__all__ = ["cholesky", "det", "inv", "matrix_power", "multi_dot", "norm", "slogdet", "solve"]


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: Any
    logabsdet: Any


def solve(a: Any, b: Any) -> Any:
    """The x with `a @ x = b`, as `numpy.linalg.solve`.

    Args:
        a: square matrices of shape (..., n, n), float32 or float64; integers give float64.
        b: one vector of shape (n,), or matrices of shape (..., n, k). Stacks broadcast.

    Returns:
        Tensor of the shape of b, broadcast.

    Raises:
        numpy.linalg.LinAlgError: a matrix is singular.
        TypeError: the dtype is float16.
        ValueError: the shapes do not fit.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.solve(gc.tensor([[2.0, 0.0], [0.0, 4.0]]), gc.tensor([2.0, 2.0]))
        tensor([1. , 0.5], dtype=float32, device='cpu')
    """
    a, b = _matrices(a, "solve"), _supported(b, "solve")
    if not b.shape or b.shape[-2:][0] != a.shape[-1]:
        raise ValueError(f"'solve': a of shape {a.shape} and b of shape {b.shape} do not fit; b is (n,) or (..., n, k)")
    return squeeze(_ops.solve(a, expand_dims(b, -1)), -1) if len(b.shape) == 1 else _ops.solve(a, b)


def inv(a: Any) -> Any:
    """The inverse of each matrix, as `numpy.linalg.inv`. Prefer `solve` to multiplying by an inverse.

    Args:
        a: square matrices of shape (..., n, n), float32 or float64; integers give float64.

    Returns:
        Tensor of the shape of a.

    Raises:
        numpy.linalg.LinAlgError: a matrix is singular.
        TypeError: the dtype is float16.
        ValueError: the matrices are not square.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.inv(gc.tensor([[2.0, 0.0], [0.0, 4.0]]))
        tensor([[0.5 , 0.  ],
                [0.  , 0.25]], dtype=float32, device='cpu')
    """
    return _ops.inv(_matrices(a, "inv"))


def det(a: Any) -> Any:
    """The determinant of each matrix, as `numpy.linalg.det`.

    The derivative is the matrix of cofactors, which a singular matrix has too. Derivatives of higher order go through
    the inverse, so at a singular matrix they raise; next to one they lose as many digits as the inverse does. On CUDA
    no derivative at a singular matrix raises; all of them are NaN or infinite.

    Args:
        a: square matrices of shape (..., n, n), float32 or float64; integers give float64.

    Returns:
        Tensor of shape (...).

    Raises:
        numpy.linalg.LinAlgError: the second derivative at a singular matrix is asked for.
        TypeError: the dtype is float16.
        ValueError: the matrices are not square.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.det(gc.tensor([[2.0, 0.0], [0.0, 4.0]]))
        tensor(8., dtype=float32, device='cpu')
    """
    return _ops.det(_matrices(a, "det"))


def slogdet(a: Any) -> SlogdetResult:
    """The sign of each determinant and the logarithm of its magnitude, as `numpy.linalg.slogdet`.

    Args:
        a: square matrices of shape (..., n, n), float32 or float64; integers give float64.

    Returns:
        `sign` and `logabsdet`, both of shape (...). The sign is a constant. A singular matrix has the sign 0 and the
        logarithm -inf.

    Raises:
        numpy.linalg.LinAlgError: the derivative at a singular matrix is asked for.
        TypeError: the dtype is float16.
        ValueError: the matrices are not square.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.slogdet(gc.tensor([[2.0, 0.0], [0.0, -0.5]])).sign
        tensor(-1., dtype=float32, device='cpu')
    """
    return SlogdetResult(*_ops.slogdet(_matrices(a, "slogdet")))


def cholesky(a: Any, upper: bool = False) -> Any:
    """The triangular factor of each positive definite matrix, as `numpy.linalg.cholesky`.

    NumPy reads one triangle of a. Here the mean of a and its transpose is taken, which changes nothing where a is
    symmetric, and makes the gradient symmetric (so does JAX).

    Args:
        a: symmetric positive definite matrices of shape (..., n, n), float32 or float64; integers give float64.
        upper: return the upper triangular factor, the transpose.

    Returns:
        Tensor L of the shape of a with `L @ L.T = a`.

    Raises:
        numpy.linalg.LinAlgError: a matrix is not positive definite.
        TypeError: the dtype is float16.
        ValueError: the matrices are not square.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.cholesky(gc.tensor([[4.0, 2.0], [2.0, 2.0]]))
        tensor([[2., 0.],
                [1., 1.]], dtype=float32, device='cpu')
    """
    factor = _ops.symmetric_cholesky(_matrices(a, "cholesky"))
    return swapaxes(factor, -1, -2) if upper else factor


def matrix_power(a: Any, n: int) -> Any:
    """Each matrix to an integer power, as `numpy.linalg.matrix_power`; negative ones go through `inv`.

    Args:
        a: square matrices of shape (..., n, n).
        n: the power.

    Raises:
        numpy.linalg.LinAlgError: n is negative and a matrix is singular.
        TypeError: n is not an integer.
        ValueError: the matrices are not square.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.matrix_power(gc.tensor([[1, 1], [0, 1]]), 3)
        tensor([[1, 3],
                [0, 1]], dtype=int64, device='cpu')
    """
    a, n = _square(named_tensor(a, "matrix_power"), "matrix_power"), operator.index(n)
    if n == 0:
        unit = to_device(eye(a.shape[-1], dtype=a.dtype), a.aval.device)
        return broadcast_to(unit, a.shape)
    power, result = inv(a) if n < 0 else a, None
    for digit in reversed(f"{abs(n):b}"):
        if digit == "1":
            result = power if result is None else matmul(result, power)
        power = matmul(power, power)
    return result


def multi_dot(arrays: Sequence[Any]) -> Any:
    """The product of several matrices, from left to right; the first and the last may be vectors.

    Args:
        arrays: two or more tensors.

    Raises:
        ValueError: there are fewer than two, or the shapes do not fit.

    Example:
        >>> import gradcore as gc
        >>> gc.linalg.multi_dot([gc.tensor([1.0, 2.0]), gc.tensor([[1.0], [1.0]]), gc.tensor([3.0])])
        tensor(9., dtype=float32, device='cpu')
    """
    if len(arrays) < 2:
        raise ValueError("'multi_dot' needs at least two matrices")
    first, *rest = arrays
    for other in rest:
        first = matmul(first, other)
    return first


def _supported(a: Any, name: str) -> Any:
    a = named_tensor(a, name)
    if a.dtype == np.float16:
        raise TypeError(f"'{name}' does not take float16; cast with .astype('float32')")
    return a if a.dtype.kind == "f" else cast(a, np.float64)


def _matrices(a: Any, name: str) -> Any:
    return _square(_supported(a, name), name)


def _square(a: Any, name: str) -> Any:
    if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"'{name}' takes square matrices of shape (..., n, n), not {a.shape}")
    return a
