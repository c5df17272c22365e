"""What happens to operands before an op is bound: cells are read, arrays become Tensors, dtypes meet (NumPy 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.backend import backend_on, is_cupy, native
from gradcore.core.bind import bind
from gradcore.core.cell import Cell
from gradcore.core.evaluate import SCALARS
from gradcore.core.op import OPS, Family, Op, Promotion
from gradcore.core.tensor import Tensor


def as_operand(value: Any, name: str) -> Any:
    """A Tensor or a Python scalar, from anything that an op accepts; errors name the function."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Cell):
        return value.read()
    if isinstance(value, (np.ndarray, np.generic)):  # before float: numpy.float64 is one, but is not weak
        return Tensor(native(_supported(np.asarray(value), name)))
    if isinstance(value, SCALARS):
        return value
    if is_cupy(value):
        return Tensor(_supported(on_backend(value), name))
    raise TypeError(
        f"'{name}' got {type(value).__name__}; it takes tensors, arrays and numbers (gradcore.tensor makes a "
        "tensor from lists)"
    )


def on_backend(array: Any) -> Any:
    """A CuPy array, after the backend of its device is made; a view, so that nothing of ours writes into it."""
    backend_on(f"cuda:{array.device.id}")
    return array.view()


def named_tensor(value: Any, name: str) -> Any:
    """A Tensor from anything that an op accepts; errors name the function."""
    return value if isinstance(value, Tensor) else as_tensor(as_operand(value, name))


def _supported(array: Any, name: str) -> Any:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"'{name}' got an array of {array.dtype}; gradcore computes with real numbers and booleans")
    return array


def as_tensor(value: Any, dtype: Any = None) -> Any:
    """A Tensor; Python floats become float32 unless a dtype is given."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Cell):
        return value.read()
    if is_cupy(value):
        return Tensor(on_backend(value))
    if dtype is None and isinstance(value, float) and not isinstance(value, np.generic):
        dtype = np.float32
    array = np.asarray(value, dtype)
    return Tensor(native(array) if array.dtype.kind in "fiub" else array)


def bind_general(op: Op, args: Sequence[Any], params: tuple[Any, ...]) -> Any:
    """The general path of every op: any operands, any interpreter."""
    operands = args if _have_met(op, args) else _meeting(op, args)
    try:
        result = bind(op, operands, params)
    except (ValueError, TypeError, OverflowError) as error:
        _explain(op, operands, error)
        raise
    if not op.multiple or op.visible < 0:
        return result
    return result[0] if op.visible == 1 else result[: op.visible]


def _have_met(op: Op, args: Sequence[Any]) -> bool:
    """Are they tensors of one floating dtype, and none of them a condition?  Then nothing is left to convert."""
    dtype = args[0].dtype if args and isinstance(args[0], Tensor) else None
    if dtype is None or dtype.kind != "f" or (op.differentiable is not None and op.family is Family.ELEMENTWISE):
        return False
    return all([isinstance(arg, Tensor) and arg.dtype is dtype for arg in args])  # noqa: C419 - cheaper


def _meeting(op: Op, args: Sequence[Any]) -> list[Any]:
    """Operands for `bind`, from anything that the op accepts."""
    operands = [as_operand(arg, op.name) for arg in args]
    if any(isinstance(arg, np.generic) for arg in args):
        operands = _beside(op, args, operands)
    return promote(op, operands)


def _beside(op: Op, args: Sequence[Any], operands: list[Any]) -> list[Any]:
    """NumPy's scalars live nowhere: they go to the CUDA device of the other operands, without a copy."""
    devices = {operand.aval.device for operand in operands if isinstance(operand, Tensor)} - {"cpu"}
    if len(devices) != 1:
        return operands
    backend = backend_on(devices.pop())
    moved = [i not in op.host and isinstance(arg, np.generic) for i, arg in enumerate(args)]
    return [
        Tensor(backend.make("full", (), arg, arg.dtype)) if moves else operand
        for arg, operand, moves in zip(args, operands, moved, strict=True)
    ]


def _explain(op: Op, operands: Sequence[Any], error: Exception) -> None:
    """Make the message name the op and what it got."""
    got = ", ".join(str(o) if isinstance(o, SCALARS) else str(o.aval) for o in operands)
    if not str(error).startswith("'"):
        error.args = (f"'{op.name}': {error} (operands: {got})",)
    if not str(error).startswith("'"):  # NumPy's own error class of a ufunc without a loop for these dtypes
        raise TypeError(f"'{op.name}' does not take these dtypes; cast with .astype() (operands: {got})") from None


def promote(op: Op, operands: list[Any]) -> list[Any]:
    """Cast the operands of an op to the dtype in which they meet."""
    if op.promotion is Promotion.NONE:
        return [as_tensor(operand) for operand in operands]
    meeting = [i for i in range(len(operands)) if op.can_differentiate(i)] or list(range(len(operands)))
    if all(isinstance(operands[i], SCALARS) for i in meeting):
        device = next((operand.aval.device for operand in operands if isinstance(operand, Tensor)), "cpu")
        operands = [_filled(operand, device) for operand in operands]
    dtype = common_dtype([operands[i] for i in meeting], op.promotion, op.name)
    for i in meeting:
        if isinstance(operands[i], Tensor) and operands[i].dtype != dtype:
            operands[i] = bind(OPS["cast"], (operands[i],), (dtype,))
    return [operand if i in meeting else _apart(op, as_tensor(operand)) for i, operand in enumerate(operands)]


def _filled(value: Any, device: str) -> Any:
    """A tensor of a number, made on the device; tensors pass."""
    made = as_tensor(value)
    if made is value or device == "cpu":
        return made
    return Tensor(backend_on(device).make("full", (), value, made.dtype))


def _apart(op: Op, operand: Any) -> Any:
    """An operand that does not meet the others; in an elementwise op it is a condition."""
    if op.family is not Family.ELEMENTWISE or operand.dtype == np.bool_:
        return operand
    return bind(OPS["cast"], (operand,), (np.dtype(np.bool_),))


def common_dtype(operands: Sequence[Any], promotion: Promotion, name: str = "") -> np.dtype[Any]:
    """NumPy 2's result type; Python scalars are weak; integers become floating where the function asks for it."""
    dtypes = [operand if isinstance(operand, SCALARS) else operand.dtype for operand in operands]
    dtype: np.dtype[Any] = np.result_type(*dtypes)
    kinds, smallest = SMALLEST.get(name, ("", dtype))
    if dtype.kind in kinds:
        return smallest
    if promotion is Promotion.FLOAT and dtype.kind == "b":
        return np.dtype(np.float16)
    if promotion is Promotion.FLOAT and dtype.kind in "iu":
        whole = [d.itemsize for d in dtypes if isinstance(d, np.dtype) and d.kind in "iu"]
        return FLOAT_OF[max(whole, default=dtype.itemsize)]
    return dtype


# Functions for which NumPy has no loop on these kinds of dtype, and the dtype of the smallest loop that it takes.
SMALLEST: dict[str, tuple[str, np.dtype[Any]]] = {
    "div": ("iub", np.dtype(np.float64)),
    "power": ("b", np.dtype(np.int8)),
    "square": ("b", np.dtype(np.int8)),
    "mod": ("b", np.dtype(np.int8)),
    "floor_divide": ("b", np.dtype(np.int8)),
    "reciprocal": ("iub", np.dtype(np.float64)),
}
FLOAT_OF: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float16),
    2: np.dtype(np.float32),
    4: np.dtype(np.float64),
    8: np.dtype(np.float64),
}
