"""One program, computed in two ways."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import gradcore as gc
from gradcore.compile import Program as Compiled
from gradcore.testing import gradcheck
from gradcore.testing.batching import Plan, assert_vmapped
from gradcore.testing.compare import assert_all, assert_near, assert_same_bits

from .drawing import safe
from .ours import CPU, Gradcore
from .programs import Program

TOLERANCE = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 2e-3}
Function = Callable[..., tuple[Any, ...]]
Arrays = tuple[list[Any], list[Any]]


def rng_of(program: Program) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(str(program).encode()))


def tangents(program: Program) -> list[Any]:
    rng = rng_of(program)
    return [np.asarray(rng.uniform(-1, 1, x.shape), x.dtype) for x in program.arguments]


# --- what is computed -------------------------------------------------------------------------------------------------


def derivatives(program: Program, lib: Any) -> Function:
    """Loss, its tangent, the gradients and the Hessian-vector products, from arguments and directions."""
    count = len(program.arguments)

    def function(*operands: Any) -> tuple[Any, ...]:
        return lib.derivatives(program.loss(lib), operands[:count], operands[count:])  # type: ignore[no-any-return]

    return function


NAMES = ("loss", "jvp")


def label(program: Program, k: int) -> str:
    count = len(program.arguments)
    kind = "gradient" if k - 2 < count else "Hessian-vector product"
    return NAMES[k] if k < 2 else f"{kind} by argument {(k - 2) % count}"


def everything(program: Program, lib: Any) -> Arrays:
    """The results and the derivatives, as arrays."""
    xs = [lib.constant(x) for x in program.arguments]
    vs = [lib.constant(v) for v in tangents(program)]
    values = program.values(lib, xs)
    return [lib.array(v) for v in values], [lib.array(v) for v in derivatives(program, lib)(*xs, *vs)]


def single(program: Program) -> bool:
    """Does it compute in float32 anywhere?"""
    return "float32" in str(program)


def assert_agree(program: Program, got: Arrays, want: Arrays, by: str, same_dtypes: bool = True) -> None:
    """Errors are at most the tolerance times the largest entry of all derivatives of the same order, or 1."""
    tol = TOLERANCE[np.dtype(np.float32 if single(program) else np.float64)]
    for k, (g, w) in zip(program.results, zip(got[0], want[0], strict=True), strict=True):
        near(g, w.astype(w.dtype if same_dtypes else g.dtype), f"v{k} against {by}", tol * largest(w))
    dtypes = [np.dtype(np.float64)] * 2 + [x.dtype for x in program.arguments] * 2
    count = len(program.arguments)
    for part in (slice(0, 1), slice(1, 2), slice(2, 2 + count), slice(2 + count, None)):
        scale = largest(*want[1][part])
        for k in range(len(want[1]))[part]:
            near(got[1][k], want[1][k].astype(dtypes[k]), f"{label(program, k)} against {by}", tol * scale)


def largest(*arrays: Any) -> float:
    return max([1.0, *[float(np.abs(array).max()) for array in arrays if array.dtype.kind == "f"]])


def near(got: Any, want: Any, what: str, allowed: float) -> None:
    assert got.shape == want.shape, f"{what}: shape {got.shape} instead of {want.shape}"
    assert got.dtype == want.dtype, f"{what}: dtype {got.dtype} instead of {want.dtype}"
    assert np.isfinite(want).all(), f"{what}: {want} is expected"
    assert_near(got, want, what, allowed if want.dtype.kind == "f" else 0.0)


def reverse_over_reverse(program: Program) -> list[Any]:
    """Hessian-vector products of gradcore as gradients of a gradient."""
    xs, vs = [[CPU.constant(x) for x in arrays] for arrays in (program.arguments, tangents(program))]
    every = tuple(range(len(xs)))
    gradient = gc.grad(program.loss(CPU), every)

    def along(*xs: Any) -> Any:
        return sum([gc.cast(gc.sum(g * v), "float64") for g, v in zip(gradient(*xs), vs, strict=True)])

    return [CPU.array(h) for h in gc.grad(along, every)(*xs)]


# --- many examples ----------------------------------------------------------------------------------------------------


def examples(program: Program, size: int = 3) -> tuple[Plan, list[Sequence[Any]]]:
    """Arguments and directions of `size` examples near the program's, and which of them differ."""
    rng = rng_of(program)
    count = len(program.arguments)
    mapped = rng.random(2 * count) < 0.6
    mapped[rng.integers(count)] = True
    draws = [[*moved(program, mapped[:count], rng), *tangents(program)] for _ in range(size)]
    axes = [int(rng.integers(x.ndim + 1)) if on else None for x, on in zip(draws[0], mapped, strict=True)]
    return Plan(tuple(axes)), draws


def moved(program: Program, mapped: Any, rng: np.random.Generator) -> list[Any]:
    """The mapped arguments a little away from where they are, if the program is safe there."""
    both = zip(program.arguments, mapped, strict=True)
    near = [np.asarray(x + on * 0.05 * rng.uniform(-1, 1, x.shape), x.dtype) for x, on in both]
    return near if safe(program, near) else program.arguments


def first_order(program: Program, lib: Any) -> Function:
    """Results and gradients, of arguments."""
    gradients = lib.grad(program.loss(lib), tuple(range(len(program.arguments))))
    return lambda *xs: (*program.values(lib, xs), *gradients(*xs))


def batched(program: Program, lib: Any) -> list[Any]:
    """Results and gradients of all examples at once, as arrays or tensors of `lib`."""
    plan, draws = examples(program)
    count = len(program.arguments)
    xs = [lib.constant(x) for x in plan.stacked(draws)[:count]]
    return list(lib.batched(first_order(program, lib), plan.axes[:count])(*xs))


def assert_agree_first_order(program: Program, got: Sequence[Any], want: Sequence[Any], by: str) -> None:
    """Errors of results are as above; those of gradients at most the tolerance times the largest entry of all."""
    tol = TOLERANCE[np.dtype(np.float32 if single(program) else np.float64)]
    count = len(program.results)
    scale = largest(*want[count:])
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        what = f"v{program.results[k]}" if k < count else f"gradient by argument {k - count}"
        near(g, w.astype(g.dtype), f"{what} against {by}", tol * (largest(w) if k < count else scale))


# --- gradcore against itself ------------------------------------------------------------------------------------------


def flat(program: Program, lib: Gradcore = CPU) -> Function:
    """Results and derivatives as one tuple."""
    both = derivatives(program, lib)
    count = len(program.arguments)

    def function(*operands: Any) -> tuple[Any, ...]:
        tensors = [gc.asarray(x) if isinstance(x, np.ndarray) else x for x in operands]
        return *program.values(lib, tensors[:count]), *both(*tensors)

    return function


def check_graph(program: Program) -> None:
    """A captured graph, run in memory of its own, gives the bits of eager execution, twice."""
    operands = [gc.tensor(x) for x in [*program.arguments, *tangents(program)]]
    function = flat(program)
    want = function(*operands)
    compiled = Compiled(gc.make_graph(function)(*operands))
    for _ in range(2):
        assert_all(assert_same_bits, compiled(*operands), want, f"graph of {program}")


def check_vmap(program: Program) -> None:
    """vmap of all derivatives is the loop over the examples."""
    plan, draws = examples(program)
    assert_vmapped(flat(program), draws, plan, f"vmap of {program}")


def check_differences(program: Program) -> None:
    """Gradient, jvp and all second derivatives against finite differences."""
    gradcheck(lambda *xs: program.loss(CPU)(*xs), program.arguments, order=2, eps=1e-5, tol=1e-5)
