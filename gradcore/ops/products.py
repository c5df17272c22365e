"""Products of tensors: dot, inner, outer, vdot, tensordot, kron.  Each is one `matmul` or one `mul`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import Any

from gradcore.ops.arguments import as_integers, distinct_axes
from gradcore.ops.arithmetic import mul
from gradcore.ops.matmul import matmul
from gradcore.ops.operands import named_tensor
from gradcore.ops.shapes import ravel, reshape, reshape_to, transpose_to

Labels = tuple[Any, ...]  # one for each axis, all different
Axes = int | Sequence[int]

# --- labelled axes ----------------------------------------------------------------------------------------------------


def contract(a: Any, a_labels: Labels, b: Any, b_labels: Labels, kept: Collection[Any]) -> tuple[Any, Labels]:
    """The product of two tensors with labelled axes, summed over the common labels that are not kept.

    The axes of the result are the common ones that are kept, then the other ones of a, then those of b.
    """
    common = [k for k in a_labels if k in b_labels]
    batch, summed = [k for k in common if k in kept], [k for k in common if k not in kept]
    rows, columns = [k for k in a_labels if k not in common], [k for k in b_labels if k not in common]
    labels = (*batch, *rows, *columns)
    if not summed:
        return mul(_aligned(a, a_labels, labels), _aligned(b, b_labels, labels)), labels
    product = matmul(_matrices(a, a_labels, batch, rows, summed), _matrices(b, b_labels, batch, summed, columns))
    sizes = dict(zip((*a_labels, *b_labels), (*a.shape, *b.shape), strict=True))
    return _reshaped(product, tuple([sizes[k] for k in labels])), labels


def ordered(x: Any, labels: Labels, wanted: Sequence[Any]) -> Any:
    """The axes in another order; a view."""
    return x if tuple(wanted) == labels else transpose_to(x, tuple([labels.index(k) for k in wanted]))


def _aligned(x: Any, labels: Labels, wanted: Labels) -> Any:
    """The axes in another order, with axes of size 1 where a label is missing."""
    sizes = dict(zip(labels, x.shape, strict=True))
    x = ordered(x, labels, [k for k in wanted if k in sizes])
    return _reshaped(x, tuple([sizes.get(k, 1) for k in wanted]))


def _matrices(x: Any, labels: Labels, batch: list[Any], rows: list[Any], columns: list[Any]) -> Any:
    """A stack of matrices: some axes joined to rows, and some to columns."""
    x = ordered(x, labels, [*batch, *rows, *columns])
    stack, rest = x.shape[: len(batch)], x.shape[len(batch) :]
    return _reshaped(x, (*stack, prod(rest[: len(rows)]), prod(rest[len(rows) :])))


def _reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else reshape_to(x, shape)


# --- products of two tensors ------------------------------------------------------------------------------------------


def tensordot(a: Any, b: Any, axes: int | Sequence[Axes] = 2) -> Any:
    """Products summed over axes of both tensors.

    Args:
        a: tensor of any shape.
        b: tensor of any shape.
        axes: how many of the last axes of a are summed over with as many of the first ones of b; or the axes of a
            and those of b, in pairs.

    Returns:
        Tensor of the other axes of a, then those of b.

    Raises:
        ValueError: sizes differ, or an axis is out of bounds or named twice.

    Example:
        >>> import gradcore as gc
        >>> a = gc.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> gc.tensordot(a, a, axes=([0, 1], [1, 0]))
        tensor(29., dtype=float32, device='cpu')
        >>> gc.tensordot(gc.zeros(2, 3, 4), gc.zeros(4, 5), axes=1).shape
        (2, 3, 5)
    """
    a, b = named_tensor(a, "tensordot"), named_tensor(b, "tensordot")
    return _tensordot(a, b, *_axes_of_both(axes, len(a.shape), len(b.shape)), "tensordot")


def _axes_of_both(axes: Any, a_ndim: int, b_ndim: int) -> tuple[Axes, Axes]:
    if hasattr(axes, "__iter__"):
        if len(axes) != 2:
            raise ValueError(f"'tensordot': axes must be a number, or the axes of a and those of b, not {axes}")
        return axes[0], axes[1]
    (count,) = as_integers(axes, "tensordot", "axes")
    if not 0 <= count <= min(a_ndim, b_ndim):
        raise ValueError(f"'tensordot': cannot sum over {count} axes of tensors of {a_ndim} and {b_ndim} axes")
    return tuple(range(a_ndim - count, a_ndim)), tuple(range(count))


def _tensordot(a: Any, b: Any, a_axes: Axes, b_axes: Axes, name: str) -> Any:
    of_a, of_b = distinct_axes(a_axes, len(a.shape), name), distinct_axes(b_axes, len(b.shape), name)
    sizes = [[x.shape[k] for k in axes] for x, axes in ((a, of_a), (b, of_b))]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"'{name}': axes {of_a} of shape {a.shape} and {of_b} of {b.shape} have sizes {sizes[0]} and {sizes[1]}, "
            "which must be equal"
        )
    b_labels = [~k for k in range(len(b.shape))]
    for k, j in zip(of_a, of_b, strict=True):
        b_labels[j] = k
    return contract(a, tuple(range(len(a.shape))), b, tuple(b_labels), ())[0]


def dot(a: Any, b: Any) -> Any:
    """Products summed over the last axis of a and the last but one of b (or its only one).

    Args:
        a: tensor of shape (..., k), or a number.
        b: tensor of shape (..., k, m), or (k,), or a number.

    Returns:
        Tensor of the other axes of a, then those of b; with a number, the product. For stacks of matrices `matmul`
        multiplies pair by pair instead.

    Raises:
        ValueError: the sizes differ.

    Example:
        >>> import gradcore as gc
        >>> gc.dot(gc.tensor([1.0, 2.0]), gc.tensor([3.0, 4.0]))
        tensor(11., dtype=float32, device='cpu')
    """
    left, right = named_tensor(a, "dot"), named_tensor(b, "dot")
    if not left.shape or not right.shape:
        return mul(a, b)
    axis = max(len(right.shape) - 2, 0)
    if len(right.shape) <= 2 and left.shape[-1] == right.shape[axis]:
        return matmul(left, right)
    return _tensordot(left, right, -1, axis, "dot")


def inner(a: Any, b: Any) -> Any:
    """Products summed over the last axis of both tensors.

    Args:
        a: tensor of shape (..., k), or a number.
        b: tensor of shape (..., k), or a number.

    Returns:
        Tensor of the other axes of a, then those of b; with a number, the product.

    Raises:
        ValueError: the sizes differ.

    Example:
        >>> import gradcore as gc
        >>> gc.inner(gc.tensor([[1, 2], [3, 4]]), gc.tensor([1, 10]))
        tensor([21, 43], dtype=int64, device='cpu')
    """
    left, right = named_tensor(a, "inner"), named_tensor(b, "inner")
    if not left.shape or not right.shape:
        return mul(a, b)
    return _tensordot(left, right, -1, -1, "inner")


def vdot(a: Any, b: Any) -> Any:
    """The sum of all products, element by element in C order.

    Args:
        a: tensor of n elements.
        b: tensor of n elements.

    Returns:
        Tensor of shape ().

    Raises:
        ValueError: the numbers of elements differ.

    Example:
        >>> import gradcore as gc
        >>> gc.vdot(gc.tensor([[1, 2], [3, 4]]), gc.tensor([1, 1, 1, 1]))
        tensor(10, dtype=int64, device='cpu')
    """
    return _tensordot(ravel(named_tensor(a, "vdot")), ravel(named_tensor(b, "vdot")), 0, 0, "vdot")


def outer(a: Any, b: Any) -> Any:
    """All products of an element of a (rows) with one of b (columns).

    Args:
        a: tensor of n elements.
        b: tensor of m elements.

    Returns:
        Tensor of shape (n, m).

    Example:
        >>> import gradcore as gc
        >>> gc.outer(gc.tensor([1, 2]), gc.tensor([1, 10]))
        tensor([[ 1, 10],
                [ 2, 20]], dtype=int64, device='cpu')
    """
    return mul(reshape(named_tensor(a, "outer"), (-1, 1)), reshape(named_tensor(b, "outer"), (1, -1)))


def kron(a: Any, b: Any) -> Any:
    """The Kronecker product: b, multiplied with each element of a, in blocks.

    Args:
        a: tensor of shape (n_1, ..., n_d); missing first axes have size 1.
        b: tensor of shape (m_1, ..., m_d); missing first axes have size 1.

    Returns:
        Tensor of shape (n_1 m_1, ..., n_d m_d).

    Example:
        >>> import gradcore as gc
        >>> gc.kron(gc.tensor([1, 10]), gc.tensor([[1, 2], [3, 4]]))
        tensor([[ 1,  2, 10, 20],
                [ 3,  4, 30, 40]], dtype=int64, device='cpu')
    """
    a, b = named_tensor(a, "kron"), named_tensor(b, "kron")
    ndim = max(len(a.shape), len(b.shape))
    blocks, sizes = [(*(1,) * (ndim - len(x.shape)), *x.shape) for x in (a, b)]
    product = mul(reshape(a, [k for n in blocks for k in (n, 1)]), reshape(b, [k for n in sizes for k in (1, n)]))
    return reshape(product, tuple([n * m for n, m in zip(blocks, sizes, strict=True)]))
