"""NumPy functions from specs: straight-line ufunc calls, temporaries reused, nothing else."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from gradcore.kernels.expr import Expr
from gradcore.kernels.leaves import LEAVES
from gradcore.kernels.numpy_plan import Plan
from gradcore.kernels.numpy_steps import eager_source, into_source, plain_source
from gradcore.kernels.spec import ElementwiseSpec

Array: TypeAlias = np.ndarray[Any, Any]
Scratch: TypeAlias = Callable[[tuple[int, ...], Any], Array]


@dataclass(frozen=True)
class NumpyKernel:
    """A spec compiled for NumPy.

    `call(*arrays)` returns new C-contiguous arrays (a tuple where the spec has several outputs;
    NumPy scalars where all inputs are 0-d). `into(outs, scratch, *arrays)` writes the same bits
    into C-contiguous `outs`, allocating nothing; an out may be exactly the memory of an input.
    Python scalars may be passed to `call` where `weak_ok`; elsewhere convert them to 0-d arrays.
    """

    call: Callable[..., Any]
    into: Callable[..., None]
    source: str
    weak_ok: bool
    ufunc: Any  # the ufunc of a kernel that is one ufunc of its inputs, in their order; else None
    typed: Callable[[Any], Callable[..., Any]]  # dtype -> `call` for C-contiguous arrays of that floating dtype
    plain: Callable[[Any], Callable[..., Any]]  # the same without tests and without reuse, for small arrays


def compile_numpy(spec: ElementwiseSpec) -> NumpyKernel:
    """The NumPy functions of `spec`; `source` is what they were compiled from."""
    plan = Plan(spec, _evaluate)
    source = "\n".join([*eager_source(plan), "", "", *into_source(plan), ""])
    filename = f"<gradcore kernel {spec.name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    tree = ast.parse(source)
    namespace = _namespace(plan)
    exec(compile(tree, filename, "exec"), namespace)

    typed = partial(_typed_call, source, namespace, filename)
    plain = partial(_typed_call, "\n".join(plain_source(plan)), namespace, filename)
    return NumpyKernel(namespace["call"], namespace["into"], source, plan.weak_ok, _single(plan), typed, plain)


def _typed_call(source: str, namespace: dict[str, Any], filename: str, dtype: Any) -> Callable[..., Any]:
    constants = _TypedConstants(np.dtype(dtype))
    code = compile(constants.visit(ast.parse(source)), filename, "exec")
    names = {**namespace, **constants.names}
    exec(code, names)
    return names["call"]  # type: ignore[no-any-return]


def _single(plan: Plan) -> Any:
    if not plan.weak_ok or [argument.value for argument in plan.steps[0].args] != list(plan.spec.inputs):
        return None
    return _ufunc(plan.steps[0].leaf)


class _TypedConstants(ast.NodeTransformer):
    """What may be left out where all inputs are C-contiguous and of one floating dtype; the bits are the same.

    Numbers that ufuncs get become 0-d arrays (NumPy takes half a microsecond to make an array of a Python number).
    `order="C"` goes (it takes a microsecond where an axis has size 1). `-abs(x)` is one ufunc.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.names: dict[str, Any] = {}

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id.startswith("np_"):
            node.args = [self._typed(argument) for argument in node.args]
            node.keywords = [k for k in node.keywords if k.arg != "order"]
        return node

    def visit_If(self, node: ast.If) -> ast.If:
        node.test = self.visit(node.test)
        node.body = self._statements(node.body)
        return node

    def visit_Try(self, node: ast.Try) -> ast.Try:
        node.body = self._statements(node.body)
        return node

    def _statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """`t = np_abs(x); np_neg(t, t)` is `t = np_copysign(x, -1)`."""
        old, new = [self.visit(statement) for statement in body], []
        while old:
            text = "\n".join(map(ast.unparse, old[:2]))
            found = re.fullmatch(r"(\w+) = np_abs\((\w+)\)\nnp_neg\(\1, \1\)", text)
            if found:
                minus = ast.unparse(self._typed(ast.parse("-1", mode="eval").body))
                new += ast.parse(f"{found[1]} = np_copysign({found[2]}, {minus})").body
            else:
                new.append(old[0])
            del old[: 2 if found else 1]
        return new

    def _typed(self, argument: ast.expr) -> ast.expr:
        text = ast.unparse(argument)
        if not re.fullmatch(r"-?[\d.]+(e-?\d+)?", text):
            return argument
        name = f"constant_{len(self.names)}"
        self.names[name] = np.asarray(float(text), self.dtype)
        return ast.copy_location(ast.Name(name, ast.Load()), argument)


def _namespace(plan: Plan) -> dict[str, Any]:
    names: dict[str, Any] = {f"np_{leaf}": _ufunc(leaf) for leaf in plan.leaves}
    helpers = (np.asarray, np.broadcast, np.copyto, np.result_type, np.full)
    names.update((f"np_{helper.__name__}", helper) for helper in helpers)
    names |= {"masked": _masked, "masked_into": _masked_into, "np_copysign": np.copysign}
    return names | {"np_bool": np.bool_, "widen": _widen, "copied": partial(_widen, fresh=True)}


_INTEGERS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def _masked(mask: Any, x: Any) -> Any:
    """`np.where(mask, x, 0)`, ten times as fast on large arrays: the bits of x, not its value, times 0 or 1."""
    if type(x) is np.ndarray and x.shape == mask.shape != () and x.flags.c_contiguous and x.dtype in _INTEGERS:
        return np.multiply(x.view(_INTEGERS[x.dtype]), mask, order="C").view(x.dtype)
    return np.where(mask, x, 0)


def _masked_into(out: Any, mask: Any, x: Any) -> None:
    if x.shape == mask.shape != () and x.flags.c_contiguous and x.dtype in _INTEGERS and out.dtype == x.dtype:
        kind = _INTEGERS[x.dtype]
        np.multiply(x.view(kind), mask, out.view(kind))
    else:
        result = np.where(mask, x, 0)
        np.copyto(out, result)


def _ufunc(leaf: str) -> Callable[..., Any]:
    name = LEAVES[leaf].numpy
    if name.startswith("scipy.special."):
        import scipy.special  # type: ignore[import-untyped, unused-ignore]

        return getattr(scipy.special, name.rpartition(".")[2])  # type: ignore[no-any-return]
    return getattr(np, name)  # type: ignore[no-any-return]


def _evaluate(node: Expr, *args: Any) -> Any:
    """A leaf of constants in float64, as a Python number, so that it stays weak."""
    with np.errstate(all="ignore"):
        return _ufunc(node.leaf)(*args).item()


def _widen(value: Any, *inputs: Any, fresh: bool = False) -> Any:
    """`value` in the broadcast shape of `inputs`; itself where it has it and `fresh` is false."""
    shape = np.broadcast(*inputs).shape
    if not fresh and value.shape == shape:
        return value
    out = np.empty(shape, value.dtype)
    np.copyto(out, value)
    return out
