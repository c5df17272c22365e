"""Einstein summation: `einsum` parses the subscripts and plans once, then contracts two operands at a time.

A contraction is one matrix product (or one elementwise product), so derivatives, vmap and graphs come from the ops that
it is made of.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

from gradcore.ops.arguments import as_integers
from gradcore.ops.conversion import cast
from gradcore.ops.joining import meeting
from gradcore.ops.products import contract, ordered
from gradcore.ops.reductions import sum as sum_over
from gradcore.ops.shapes import reshape
from gradcore.ops.triangles import diagonal

Shape = tuple[int, ...]
Labels = tuple[str, ...]  # a letter for each axis; those of an ellipsis are "...0", "...1" from the last one on


def einsum(subscripts: Any, *operands: Any) -> Any:
    """Products of tensors, summed over the axes whose subscripts the result lacks.

    Two operands at a time are contracted by a matrix product, those first whose product saves most memory (the greedy
    order of opt_einsum, Smith and Gray 2018).

    Args:
        subscripts: as for `numpy.einsum`: a letter for each axis of each operand, and those of the result after
            "->"; without it the result has the letters that occur once, in alphabetical order. `...` stands for
            any axes, which broadcast. A letter that an operand has twice takes its diagonal. Lists of integers, one
            after each operand and perhaps one for the result, do as well.
        operands: tensors of any shapes; their dtypes meet in a common one, in which sums are taken.

    Returns:
        Tensor with an axis for each subscript of the result.

    Raises:
        ValueError: the subscripts are malformed, or do not fit the shapes.

    Example:
        >>> import gradcore as gc
        >>> a = gc.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> gc.einsum("ij,kj->ik", a, a)
        tensor([[ 5., 11.],
                [11., 25.]], dtype=float32, device='cpu')
        >>> gc.einsum("ii", a)
        tensor(5., dtype=float32, device='cpu')
        >>> gc.einsum("...ij,...j->...i", gc.zeros(5, 2, 3), gc.zeros(3)).shape
        (5, 2)
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _spelled((subscripts, *operands))
    tensors = meeting(operands, "einsum")
    plan = _plan(subscripts, tuple([t.shape for t in tensors]))
    parts = [
        (x, labels) if plain else _tidy(x, labels, plan.sizes)
        for x, labels, plain in zip(tensors, plan.terms, plan.plain, strict=True)
    ]
    for i, j, kept in plan.steps:
        (b, b_labels), (a, a_labels) = parts.pop(j), parts.pop(i)
        a, a_labels = _summed(a, a_labels, {*kept, *b_labels})
        b, b_labels = _summed(b, b_labels, {*kept, *a_labels})
        parts.append(contract(a, a_labels, b, b_labels, kept))
    return ordered(*_summed(*parts[0], plan.result), plan.result)


def _tidy(x: Any, labels: Labels, sizes: dict[str, int]) -> tuple[Any, Labels]:
    """Diagonals taken, and axes that only broadcast dropped: then every label has one axis, of its own size."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            labels = (*[k for i, k in enumerate(labels) if i not in (first, second)], label)
    own = [(k, n) for k, n in zip(labels, x.shape, strict=True) if n == sizes[k]]
    if len(own) < len(labels):
        x = reshape(x, tuple([n for _, n in own]))
    return x, tuple([k for k, _ in own])


def _summed(x: Any, labels: Labels, kept: Collection[str]) -> tuple[Any, Labels]:
    """Summed over the axes that are not kept, in the dtype of x."""
    axes = tuple([axis for axis, k in enumerate(labels) if k not in kept])
    if not axes:
        return x, labels
    total = sum_over(x, axes)
    return total if total.dtype == x.dtype else cast(total, x.dtype), tuple([k for k in labels if k in kept])


# --- the plan ---------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What einsum does.

    Attributes:
        terms: labels of the axes of each operand.
        plain: whether these are all different and no axis broadcasts.
        result: those of the result.
        sizes: of each label.
        steps: which two of the parts are contracted into a new last one, and the labels that are needed afterwards.
    """

    terms: list[Labels]
    plain: list[bool]
    result: Labels
    sizes: dict[str, int]
    steps: list[tuple[int, int, frozenset[str]]]


@lru_cache(maxsize=4096)
def _plan(subscripts: str, shapes: tuple[Shape, ...]) -> Plan:
    terms, result = _parsed(subscripts, shapes)
    sizes = _sizes(terms, shapes, f"{subscripts!r} (shapes {', '.join(map(str, shapes))})")
    own = [{k for k, n in zip(t, s, strict=True) if n == sizes[k]} for t, s in zip(terms, shapes, strict=True)]
    plain = [len(labels) == len(term) for labels, term in zip(own, terms, strict=True)]
    return Plan(terms, plain, result, sizes, _steps(own, set(result), sizes))


def _sizes(terms: Sequence[Labels], shapes: Sequence[Shape], where: str) -> dict[str, int]:
    """The size of each label; an axis of size 1 broadcasts, but not on a diagonal."""
    sizes: dict[str, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        seen: dict[str, int] = {}
        for label, n in zip(labels, shape, strict=True):
            old = sizes.get(label, 1)
            if seen.setdefault(label, n) != n or (1 not in (old, n) and old != n):
                name = "an axis of '...'" if len(label) > 1 else f"subscript {label!r}"
                clash = seen[label] if seen[label] != n else old
                raise ValueError(f"'einsum': {name} has sizes {clash} and {n} in {where}")
            sizes[label] = n if old == 1 else old
    return sizes


def _steps(terms: list[set[str]], result: set[str], sizes: dict[str, int]) -> list[tuple[int, int, frozenset[str]]]:
    """Greedy: at each step the pair whose product is smallest against its operands, then the cheapest."""

    def needed(i: int, j: int) -> set[str]:
        return result.union(*[t for k, t in enumerate(terms) if k not in (i, j)])

    def cost(pair: tuple[int, int]) -> tuple[int, int]:
        a, b = terms[pair[0]], terms[pair[1]]
        product, whole = [prod([sizes[k] for k in labels]) for labels in ((a | b) & needed(*pair), a | b)]
        return product - sum([prod([sizes[k] for k in t]) for t in (a, b)]), whole

    steps = []
    while len(terms) > 1:
        i, j = min(combinations(range(len(terms)), 2), key=cost)
        kept = needed(i, j)
        steps.append((i, j, frozenset(kept)))
        terms = [*[t for k, t in enumerate(terms) if k not in (i, j)], (terms[i] | terms[j]) & kept]
    return steps


# --- subscripts -------------------------------------------------------------------------------------------------------


def _parsed(subscripts: str, shapes: Sequence[Shape]) -> tuple[list[Labels], Labels]:
    """Labels of the axes of each operand and of the result."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    parts = inputs.split(",")
    if len(parts) != len(shapes):
        raise ValueError(f"'einsum': {subscripts!r} has {len(parts)} terms for {len(shapes)} operands")
    terms = [_labels(part, len(shape), subscripts) for part, shape in zip(parts, shapes, strict=True)]
    every = [k for labels in terms for k in labels]
    dots = max([[k for k in labels if len(k) > 1] for labels in terms], key=len)
    if not arrow:
        return terms, (*dots, *sorted([k for k in every if len(k) == 1 and every.count(k) == 1]))
    result = _labels(output, len(output.replace("...", "")) + len(dots) * ("..." in output), subscripts)
    _check_result(result, {*every}, dots, subscripts)
    return terms, result


def _labels(term: str, ndim: int, subscripts: str) -> Labels:
    """The labels of one operand."""
    before, dots, after = term.partition("...")
    for c in before + after:
        if not (c.isascii() and c.isalpha()):
            raise ValueError(f"'einsum': {c!r} in {subscripts!r} is no subscript; use letters, ',', '...' and '->'")
    unnamed = ndim - len(before) - len(after)
    if unnamed < 0 or (unnamed and not dots):
        raise ValueError(
            f"'einsum': {term!r} in {subscripts!r} does not fit an operand of {ndim} axes; give a letter for each, or "
            "'...' for any number of them"
        )
    return (*before, *[f"...{k}" for k in reversed(range(unnamed))], *after)


def _check_result(result: Labels, every: set[str], dots: list[str], subscripts: str) -> None:
    for label in result:
        if label not in every:
            raise ValueError(f"'einsum': the result of {subscripts!r} has subscript {label!r}, but no operand has it")
        if result.count(label) > 1:
            raise ValueError(f"'einsum': the result of {subscripts!r} has subscript {label!r} twice")
    if not set(dots) <= set(result):
        raise ValueError(f"'einsum': {subscripts!r} has '...' in an operand, so its result needs '...' too")


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _spelled(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Operands, each with a list of integers, as subscripts and operands."""
    count = len(arguments) // 2
    if not count:
        raise ValueError("'einsum' needs subscripts and operands, or operands that are each followed by a list")
    output = f"->{_word(arguments[-1])}" if len(arguments) % 2 else ""
    return ",".join(map(_word, arguments[1 : 2 * count : 2])) + output, arguments[: 2 * count : 2]


def _word(subscripts: Any) -> str:
    return "".join(
        ["..." if k is Ellipsis else _letter(*as_integers((k,), "einsum", "subscripts")) for k in subscripts]
    )


def _letter(k: int) -> str:
    if not 0 <= k < len(LETTERS):
        raise ValueError(f"'einsum': subscript {k} is not in [0, {len(LETTERS)})")
    return LETTERS[k]
