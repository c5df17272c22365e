"""Ops that hold a graph.

A captured function as one op: recorded once, staged as one node, and differentiated, batched and staged through its
meaning, which is to bind the ops of the graph again.  `scan` and `cond` have rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradcore.autodiff.capture import Body
from gradcore.autodiff.stage import make_graph
from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple
from gradcore.core.errors import StageError
from gradcore.core.graph import Graph
from gradcore.core.op import Family, Op
from gradcore.core.trees import unflatten
from gradcore.ops.operands import as_tensor, bind_general


def call(name: str, function: Callable[..., Any], *examples: Any) -> Callable[..., Any]:
    """Make an op of a function of tensors.

    Args:
        name: the op's name, for graphs and messages.
        function: takes as many tensors as there are examples; it must not read or assign cells.
        examples: tensors or arrays of the shapes and dtypes that the op will take.

    Returns:
        A function that binds the op; it takes operands of exactly those shapes and dtypes.

    Raises:
        StageError: the function uses cells.

    Example:
        >>> import gradcore as gc
        >>> from gradcore.ops.call import call
        >>> swish = call("swish", lambda x: x * gc.sigmoid(x), gc.zeros(2))
        >>> gc.grad(lambda x: swish(x).sum())(gc.tensor([0.0, 1.0])).numpy().round(4).tolist()
        [0.5, 0.9276999831199646]
    """
    graph = make_graph(function)(*examples)
    if graph.cells:
        names = ", ".join(slot.cell.name or "unnamed" for slot in graph.cells)
        raise StageError(f"'{name}' uses cells ({names}); pass what they hold as operands")
    op = _make_op(name, graph)

    def bound(*operands: Any) -> Any:
        result = as_tuple(bind_general(op, [as_tensor(x) for x in operands], ()))
        return unflatten(graph.out_structure, result)  # type: ignore[arg-type]

    return bound


def _make_op(name: str, graph: Graph) -> Op:
    body, count = Body(graph), len(graph.outputs)

    def meaning(*operands: Any) -> Any:
        outs = body(*operands)
        return outs if count > 1 else outs[0]

    def impl(xp: Any, out: Any, *arrays: Any) -> Any:
        outs = body.run(xp, arrays)
        for target, value in zip(() if out is None else as_tuple(out), outs, strict=False):
            xp.np.copyto(target, value)
        return (outs if count > 1 else outs[0]) if out is None else out

    def abstract(*avals: Aval) -> Any:
        _check(name, graph, avals)
        outs = tuple([var.aval.update(strides=None) for var in graph.outputs])
        return outs if count > 1 else outs[0]

    inputs = tuple([f"x{i}" for i in range(len(graph.inputs))])
    return Op(
        name=name,
        family=Family.CALL,
        inputs=inputs,
        outputs=count,
        meaning=meaning,
        impl=lambda xp, out, *arrays: impl(xp, out, *_checked(name, graph, arrays)),
        abstract=abstract,
        spec=graph,
        half=False,
        internal=True,
        doc=f"The captured function {graph.name}.",
    )


def _checked(name: str, graph: Graph, arrays: Sequence[Any]) -> Sequence[Any]:
    _check(name, graph, arrays)
    return arrays


def _check(name: str, graph: Graph, operands: Sequence[Any]) -> None:
    found = [(tuple(x.shape), x.dtype) for x in operands]
    expected = [(var.shape, var.dtype) for var in graph.inputs]
    if found != expected:
        texts = [", ".join(f"{d}{list(s)}" for s, d in pairs) for pairs in (found, expected)]
        raise ValueError(f"'{name}' got {texts[0]}; it was captured for {texts[1]}")
