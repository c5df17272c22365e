"""The elementwise family: from one scalar expression come all rules of an op.

`elementwise("sigmoid", meaning, partials)` gives the NumPy function, the kernel spec for other devices, what the vjp
saves, the fused backward kernel (an elementwise op of its own, so it has derivatives of every order), the forward-mode
kernel and the batching rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradcore.autodiff.eager import Eager, generate
from gradcore.autodiff.record import sum_to, without_gaps
from gradcore.backend.numpy_backend import numpy_kernel
from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple, bind
from gradcore.core.op import OPS, Family, Mask, Op, Promotion, Sample, Saved
from gradcore.kernels.calculus import scale, simplify
from gradcore.kernels.expr import Expr, is_const, var
from gradcore.ops.operands import bind_general
from gradcore.ops.scalar import Scalar


def elementwise(
    name: str,
    meaning: Callable[..., Any],
    *,
    partials: Callable[..., Any] | None = None,
    promotion: Promotion = Promotion.FLOAT,
    differentiable: Mask | None = None,
    samples: tuple[Sample, ...] = (),
    doc: str = "",
    example: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Define an elementwise op and return its public function.

    Args:
        name: the op's name.
        meaning: a scalar expression of the operands, written with `gradcore.kernels.expr`; finite wherever the
            function is. Its defaults are those of the function.
        partials: `(y, *operands)` to the partial derivatives, where the derived ones would be inaccurate or would
            save more than needed.
        promotion: how dtypes meet.
        differentiable: which operands have a derivative; all by default.
        samples: operands for the generated tests.
        doc: docstring of the function.
        example: the text of each operand (a list stands for the tensor of it), and of the elements of the result.
    """
    count = meaning.__code__.co_argcount
    inputs = meaning.__code__.co_varnames[:count]
    scalar = Scalar(name, inputs, meaning, partials, differentiable, doc=doc)
    op = make_op(scalar, promotion, samples, doc)
    text = f"{doc}\n\nWorks element by element, with broadcasting.{_shown(name, example)}"
    function: Any = generate(lambda: _eager(op), name, inputs, text)
    function.__defaults__ = meaning.__defaults__
    return function  # type: ignore[no-any-return]


def _shown(name: str, example: tuple[str, ...]) -> str:
    """The example of a docstring."""
    if not example:
        return ""
    *operands, result = example
    call = ", ".join([f"gc.tensor({text})" if text[0] == "[" else text for text in operands])
    dtype = "bool" if "True" in result else "float32"
    lines = (">>> import gradcore as gc", f">>> gc.{name}({call})", f"tensor({result}, dtype={dtype}, device='cpu')")
    return "\n    ".join(("\n\nExample:", *lines, ""))


def _prefix(names: Sequence[str]) -> str:
    """A prefix that makes names of tangents."""
    prefix = "t_"
    while any(prefix + name in names for name in names):
        prefix = "t" + prefix
    return prefix


class Backward(NamedTuple):
    """The backward pass of one mask: a kernel for the wanted gradients that are not just `g`."""

    op: Op | None
    saved: Saved
    places: tuple[int | str | None, ...]  # per operand: an output of `op`, "g" to pass it on, or None


def make_op(scalar: Scalar, promotion: Promotion, samples: tuple[Sample, ...], doc: str, internal: bool = False) -> Op:
    """An op record around a scalar expression."""

    def impl(xp: Any, out: Any, *arrays: Any) -> Any:
        if out is not None and scalar.count == 1:
            return xp.launch(scalar.forward, (out,), arrays)[0]
        return xp.launch(scalar.forward, out, arrays)

    def vjp(needed: Mask, g: Any, xs: Any, ys: Any, params: tuple[Any, ...]) -> tuple[Any, ...]:
        return _vjp(backward_of(op, needed), needed, g, xs, ys)

    op = Op(
        name=scalar.name,
        family=Family.ELEMENTWISE,
        inputs=scalar.inputs,
        impl=impl,
        abstract=lambda *avals: _abstract(scalar, avals),
        outputs=scalar.count,
        cuda_half=True,
        promotion=promotion,
        differentiable=scalar.differentiable,
        vjp=vjp,
        jvp=lambda tangents, xs, ys, params: _jvp(op, tangents, xs, ys),
        batch=lambda size, mapped, xs, params: bind(_batchable(op, mapped), align(mapped, xs)),
        saves=lambda needed, params: backward_of(op, needed).saved,
        spec=scalar,
        samples=samples,
        internal=internal,
        doc=doc,
    )
    return op


def _abstract(scalar: Scalar, avals: Sequence[Aval]) -> Any:
    shape = np.broadcast_shapes(*(a.shape for a in avals))
    typed = [a for a, n in zip(avals, scalar.inputs, strict=True) if n not in scalar.conditions]
    strong = [a for a in typed if not a.weak] or typed
    device = next((a.device for a in avals if a.device != "cpu"), "cpu")
    outs = [Aval(shape, bool if e.boolean else strong[0].dtype, device=device) for e in scalar.outputs]
    return tuple(outs) if scalar.count > 1 else outs[0]


# --- reverse ----------------------------------------------------------------------------------------------------------


def backward_of(op: Op, needed: Mask) -> Backward:
    """The backward kernel of an op for a mask of wanted gradients; itself an elementwise op."""
    key = ("backward", needed)
    if key not in op.cache:
        op.cache[key] = _make_backward(op.spec, needed)
    return op.cache[key]  # type: ignore[no-any-return]


def _make_backward(scalar: Scalar, needed: Mask) -> Backward:
    gradients = scalar.gradients(needed)
    kernel = [e for e in gradients if not _passes(scalar, e) and not is_const(e, 0)]
    saved = scalar.reads(kernel)
    made = iter(range(len(kernel)))
    wanted = iter(gradients)
    places = tuple([_place(scalar, next(wanted), made) if need else None for need in needed])
    if not kernel:
        return Backward(None, saved, places)
    names = (*scalar.cotangents, *[scalar.inputs[i] for i in saved.inputs], *[scalar.y for _ in saved.outputs])
    whole = needed == (scalar.differentiable or (True,) * len(needed))
    mask = "" if whole else "_" + "".join("1" if n else "0" for n in needed)
    conditions = scalar.conditions
    inner = Scalar(
        f"{scalar.name}_vjp{mask}",
        names,
        None,
        differentiable=tuple(n not in conditions for n in names),
        outputs=tuple(kernel),
        doc=f"Backward of {scalar.name}.",
    )
    return Backward(make_op(inner, Promotion.COMMON, (), inner.doc, internal=True), saved, places)


def _passes(scalar: Scalar, e: Expr) -> bool:
    """Is this gradient the (only) cotangent itself?"""
    return scalar.count == 1 and e is var(scalar.cotangents[0])


def _place(scalar: Scalar, e: Expr, made: Any) -> int | str | None:
    if is_const(e, 0):
        return None
    return "g" if _passes(scalar, e) else next(made)


def _vjp(back: Backward, needed: Mask, g: Any, xs: Any, ys: Any) -> tuple[Any, ...]:
    gs = without_gaps(g, ys) if isinstance(g, tuple) else [g]
    saved = [*[xs[i] for i in back.saved.inputs], *[ys[j] for j in back.saved.outputs]]
    made = as_tuple(bind(back.op, (*gs, *saved))) if back.op else ()
    parts = [made[place] if isinstance(place, int) else g if place else None for place in back.places]
    return tuple([None if p is None else sum_to(p, x_shape(x)) for p, x in zip(parts, xs, strict=True)])


def x_shape(x: Any) -> tuple[int, ...]:
    return getattr(x, "shape", ())


def raw_backward(op: Op, needed: Mask) -> Callable[[Any, Any], tuple[Any, ...]]:
    """The same on raw NumPy arrays, generated."""
    back = backward_of(op, needed)
    namespace: dict[str, Any] = {"ndarray": np.ndarray, "asarray": np.asarray, "unbroadcast": unbroadcast}
    lines = ["def raw(r, g):"]
    count = len(back.saved.inputs) + len(back.saved.outputs)
    saved = [f"s{k}" for k in range(count)]
    if count:
        lines.append(f"    {', '.join(saved)}, = r.saved")
    if back.op is not None:
        kernel = numpy_kernel(back.op.spec.forward)
        if kernel.ufunc is None:
            namespace |= {"kernel_F32": kernel.typed(np.float32), "kernel_F64": kernel.typed(np.float64), "F32": F32}
        namespace["kernel"] = kernel.ufunc
        if not kernel.weak_ok and len(op.inputs) > 1:
            lines += [f"    if type({s}) is not ndarray: {s} = asarray({s}, g.dtype)" for s in saved]
        made = [f"c{k}" for k in range(back.op.outputs)]
        if kernel.ufunc is None:
            lines.append("    kernel = kernel_F32 if g.dtype is F32 else kernel_F64")
        lines.append(f"    {', '.join(made)} = kernel({', '.join(['g', *saved])})")
        lines += [f"    if type({c}) is not ndarray: {c} = asarray({c})" for c in made]
    parts = ["g" if p == "g" else "None" if p is None else f"c{p}" for p in back.places]
    result = ", ".join(parts) + ("," if len(parts) == 1 else "")
    if len(parts) > 1:
        lines.append(f"    if r.avals is None: return {result}")
        parts = [p if p == "None" else f"unbroadcast({p}, r.avals[{i}])" for i, p in enumerate(parts)]
        result = ", ".join(parts)
    lines.append(f"    return {result}")
    exec(compile("\n".join(lines), f"<gradcore backward of {op.name}>", "exec"), namespace)
    return namespace["raw"]  # type: ignore[no-any-return]


F32 = np.dtype(np.float32)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a raw cotangent over the axes along which an operand of this shape was broadcast."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = (*range(extra), *[i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1])
    return np.asarray(np.add.reduce(g, axes)).reshape(shape)


# --- forward and batch ------------------------------------------------------------------------------------------------


def _jvp(op: Op, tangents: Sequence[Any], xs: Any, ys: Any) -> Any:
    mask = tuple([t is not None for t in tangents])
    key = ("jvp", mask)
    if key not in op.cache:
        op.cache[key] = _make_jvp(op.spec, mask)
    forward, saved = op.cache[key]
    operands = [t for t in tangents if t is not None]
    operands += [*[xs[i] for i in saved.inputs], *[ys[j] for j in saved.outputs]]
    pairs = zip(as_tuple(bind(forward, operands)), ys, strict=True)
    return tuple([o if o.shape == y.shape else bind(OPS["broadcast_to"], (o,), (y.shape,)) for o, y in pairs])


def _make_jvp(scalar: Scalar, mask: Mask) -> tuple[Op, Saved]:
    t = _prefix(scalar.inputs)
    moving = [name for name, on in zip(scalar.inputs, mask, strict=True) if on]
    sums = []
    for row in scalar.rows():
        terms = [scale(var(t + n), p) for n, p, on in zip(scalar.inputs, row, mask, strict=True) if on]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        sums.append(simplify(total))
    saved = scalar.reads(sums)
    names = (*[t + n for n in moving], *[scalar.inputs[i] for i in saved.inputs], *[scalar.y for _ in saved.outputs])
    inner = Scalar(
        f"{scalar.name}_jvp",
        names,
        None,
        differentiable=tuple(n not in scalar.conditions for n in names),
        outputs=tuple(sums),
        doc=f"Tangent of {scalar.name}.",
    )
    return make_op(inner, Promotion.COMMON, (), inner.doc, internal=True), saved


def _batchable(op: Op, mapped: Sequence[bool]) -> Op:
    """The op itself; where a mapped operand is one of those that are always 0-d, the op without that promise."""
    scalar: Scalar = op.spec
    if not any(own and name in scalar.hyper for own, name in zip(mapped, scalar.inputs, strict=True)):
        return op
    if "batchable" not in op.cache:
        names = scalar.inputs
        plain = Scalar(scalar.name, names, None, scalar._partials, scalar.differentiable, scalar.outputs, doc=op.doc)
        op.cache["batchable"] = make_op(plain, op.promotion, (), op.doc, internal=True)
    return op.cache["batchable"]  # type: ignore[no-any-return]


def align(mapped: Sequence[bool], xs: Sequence[Any]) -> list[Any]:
    """Give mapped operands one rank, so that broadcasting leaves the mapped axis in front."""
    ranks = [len(x_shape(x)) - own for x, own in zip(xs, mapped, strict=True)]
    rank = max(ranks)
    return [_raised(x, rank - r) if own and r < rank else x for x, own, r in zip(xs, mapped, ranks, strict=True)]


def _raised(x: Any, missing: int) -> Any:
    shape = (x.shape[0], *(1,) * missing, *x.shape[1:])
    return bind(OPS["reshape"], (x,), (shape,))


# --- eager ------------------------------------------------------------------------------------------------------------


def _eager(op: Op) -> Eager:
    kernel = numpy_kernel(op.spec.forward)
    scalars = op.promotion is not Promotion.NONE
    calls = kernel.ufunc or (kernel.typed(np.float32), kernel.typed(np.float64))
    return Eager(
        op,
        calls,
        lambda needed: raw_backward(op, needed),
        lambda args, params: bind_general(op, args, params),
        scalars,
        kernel.weak_ok,
    )
