"""One rule per function of NumPy: which function of ours stands for it, and which of its arguments that takes.

The text of a rule lists NumPy's parameters in order. "a=x" is our parameter x; "-out" is one that we cannot honour,
which may only have its default; "*" begins those that are given by keyword; "dtype!" casts the first operand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradcore.backend import native
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.ops.conversion import cast
from gradcore.ops.operands import named_tensor

Function = Callable[..., Any]
OPERANDS = frozenset(
    {"a", "b", "x", "y", "x1", "x2", "m", "v", "p", "A", "arr", "ary", "condition", "array", "a1", "a2"}
)
HARMLESS: dict[str, tuple[Any, ...]] = {  # values that ask for nothing
    "where": (True,),
    "subok": (True, False),
    "order": ("K", "C", "A"),
    "casting": ("same_kind",),
    "copy": (True,),
    "optimize": (True, False),
    "overwrite_input": (False,),
    "returned": (False,),
    "kind": ("stable", "quicksort", "mergesort", "heapsort"),
    "stable": (True, False),
    "mode": ("raise",),
    "full": (False,),
}


class Parameter(NamedTuple):
    """One parameter of a function of NumPy: our name for it, or None where it cannot be honoured."""

    name: str
    ours: str | None
    by_keyword: bool
    casts: bool


@dataclass(frozen=True)
class Rule:
    """What a function of NumPy does with tensors."""

    name: str  # in NumPy's namespace, such as "linalg.norm"
    function: Function
    parameters: tuple[Parameter, ...]
    differentiable: bool

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        given = self._given(args, kwargs)
        call: dict[str, Any] = {}
        dtype = None
        for parameter in self.parameters:
            if parameter.name not in given or (value := given.pop(parameter.name)) is np._NoValue:
                continue
            if parameter.ours is not None:
                call[parameter.ours] = operand(value, self.name) if parameter.name in OPERANDS else value
            elif parameter.casts:
                dtype = value
            else:
                self._refuse_unless_harmless(parameter.name, value)
        if given:
            raise TypeError(f"{self.shown} got an unexpected argument {next(iter(given))}=; on tensors it {self.takes}")
        return self.function(**call) if dtype is None else self._in_dtype(np.dtype(dtype), call)

    def _in_dtype(self, dtype: np.dtype[Any], call: dict[str, Any]) -> Any:
        """The function in another dtype of the same kind: integers stay integers."""
        first = next(iter(call))
        value = named_tensor(call[first], self.name)
        if np.can_cast(value.dtype, dtype, "same_kind"):
            result = self.function(**{**call, first: cast(value, dtype)})
            if result.dtype.kind == dtype.kind:
                return cast(result, dtype)
        raise TypeError(f"{self.shown} cannot honour dtype={dtype} for {value.aval}; cast with .astype()")

    def _given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = [parameter.name for parameter in self.parameters if not parameter.by_keyword]
        if len(args) > len(names):
            raise TypeError(f"{self.shown} got {len(args)} positional arguments; on tensors it {self.takes}")
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def _refuse_unless_harmless(self, name: str, value: Any) -> None:
        if not is_harmless(name, value):
            raise TypeError(f"{self.shown} cannot honour {name}= on tensors; it {self.takes}")

    @property
    def shown(self) -> str:
        return f"numpy.{self.name}"

    @property
    def takes(self) -> str:
        return f"takes {', '.join(self.arguments)}"

    @property
    def arguments(self) -> list[str]:
        """The parameters that are honoured."""
        return [parameter.name for parameter in self.parameters if parameter.ours is not None or parameter.casts]


@dataclass(frozen=True)
class Variadic(Rule):
    """A function that takes any number of operands, and keyword arguments by its own names."""

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        call = {}
        honoured = {parameter.name: parameter for parameter in self.parameters}
        for name, value in kwargs.items():
            if name not in honoured:
                raise TypeError(f"{self.shown} got an unexpected argument {name}=; on tensors it {self.takes}")
            if honoured[name].ours is None:
                self._refuse_unless_harmless(name, value)
            elif value is not np._NoValue:
                call[name] = value
        return self.function(*[operand(arg, self.name) for arg in args], **call)


def is_harmless(name: str, value: Any) -> bool:
    """Whether an argument that cannot be honoured asks for nothing."""
    if value is None or value is np._NoValue:
        return True
    return isinstance(value, (bool, str, np.bool_)) and value in HARMLESS.get(name, ())


def operand(value: Any, name: str) -> Any:
    """Arrays and lists of numbers as tensors; lists of tensors are refused."""
    if type(value) is np.ndarray:
        return Tensor(native(value)) if value.dtype.kind in "fiub" else value
    if isinstance(value, np.generic):
        return operand(np.asarray(value), name)
    if isinstance(value, (list, tuple)):
        if any(isinstance(part, (Tensor, Cell)) for part in value):
            raise TypeError(f"numpy.{name} got a list that holds tensors; join them with numpy.stack first")
        array = np.asarray(value)
        return Tensor(native(array)) if array.dtype.kind in "fiub" else array
    return value


RULES: dict[str, Rule] = {}


def rule(name: str, function: Function, text: str, differentiable: bool = True) -> None:
    """Add a rule."""
    RULES[name] = Rule(name, function, _parsed(text), differentiable)


def variadic(name: str, function: Function, text: str = "", differentiable: bool = True) -> None:
    """Add the rule of a function of any number of operands."""
    RULES[name] = Variadic(name, function, _parsed(text), differentiable)


def rules(table: str, functions: Any, differentiable: bool = True) -> None:
    """Add the rules of lines such as "flip: m=x axis"; the functions are looked up by name, in a module."""
    for line in table.strip().splitlines():
        name, text = line.strip().split(":")
        rule(name, getattr(functions, name.rpartition(".")[2]), text, differentiable)


def _parsed(text: str) -> tuple[Parameter, ...]:
    positional, _, keyword = text.partition("*")
    pairs = [(word, False) for word in positional.split()] + [(word, True) for word in keyword.split()]
    return tuple([_parameter(word, by_keyword) for word, by_keyword in pairs])


def _parameter(word: str, by_keyword: bool) -> Parameter:
    if word.startswith("-"):
        return Parameter(word[1:], None, by_keyword, False)
    if word.endswith("!"):
        return Parameter(word[:-1], None, by_keyword, True)
    name, _, ours = word.partition("=")
    return Parameter(name, ours or name, by_keyword, False)
