"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

from gradcore.core.bind import bind
from gradcore.core.op import Op
from gradcore.ops.arguments import as_integers, distinct_axes
from gradcore.ops.operands import named_tensor
from gradcore.ops.reductions import sum as sum_over
from gradcore.ops.samples import normal, sample
from gradcore.ops.structural import first_operand, linear, public, viewed

# --- triangles --------------------------------------------------------------------------------------------------------


def _triangle_impl(xp: Any, out: Any, x: Any, k: int, upper: bool) -> Any:
    if out is None:
        out = xp.empty(x.shape, x.dtype)
    out.fill(0)
    below = xp.np.tri(*x.shape[-2:], k - upper, dtype=bool)
    xp.np.copyto(out, x, where=~below if upper else below)
    return out


triangle_op: Op = linear(
    "triangle",
    ("x",),
    params=("k", "upper"),
    impl=_triangle_impl,
    abstract=lambda x, k, upper: x.update(shape=x.shape),
    transpose=lambda g, avals, params, i: bind(triangle_op, (g,), params),
    batch=lambda size, mapped, xs, params: bind(triangle_op, xs, params),
    half=False,
    samples=(
        sample(normal(3, 4), params=(0, False)),
        sample(normal(2, 4, 3), params=(-1, True)),
        sample(normal(3, 3), params=(1, True)),
        sample(normal(3, 3), params=(-9, False)),
        sample(normal(0, 3), params=(0, True)),
    ),
    doc="Matrices with zeros above (or below) the k-th diagonal.",
)
_triangle = public(triangle_op)


def tril(x: Any, k: int = 0) -> Any:
    """Matrices with zeros above the k-th diagonal.

    Args:
        x: tensor of shape (..., n, m).
        k: 0 is the main diagonal; positive ones lie above it.

    Raises:
        ValueError: x has fewer than two axes.

    Example:
        >>> import gradcore as gc
        >>> gc.tril(gc.tensor([[1, 2], [3, 4]]))
        tensor([[1, 0],
                [3, 4]], dtype=int64, device='cpu')
    """
    return _triangle(_matrices(x, "tril"), _offset(k, "tril"), False)


def triu(x: Any, k: int = 0) -> Any:
    """Matrices with zeros below the k-th diagonal. Arguments as for `tril`.

    Example:
        >>> import gradcore as gc
        >>> gc.triu(gc.tensor([[1, 2], [3, 4]]), 1)
        tensor([[0, 2],
                [0, 0]], dtype=int64, device='cpu')
    """
    return _triangle(_matrices(x, "triu"), _offset(k, "triu"), True)


def _matrices(x: Any, name: str) -> Any:
    x = named_tensor(x, name)
    if len(x.shape) < 2:
        raise ValueError(f"'{name}' needs at least two axes, got shape {x.shape}; reshape x to a matrix")
    return x


def _offset(k: Any, name: str) -> int:
    (offset,) = as_integers((k,), name, "offsets")
    return offset


# --- diagonals --------------------------------------------------------------------------------------------------------


def _undiagonal_impl(xp: Any, out: Any, x: Any, shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    if out is None:
        out = xp.empty(shape, x.dtype)
    out.fill(0)
    steps = xp.np.arange(x.shape[-1])
    rest = [a for a in range(len(shape)) if a not in (axis1, axis2)]
    matrices = out.transpose((*rest, axis1, axis2))
    matrices[..., steps + max(-offset, 0), steps + max(offset, 0)] = x
    return out


def _diagonal_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    offset, axis1, axis2 = params
    return bind(diagonal_op, xs, (offset, axis1 + 1, axis2 + 1))


def _undiagonal_batch(size: int, mapped: Any, xs: Any, params: Any) -> Any:
    shape, offset, axis1, axis2 = params
    return bind(undiagonal_op, xs, ((size, *shape), offset, axis1 + 1, axis2 + 1))


diagonal_op: Op = linear(
    "diagonal",
    ("x",),
    params=("offset", "axis1", "axis2"),
    impl=lambda xp, out, x, *params: x.diagonal(*params),
    abstract=viewed(lambda x, *params: x.diagonal(*params)),
    alias=first_operand,
    transpose=lambda g, avals, params, i: bind(undiagonal_op, (g,), (avals[0].shape, *params)),
    batch=_diagonal_batch,
    half=False,
    samples=(
        sample(normal(3, 3), params=(0, 0, 1)),
        sample(normal(3, 2, 4), params=(1, 2, 0)),
        sample(normal(4, 3), params=(-2, 0, 1)),
        sample(normal(2, 3), params=(7, 0, 1)),
        sample(normal(0, 3), params=(0, 0, 1)),
    ),
    doc="The elements of a diagonal of two axes, on a new last axis; a view.",
)
_diagonal = public(diagonal_op)

undiagonal_op: Op = linear(
    "undiagonal",
    ("x",),
    params=("shape", "offset", "axis1", "axis2"),
    impl=_undiagonal_impl,
    abstract=lambda x, shape, *params: x.update(shape=shape),
    transpose=lambda g, avals, params, i: bind(diagonal_op, (g,), params[1:]),
    batch=_undiagonal_batch,
    half=False,
    samples=(
        sample(normal(3), params=((3, 3), 0, 0, 1)),
        sample(normal(2, 2), params=((3, 2, 4), 1, 2, 0)),
        sample(normal(0), params=((2, 2), 5, 0, 1)),
    ),
    doc="The transpose of diagonal: zeros of a shape with the last axis of x on a diagonal.",
)
_undiagonal = public(undiagonal_op)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonals of the matrices that two axes form; a view.

    Args:
        x: tensor of at least two axes.
        offset: 0 is the main diagonal; positive ones lie above it.
        axis1: the axis of the rows.
        axis2: the axis of the columns.

    Returns:
        Tensor of the other axes and a last one, the diagonal.

    Raises:
        ValueError: x has fewer than two axes, or the two are one axis.

    Example:
        >>> import gradcore as gc
        >>> gc.diagonal(gc.tensor([[1, 2, 3], [4, 5, 6]]), 1)
        tensor([2, 6], dtype=int64, device='cpu')
    """
    return _diagonal_of(x, offset, axis1, axis2, "diagonal")


def _diagonal_of(x: Any, offset: int, axis1: int, axis2: int, name: str) -> Any:
    x = _matrices(x, name)
    return _diagonal(x, _offset(offset, name), *distinct_axes((axis1, axis2), len(x.shape), name))


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Sums of diagonals. Arguments as for `diagonal`; integers are added as 64-bit integers.

    Example:
        >>> import gradcore as gc
        >>> gc.trace(gc.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor(5., dtype=float32, device='cpu')
    """
    return sum_over(_diagonal_of(x, offset, axis1, axis2, "trace"), -1)


def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or the matrix with a vector on its k-th diagonal.

    Args:
        x: tensor of shape (n, m), or (n,).
        k: 0 is the main diagonal; positive ones lie above it.

    Returns:
        A vector, a view of the matrix; or a square matrix of n + |k| rows.

    Raises:
        ValueError: x is neither a vector nor a matrix.

    Example:
        >>> import gradcore as gc
        >>> gc.diag(gc.tensor([1, 2]))
        tensor([[1, 0],
                [0, 2]], dtype=int64, device='cpu')
        >>> gc.diag(gc.tensor([[1, 2], [3, 4]]))
        tensor([1, 4], dtype=int64, device='cpu')
    """
    x, k = named_tensor(x, "diag"), _offset(k, "diag")
    if len(x.shape) == 2:
        return _diagonal(x, k, 0, 1)
    if len(x.shape) != 1:
        raise ValueError(f"'diag' takes a vector or a matrix, got shape {x.shape}; diagonal takes any axes")
    n = x.shape[0] + abs(k)
    return _undiagonal(x, (n, n), k, 0, 1)
