"""One program, computed in two ways."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

import gradcore as gc
from gradcore.compile import Program as Compiled
from gradcore.testing import gradcheck
from gradcore.testing.batching import Plan, assert_vmapped
from gradcore.testing.compare import assert_all, assert_near, assert_same_bits

from .ours import CPU, Gradcore
from .programs import Program

TOLERANCE = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 2e-3}
Function = Callable[..., tuple[Any, ...]]
Arrays = tuple[list[Any], list[Any]]


def fuzzing(count: int) -> settings:
    """`count` programs, the same in every run; GRADCORE_FUZZ=5000 asks for 5,000 new ones."""
    asked = os.environ.get("GRADCORE_FUZZ")
    return settings(
        max_examples=int(asked) if asked else count,
        derandomize=not asked,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


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


def check_vmap(program: Program, size: int = 3) -> None:
    """vmap of all derivatives is the loop over the examples."""
    rng = rng_of(program)
    draws: list[Sequence[Any]] = []
    for _ in range(size):
        xs = [np.asarray(x + 0.05 * rng.uniform(-1, 1, x.shape), x.dtype) for x in program.arguments]
        draws.append([*xs, *tangents(program)])
    mapped = rng.random(len(draws[0])) < 0.6
    mapped[rng.integers(len(program.arguments))] = True
    axes = [int(rng.integers(x.ndim + 1)) if on else None for x, on in zip(draws[0], mapped, strict=True)]
    assert_vmapped(flat(program), draws, Plan(tuple(axes)), f"vmap of {program}")


def check_differences(program: Program) -> None:
    """Gradient, jvp and all second derivatives against finite differences."""
    gradcheck(lambda *xs: program.loss(CPU)(*xs), program.arguments, order=2, eps=1e-5, tol=1e-5)
