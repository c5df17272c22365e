"""An op on CUDA against the same op on NumPy: values, layouts, derivatives, memory that is given."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradcore.autodiff.map_axes import vmap
from gradcore.autodiff.transforms import vjp
from gradcore.backend import backend_of, backend_on, is_cupy
from gradcore.core.aval import aval_of
from gradcore.core.bind import as_tuple
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Family, Op
from gradcore.core.tensor import Tensor
from gradcore.testing.batching import SIZE, random_plan
from gradcore.testing.cases import Case, Function, cotangents_for, pulled, pushed, tangents_for
from gradcore.testing.compare import assert_near, raw
from gradcore.testing.layouts import contiguous

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3}


# --- comparison -------------------------------------------------------------------------------------------------------


def assert_agree(
    function: Function, values: Sequence[Any], what: str, here: frozenset[int] = frozenset(), terms: Any = None
) -> list[Any]:
    """The results of `function` on CUDA are those on the CPU.

    Args:
        function: of Tensors, to a tuple of Tensors.
        values: NumPy arrays of any layout.
        what: for messages.
        here: positions of values that stay on the CPU.
        terms: for each result the sum of the absolute terms that are added in it; by default, what `largest` says.

    Returns:
        The results on CUDA.
    """
    want = [raw(out) for out in function(*map(Tensor, values))]
    got = list(function(*[Tensor(x if k in here else copied(x)) for k, x in enumerate(values)]))
    assert len(got) == len(want), f"{what}: {len(got)} results instead of {len(want)}"
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        _assert_near(g, w, f"{what}, result {k}", largest(values, w) if terms is None else terms[k])
    return got


def _assert_near(got: Any, want: Any, what: str, terms: Any) -> None:
    assert is_cupy(got.data), f"{what}: it is a {type(got.data)}, on another device"
    found = backend_of(got.data).fetch(got.data)
    assert (found.shape, found.dtype) == (want.shape, want.dtype), (
        f"{what}: {found.dtype}{list(found.shape)} instead of {want.dtype}{list(want.shape)}"
    )
    if want.dtype.kind != "f":
        assert (found == want).all(), f"{what}: {found} instead of {want}"
    else:
        with np.errstate(invalid="ignore"):
            assert_near(found, want, what, TOLERANCE[str(want.dtype)] * np.fmax(np.abs(want), terms))


def largest(values: Sequence[Any], want: Any) -> float:
    """The largest finite magnitude among operands and results: the terms of what is no plain sum are about as large."""
    arrays = [x for x in (*values, want) if x.dtype.kind == "f"]
    return max([float(np.abs(x[np.isfinite(x)]).max(initial=0)) for x in arrays], default=0.0)


def absolute_terms(case: Case, operands: Sequence[Any]) -> list[Any] | None:
    """For ops that are linear in each operand: the same sums, of magnitudes."""
    if case.op.family not in (Family.LINEAR, Family.BILINEAR):
        return None
    return [np.abs(raw(out)) for out in case.call(*[np.abs(x) if x.dtype.kind == "f" else x for x in operands])]


def copied(x: Any) -> Any:
    """An array on CUDA with the values and the strides of a NumPy array."""
    np_ = backend_on("cuda").np
    if x.flags.c_contiguous:
        return backend_on("cuda").receive(x)
    low, high = np.lib.array_utils.byte_bounds(x)
    memory = np_.asarray(np.ctypeslib.as_array((ctypes.c_uint8 * (high - low)).from_address(low)))
    return np_.ndarray(x.shape, x.dtype, memory.data + (x.ctypes.data - low), x.strides)


def stays_here(op: Op, operands: Sequence[Any]) -> frozenset[int]:
    """Keys and hyperparameters stay on the CPU, if there are other operands to name the device."""
    return op.host if len(op.host) < len(operands) else frozenset()


def keys_here(op: Op, operands: Sequence[Any]) -> frozenset[int]:
    """Where derivatives are taken, keys alone: rates would be copied to the device, and their gradients back."""
    return frozenset([k for k in stays_here(op, operands) if operands[k].dtype == np.uint64])


# --- checks -----------------------------------------------------------------------------------------------------------


def check_forward(case: Case, dtype: Any, layout: Any = contiguous) -> None:
    """Values of one dtype from one layout; strides as `abstract` states."""
    operands = [x if x.dtype == np.uint64 else layout(x) for x in case.operands(dtype)]
    here = stays_here(case.op, operands)
    outs = assert_agree(case.call, operands, f"{case} ({dtype})", here, absolute_terms(case, operands))
    avals = [aval_of(x if k in here else copied(x)) for k, x in enumerate(operands)]
    stated = as_tuple(case.op.abstract(*avals, *case.sample.params))
    for out, aval in zip(outs, stated, strict=False):
        assert (out.aval.strides, out.aval.device) == (aval.strides, aval.device), f"{case}: {out.aval} is not {aval}"


def check_gradient(case: Case, dtype: Any) -> None:
    """The vjp, and every result in C order or a declared view."""
    if case.differentiable():
        operands = case.operands(dtype)
        values = [*operands, *cotangents_for(case, operands)]
        pull = pulled(case, len(operands))
        with hooked(_Written()):
            assert_agree(pull, values, f"vjp of {case} ({dtype})", keys_here(case.op, operands))


def check_second(case: Case) -> None:
    """The vjp of the vjp, by operands and cotangents."""
    if case.differentiable() and case.sample.order > 1:
        values, function = twice(case)
        assert_agree(function, values, f"vjp of the vjp of {case}", keys_here(case.op, case.operands()))


def twice(case: Case) -> tuple[list[Any], Function]:
    """Values (operands, then cotangents), and the vjp of the vjp as a function of them."""
    operands = case.operands()
    moving, count = case.moving(operands), len(operands)
    first = pulled(case, count)

    def function(*values: Any) -> tuple[Any, ...]:
        def gradient(*xs: Any) -> tuple[Any, ...]:
            every = list(values[:count])
            for k, x in zip(moving, xs, strict=False):
                every[k] = x
            return first(*every, *xs[len(moving) :])

        grads, pull = vjp(gradient, *[values[k] for k in moving], *values[count:])
        return tuple(pull(grads))

    return [*operands, *cotangents_for(case, operands)], function


def check_tangent(case: Case) -> None:
    """The jvp."""
    if case.differentiable():
        operands = case.operands()
        values = [*operands, *tangents_for(case, operands)]
        assert_agree(pushed(case, len(operands)), values, f"jvp of {case}", keys_here(case.op, operands))


def check_batch(case: Case) -> None:
    """The op on examples of which some operands are mapped."""
    draws = [case.operands(seed=i) for i in range(SIZE)]
    plan = random_plan(case.rng(7), draws[0])
    here = keys_here(case.op, draws[0])
    assert_agree(vmap(case.call, in_axes=plan.axes), plan.stacked(draws), f"vmap of {case}", here)


class _Written(Hook):
    """Every op that CUDA performs gives C-contiguous results or declared views, and the same bits into given memory."""

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        if not is_cupy(outputs[0]) or self._is_view(op, values, params):
            return
        assert all(out.flags.c_contiguous for out in outputs), f"'{op.name}' gave strides {outputs[0].strides}"
        xp = backend_of(outputs[0])
        given = tuple([xp.np.full(out.shape, 77, out.dtype) for out in outputs])
        xp.run(op, given if op.multiple else given[0], values, params)
        for out, memory in zip(outputs, given, strict=True):
            assert xp.fetch(out).tobytes() == xp.fetch(memory).tobytes(), f"'{op.name}' with out= gives other bits"

    def _is_view(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> bool:
        return op.alias is not None and op.alias(*map(aval_of, values), *params) is not None
