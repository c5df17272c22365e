"""`gradcore.elementwise`: an op from a scalar formula."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from gradcore.autodiff.eager import generate, is_taken
from gradcore.backend.numpy_backend import numpy_kernel
from gradcore.core.errors import GradcoreError
from gradcore.core.op import Promotion
from gradcore.custom.formula import Formula, operand_names, read, site_of
from gradcore.kernels.calculus import replace, simplify, substitute
from gradcore.kernels.expr import Expr, var
from gradcore.kernels.spec import ElementwiseSpec
from gradcore.ops.elementwise import _eager, make_op
from gradcore.ops.operands import bind_general
from gradcore.ops.scalar import Scalar

Function = Callable[..., Any]


def elementwise(function: Function | None = None, *, partials: Function | None = None) -> Any:
    """An op from a formula for one element: one kernel computes it, and one its gradients, on every device.

    The formula is written with operators, functions of gradcore and Python numbers. It is captured once, here;
    derivatives of every order follow from it. The op broadcasts, promotes dtypes as NumPy does (integers become
    floats), and works in every transform.

    Args:
        function: the formula; its parameters are the operands, and may have numbers as defaults.
        partials: the partial derivatives, where the derived ones would be inaccurate or would save more than needed: a
            function of the result and of the operands that returns one derivative, or a tuple of one for each operand.

    Returns:
        A function of tensors, arrays and numbers; without `function`, a decorator.

    Raises:
        GradcoreError: the formula is not elementwise, reads a tensor that is not an operand, asks for the value of an
            element (`if x > 0`; use `where`), or `partials` are not its derivatives.

    Example:
        >>> import gradcore as gc
        >>> @gc.elementwise
        ... def swish(x, beta=1.0):
        ...     return x * gc.sigmoid(beta * x)
        >>> swish(gc.tensor([0.0, 100.0]))
        tensor([  0., 100.], dtype=float32, device='cpu')
        >>> gc.grad(lambda x: swish(x, 2.0).sum())(gc.tensor([0.0, 100.0]))
        tensor([0.5, 1. ], dtype=float32, device='cpu')
    """
    if function is None:
        return lambda formula: elementwise(formula, partials=partials)
    names = operand_names(function)
    safe = tuple([_safe(name) for name in names])
    formula = _single(function, safe)
    if partials is not None:
        formula = _with_partials(function, partials, safe, formula)
    return _public(function, _make(function, safe, formula), names, safe)


def _single(function: Function, names: tuple[str, ...]) -> Formula:
    results = read(function, names)
    if len(results) != 1:
        raise GradcoreError(f"{site_of(function)} returns {len(results)} results; a formula has one")
    return results[0]


def _make(function: Function, names: tuple[str, ...], formula: Formula) -> Any:
    name, doc = function.__name__, inspect.getdoc(function) or ""
    name = name if name.isidentifier() else "formula"
    fixed = (False,) * len(names) if formula.output.boolean else None
    y = var(Scalar("", names, None, outputs=(formula.output,)).y)
    partials = tuple([replace(part, formula.output, y) if formula.output.args else part for part in formula.partials])
    scalar = Scalar(name, names, None, lambda *_: partials, fixed, (formula.output,), doc=doc)
    return make_op(scalar, Promotion.COMMON if formula.output.boolean else Promotion.FLOAT, (), doc, internal=True)


def _public(function: Function, op: Any, names: tuple[str, ...], safe: tuple[str, ...]) -> Function:
    made: Any = generate(lambda: _eager(op), op.name, safe, function.__doc__ or "")
    made.__defaults__ = function.__defaults__
    made.__module__ = function.__module__
    if op.differentiable is not None:
        made = wraps(function)(lambda *args: bind_general(op, args, ()))  # nothing is recorded, so nothing to generate
    if names != safe or op.differentiable is not None:
        return _renamed(function, made)
    made.__qualname__ = function.__qualname__
    return made  # type: ignore[no-any-return]


def _safe(name: str) -> str:
    return f"{name}_" if is_taken(name) else name


def _renamed(function: Function, made: Function) -> Function:
    """`made` under the operand names of `function`."""
    signature = inspect.signature(function)

    @wraps(function)
    def renamed(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return made(*bound.args)

    return renamed


# --- partial derivatives by hand --------------------------------------------------------------------------------------


def _with_partials(function: Function, partials: Function, names: tuple[str, ...], formula: Formula) -> Formula:
    y = "y_"
    while y in names:
        y += "_"
    given = [part.output for part in read(partials, (y, *names), numbers=True)]
    if len(given) != len(names):
        raise GradcoreError(
            f"the partials of {site_of(function)} are {len(given)}, but it has {len(names)} operands; return a "
            "derivative for each"
        )
    _compare(function, names, [substitute(part, {y: formula.output}) for part in given], formula)
    return formula._replace(partials=tuple([substitute(part, {y: formula.output}) for part in given]))


def _compare(function: Function, names: tuple[str, ...], given: list[Expr], formula: Formula) -> None:
    """Both kinds of derivatives at random points; those at which either is infinite or NaN do not count."""
    points = [np.random.default_rng(k).uniform(-2.0, 2.0, 64) for k in range(len(names))]
    for name, mine, derived in zip(names, given, formula.partials, strict=True):
        a, b = (_values(simplify(e), names, points) for e in (mine, derived))
        with np.errstate(all="ignore"):
            wrong = np.isfinite(a) & np.isfinite(b) & ~(np.abs(a - b) <= 1e-6 * np.maximum(1.0, np.abs(b)))
        if wrong.any():
            at = int(np.argmax(wrong))
            place = ", ".join(f"{n} = {float(p[at]):.6g}" for n, p in zip(names, points, strict=True))
            raise GradcoreError(
                f"the partials of {site_of(function)} give {float(a[at])!r} for the derivative by {name} at {place}, "
                f"but it is {float(b[at])!r}; for a derivative that is not the function's own use gradcore.custom_vjp"
            )


def _values(e: Expr, names: tuple[str, ...], points: list[Any]) -> Any:
    with np.errstate(all="ignore"):
        values = numpy_kernel(ElementwiseSpec("check", names, (e,))).call(*points)
    return np.broadcast_to(np.asarray(values, np.float64), points[0].shape)
