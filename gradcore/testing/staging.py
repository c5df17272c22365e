"""Stage against Eval: a graph knows shapes, dtypes, strides and views, and its nodes compute the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.stage import make_graph
from gradcore.core.aval import aval_of
from gradcore.core.bind import as_tuple
from gradcore.core.evaluate import evaluate
from gradcore.core.graph import Graph, Node, Var
from gradcore.core.tensor import Tensor
from gradcore.testing.cases import Case, Function, cotangents_for, pulled
from gradcore.testing.compare import assert_all, assert_same_bits
from gradcore.testing.layouts import contiguous, reordered


def check_stage(case: Case) -> None:
    """The op and its vjp as graphs, for contiguous and for transposed operands."""
    for layout in (contiguous, reordered):
        operands = [layout(x) for x in case.operands()]
        assert_staged(case.call, operands, f"graph of {case}")
        if case.differentiable():
            ws = [layout(w) for w in cotangents_for(case, operands)]
            assert_staged(pulled(case, len(operands)), [*operands, *ws], f"graph of the vjp of {case}")


def assert_staged(function: Function, operands: Sequence[Any], what: str) -> None:
    """The graph of `function`, node by node, gives the bits of the eager call and what its Avals promise."""
    tensors = [Tensor(x) for x in operands]
    graph = make_graph(function)(*tensors)
    known = interpret(graph, operands, what)
    got = [known.get(v, v) for v in graph.outputs]
    assert_all(assert_same_bits, got, function(*tensors), what)


def interpret(graph: Graph, inputs: Sequence[Any], what: str) -> dict[Var, Any]:
    """The value of every variable of a graph, each checked against its Aval; no cell changes."""
    known: dict[Var, Any] = dict(zip(graph.inputs, inputs, strict=True)) | graph.constants
    for slot in graph.cells:
        if slot.before is not None and slot.cell.tensor is not None:
            known[slot.before] = slot.cell.tensor.data
    for node in graph.nodes:
        values = [known[v] if isinstance(v, Var) else v for v in node.inputs]
        outputs = as_tuple(evaluate(node.op, values, node.params))
        for var, output in zip(node.outputs, outputs, strict=True):
            assert aval_of(output) == var.aval, _mismatch(what, node, aval_of(output), var.aval)
            known[var] = output
        _check_view(node, values, outputs, what)
    return known


def _mismatch(what: str, node: Node, real: Any, stated: Any) -> str:
    return (
        f"{what}: '{node.op.name}' gave {real} with strides {real.strides}, but `abstract` says {stated} with strides "
        f"{stated.strides}"
    )


def _check_view(node: Node, values: Sequence[Any], outputs: Sequence[Any], what: str) -> None:
    """The stated view is one, and nothing else shares memory."""
    for output in outputs:
        if output.size == 0:
            continue
        for position, value in enumerate(values):
            shares = isinstance(value, np.ndarray) and np.may_share_memory(output, value)
            stated = node.view_of is not None and values[node.view_of] is value
            assert shares == stated, (
                f"{what}: '{node.op.name}' {'shares' if shares else 'does not share'} memory with operand {position}, "
                f"but `alias` says {node.view_of}"
            )
