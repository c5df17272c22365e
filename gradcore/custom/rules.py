"""`custom_vjp` and `custom_jvp`: functions whose derivative is written by hand, as in JAX.

A call goes to the innermost transform that one of its tensors belongs to.  That transform applies the rule to the
values of the level below, so a rule made of gradcore functions has derivatives itself, and one that leaves them for
NumPy meets tensors without elements and raises: no derivative is lost in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np

from gradcore.autodiff.batch import Batch, BatchTensor
from gradcore.autodiff.forward import Forward
from gradcore.autodiff.record import make_record, nodes_of, without_gaps
from gradcore.autodiff.tape import Tape, TapeTensor
from gradcore.autodiff.transforms import vjp
from gradcore.core.bind import innermost, lower
from gradcore.core.errors import GradcoreError
from gradcore.core.op import Family, Mask, Op, Saved
from gradcore.core.state import state, user_frame
from gradcore.core.tensor import Tensor, Traced
from gradcore.core.trees import unflatten
from gradcore.custom.calls import Batched, Call, closed_over, cut, dense_tangents
from gradcore.custom.formula import site_of

Function = Callable[..., Any]


class _Custom:
    """A function with rules; subclasses say how a Tape and Forward use them."""

    needs: tuple[str, ...]
    advice: str

    def __init__(self, function: Function) -> None:
        self.rules: dict[str, Function] = {"f": function}
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; derivatives come from the rules."""
        if not self.rules.keys() >= set(self.needs):
            raise GradcoreError(f"{site_of(self.rules['f'])} has no rule yet; {self.advice}")
        if kwargs:
            bound = inspect.signature(self.rules["f"]).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        tensors, arguments = cut(args)
        call = Call(self.rules, arguments)
        outs = self._apply(call, tensors)
        return unflatten(call.out, list(outs))

    def _apply(self, call: Call, xs: Sequence[Any]) -> tuple[Any, ...]:
        """Let the innermost level among the operands apply its rule."""
        level: Any = innermost(xs)
        if isinstance(level, Batch):
            mapped = [level.owns(x) for x in xs]
            outs = self._apply(
                Batched(call, mapped), [x.value if own else x for x, own in zip(xs, mapped, strict=True)]
            )
            return tuple([BatchTensor(level, out) for out in outs])
        if isinstance(level, Forward):
            return self._forward(level, call, xs)
        if isinstance(level, Tape):
            return self._on_tape(level, call, xs)
        if level is not None:
            raise GradcoreError(
                f"{call.site('f')} has a derivative by hand, which {level.name} would lose; call it outside of scan, "
                "cond and elementwise formulas, or write the loop in Python"
            )
        return self._permanent(call, xs)

    def _on_tape(self, level: Tape, call: Call, xs: Sequence[Any]) -> tuple[Any, ...]:
        nodes = [level.node(x) if x.dtype.kind == "f" else None for x in xs]
        values = [level.primal(x) for x in xs]
        op, outs = self._record(call, values)
        _refuse_closures(call, outs, level.depth)
        record = make_record(op, (), nodes, values, outs, user_frame(), level.depth)
        return tuple([TapeTensor(level, out, node) for out, node in zip(outs, nodes_of(record), strict=False)])

    def _permanent(self, call: Call, xs: Sequence[Any]) -> tuple[Any, ...]:
        """Below all transforms, where `backward()` records."""
        nodes = [x.node if x.dtype.kind == "f" and state.recording else None for x in xs]
        values = [Tensor(x.data) for x in xs]
        if all(node is None for node in nodes):
            outs = call.primal(values)
            _refuse_closures(call, outs, 0)
            return outs
        op, outs = self._record(call, values)
        _refuse_closures(call, outs, 0)
        record = make_record(op, (), nodes, list(map(lower, values)), list(map(lower, outs)), user_frame(), -1)
        return tuple([Tensor(out.data, node) for out, node in zip(outs, nodes_of(record), strict=False)])

    def _forward(self, level: Forward, call: Call, xs: Sequence[Any]) -> tuple[Any, ...]:
        raise NotImplementedError

    def _record(self, call: Call, values: Sequence[Any]) -> tuple[Op, tuple[Any, ...]]:
        """An op whose vjp is the rule, and its outputs, which the op may save."""
        raise NotImplementedError


def _refuse_closures(call: Call, outs: Sequence[Any], depth: int) -> None:
    """A result that belongs to this level, though its operands were taken off it, comes from elsewhere."""
    for out in outs:
        if (isinstance(out, Traced) and out.level.depth >= depth) or (type(out) is Tensor and out.node is not None):
            raise closed_over(call.site("f"))


def _op(call: Call, operands: int, outputs: int, aux: int, vjp: Any, saves: Saved) -> Op:
    return Op(
        name=getattr(call.rules["f"], "__name__", "custom"),
        family=Family.FUSED,
        inputs=tuple([f"x{i}" for i in range(operands)]),
        outputs=outputs,
        aux=aux,
        impl=_never,
        abstract=_never,
        vjp=vjp,
        saves=lambda needed, params: saves,
        internal=True,
    )


def _never(*args: Any) -> Any:
    raise AssertionError("a function with its own derivative is called, not bound")


class custom_vjp(_Custom):  # noqa: N801 - a decorator
    """A function with a reverse-mode derivative written by hand; it may compute with anything, NumPy included.

    `f.defvjp(fwd, bwd)` sets the rules: `fwd` takes the arguments of `f` and returns `(result, residuals)`, `bwd` takes
    `(residuals, cotangent)` and returns a tuple with a cotangent, or None for zero, for each argument. Arguments and
    results are trees of tensors; leaves that are not tensors or arrays are passed as they are. Derivatives of higher
    order are those of `fwd` and `bwd`, if these are made of functions of gradcore; else they raise.

    Args:
        function: the function; what it differentiates must be its arguments.

    Raises:
        GradcoreError: it is used without rules, in forward mode (`custom_jvp` serves both modes), or it reads a tensor
            from outside whose derivative is wanted.
        TypeError: a rule returns another structure, shape or dtype than it must.

    Example:
        >>> import gradcore as gc
        >>> @gc.custom_vjp
        ... def clip_gradient(x):
        ...     return x
        >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, g: (gc.clip(g, -1.0, 1.0),))
        >>> gc.grad(lambda x: (clip_gradient(x) * 5.0).sum())(gc.tensor([1.0, 2.0]))
        tensor([1., 1.], dtype=float32, device='cpu')
    """

    needs = ("fwd", "bwd")
    advice = "set it with .defvjp(fwd, bwd)"

    def defvjp(self, fwd: Function, bwd: Function) -> None:
        """Set the rules."""
        self.rules |= {"fwd": fwd, "bwd": bwd}

    def _forward(self, level: Forward, call: Call, xs: Sequence[Any]) -> tuple[Any, ...]:
        raise GradcoreError(
            f"{call.site('f')} is a custom_vjp function, which has no forward-mode derivative (jvp, jacfwd, "
            "linearize); use reverse mode (grad, vjp, jacrev), or define it with gradcore.custom_jvp, which serves both"
        )

    def _record(self, call: Call, values: Sequence[Any]) -> tuple[Op, tuple[Any, ...]]:
        outs, residuals = call.forward(values)
        count, every = len(outs), (*outs, *residuals)

        def pull(needed: Mask, g: Any, xs: Any, ys: Any, params: Any) -> tuple[Any, ...]:
            gs = without_gaps(g, ys) if isinstance(g, tuple) else [g]
            parts = call.backward(ys[count:], gs)
            return tuple([p if need else None for p, need in zip(parts, needed, strict=True)])

        saves = Saved((), tuple(range(count, len(every))))
        return _op(call, len(values), len(every), len(residuals), pull, saves), every


class custom_jvp(_Custom):  # noqa: N801 - a decorator
    """A function with a derivative written by hand that serves forward and reverse mode.

    `f.defjvp(rule)` sets it: `rule(primals, tangents)` takes two tuples like the arguments and returns the pair of the
    result and its tangent. Reverse mode is the transpose of the rule, which must be linear in the tangents and made of
    functions of gradcore. Arguments and results are trees of tensors; leaves that are not tensors or arrays are passed
    as they are, with 0.0 (numbers) or None as tangent.

    Args:
        function: the function; what it differentiates must be its arguments.

    Raises:
        GradcoreError: it is used without a rule, the rule is not linear in the tangents, or it reads a tensor from
            outside whose derivative is wanted.
        TypeError: the rule returns another structure, shape or dtype than it must.

    Example:
        >>> import gradcore as gc
        >>> @gc.custom_jvp
        ... def log1pexp(x):
        ...     return gc.log1p(gc.exp(x))
        >>> @log1pexp.defjvp
        ... def rule(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return log1pexp(x), t * gc.sigmoid(x)
        >>> gc.grad(log1pexp)(gc.tensor(0.0))
        tensor(0.5, dtype=float32, device='cpu')
    """

    needs = ("jvp",)
    advice = "set it with .defjvp(rule)"

    def defjvp(self, rule: Function) -> Function:
        """Set the rule; may be used as a decorator."""
        self.rules["jvp"] = rule
        self.linear = False
        return rule

    def _forward(self, level: Forward, call: Call, xs: Sequence[Any]) -> tuple[Any, ...]:
        primals = [level.primal(x) for x in xs]
        given = dense_tangents(primals, [level.tangent(x) for x in xs])
        outs, tangents = call.push(primals, given)
        if not self.linear and _plain(tangents):
            turned = call.push(primals, [None if t is None else t * -2.0 for t in given])[1]
            self._compare(call, [None if t is None else t * -2.0 for t in tangents], turned)
        _refuse_closures(call, (*outs, *[t for t in tangents if t is not None]), level.depth)
        return tuple([level.box(out, tangent) for out, tangent in zip(outs, tangents, strict=True)])

    def _record(self, call: Call, values: Sequence[Any]) -> tuple[Op, tuple[Any, ...]]:
        outs = self._apply(call, values)

        def pull(needed: Mask, g: Any, xs: Any, ys: Any, params: Any) -> tuple[Any, ...]:
            return self._transposed(call, needed, without_gaps(g, ys) if isinstance(g, tuple) else [g], xs)

        saves = Saved(tuple(range(len(values))))
        return _op(call, len(values), len(outs), 0, pull, saves), outs

    def _transposed(self, call: Call, needed: Mask, gs: list[Any], xs: Sequence[Any]) -> tuple[Any, ...]:
        moving = [i for i, need in enumerate(needed) if need]
        floating = [k for k, aval in enumerate(call.results) if aval.dtype.kind == "f"]

        def pushed(*ts: Any) -> tuple[Any, ...]:
            every: list[Any] = [None] * len(xs)
            for i, t in zip(moving, ts, strict=True):
                every[i] = t
            tangents = call.push(xs, dense_tangents(xs, every))[1]
            return tuple([tangents[k] for k in floating])

        gs = [gs[k] for k in floating]
        zero = dense_tangents([xs[i] for i in moving], [None] * len(moving))
        nothing, pull = vjp(pushed, *zero)
        parts = pull(tuple(gs))
        if not self.linear and _plain((*nothing, *parts)):
            others = vjp(pushed, *[t + 0.5 for t in zero])[1](tuple(gs))
            self._compare(call, (*parts, *nothing), (*others, *[y * 0.0 for y in nothing]))
        made = iter(parts)
        return tuple([next(made) if need else None for need in needed])

    def _compare(self, call: Call, found: Sequence[Any], expected: Sequence[Any]) -> None:
        """Once per function: twice the tangents give twice the result, none give none, the transpose is one matrix."""
        pairs = [(a.data, b.data) for a, b in zip(found, expected, strict=True) if a is not None]
        if not all(np.allclose(a, b, rtol=1e-2, atol=1e-6, equal_nan=True) for a, b in pairs):
            raise GradcoreError(f"{call.site('jvp')} is not linear in the tangents, as a derivative is")
        self.linear = True


def _plain(tensors: Sequence[Any]) -> bool:
    return all(t is None or (type(t) is Tensor and type(t.data) is np.ndarray) for t in tensors)
