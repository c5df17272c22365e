"""Matrix functions: solve, inverse, determinants, Cholesky factors, each of a matrix or of a stack of matrices.

The rules follow M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); they are written in these same ops, so every order works.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from gradcore.autodiff.record import sum_to
from gradcore.core.aval import Aval
from gradcore.core.bind import bind
from gradcore.core.op import Op, Promotion, Saved
from gradcore.ops.arithmetic import add, mul, neg, sub
from gradcore.ops.elementwise import align
from gradcore.ops.matmul import matmul
from gradcore.ops.operands import bind_general
from gradcore.ops.reductions import sum as sum_over
from gradcore.ops.samples import normal, sample
from gradcore.ops.shapes import expand_dims, swapaxes
from gradcore.ops.structural import indexed, public
from gradcore.ops.triangles import tril

Make = Callable[..., Any]

# --- what these ops share ---------------------------------------------------------------------------------------------


def _invertible(*shape: int) -> Make:
    """Matrices whose condition numbers are small, with determinants of both signs."""
    make = normal(*shape, low=-0.5, high=0.5)
    return lambda rng, dtype: make(rng, dtype) + np.diag((-1.0, *[1.5] * (shape[-1] - 1))[: shape[-1]]).astype(dtype)


def _positive_definite(*shape: int) -> Make:
    make = normal(*shape, low=-0.5, high=0.5)

    def definite(rng: np.random.Generator, dtype: Any) -> Any:
        x = make(rng, dtype)
        return (x @ x.swapaxes(-1, -2) + np.eye(shape[-1], dtype=dtype)).astype(dtype)

    return definite


def _clear(name: str, cure: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The `impl` with NumPy's error in our words."""

    def decorate(impl: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(impl)
        def clear(xp: Any, out: Any, *arrays: Any) -> Any:
            try:
                return _given(xp.np, out, impl(xp.np, *arrays))
            except np.linalg.LinAlgError as error:
                shapes = " and ".join(str(list(x.shape)) for x in arrays)
                raise np.linalg.LinAlgError(f"'{name}': {error} (operands of shape {shapes}); {cure}") from None

        return clear

    return decorate


def _given(np: Any, out: Any, result: Any) -> Any:
    """The results in C order, in the memory that was given, if any."""
    if isinstance(result, tuple):
        return tuple([_given(np, None if out is None else out[i], part) for i, part in enumerate(result)])
    if out is None:
        return np.asarray(result, order="C")
    np.copyto(out, result)
    return out


def _turned(x: Any) -> Any:
    return swapaxes(x, -1, -2)


def _scaled(g: Any, matrices: Any) -> Any:
    """Each matrix times its number."""
    return mul(expand_dims(g, (-1, -2)), matrices)


def _square(a: Aval) -> Aval:
    if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"takes square matrices, or stacks of them, not shape {a.shape}")
    return a.update(shape=a.shape)


def _per_matrix(a: Aval) -> Aval:
    return a.update(shape=_square(a).shape[:-2])


def _mapped_as_stack(op: Callable[[], Op]) -> Callable[..., Any]:
    return lambda size, mapped, xs, params: bind(op(), xs)


SINGULAR = "a small multiple of the identity added to the matrix makes it regular"

# --- solve ------------------------------------------------------------------------------------------------------------


def _solve_shape(a: Aval, b: Aval) -> Aval:
    if len(b.shape) < 2 or _square(a).shape[-1] != b.shape[-2]:
        raise ValueError(f"{a} and {b} do not fit: a is (..., n, n) and b (..., n, k)")
    return b.update(shape=(*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]))


@_clear("solve", SINGULAR)
def _solve_impl(np: Any, a: Any, b: Any) -> Any:
    """CuPy does not broadcast stacks."""
    if a.shape[:-2] != b.shape[:-2]:
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = [np.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b)]
    return np.linalg.solve(a, b)


def _solve_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    a, b = xs
    of_b = bind(solve_op, (_turned(a), g))
    of_a = sum_to(neg(matmul(of_b, _turned(ys[0]))), a.shape) if needed[0] else None
    return of_a, sum_to(of_b, b.shape) if needed[1] else None


def _solve_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    da, db = tangents
    if da is None:
        return bind(solve_op, (xs[0], db))
    moved = matmul(da, ys[0])
    return bind(solve_op, (xs[0], neg(moved) if db is None else sub(db, moved)))


solve_op: Op = indexed(
    "solve",
    ("a", "b"),
    promotion=Promotion.FLOAT,
    impl=_solve_impl,
    abstract=_solve_shape,
    vjp=_solve_vjp,
    jvp=_solve_jvp,
    saves=lambda needed, params: Saved((0,), (0,) if needed[0] else ()),
    batch=lambda size, mapped, xs, params: bind(solve_op, align(mapped, xs)),
    samples=(
        sample(_invertible(3, 3), normal(3, 2)),
        sample(_invertible(2, 3, 3), normal(3, 1)),
        sample(_invertible(2, 2), normal(2, 3, 2, 2)),
        sample(_invertible(1, 1), normal(1, 1)),
        sample(_invertible(0, 3, 3), normal(3, 2)),
        sample(_invertible(2, 2), normal(2, 0)),
    ),
    doc="The matrices y with a @ y = b.",
)
solve = public(solve_op)

# --- inverse ----------------------------------------------------------------------------------------------------------


def _between(y: Any, x: Any) -> Any:
    return neg(matmul(matmul(y, x), y))


inv_op: Op = indexed(
    "inv",
    ("a",),
    promotion=Promotion.FLOAT,
    impl=_clear("inv", SINGULAR)(lambda np, a: np.linalg.inv(a)),
    abstract=_square,
    vjp=lambda needed, g, xs, ys, params: (_between(_turned(ys[0]), g),),
    jvp=lambda tangents, xs, ys, params: _between(ys[0], tangents[0]),
    saves=lambda needed, params: Saved((), (0,)),
    batch=_mapped_as_stack(lambda: inv_op),
    samples=(
        sample(_invertible(3, 3)),
        sample(_invertible(2, 2, 2)),
        sample(_invertible(1, 1)),
        sample(_invertible(0, 2, 2)),
    ),
    doc="The inverse of a matrix.",
)
inv = public(inv_op)

# --- determinants -----------------------------------------------------------------------------------------------------

MATRICES = (
    sample(_invertible(3, 3)),
    sample(_invertible(2, 2, 2)),
    sample(_invertible(1, 1)),
    sample(_invertible(0, 2, 2)),
)


def _growth(da: Any, a: Any) -> Any:
    """The trace of inv(a) @ da: by how much the logarithm of the determinant grows."""
    return sum_over(mul(_turned(bind(inv_op, (a,))), da), (-1, -2))


def _cofactor_impl(np: Any, a: Any) -> Any:
    """By the inverse, where there is one; CuPy does not say, so a singular matrix gives NaN there."""
    try:
        return np.linalg.det(a)[..., None, None] * np.linalg.inv(a).swapaxes(-1, -2)
    except np.linalg.LinAlgError:
        return _cofactors_by_singular_values(np, a)


def _cofactors_by_singular_values(np: Any, a: Any) -> Any:
    """With a = u @ diag(s) @ v, that of a singular value is the product of the others; nothing is divided."""
    u, s, v = np.linalg.svd(a)
    others = np.where(np.eye(s.shape[-1], dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(v))
    return u @ ((sign[..., None] * others)[..., None] * v)


def _cofactor_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    unturned = _turned(bind(inv_op, xs))
    inner = matmul(ys[0], _turned(g))
    return (sub(_scaled(sum_over(mul(g, ys[0]), (-1, -2)), unturned), matmul(inner, unturned)),)


def _cofactor_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    moved = matmul(matmul(_turned(bind(inv_op, xs)), _turned(tangents[0])), ys[0])
    return sub(_scaled(_growth(tangents[0], xs[0]), ys[0]), moved)


cofactor_op: Op = indexed(
    "cofactor",
    ("a",),
    promotion=Promotion.FLOAT,
    impl=_clear("cofactor", SINGULAR)(_cofactor_impl),
    abstract=_square,
    vjp=_cofactor_vjp,
    jvp=_cofactor_jvp,
    saves=lambda needed, params: Saved((0,), (0,)),
    batch=_mapped_as_stack(lambda: cofactor_op),
    samples=MATRICES,
    doc="The derivative of the determinant, which is finite where a matrix is singular; its own is not there.",
)


det_op: Op = indexed(
    "det",
    ("a",),
    promotion=Promotion.FLOAT,
    impl=_clear("det", SINGULAR)(lambda np, a: np.linalg.det(a)),
    abstract=_per_matrix,
    vjp=lambda needed, g, xs, ys, params: (_scaled(g, bind(cofactor_op, xs)),),
    jvp=lambda tangents, xs, ys, params: sum_over(mul(bind(cofactor_op, xs), tangents[0]), (-1, -2)),
    saves=lambda needed, params: Saved((0,)),
    batch=_mapped_as_stack(lambda: det_op),
    samples=MATRICES,
    doc="The determinant of a matrix; at a singular one it has a first derivative only.",
)
det = public(det_op)


slogdet_op: Op = indexed(
    "slogdet",
    ("a",),
    promotion=Promotion.FLOAT,
    outputs=2,
    impl=_clear("slogdet", SINGULAR)(lambda np, a: tuple(np.linalg.slogdet(a))),
    abstract=lambda a: (_per_matrix(a), _per_matrix(a)),
    vjp=lambda needed, g, xs, ys, params: (None if g[1] is None else _scaled(g[1], _turned(bind(inv_op, xs))),),
    jvp=lambda tangents, xs, ys, params: (None, _growth(tangents[0], xs[0])),
    saves=lambda needed, params: Saved((0,)),
    batch=_mapped_as_stack(lambda: slogdet_op),
    samples=MATRICES,
    doc="The sign of the determinant, and the logarithm of its magnitude.",
)


def slogdet(a: Any) -> Any:
    return bind_general(slogdet_op, (a,), ())


# --- Cholesky ---------------------------------------------------------------------------------------------------------


def _lower_half(x: Any) -> Any:
    """The lower triangle, with half of the diagonal: what makes x of its sum with its transpose."""
    return mul(0.5, add(tril(x), tril(x, -1)))


def _mirrored(x: Any) -> Any:
    """The symmetric matrix of a lower triangle."""
    return add(tril(x), _turned(tril(x, -1)))


def _between_inverses(lower: Any, x: Any) -> Any:
    """inv(lower) @ x @ inv(lower).T"""
    half = bind(solve_op, (lower, x))
    return _turned(bind(solve_op, (lower, _turned(half))))


def _cholesky_vjp(needed: Any, g: Any, xs: Any, ys: Any, params: Any) -> Any:
    """Of what the op reads, which is the lower triangle only."""
    turned = _turned(ys[0])
    inner = _lower_half(matmul(turned, tril(g)))
    of_all = _turned(bind(solve_op, (turned, _turned(bind(solve_op, (turned, inner))))))
    return (mul(2.0, _lower_half(_symmetric(of_all))),)


def _symmetric(x: Any) -> Any:
    return mul(0.5, add(x, _turned(x)))


def _cholesky_jvp(tangents: Any, xs: Any, ys: Any, params: Any) -> Any:
    lower = ys[0]
    return matmul(lower, _lower_half(_between_inverses(lower, _mirrored(tangents[0]))))


cholesky_op: Op = indexed(
    "cholesky",
    ("a",),
    promotion=Promotion.FLOAT,
    impl=_clear("cholesky", SINGULAR.replace("regular", "positive definite"))(lambda np, a: np.linalg.cholesky(a)),
    abstract=_square,
    vjp=_cholesky_vjp,
    jvp=_cholesky_jvp,
    saves=lambda needed, params: Saved((), (0,)),
    batch=_mapped_as_stack(lambda: cholesky_op),
    samples=(
        sample(_positive_definite(3, 3)),
        sample(_positive_definite(2, 2, 2)),
        sample(_positive_definite(1, 1)),
        sample(_positive_definite(0, 2, 2)),
    ),
    doc="The lower triangular matrix y with y @ y.T = a; reads the lower triangle of a.",
)
cholesky = public(cholesky_op)


def symmetric_cholesky(a: Any) -> Any:
    """The factor of the mean of a and its transpose, so that the gradient is symmetric too."""
    return cholesky(_symmetric(a))
