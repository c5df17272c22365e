"""What transforms take and return: trees of tensors, arrays, numbers, cells and modules.

A module stands for its parameters that require gradients: its derivative is a dictionary by dotted path, like
`state_dict`, and the function gets the module itself, which reads the traced values in place of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np

from gradcore.backend import backend_on, is_cupy, native
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.graph import Var
from gradcore.core.op import OPS
from gradcore.core.state import pushed, state
from gradcore.core.tensor import Tensor, Traced
from gradcore.core.trees import flatten, flatten_like, tree_map, unflatten

Function = Callable[..., Any]


def as_value(leaf: Any, what: str = "an argument", device: str = "cpu") -> Any:
    """A Tensor from a leaf of a tree of tensors, cells, arrays or numbers; a number comes to `device`."""
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, Cell):
        return _held(leaf, what)
    if is_cupy(leaf):
        backend_on(f"cuda:{leaf.device.id}")
        return Tensor(leaf.view())
    number = isinstance(leaf, (bool, int, float, np.generic))
    single = isinstance(leaf, float) and not isinstance(leaf, np.generic)
    try:
        array = np.asarray(leaf, np.float32 if single else None)
    except Exception as error:
        raise TypeError(f"{what} is {type(leaf).__name__}, which is not a tensor, an array or a number") from error
    if array.dtype.kind == "c":
        raise TypeError(
            f"{what} is {array.dtype}; gradcore computes with real numbers: pass the real and the imaginary part as "
            "two arrays"
        )
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} is {type(leaf).__name__}, which is not a tensor, an array or a number")
    return Tensor(backend_on(device).receive(native(array)) if number else native(array))


def _held(cell: Cell, what: str) -> Any:
    value = cell.read()
    if value is None:
        raise TypeError(f"{what} is the cell {cell.name or 'without a name'}, which is empty")
    return value


def common_device(leaves: Sequence[Any]) -> str:
    """Where the numbers among these leaves belong: on the one device of the others, else on the CPU."""
    holders = [leaf.read() if isinstance(leaf, Cell) else leaf for leaf in leaves]
    devices = {_device(leaf) for leaf in holders if isinstance(leaf, (Tensor, np.ndarray)) or is_cupy(leaf)}
    return devices.pop() if len(devices) == 1 else "cpu"


def _device(leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return leaf.aval.device
    return f"cuda:{leaf.device.id}" if is_cupy(leaf) else "cpu"


def cast_like(x: Any, like: Any) -> Any:
    """`x` in the dtype of `like`."""
    return x if x.dtype == like.dtype else bind(OPS["cast"], (x,), (like.dtype,))


def fitted(parts: Sequence[Any], values: Sequence[Any], what: str) -> list[Any]:
    """Tangents or cotangents as Tensors in the dtypes of the values, after a test of their shapes."""
    tensors = [as_value(part, what, value.aval.device) for part, value in zip(parts, values, strict=True)]
    for part, value in zip(tensors, values, strict=True):
        if part.shape != value.shape:
            raise ValueError(f"{what} has shape {part.shape}, its {_OF[what]} {value.shape}")
    return [cast_like(part, value) for part, value in zip(tensors, values, strict=True)]


_OF = {"a cotangent": "output", "a tangent": "primal"}


# --- what is differentiated -------------------------------------------------------------------------------------------


class Arguments:
    """The differentiated arguments of a function.

    Attributes:
        values: a floating Tensor for each leaf.
        structure: the tree that they form, and that their derivatives have; modules are dictionaries in it.
        plain: every leaf was an array (of NumPy or CuPy) or a number, and so will be the results.

    With `own`, for derivatives that are taken later, they hold copies of arrays, since those may change meanwhile.
    """

    def __init__(self, args: tuple[Any, ...], name: str, own: bool = False) -> None:
        self._leaves, self._structure = flatten(args)
        leaves, self.structure = flatten(tree_map(_opened, args))
        self.plain = are_plain(leaves)
        device = common_device(leaves)
        values = [_differentiable(leaf, name, device) for leaf in _with_numbers(leaves)]
        self.values = [_copied(v) if own and _is_array(leaf) else v for leaf, v in zip(leaves, values, strict=True)]
        _refuse_shared(self._leaves, name)

    def call(self, function: Function, values: Sequence[Any]) -> Any:
        """The function of arguments like these that hold other values."""
        remaining = iter(values)
        overlay: dict[Cell, Any] = {}
        places = []
        for leaf in self._leaves:
            if _is_module(leaf):
                overlay |= {cell: next(remaining) for cell in _cells(leaf).values()}
                places.append(leaf)
            else:
                places.append(next(remaining))
        with pushed(state.overlays, overlay):
            return tree_map(_content, function(*unflatten(self._structure, places)))

    def tree(self, values: Sequence[Any]) -> Any:
        """A tuple of trees like the arguments."""
        return self.returned(unflatten(self.structure, values))

    def fitted(self, tangents: Any) -> list[Any]:
        """The leaves of a tuple of tangents."""
        return fitted(flatten_like(self.structure, tangents, "the tuple of tangents"), self.values, "a tangent")

    def returned(self, tree: Any) -> Any:
        """A result as the caller gets it: arrays where only arrays came in."""
        return tree_map(as_plain, tree) if self.plain else tree


def _opened(leaf: Any) -> Any:
    return {name: cell.read() for name, cell in _cells(leaf).items()} if _is_module(leaf) else leaf


def _content(leaf: Any) -> Any:
    return leaf.read() if isinstance(leaf, Cell) else leaf


def _is_module(leaf: Any) -> bool:
    return hasattr(leaf, "named_parameters")


def _cells(module: Any) -> dict[str, Cell]:
    """The parameters that require gradients by dotted path, in the order in which dictionaries are flattened."""
    return {name: cell for name, cell in sorted(module.named_parameters()) if cell.leaf is not None}


def _with_numbers(leaves: Sequence[Any]) -> list[Any]:
    """Python floats take the dtype of the floating arrays beside them."""
    dtypes = [leaf.dtype for leaf in leaves if getattr(getattr(leaf, "dtype", None), "kind", "") == "f"]
    if not dtypes:
        return list(leaves)
    dtype: Any = np.result_type(*dtypes)
    return [dtype.type(leaf) if type(leaf) is float else leaf for leaf in leaves]


def _copied(value: Any) -> Any:
    return Tensor(backend_on(value.aval.device).make("array", value.data))


def _refuse_shared(leaves: Sequence[Any], name: str) -> None:
    """A derivative by one of two modules alone is not defined for a parameter that both hold."""
    seen: set[Cell] = set()
    for cells in [_cells(leaf) for leaf in leaves if _is_module(leaf)]:
        for path, cell in cells.items():
            if cell in seen:
                raise ValueError(f"{name} got two modules that share the parameter {path}; pass one that holds both")
        seen |= set(cells.values())


def _differentiable(leaf: Any, name: str, device: str) -> Any:
    value = as_value(leaf, f"an argument of {name}", device)
    if value.dtype.kind != "f":
        raise TypeError(f"{name} differentiates floating tensors, not {value.dtype}; cast it, or close over it")
    return value


def selected(
    function: Function, argnums: int | Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> tuple[Function, tuple[Any, ...]]:
    """The function of the arguments in `argnums` alone, and these arguments."""
    numbers = [_position(number, len(args), name) for number in _numbers(argnums, name)]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"{name} got argnums={argnums}, which names an argument twice")

    def of_selected(*chosen: Any) -> Any:
        every = list(args)
        for number, value in zip(numbers, chosen, strict=True):
            every[number] = value
        return function(*every, **kwargs)

    return of_selected, tuple([args[number] for number in numbers])


def _numbers(argnums: int | Sequence[int], name: str) -> tuple[int, ...]:
    try:
        return tuple(map(index, argnums)) if isinstance(argnums, Sequence) else (index(argnums),)
    except TypeError:
        raise TypeError(f"{name} takes an integer or a sequence of integers as argnums, not {argnums!r}") from None


def _position(number: int, count: int, name: str) -> int:
    if not -count <= number < count:
        raise ValueError(
            f"{name} was asked for argument {number}, but got {count} positional arguments (keyword arguments are "
            "constants)"
        )
    return number % count


def for_argnums(argnums: int | Sequence[int], parts: Any) -> Any:
    """One part for a number, a tuple of parts for a sequence."""
    return tuple(parts) if isinstance(argnums, Sequence) else parts[0]


def pair_of(result: Any, name: str) -> tuple[Any, Any]:
    """What a function with `has_aux` returned."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(
            f"{name} with has_aux=True needs a function that returns a pair (value, rest), not {flatten(result)[1]} "
            "(* is a tensor)"
        )
    return result[0], result[1]


# --- arrays in, arrays out --------------------------------------------------------------------------------------------


def are_plain(leaves: Sequence[Any]) -> bool:
    """Are these arrays and numbers only, at least one of them an array?"""
    return any(map(_is_array, leaves)) and not any(isinstance(leaf, (Tensor, Cell)) for leaf in leaves)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (np.ndarray, np.generic)) or is_cupy(leaf)


def as_plain(leaf: Any) -> Any:
    """A new array with the elements of a Tensor (without axes: a NumPy number).

    What an outer transform traces, a graph captures, or `backward()` can reach, stays a Tensor.
    """
    if not isinstance(leaf, Tensor) or isinstance(leaf, Traced) or leaf.node is not None or isinstance(leaf.data, Var):
        return leaf
    if is_cupy(leaf.data):
        return backend_on(leaf.aval.device).make("array", leaf.data)
    return np.array(leaf.data)[()]
