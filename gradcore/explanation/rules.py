"""What a step says: its formula, and for each operand the local derivative or the rule that stands for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcore.autodiff.transforms import jvp
from gradcore.core.bind import bind
from gradcore.core.op import Family
from gradcore.core.tensor import Tensor
from gradcore.explanation.graph import Step, Use, Value
from gradcore.explanation.numbers import number
from gradcore.kernels.calculus import simplify, substitute
from gradcore.kernels.expr import Expr, const, var

Equation = list[Any]  # texts and arrays, in order

CALLS = {"linear": "{x} @ {w}ᵀ + {b}", "matmul": "{a} @ {b}", "mse": "mean(({x} - {target})²)", "square": "{x}²"}

RULES: dict[str, tuple[str, ...]] = {
    "sum": ("g for every element",),
    "mean": ("g / {n} for every element",),
    "cumsum": ("sums of g from the other end",),
    "max": ("g where the maximum is (equal ones share it), else 0",),
    "min": ("g where the minimum is (equal ones share it), else 0",),
    "prod": ("g × the product of the others",),
    "logsumexp": ("g × exp({x} - {y})",),
    "norm": ("g × {x} / {y}",),
    "var": ("g × 2 × ({x} - mean({x})) / {n}",),
    "reshape": ("g in the shape of {x}",),
    "expand_dims": ("g in the shape of {x}",),
    "transpose": ("g with its axes back in order",),
    "broadcast_to": ("g summed over the repeats",),
    "cast": ("g in the dtype of {x}",),
    "slice": ("g in the slice, else 0",),
    "unslice": ("the slice of g",),
    "set_slice": ("g, but 0 in the slice", "the slice of g"),
    "diagonal": ("g on the diagonal, else 0",),
    "triangle": ("g in the triangle, else 0",),
    "roll": ("g rolled back",),
    "sort": ("g in the old order",),
    "take": ("g added where it was taken",),
    "take_along_axis": ("g added where it was taken",),
    "pad": ("g without the border",),
    "concatenate": ("the part of g",),
    "matmul": ("g @ {b}ᵀ", "{a}ᵀ @ g"),
    "linear": ("g @ {w}", "gᵀ @ {x}", "g summed over the rows"),
    "mse": ("2 × ({x} - {target}) / {n} × g", "-2 × ({x} - {target}) / {n} × g"),
    "softmax": ("(g - sum(g × {y})) × {y}",),
    "cross_entropy": ("(softmax({x}) - one_hot({labels})) × g",),
    "nll_loss": ("-g at the labels, else 0",),
    "dropout": ("g / (1 - rate) where {x} was kept, else 0",),
    "straight_through": ("g",),
}
LINEAR_OF_A_VECTOR = ("g @ {w}", "outer(g, {x})", "g")


@dataclass(frozen=True)
class Local:
    """The derivative of a step's result by one operand: a formula, and its value for elementwise ops.

    Where there is no value, `text` is the whole gradient of the operand.
    """

    text: str
    value: Any = None


def elementwise(step: Step) -> bool:
    """Has the step a scalar expression with one result?"""
    return step.op.family is Family.ELEMENTWISE and step.op.spec.count == 1


def formula(step: Step) -> str:
    """The step as a formula of its operands: `weight * x`, `sigmoid(z)`, `sum(a1, axes=(0,))`."""
    op = step.op
    names = _names(step)
    if op.name in CALLS:
        return _pretty(CALLS[op.name].format(**dict(zip(op.inputs, names, strict=True))))
    if elementwise(step):
        whole = _written(op.spec.outputs[0], step)
        if all(not argument.args for argument in whole.args):
            return _pretty(str(whole))
    shown = [f"{n}={v}" for n, v in zip(op.params, step.application.params, strict=False) if v not in (False, None)]
    if op.name in ("sum", "mean") and step.results[0].array.ndim == 0:
        shown = []
    return f"{op.name}({', '.join([*names, *shown])})"


def local(use: Use) -> Local:
    """The local derivative along an edge that carries a gradient."""
    step, op = use.step, use.step.op
    if elementwise(step):
        partial = simplify(_written(op.spec.rows()[0][use.position], step))
        twice = partial.leaf == "add" and partial.args[0] is partial.args[1]
        return Local(_pretty(str(2 * partial.args[0] if twice else partial)), _partial(use))
    return Local(_rule(use))


def derivative(use: Use) -> Equation:
    """The local derivative of an elementwise step: `∂a/∂z = a × (1 - a) = 0.1966`."""
    d = local(use)
    names = f"∂{use.step.results[0].name}/∂{use.value.name}{_operand(use)}"
    return [f"{names} = ", d.text] if _is_number(d.text) else [f"{names} = {d.text} = ", d.value]


def product(use: Use) -> Equation:
    """Local derivative × incoming gradient = outgoing gradient, of an elementwise step, with numbers."""
    d, incoming = local(use), use.step.results[0].gradient
    factor = d.text if _is_number(d.text) else d.value
    summed = "" if use.gradient.shape == d.value.shape else ", summed over the repeats,"
    return [_in_brackets(factor), " × ", _in_brackets(incoming), f"{summed} = ", use.gradient]


def equations(step: Step, of: str) -> Iterator[Equation]:
    """What a student writes to pull the gradient back through a step; `of` names the root."""
    wanted = [use for use in step.uses if use.gradient is not None]
    yield from [whole for value in step.results if (whole := total(value, of))]
    if wanted and not elementwise(step):
        yield from _incoming(step, of)
    for use in wanted:
        yield from _along(use, of)


def _incoming(step: Step, of: str) -> Iterator[Equation]:
    """What g is, in a step without a scalar expression."""
    arriving = [value for value in step.results if value.gradient is not None]
    for i, value in enumerate(arriving, 1):
        yield [f"g{i if len(arriving) > 1 else ''} = ∂{of}/∂{value.name} = ", value.gradient]


def _along(use: Use, of: str) -> Iterator[Equation]:
    """The gradient along an edge."""
    name, results = use.value.name, ", ".join(value.name for value in use.step.results if value.gradient is not None)
    several = len({other.step for other in _with_gradient(use.value)}) > 1
    target = f"∂{of}/∂{name}{_operand(use)}" + (f" (through {results})" if several else "")
    if not elementwise(use.step):
        yield [f"{target} = {local(use).text} = ", use.gradient]
    elif results == of:
        text = local(use).text
        yield [f"{target} = " + ("" if _is_number(text) else f"{text} = "), *product(use)]
    else:
        yield derivative(use)
        yield [f"{target} = ∂{results}/∂{name}{_operand(use)} × ∂{of}/∂{results} = ", *product(use)]


def _operand(use: Use) -> str:
    """Which operand, where a step uses a value twice."""
    twice = sum(other.step is use.step for other in use.value.uses) > 1
    return f" (operand {use.position + 1})" if twice else ""


def total(value: Value, of: str) -> Equation | None:
    """The sum over the uses of a value, where there are several."""
    parts = [use.gradient for use in _with_gradient(value)]
    if len(parts) < 2:
        return None
    sums = [part for gradient in parts for part in (" + ", _in_brackets(gradient))][1:]
    return [f"∂{of}/∂{value.name} = ", *sums, " = ", value.gradient]


def _with_gradient(value: Value) -> list[Use]:
    return [use for use in value.uses if use.gradient is not None]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", text) is not None


def _in_brackets(factor: Any) -> Any:
    """A negative number as a factor or as a part of a sum."""
    if isinstance(factor, str):
        return f"({factor})" if factor.startswith("-") else factor
    return f"({number(factor[()])})" if factor.ndim == 0 and factor < 0 else factor


def _partial(use: Use) -> Any:
    """The value of an elementwise derivative: the tangent for a tangent of ones."""
    step = use.step
    operands = [operand.value.array if isinstance(operand, Use) else operand for operand in step.operands]
    tensors = [Tensor(array) if hasattr(array, "dtype") else array for array in operands]

    def of_one(x: Any) -> Any:
        return bind(step.op, [x if i == use.position else t for i, t in enumerate(tensors)], step.application.params)

    array = operands[use.position]
    return jvp(of_one, (tensors[use.position],), (Tensor(np.ones(array.shape, array.dtype)),))[1].data


def _rule(use: Use) -> str:
    step, op = use.step, use.step.op
    rules = RULES.get(op.name, ())
    rules = rules * len(step.operands) if op.variadic else rules
    if op.name == "linear" and step.application.operands[0].ndim == 1:
        rules = LINEAR_OF_A_VECTOR
    if use.position >= len(rules):
        law = "the transpose" if op.family is Family.LINEAR else "the vjp"
        several = sum(value.gradient is not None for value in step.results) > 1
        return f"{law} of {op.name} on {'g1, g2, ...' if several else 'g'}"
    n = _count(use)
    places = {"y": step.results[0].name, "n": n}
    places |= {} if op.variadic else dict(zip(op.inputs, _names(step), strict=True))
    text = rules[use.position].format(**places)
    if " @ " in text and use.gradient.shape[:-2] != step.results[0].array.shape[:-2]:
        text += ", summed over the repeats"
    averaged = op.name in ("cross_entropy", "nll_loss") and step.application.params == ("mean",)
    return f"({text}) / {n}" if averaged and text.startswith("-") else f"{text} / {n}" if averaged else text


def _count(use: Use) -> Any:
    """How many elements (rows, in a loss of labels) become one; what the variance divides by."""
    op, array = use.step.op, use.value.array
    if op.name in ("cross_entropy", "nll_loss"):
        return array.size // max(array.shape[-1], 1)
    count = array.size // max(use.step.results[0].array.size, 1)
    return number(count - use.step.application.params[2]) if op.name == "var" else count


def _names(step: Step) -> list[str]:
    return [operand.value.name if isinstance(operand, Use) else number(operand) for operand in step.operands]


def _written(expression: Expr, step: Step) -> Expr:
    """An expression of an op with the names of this step's values."""
    terms = {step.op.spec.y: var(step.results[0].name)}
    for name, operand in zip(step.op.inputs, step.operands, strict=True):
        terms[name] = var(operand.value.name) if isinstance(operand, Use) else const(_plain(operand))
    return substitute(expression, terms)


def _plain(x: Any) -> Any:
    """2 rather than 2.0."""
    return int(x) if isinstance(x, float) and x.is_integer() else x


def _pretty(text: str) -> str:
    """With a sign of multiplication, short numbers, and negative ones in brackets."""
    text = re.sub(r"(?<![\w.])\d+\.\d{5,}(e-?\d+)?(?![\w.])", lambda found: number(float(found[0])), text)
    text = re.sub(r"(?<=[-+*/] )-[\d.]+(e[-+]?\d+)?(?![\w.])", r"(\g<0>)", text)
    return text.replace(" * ", " × ")
