"""What NumPy and CuPy call when a tensor is among the arguments of one of their functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np

from gradcore import ops
from gradcore.numpy_protocol import functions as functions
from gradcore.numpy_protocol.rules import RULES, Rule, is_harmless, operand
from gradcore.numpy_protocol.ufuncs import ACCUMULATIONS, REDUCTIONS, SPECIAL, UFUNCS
from gradcore.numpy_protocol.unsupported import UNSUPPORTED

# --- universal functions ----------------------------------------------------------------------------------------------


def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """`ufunc(*inputs)`, where one of them is a tensor or a cell."""
    function = _BY_UFUNC.get(ufunc) or _of_scipy(ufunc)
    if kwargs or method != "__call__":
        return _general(ufunc.__name__, function, method, inputs, kwargs)
    return function(*[operand(x, ufunc.__name__) if type(x) in CONVERTED else x for x in inputs])


CONVERTED = frozenset({np.ndarray, list, tuple})  # NumPy scalars go with the tensor that they meet, to its device
_BY_UFUNC: dict[Any, Callable[..., Any]] = {
    getattr(np, name): function for name, function in UFUNCS.items() if hasattr(np, name)
}


@cache
def _of_scipy(ufunc: Any) -> Callable[..., Any]:
    """The function for a ufunc of `scipy.special`; those of other libraries may share its name."""
    special = sys.modules.get("scipy.special")
    name = ufunc.__name__
    if name in SPECIAL and getattr(special, name, None) is ufunc:
        return SPECIAL[name]
    shown = f"numpy.{name}" if getattr(np, name, None) is ufunc else f"the universal function {name!r}"
    raise TypeError(_refusal(shown, UNSUPPORTED.get(name, "it has no rule here")))


def _refusal(shown: str, reason: str) -> str:
    return (
        f"{shown} does not take tensors: {reason}. Use functions of gradcore, or pass .numpy() or .detach().numpy() "
        "to compute a constant"
    )


def _general(name: str, function: Callable[..., Any], method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """Calls with keyword arguments, and the methods reduce, accumulate and outer."""
    inputs = [operand(x, name) for x in inputs]
    if method == "reduce" and name in REDUCTIONS:
        taken = {"axis": kwargs.pop("axis", 0), "keepdims": kwargs.pop("keepdims", False)}
        _refuse(f"numpy.{name}.reduce", kwargs)
        return REDUCTIONS[name](*inputs[:1], **taken)
    if method == "accumulate" and name in ACCUMULATIONS:
        axis = kwargs.pop("axis", 0)
        _refuse(f"numpy.{name}.accumulate", kwargs)
        return ACCUMULATIONS[name](*inputs[:1], axis)
    _refuse(f"numpy.{name}", kwargs)
    if method == "outer":
        return _outer(function, *inputs)
    if method != "__call__":
        raise TypeError(_refusal(f"numpy.{name}.{method}", "it has no rule here"))
    return function(*inputs)


def _outer(function: Callable[..., Any], a: Any, b: Any) -> Any:
    return function(ops.reshape(a, (*np.shape(a), *[1] * np.ndim(b))), b)


def _refuse(shown: str, kwargs: dict[str, Any]) -> None:
    """Raise where an argument asks for something that tensors cannot do."""
    for name, value in kwargs.items():
        if name == "out":
            raise TypeError(
                f"{shown} cannot honour out= with tensors, which are values; use the result, and write `a = a + t` for "
                "`a += t` where a is an array"
            )
        if not is_harmless(name, value):
            raise TypeError(f"{shown} cannot honour {name}= on tensors; cast with .astype(), choose with numpy.where")


# --- other functions --------------------------------------------------------------------------------------------------


@cache
def _by_function() -> dict[Any, Rule]:
    """The rules by NumPy's function; older versions lack some."""
    found: dict[Any, Rule] = {}
    for name, rule in RULES.items():
        try:
            found.setdefault(attrgetter(name)(np), rule)  # other names of a function have rules as well
        except AttributeError:
            continue
    return found


def array_function(self: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """`func(*args, **kwargs)`, where one of the arguments is a tensor or a cell."""
    rule = _by_function().get(func)
    if rule is not None:
        return rule(args, kwargs)
    module = func.__module__
    name = f"linalg.{func.__name__}" if module == "numpy.linalg" else func.__name__
    shown = f"numpy.{name}" if module in ("numpy", "numpy.linalg") else f"{module}.{name}"
    raise TypeError(_refusal(shown, UNSUPPORTED.get(name, "it has no rule here")))


# --- CuPy -------------------------------------------------------------------------------------------------------------


def cupy_kernel(self: Any, kernel: Any, *inputs: Any, **kwargs: Any) -> Any:
    """`kernel(*inputs)` for a universal function of CuPy; its kernels of other kinds have no derivative."""
    name = kernel.name.removeprefix("cupy_")
    known = name in UFUNCS and getattr(sys.modules["cupy"], name, None) is kernel
    if not known:
        raise TypeError(_refusal(f"the CuPy kernel {kernel.name!r}", "it has no rule here"))
    if len(inputs) > kernel.nin:
        raise TypeError(f"cupy.{name} cannot honour out= with tensors, which are values; use the result")
    return _general(name, UFUNCS[name], "__call__", inputs, kwargs)
