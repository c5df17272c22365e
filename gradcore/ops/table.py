"""The op table as rows: what `gradcore ops` lists and `docs/ops.md` prints."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradcore.autodiff.stage import make_graph
from gradcore.core.op import OPS, Op, Sample
from gradcore.kernels.emit_cuda import print_cuda
from gradcore.kernels.spec import RowSpec
from gradcore.ops.print_kernels import specs_of
from gradcore.ops.scalar import Scalar

DERIVED, WRITTEN, CUPY = "derived kernel", "written kernel", "CuPy"


@dataclass(frozen=True)
class Row:
    """One op.

    Attributes:
        order: the highest order of derivative that the tests reach; None without a derivative.
        saved: what is kept for the gradients of all operands.
        devices: what computes it on each device.
        topic: the file that defines it.
    """

    name: str
    family: str
    topic: str
    doc: str
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    order: int | None
    saved: tuple[str, ...]
    devices: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Details:
    """What else is known of one op: texts, None where the op has no such thing."""

    expression: list[str] | None
    derivatives: dict[str, list[str]] | None
    meaning: str | None
    samples: list[str]
    cuda: list[str]


def rows() -> list[Row]:
    """The whole table, by topic and then by name.

    >>> [row.order for row in rows() if row.name in ("exp", "less")]
    [3, None]
    """
    return sorted(map(row_of, OPS.values()), key=lambda row: (row.topic, row.name))


def row_of(op: Op) -> Row:
    """The row of one op."""
    order = max((sample.order for sample in op.samples if _moving(op, sample)), default=None)
    return Row(
        name=op.name,
        family=op.family.value,
        topic=_topic(op),
        doc=summary(op.doc),
        inputs=op.inputs,
        params=op.params,
        order=order,
        saved=() if order is None else tuple(_saved(op)),
        devices={"cpu": "NumPy", "cuda": _on_cuda(op)},
    )


def _on_cuda(op: Op) -> str:
    """What computes it there: a kernel from its expression, one written by hand, or CuPy's functions."""
    if "cuda" in op.kernels:
        return WRITTEN if isinstance(op.kernels["cuda"], RowSpec) else DERIVED
    return DERIVED if isinstance(op.spec, Scalar) or op.kernels else CUPY


def details_of(op: Op) -> Details:
    """Expression, derivatives, meaning, samples and CUDA kernels of one op."""
    scalar = op.spec if isinstance(op.spec, Scalar) else None
    differentiable = scalar is not None and any(map(op.can_differentiate, range(len(op.inputs))))
    return Details(
        expression=None if scalar is None else list(map(str, scalar.outputs)),
        derivatives=_derivatives(scalar) if scalar is not None and differentiable else None,
        meaning=_meaning(op) if op.meaning is not None and op.samples else None,
        samples=[_described(sample) for sample in op.samples],
        cuda=[*map(print_cuda, specs_of(op)), *_written(op)],
    )


def _written(op: Op) -> list[str]:
    kernel = op.kernels.get("cuda")
    return [kernel.text] if isinstance(kernel, RowSpec) else []


def heading(topic: str) -> str:
    """What the docstring of a topic's file says first."""
    return re.split(r"\.\s", summary(sys.modules[f"gradcore.ops.{topic}"].__doc__ or topic) + " ")[0]


def summary(doc: str) -> str:
    r"""The first paragraph, on one line.

    >>> summary("Sum over\naxes.\n\nExample: ...")
    'Sum over axes.'
    """
    return " ".join(doc.strip().partition("\n\n")[0].split())


def _topic(op: Op) -> str:
    source = op.spec.meaning if isinstance(op.spec, Scalar) else op.impl
    return str(source.__module__).rpartition(".")[2]


def _operands(sample: Sample) -> list[Any]:
    return [np.asarray(x) for x in sample.args(np.random.default_rng(0), np.dtype(np.float64))]


def _moving(op: Op, sample: Sample) -> bool:
    """Has some operand of the sample a derivative?"""
    operands = _operands(sample)
    return any(x.dtype.kind == "f" and op.can_differentiate(i) for i, x in enumerate(operands)) and sample.order > 0


def _saved(op: Op) -> Iterator[str]:
    sample = op.samples[0]
    operands = _operands(sample)
    needed = tuple([x.dtype.kind == "f" and op.can_differentiate(i) for i, x in enumerate(operands)])
    saved = op.saves(needed, sample.params)
    for i in saved.inputs:
        yield f"{op.inputs[0]}[{i}]" if op.variadic else op.inputs[i]
    for i in saved.outputs:
        yield "result" if op.visible == 1 and i == 0 else f"result {i}"


def _derivatives(scalar: Scalar) -> dict[str, list[str]]:
    """For each operand the partial derivative of each result."""
    return {name: [str(row[i]) for row in scalar.rows()] for i, name in enumerate(scalar.inputs)}


def _meaning(op: Op) -> str:
    """The other ops that a fused op stands for, on its first sample."""
    sample = op.samples[0]

    def function(*operands: Any) -> Any:
        return op.meaning(*operands, *sample.params)  # type: ignore[misc]

    function.__name__ = op.name
    return str(make_graph(function)(*_operands(sample)))


def _described(sample: Sample) -> str:
    shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in _operands(sample))
    params = f"; params {sample.params}" if sample.params else ""
    return f"{shapes}{params}; order {sample.order}" + (f" ({sample.label})" if sample.label else "")
