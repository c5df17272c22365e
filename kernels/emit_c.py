"""C functions from specs: one loop, every subexpression that is used twice named once."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gradcore.kernels.calculus import simplify
from gradcore.kernels.expr import (
    CALL,
    LESS,
    PRODUCT,
    UNARY,
    Expr,
    Text,
    compose,
    is_const,
    mirrored,
    walk,
)
from gradcore.kernels.leaves import LEAVES
from gradcore.kernels.spec import ElementwiseSpec

CType: TypeAlias = Literal["double", "float"]

_KEYWORDS = (
    "asm|auto|bool|break|case|catch|char|class|const|constexpr|continue|default|delete|do|"
    "double|else|enum|explicit|export|extern|false|float|for|friend|goto|if|inline|int|long|"
    "mutable|namespace|new|operator|private|protected|public|register|restrict|return|short|"
    "signed|sizeof|static|struct|switch|template|this|throw|true|try|typedef|typename|union|"
    "unsigned|using|virtual|void|volatile|while|half|float16|stride|T|R|REAL|n|i|main|I|"
    "complex|imaginary|INFINITY|NAN"
)
_FUNCTIONS = "|".join(word for leaf in LEAVES.values() for word in re.findall(r"\w\w+", leaf.c))
_TAKEN = re.compile(rf"({_KEYWORDS}|{_FUNCTIONS}|_.*|t\d+|out\d+|\w+_in)_*$")

_FLOOR_MOD = """\
/* The remainder with the sign of the divisor. */
static inline {type} floor_mod({type} a, {type} b)
{{
    {type} r = fmod(a, b);
    if (r == 0)
        return copysign(r, b);
    return (r < 0) != (b < 0) ? r + b : r;
}}
/* The quotient rounded down, as NumPy does it. */
static inline {type} floor_divide({type} a, {type} b)
{{
    {type} r = fmod(a, b), q = (a - r) / b - (r != 0 && (r < 0) != (b < 0));
    if (b == 0)
        return a / b;
    if (q == 0)
        return copysign(q, a / b);
    return floor(q) + (q - floor(q) > 0.5f);
}}
"""


@dataclass(frozen=True)
class Dialect:
    """What differs between C and CUDA: the types of temporaries, and the spelling of a number and of some leaves."""

    real: str
    boolean: str
    number: Callable[[float], str]
    leaves: Mapping[str, str] = field(default_factory=dict)


def emit_c(spec: ElementwiseSpec, type: CType) -> str:
    """`void NAME_TYPE(long n, const TYPE *input..., TYPE *out...)` for contiguous arrays.

    Conditions and boolean outputs are `unsigned char`. Outs may be the memory of inputs.
    """
    parameters = [
        f"const {'unsigned char' if name in spec.boolean_inputs else type} *{safe_name(name)}_in"
        for name in spec.inputs
    ] + [f"{'unsigned char' if output.boolean else type} *out{place}" for place, output in enumerate(spec.outputs)]
    head = f"void {spec.name}_{type}(long n, {', '.join(parameters)})"
    loads = load_lines(spec, type, "int")
    lines = [*loads, *statements(spec, Dialect(type, "int", _number(type)), "out{}[i]")]
    loop = "    for (long i = 0; i < n; i++) {"
    return "\n".join([head, "{", loop, *(f"        {line}" for line in lines), "    }", "}", ""])


def emit_c_unit(specs: Iterable[ElementwiseSpec], type: CType) -> str:
    """A translation unit with the functions of `specs`, for `cc -O2 -ffp-contract=off -lm`."""
    parts = ["#include <math.h>\n#include <tgmath.h>\n", _FLOOR_MOD.format(type=type)]
    return "\n".join(parts + [emit_c(spec, type) for spec in specs])


def _number(type: CType) -> Callable[[float], str]:
    suffix = "f" if type == "float" else ""

    def text(value: float) -> str:
        if not math.isfinite(value):
            return {"inf": "INFINITY", "-inf": "-INFINITY"}.get(str(value), "NAN")
        return repr(float(value)) + suffix

    return text


def safe_name(name: str) -> str:
    """`name`, changed where C, CUDA or the generated code use it."""
    return name + "_" * bool(_TAKEN.match(name))


def load_lines(spec: ElementwiseSpec, real: str, boolean: str, read: str = "{}_in[{}]") -> list[str]:
    """Reads of element i of every input (0-d ones have but one), before anything is written."""
    lines = []
    for name in spec.inputs:
        type, place = boolean if name in spec.boolean_inputs else real, "0" if name in spec.scalar_inputs else "i"
        lines.append(f"const {type} {safe_name(name)} = {read.format(safe_name(name), place)};")
    return lines


def statements(spec: ElementwiseSpec, dialect: Dialect, target: str) -> list[str]:
    """Named subexpressions, then one assignment for each output to `target`."""
    outputs = [simplify(output) for output in spec.outputs]
    order = walk(outputs)
    named = _named(order, outputs)
    texts: dict[Expr, Text] = {}
    lines: list[str] = []
    for node in order:
        texts[node] = compose(node, texts, lambda each: _spelling(each, dialect))
        if node in named:
            name = f"t{len(lines)}"
            type = dialect.boolean if node.boolean else dialect.real
            lines.append(f"const {type} {name} = {texts[node][0]};")
            texts[node] = name, CALL
    return lines + [f"{target.format(place)} = {texts[output][0]};" for place, output in enumerate(outputs)]


def _named(order: list[Expr], outputs: list[Expr]) -> set[Expr]:
    """Nodes that would be written out more than once, by several users or in one leaf's text."""
    uses = Counter(outputs)
    for node in order:
        for place, argument in enumerate(node.args):
            uses[argument] += LEAVES[node.leaf].c.count(f"{{{place}}}")
    return {node for node in order if node.args and uses[node] > 1}


def _spelling(node: Expr, dialect: Dialect) -> Text:
    if node.leaf == "var":
        return safe_name(node.value), CALL
    if is_const(node):
        text = dialect.number(node.value)
        return text, UNARY if text.startswith("-") else CALL if " " not in text else PRODUCT
    return mirrored(node, LESS) or (dialect.leaves.get(node.leaf, LEAVES[node.leaf].c), LEAVES[node.leaf].rank)
