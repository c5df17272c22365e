"""`gradcore.fused`: an op that is a composition of others, with kernels that compute it faster."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gradcore.autodiff.capture import replay
from gradcore.autodiff.stage import Stage
from gradcore.autodiff.transforms import jvp, vjp
from gradcore.core.aval import Aval
from gradcore.core.bind import as_tuple
from gradcore.core.errors import GradcoreError
from gradcore.core.graph import Graph
from gradcore.core.op import Family, Mask, Op, Saved
from gradcore.core.state import replaced
from gradcore.core.tensor import Tensor, Traced
from gradcore.custom.formula import site_of
from gradcore.kernels.spec import RowSpec
from gradcore.ops.operands import as_operand, as_tensor, bind_general

Function = Callable[..., Any]
Kernel: TypeAlias = Function | RowSpec


def fused(meaning: Function | None = None, *, kernels: Mapping[str, Kernel] | None = None) -> Any:
    """An op from a composition of others, with kernels that compute the same faster.

    The meaning defines the op: shapes, dtypes and every derivative come from it, and it computes the op on devices for
    which there is no kernel. A backward pass runs the derivative of the meaning, on the saved operands.

    Args:
        meaning: a function of tensors, written with functions of gradcore, that returns a tensor or a tuple of them.
            Its positional parameters are the operands; those that are keyword-only are static and hashable.
        kernels: for "cpu" a function of NumPy arrays (and of the static parameters, by keyword) that returns arrays;
            for "cuda" the same on CuPy arrays, or a `RowSpec`.

    Returns:
        A function like `meaning`; without `meaning`, a decorator.

    Raises:
        GradcoreError: when called, the meaning closes over a tensor that needs a gradient, or a kernel returns other
            shapes or dtypes than the meaning.

    Example:
        >>> import numpy as np, gradcore as gc
        >>> @gc.fused(kernels={"cpu": lambda x: np.sqrt(np.vdot(x, x) / x.size)})
        ... def root_mean_square(x):
        ...     return gc.sqrt((x * x).mean())
        >>> root_mean_square(gc.tensor([1.0, 7.0]))
        tensor(5., dtype=float32, device='cpu')
        >>> gc.grad(root_mean_square)(gc.tensor([1.0, 7.0]))
        tensor([0.1, 0.7], dtype=float32, device='cpu')
    """
    if meaning is None:
        return lambda function: fused(function, kernels=kernels)
    if unknown := set(kernels or {}) - {"cpu", "cuda"}:
        raise ValueError(f"kernels are for 'cpu' and 'cuda', not {', '.join(sorted(unknown))}")
    return _Composite(meaning, dict(kernels or {})).public()


class _Composite:
    """One function, and its op for each number of outputs."""

    def __init__(self, meaning: Function, kernels: dict[str, Kernel]) -> None:
        self.function, self.kernels, self.site = meaning, kernels, site_of(meaning)
        self.signature = inspect.signature(meaning)
        parameters = self.signature.parameters.values()
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise TypeError(f"{self.site} must name its operands and parameters one by one")
        self.params = tuple([p.name for p in parameters if p.kind is p.KEYWORD_ONLY])
        self.inputs = tuple([p.name for p in parameters if p.kind is not p.KEYWORD_ONLY])
        self.graphs: dict[Any, Graph] = {}
        self.ops: dict[Any, Op] = {}

    def public(self) -> Function:
        def function(*args: Any, **kwargs: Any) -> Any:
            bound = self.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            operands = [bound.arguments[name] for name in self.inputs]
            params = tuple([bound.arguments[name] for name in self.params])
            return self.apply(operands, params)

        function.__name__, function.__qualname__ = self.function.__name__, self.function.__qualname__
        function.__doc__, function.__module__ = self.function.__doc__, self.function.__module__
        function.__signature__ = self.signature  # type: ignore[attr-defined]
        return function

    def apply(self, operands: Sequence[Any], params: tuple[Any, ...]) -> Any:
        tensors = [as_tensor(as_operand(x, self.function.__name__)) for x in operands]
        graph = self.graph([x.aval for x in tensors], params)
        single = len(graph.outputs) == 1 and graph.out_structure is not None and graph.out_structure.kind is None
        result = as_tuple(bind_general(self.op(len(graph.outputs)), tensors, params))
        return result[0] if single else result

    def graph(self, avals: Sequence[Aval], params: tuple[Any, ...]) -> Graph:
        """The captured meaning for operands of these shapes."""
        key = tuple([(a.shape, a.dtype, a.device) for a in avals]), params
        if key not in self.graphs:
            self.graphs[key] = self._capture(avals, params)
        return self.graphs[key]

    def _capture(self, avals: Sequence[Aval], params: tuple[Any, ...]) -> Graph:
        stage = Stage(self.function.__name__)
        stage.graph.inputs = [stage.new_var(Aval(a.shape, a.dtype, device=a.device)) for a in avals]
        with replaced("base", stage), replaced("recording", True):
            result = self.meaning(*[Tensor(v) for v in stage.graph.inputs], *params)
            parts = tuple(result) if isinstance(result, (tuple, list)) else (result,)
            if not parts or not all(isinstance(y, Tensor) for y in parts):
                raise TypeError(f"{self.site} must return a tensor, or a tuple of tensors")
            if any(isinstance(y, Traced) or y.node is not None for y in parts):
                raise GradcoreError(f"{self.site} closes over a tensor that needs a gradient; make it an operand")
            graph = stage.finish(result)
        if graph.cells:
            raise GradcoreError(f"{self.site} reads a cell, such as a parameter; make it an operand")
        return graph

    def meaning(self, *values: Any) -> Any:
        count = len(self.inputs)
        return self.function(*values[:count], **dict(zip(self.params, values[count:], strict=True)))

    def op(self, count: int) -> Op:
        if count not in self.ops:
            self.ops[count] = self._make(count)
        return self.ops[count]

    def _make(self, count: int) -> Op:
        cuda = self.kernels.get("cuda")
        return Op(
            name=self.function.__name__,
            family=Family.FUSED,
            inputs=self.inputs,
            params=self.params,
            outputs=count,
            impl=self.impl,
            abstract=self.abstract,
            meaning=lambda *values: _flat(self.meaning(*values), count),
            vjp=self.vjp if self.kernels else None,
            jvp=self.jvp if self.kernels else None,
            saves=lambda needed, params: Saved(tuple(range(len(self.inputs)))),
            kernels={"cuda": cuda} if isinstance(cuda, RowSpec) else {},
            half=False,
            internal=True,
            doc=inspect.getdoc(self.function) or "",
        )

    def abstract(self, *values: Any) -> Any:
        count = len(self.inputs)
        outs = self.graph(values[:count], values[count:]).outputs
        avals = tuple([out.aval.update(strides=None) for out in outs])
        return avals if len(avals) > 1 else avals[0]

    # --- computing ----------------------------------------------------------------------------------------------------

    def impl(self, xp: Any, out: Any, *values: Any) -> Any:
        arrays, params = values[: len(self.inputs)], values[len(self.inputs) :]
        graph = self.graph([Aval(x.shape, x.dtype, device=xp.name) for x in arrays], params)
        kernel = self.kernels.get(xp.device.kind)
        if callable(kernel):
            results = self._by_kernel(xp, kernel, graph, arrays, params)
        else:
            results = replay(graph, arrays, lambda op, xs, ps: xp.run(op, None, xs, ps), lambda array: array)
            results = tuple([_own(xp, y, (*arrays, *graph.constants.values())) for y in results])
        for target, result in zip(() if out is None else as_tuple(out), results, strict=False):
            xp.np.copyto(target, result)
        return (results if len(results) > 1 else results[0]) if out is None else out

    def _by_kernel(self, xp: Any, kernel: Function, graph: Graph, arrays: Any, params: Any) -> tuple[Any, ...]:
        results = kernel(*[_protected(x) for x in arrays], **dict(zip(self.params, params, strict=True)))
        results = tuple([xp.np.asarray(y) for y in (results if isinstance(results, (tuple, list)) else (results,))])
        found, expected = [(y.shape, y.dtype) for y in results], [(v.shape, v.dtype) for v in graph.outputs]
        if found != expected:
            texts = [", ".join(f"{d}{list(s)}" for s, d in pairs) for pairs in (found, expected)]
            raise GradcoreError(
                f"the {xp.device.kind} kernel of {self.site} returned {texts[0]}, its meaning {texts[1]}"
            )
        return tuple([_own(xp, y, arrays) for y in results])

    # --- derivatives: those of the meaning ----------------------------------------------------------------------------

    def vjp(self, needed: Mask, g: Any, xs: Any, ys: Any, params: tuple[Any, ...]) -> tuple[Any, ...]:
        moving = [i for i, need in enumerate(needed) if need]
        values, pull = vjp(self._of(xs, moving, params), *[xs[i] for i in moving])
        gs = g if isinstance(g, tuple) else (g,)
        made = iter(pull(tuple([y * 0 if c is None else c for y, c in zip(values, gs, strict=True)])))
        return tuple([next(made) if need else None for need in needed])

    def jvp(self, tangents: Sequence[Any], xs: Any, ys: Any, params: tuple[Any, ...]) -> tuple[Any, ...]:
        moving = [i for i, t in enumerate(tangents) if t is not None]
        function = self._of(xs, moving, params)
        return tuple(jvp(function, tuple([xs[i] for i in moving]), tuple([tangents[i] for i in moving]))[1])

    def _of(self, xs: Sequence[Any], moving: Sequence[int], params: tuple[Any, ...]) -> Function:
        """The meaning as a function of some operands, with a tuple as its result."""

        def function(*some: Any) -> tuple[Any, ...]:
            every = list(xs)
            for i, x in zip(moving, some, strict=True):
                every[i] = x
            return tuple(as_tuple(self.meaning(*every, *params)))

        return function


def _flat(result: Any, count: int) -> Any:
    return tuple(result) if count > 1 else as_tuple(result)[0]


def _protected(array: Any) -> Any:
    """A view that a kernel cannot write to, where the library knows such views."""
    view = array.view()
    if type(view) is np.ndarray:
        view.flags.writeable = False
    return view


def _own(xp: Any, result: Any, others: Sequence[Any]) -> Any:
    """A C-contiguous array that shares no memory with the operands."""
    shared = any(xp.np.may_share_memory(result, x) for x in others)
    return xp.np.array(result, order="C") if shared else xp.contiguous(result)
