"""The eager path: one generated Python function per op.

An op on a small array takes NumPy half a microsecond, so what a library adds must be counted in instructions.  The
general way through `bind` (tuples, loops over operands, Avals) costs several microseconds.  So each op gets, on its
first use, a function of exact arity that tests the common case and does nothing else: the operands are plain Tensors
on NumPy arrays of one floating dtype (or one is a Python scalar), nothing unusual is open in any thread, and the
gradient is recorded or not.  For `mul` it reads:

    def mul(a, b):
        if type(a) is Tensor and type(b) is Tensor and not switch.busy:
            x0 = a.data; x1 = b.data; d = x0.dtype
            if type(x0) is ndarray and type(x1) is ndarray and (d is F32 or d is F64) and x1.dtype is d:
                y = call(x0, x1)
                n0 = a.node; n1 = b.node
                t = new(Tensor); t.data = y; t.node = None
                if n0 is None and n1 is None: return t
                t.node = r = new(Record); r.saved = (x0, x1); ...
                return t
        if switch.busy: return watched(a, b)
        return slow((a, b), ())

`watched` is the same function once more, for when something unusual is open.  Most of that (`no_grad`, hooks,
transforms of other operands or threads) changes little: hooks are told, and under `no_grad` there is no record.  Only
in a capture or in a checkpoint region does it give up.  Everything else goes to `slow`.

A generated function replaces the code of the stub that users imported, so the name `gradcore.mul` and the method
`Tensor.__mul__` need no second look-up.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from itertools import product
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from gradcore.autodiff.record import Pull, Record
from gradcore.backend import NUMPY
from gradcore.core.op import Mask, Op
from gradcore.core.state import INTERNAL, next_serial, state, switch
from gradcore.core.tensor import Tensor

Slow = Callable[[tuple[Any, ...], tuple[Any, ...]], Any]

COMMON = {
    "Tensor": Tensor,
    "Record": Record,
    "switch": switch,
    "state": state,
    "ndarray": np.ndarray,
    "asarray": np.asarray,
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "BOOL": np.dtype(np.bool_),
    "serial": next_serial,
    "INTERNAL": INTERNAL,
    "getframe": sys._getframe,
    "new": object.__new__,
    "NUMPY": NUMPY,
}


class Eager:
    """What the generated function of one op is made of.

    Attributes:
        op: the op.
        call: computes on raw arrays (arrays, then params); returns an array, or a tuple with auxiliary outputs. A
            pair: one for float32, one for float64.
        raw: makes the raw backward function for a mask of wanted gradients, or returns None.
        slow: everything that the short cut does not cover.
        scalars: operands may be Python scalars.
        weak_ok: `call` takes Python scalars as they are.
        watched: is this the function for when something unusual is open?
    """

    watched = False

    def __init__(
        self,
        op: Op,
        call: Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]],
        raw: Callable[[Mask], Any],
        slow: Slow,
        scalars: bool = False,
        weak_ok: bool = False,
    ) -> None:
        self.op, self.raw, self.slow = op, raw, slow
        single, double = call if isinstance(call, tuple) else (call, call)
        self.by_dtype = single is not double
        self.scalars, self.weak_ok = scalars, weak_ok
        self.wanted = [i for i in range(len(op.inputs)) if op.can_differentiate(i)]
        self.namespace: dict[str, Any] = {**COMMON, "call": single, "call64": double, "slow": slow, "op": op}
        twin = generate(self._twin, f"{op.name}, watched", (*op.inputs, *op.params), op.doc)
        self.namespace["watched"] = twin

    def _twin(self) -> Eager:
        twin = copy(self)
        twin.watched = True
        return twin

    def source(self) -> str:
        """The text of the generated function."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        op = self.op
        yield f"def {op.name}({', '.join((*op.inputs, *op.params))}):"
        slow = f"return slow({_tuple(op.inputs)}, {_tuple(op.params)})"
        if self.watched:
            yield f"    if state.base is not None or state.regions: {slow}"
            yield "    hooks = state.hooks"
        yield from self._case(dict.fromkeys(range(len(op.inputs)), "Tensor"))
        for numbers in self._scalar_places():
            yield from self._case({i: "scalar" if i in numbers else "Tensor" for i in range(len(op.inputs))})
        if not self.watched:
            yield f"    if switch.busy: return watched({', '.join((*op.inputs, *op.params))})"
        yield f"    {slow}"

    def _scalar_places(self) -> list[tuple[int, ...]]:
        """Which operands may be Python numbers, in the order of the tests."""
        if not self.scalars:
            return []
        if len(self.op.inputs) == 2:
            return [(1,), (0,)]
        places = [(2,), (1,), (1, 2)] if len(self.op.inputs) == 3 else []
        return [numbers for numbers in places if set(self.wanted) - set(numbers)]

    def _case(self, kinds: dict[int, str]) -> Iterator[str]:
        """One combination of operand kinds."""
        inputs = self.op.inputs
        tensors = [i for i, kind in kinds.items() if kind == "Tensor"]
        numbers = [i for i, kind in kinds.items() if kind == "scalar"]
        tests = [f"type({inputs[i]}) is Tensor" for i in tensors]
        tests += [f"(type({inputs[i]}) is float or type({inputs[i]}) is int)" for i in numbers]
        tests += [] if self.watched else ["not switch.busy"]
        yield f"    if {' and '.join(tests)}:"
        for i in tensors:
            yield f"        x{i} = {inputs[i]}.data"
        typed = [i for i in tensors if i in self.wanted]
        if typed:
            yield f"        d = x{typed[0]}.dtype"
        yield f"        if {' and '.join(self._dtype_tests(tensors, typed))}:"
        yield from self._body(typed, numbers)

    def _dtype_tests(self, tensors: list[int], typed: list[int]) -> Iterator[str]:
        yield from (f"type(x{i}) is ndarray" for i in tensors)
        if self.scalars:
            yield from (f"x{i}.flags.c_contiguous" for i in tensors)
        if typed:
            yield "(d is F32 or d is F64)"
        yield from (f"x{i}.dtype is d" for i in typed[1:])
        if self.scalars and self.wanted:
            yield from (f"x{i}.dtype is BOOL" for i in tensors if i not in self.wanted)

    def _body(self, recorded: list[int], numbers: list[int]) -> Iterator[str]:
        operands = ", ".join([f"x{i}" for i in range(len(self.op.inputs))] + list(self.op.params))
        pad = "            "
        outs = ", ".join(f"y{j}" for j in range(self.op.outputs))
        call = f"(call if d is F32 else call64)({operands})" if self.by_dtype and recorded else f"call({operands})"
        values = [name if i in numbers else f"x{i}" for i, name in enumerate(self.op.inputs)]
        told = f"op, v, {_tuple(self.op.params)}"
        results = _tuple([f"y{j}" for j in range(self.op.outputs)])
        if self.watched:
            yield f"{pad}v = {_tuple(values)}"
            yield f"{pad}for h in hooks: h.before({told})"
        made = [f"x{i} = {values[i] if self.weak_ok else f'asarray({values[i]}, d)'}; " for i in numbers]
        yield f"{pad}try: {''.join(made)}{outs} = {call}"
        yield f"{pad}except Exception: return slow({_tuple(self.op.inputs)}, {_tuple(self.op.params)})"
        yield f"{pad}if type(y0) is not ndarray: y0 = asarray(y0)"
        if self.watched:
            yield f"{pad}for h in hooks: h.after({told}, {results})"
        if not recorded:
            yield f"{pad}return Tensor(y0)"
            return
        for i in recorded:
            yield f"{pad}n{i} = {self.op.inputs[i]}.node"
        yield f"{pad}t = new(Tensor); t.data = y0; t.node = None"
        none = " and ".join(f"n{i} is None" for i in recorded)
        yield f"{pad}if {none}{' or not state.recording' if self.watched else ''}: return t"
        yield f"{pad}t.node = r = new(Record)"
        yield f"{pad}f = getframe(1); code = f.f_code"
        yield f"{pad}while INTERNAL[code.co_filename]: f = f.f_back; code = f.f_code"
        masks = [m for m in product((True, False), repeat=len(recorded)) if any(m)]
        for mask in masks:
            tests = [f"n{i} is not None" for i, on in zip(recorded, mask, strict=True) if on]
            test = f"if {' and '.join(tests)}: " if mask == masks[0] else f"elif {' and '.join(tests)}: "
            test = "else: " if mask == masks[-1] and len(masks) > 1 else test
            needed = {i for i, on in zip(recorded, mask, strict=True) if on}
            yield f"{pad}{test}{self._record(needed)}"
        yield f"{pad}r.params = {_tuple(self.op.params)}; r.avals = {self._shapes(numbers)}"
        yield f"{pad}r.serial = serial(); r.code = code; r.offset = f.f_lasti"
        if self.watched:
            yield f"{pad}for h in hooks: h.recorded(r, {results})"
        yield f"{pad}return t"

    def _record(self, needed: set[int]) -> str:
        op = self.op
        mask = tuple([i in needed for i in range(len(op.inputs))])
        pull = "pull_" + "".join("1" if on else "0" for on in mask)
        if pull not in self.namespace:
            self.namespace[pull] = made = Pull(op, mask)
            made.raw = self.raw(mask)
        saves = op.saves(mask, ())
        saved = _tuple([*[f"x{i}" for i in saves.inputs], *[f"y{j}" for j in saves.outputs]])
        parents = _tuple([f"n{i}" if i in needed else "None" for i in range(len(op.inputs))])
        return f"r.pull = {pull}; r.parents = {parents}; r.saved = {saved}"

    def _shapes(self, numbers: list[int]) -> str:
        """Operand shapes for the rule; an elementwise op needs none where all are equal, a `vjp_op` never."""
        count = len(self.op.inputs)
        shapes = ["()" if i in numbers else f"x{i}.shape" for i in range(count)]
        if not self.scalars:
            return "None" if self.op.vjp_op is not None else _tuple(shapes)
        if count - len(numbers) == 1:
            return "None"
        arrays = [shape for i, shape in enumerate(shapes) if i not in numbers]
        return f"None if {' == '.join(arrays)} else {_tuple(shapes)}"


TAKEN = re.compile(r"[xyn]\d+|[trfdhv]|code|call|call64|slow|watched|hooks|op|pull_\d+")


def is_taken(name: str) -> bool:
    """Do generated functions use this name themselves, so that an operand needs another?"""
    return name in COMMON or TAKEN.fullmatch(name) is not None


def _tuple(names: Any) -> str:
    names = tuple(names)
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def generate(make: Callable[[], Eager], name: str, signature: tuple[str, ...], doc: str) -> Callable[..., Any]:
    """A function that generates its own code on its first call."""

    def compile_self() -> Any:
        eager = make()
        namespace = _globals(function)
        source = eager.source()
        namespace.update(eager.namespace)
        filename = f"<gradcore op {name}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        made: dict[str, Any] = {}  # apart from the globals, since an op may have the name of one
        exec(compile(source, filename, "exec"), namespace, made)
        function.__code__ = made[eager.op.name].__code__
        return function

    function: Any = FunctionType(_stub_code(name, signature), {"compile_self": compile_self}, name)
    function.__doc__ = doc
    function.__module__ = "gradcore"
    return function  # type: ignore[no-any-return]


def _globals(function: Any) -> dict[str, Any]:
    return function.__globals__  # type: ignore[no-any-return]


def _stub_code(name: str, signature: tuple[str, ...]) -> CodeType:
    return _stub(signature).replace(co_name=name, co_qualname=name, co_filename=f"<gradcore op {name}>")


@cache
def _stub(signature: tuple[str, ...]) -> CodeType:
    """The stub of every op with these operands; compiling one for each takes 30 microseconds an op at import."""
    names = ", ".join(signature)
    namespace: dict[str, Any] = {}
    exec(f"def stub({names}): return compile_self()({names})", namespace)
    return namespace["stub"].__code__  # type: ignore[no-any-return]
