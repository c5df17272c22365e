"""The rules that explanations print are those that the ops follow: each text is computed, and is the gradient."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.bind import as_tuple, bind
from gradcore.core.op import OPS, Sample
from gradcore.explanation.graph import Use
from gradcore.explanation.rules import RULES, local

Prose = Callable[[Any, Use], Any]


def along(use: Use, array: Any) -> Any:
    """A result of a reduction, with the axes that it has lost."""
    op, params = use.step.op, use.step.application.params
    if "axes" not in op.params or params[op.params.index("keepdims")]:
        return array
    axes = params[op.params.index("axes")]
    return np.expand_dims(array, tuple(range(use.value.array.ndim)) if axes is None else axes)


def at_extreme(g: Any, use: Use) -> Any:
    hits = use.value.array == along(use, use.step.results[0].array)
    shares = hits.sum(where(use), keepdims=True)
    return along(use, g) * hits / shares


def where(use: Use) -> Any:
    return use.step.application.params[0]


def product_of_others(g: Any, use: Use) -> Any:
    x, others = use.value.array, np.empty(use.value.array.shape)
    for place in np.ndindex(x.shape):
        without = x.copy()
        without[place] = 1
        others[place] = np.broadcast_to(without.prod(where(use), keepdims=True), x.shape)[place]
    return along(use, g) * others


def sums_from_the_other_end(g: Any, use: Use) -> Any:
    axis, reverse = use.step.application.params
    return np.cumsum(g, axis) if reverse else np.flip(np.cumsum(np.flip(g, axis), axis), axis)


def put(g: Any, use: Use, places: Any) -> Any:
    """Zeros like the operand, with g added at places among its elements, which the op itself has moved."""
    out = np.zeros(use.value.array.size)
    np.add.at(out, places.ravel(), g.ravel())
    return out.reshape(use.value.array.shape)


def moved(use: Use, others: Any = ()) -> Any:
    """The op on the numbers of the elements instead of the elements."""
    numbers = np.arange(use.value.array.size, dtype=np.float64).reshape(use.value.array.shape)
    operands = [each.value.array if isinstance(each, Use) else each for each in use.step.operands]
    operands[use.position] = numbers
    tensors = [gc.tensor(each) if isinstance(each, np.ndarray) else each for each in operands]
    return as_tuple(bind(use.step.op, tensors, use.step.application.params))[0].numpy().astype(int)


def scattered(g: Any, use: Use) -> Any:
    return put(g, use, moved(use))


def masked(g: Any, use: Use) -> Any:
    """For ops that keep or zero elements in place, or scale them."""
    y, x = use.step.results[0].array, use.value.array
    return g * (y != 0) * np.where(x == 0, 1.0, y / np.where(x == 0, 1.0, x))


def unbroadcast(g: Any, use: Use) -> Any:
    """Summed down to the shape of the operand."""
    shape = use.value.array.shape
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


def at_labels(g: Any, use: Use) -> Any:
    return one_hot(use)[0] * np.reshape(g, np.shape(g) + (1,) * (use.value.array.ndim - np.ndim(g)))


def one_hot(use: Use) -> tuple[Any, int]:
    classes = use.value.array.shape[-1]
    labels = use.step.application.operands[1]
    return np.eye(classes)[labels], labels.size


def part(g: Any, use: Use) -> Any:
    """The elements of g that came from the operand."""
    axis = use.step.application.params[0]
    sizes = [array.shape[axis] for array in use.step.application.operands]
    return np.split(g, np.cumsum(sizes)[:-1], axis)[use.position]


def border_off(g: Any, use: Use) -> Any:
    widths = use.step.application.params[0]
    return g[tuple([slice(before, n - after) for (before, after), n in zip(widths, g.shape, strict=True)])]


def sliced(g: Any, use: Use) -> Any:
    """The part of g that a slice names, by the op `slice`."""
    index = use.step.application.params[-1]
    return bind(OPS["slice"], (gc.tensor(g),), (index,)).numpy()


def outside(g: Any, use: Use) -> Any:
    """g, but 0 in the slice."""
    index = use.step.application.params[-1]
    inside = bind(OPS["unslice"], (gc.ones(sliced(g, use).shape, dtype="float64"),), (g.shape, index)).numpy()
    return g * (1 - inside)


PROSE: dict[str, Prose] = {
    "g for every element": lambda g, use: np.broadcast_to(along(use, g), use.value.array.shape),
    "sums of g from the other end": sums_from_the_other_end,
    "g where the maximum is (equal ones share it), else 0": at_extreme,
    "g where the minimum is (equal ones share it), else 0": at_extreme,
    "g × the product of the others": product_of_others,
    "g with its axes back in order": scattered,
    "g summed over the repeats": unbroadcast,
    "g summed over the rows": unbroadcast,
    "g in the slice, else 0": scattered,
    "g on the diagonal, else 0": scattered,
    "g in the triangle, else 0": masked,
    "g rolled back": scattered,
    "g in the old order": lambda g, use: put(g, use, order(use)),
    "g added where it was taken": scattered,
    "g without the border": border_off,
    "the part of g": part,
    "the slice of g": sliced,
    "g, but 0 in the slice": outside,
    "-g at the labels, else 0": lambda g, use: -at_labels(g, use),
    "(-g at the labels, else 0)": lambda g, use: -at_labels(g, use),
}


def order(use: Use) -> Any:
    """Where the sorted elements were."""
    axis, descending = use.step.application.params
    x = use.value.array
    places = np.argsort(-x if descending else x, axis, kind="stable")
    return np.take_along_axis(np.arange(x.size).reshape(x.shape), places, axis)


def meant(use: Use) -> Any:
    """What the printed rule gives."""
    text, g = local(use).text, use.step.results[0].gradient
    words, _, count = text.partition(" / ") if text.partition(" / ")[0] in PROSE else (text, "", "")
    if words in PROSE:
        return PROSE[words](g, use) / float(count or 1)
    if match := re.fullmatch(r"g / (\d+) for every element", text):
        return PROSE["g for every element"](g, use) / int(match[1])
    if text.startswith(("g in the shape of ", "g in the dtype of ")):
        return g.reshape(use.value.array.shape)
    if text.startswith("g / (1 - rate)"):
        return masked(g, use)
    return computed(text, g, use)


def computed(text: str, g: Any, use: Use) -> Any:
    """The value of a formula."""
    step = use.step
    values = {each.value.name: each.value.array for each in step.uses}
    values |= {step.results[0].name: along(step.uses[0], step.results[0].array), "g": along(step.uses[0], g)}
    if step.op.name == "cross_entropy" and g.ndim:
        values["g"] = g[..., None]
    axes = where(use) if step.op.name == "var" else -1
    functions = {
        "exp": np.exp,
        "outer": np.outer,
        "sum": lambda x: x.sum(-1, keepdims=True),
        "mean": lambda x: x.mean(axes, keepdims=True),
        "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
        "one_hot": lambda labels: np.eye(use.value.array.shape[-1])[labels],
    }
    formula, *_ = text.partition(", summed over the repeats")
    python = re.sub(r"(\w+)ᵀ", r"swap(\1)", formula.replace("×", "*"))
    value = eval(python, {**functions, **values, "swap": lambda x: np.swapaxes(x, -1, -2)})
    return unbroadcast(value, use) if text != formula else value


def explained(name: str, sample: Sample) -> list[Use]:
    """The uses of the step of an op whose result is weighted and summed."""
    rng = np.random.default_rng(5)
    op = OPS[name]

    def loss(*operands: Any) -> Any:
        result = as_tuple(bind(op, operands, sample.params))[0]
        weights = np.random.default_rng(1).normal(size=result.shape).astype(result.dtype)
        return (result * gc.tensor(weights)).sum()

    operands = [np.asarray(x) for x in sample.args(rng, np.dtype(np.float64))]
    tensors = [x if x.dtype.kind == "f" else gc.tensor(x) for x in operands]
    step = next(step for step in gc.explain(loss, *tensors).graph.steps if step.op.name == name)
    return [use for use in step.uses if use.gradient is not None]


def floating(name: str, sample: Sample) -> bool:
    return bool(sample.order) and (name != "cast" or np.dtype(sample.params[0]).kind == "f")


def cases() -> list[Any]:
    return [
        pytest.param(name, sample, id=f"{name}-{i}")
        for name in RULES
        for i, sample in enumerate(OPS[name].samples)
        if floating(name, sample)
        and all(x.size for x in map(np.asarray, sample.args(np.random.default_rng(5), np.dtype("f8"))))
    ]


@pytest.mark.parametrize(("name", "sample"), cases())
def test_a_printed_rule_gives_the_gradient(name: str, sample: Sample) -> None:
    uses = explained(name, sample)
    assert uses
    for use in uses:
        assert " on g" not in local(use).text
        np.testing.assert_allclose(meant(use), use.gradient, rtol=1e-6, atol=1e-9, err_msg=local(use).text)


def test_equal_maxima_share() -> None:
    explanation = gc.explain(lambda x: x.max(), np.array([3.0, 1.0, 3.0]))
    assert explanation.gradients["x"].numpy().tolist() == [0.5, 0, 0.5]
    assert "g where the maximum is (equal ones share it), else 0 = [0.5, 0, 0.5]" in explanation.text(False)
