"""How ops that are not in the op table are written in the text of a graph."""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

from gradcore.autodiff.capture import Body
from gradcore.core.graph import Graph
from gradcore.core.graph_text import FORMS, VALUE_FORMS, Form, ValueForm, decode, encode, from_text, to_text
from gradcore.core.op import OPS, Op, Promotion
from gradcore.kernels.expr import Expr, walk
from gradcore.ops.call import _make_op as make_call
from gradcore.ops.elementwise import make_op
from gradcore.ops.scalar import Scalar
from gradcore.ops.scan import Loop

# --- elementwise ops: their expressions -------------------------------------------------------------------------------


def _encode_scalar(op: Op) -> Any:
    scalar = op.spec
    if not isinstance(scalar, Scalar):
        return None
    rows = scalar.rows()[0] if scalar._partials is not None else []
    nodes = walk([*scalar.outputs, *rows])
    places = {node: place for place, node in enumerate(nodes)}
    table = [(n.leaf, [places[a] for a in n.args], encode(n.value)) for n in nodes]
    roots = [places[e] for e in scalar.outputs], [places[e] for e in rows]
    fixed = scalar.differentiable
    return op.name, scalar.inputs, table, roots, fixed, scalar.hyper, op.promotion.value, op.doc


def _decode_scalar(literal: Any) -> Op:
    name, inputs, table, (outputs, rows), fixed, hyper, promotion, doc = literal
    nodes: list[Expr] = []
    for leaf, args, value in table:
        nodes.append(Expr(leaf, tuple([nodes[a] for a in args]), decode(value)))
    partials = tuple([nodes[place] for place in rows])
    stated = (lambda *_: partials) if rows else None
    made = tuple([nodes[place] for place in outputs])
    scalar = Scalar(name, inputs, None, stated, fixed, made, doc=doc, hyper=hyper)
    return make_op(scalar, Promotion(promotion), (), doc, internal=True)


# --- ops of this library that are not in its table --------------------------------------------------------------------


def _encode_backward(op: Op) -> Any:
    """The `vjp_op` of an op for a mask."""
    for base in OPS.values():
        if base.vjp_op is not None and op.name.startswith(base.name):
            for mask in product((True, False), repeat=len(base.inputs)):
                if any(mask) and _backward(base, mask) is op:
                    return base.name, mask
    return None


def _backward(base: Op, mask: tuple[bool, ...]) -> Op | None:
    try:
        return base.vjp_op(mask, (None,) * len(base.params))[0]  # type: ignore[misc,no-any-return]
    except (TypeError, ValueError, IndexError):
        return None


def _decode_backward(literal: Any) -> Op:
    name, mask = literal
    found = _backward(OPS[name], mask)
    assert found is not None
    return found


def _encode_named(op: Op) -> Any:
    for name, module in list(sys.modules.items()):
        if name.startswith("gradcore.ops."):
            for attribute, value in vars(module).items():
                if value is op:
                    return name.rpartition(".")[2], attribute
    return None


def _decode_named(literal: Any) -> Op:
    module, attribute = literal
    found = getattr(sys.modules[f"gradcore.ops.{module}"], attribute)
    if not isinstance(found, Op):
        raise TypeError(f"gradcore.ops.{module}.{attribute} is not an op")
    return found


# --- ops that hold a graph --------------------------------------------------------------------------------------------


def _encode_call(op: Op) -> Any:
    return (op.name, to_text(op.spec)) if isinstance(op.spec, Graph) else None


FORMS["elementwise"] = Form(_encode_scalar, _decode_scalar)
FORMS["backward"] = Form(_encode_backward, _decode_backward)
FORMS["named"] = Form(_encode_named, _decode_named)
FORMS["call"] = Form(_encode_call, lambda literal: make_call(literal[0], from_text(literal[1])))
VALUE_FORMS["body"] = ValueForm(Body, lambda body: to_text(body.graph), lambda text: Body(from_text(text)))
VALUE_FORMS["loop"] = ValueForm(Loop, lambda loop: encode(tuple(loop)), lambda fields: Loop(*decode(fields)))
