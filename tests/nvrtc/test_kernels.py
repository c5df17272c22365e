"""NVIDIA's compiler takes every kernel that gradcore launches, and makes of it what it should."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from gradcore.testing import nvrtc
from gradcore.testing.kernel_texts import GROUPS, KernelText, kernel_texts, row_specs, source_of, units

pytestmark = pytest.mark.nvrtc

OTHERS = (80, 86, 89, 100, 120)
LOADS = re.compile(r"ld\.global(?:\.\w+)*\.(?:v4\.[fbus]32|v2\.[fbus]64)")
FLOAT_ATOMICS = re.compile(r"\b(?:atom|red)\.[\w.:]*\.(?:f16|f16x2|bf16|bf16x2|f32|f64)\b")
SPILLS: dict[tuple[str, str, int], int] = {  # bytes, at most: NVRTC 13.0 spills here, 13.5 does not
    ("cross_entropy_with_gradient", "L int64, R float32, T float16", 120): 4,
}
READ_NO_ROWS = {"normal", "uniform", "scatter_add"}  # but random words, and places that indices name
REGISTERS = 65536
SHARED = 48 * 1024

Unit = tuple[list[KernelText], nvrtc.Compiled]


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    if reason := nvrtc.missing():
        pytest.skip(reason)


def cases() -> Iterator[Any]:
    for group, arch in product(GROUPS, [75, 90, *OTHERS]):
        yield pytest.param((group, arch), marks=[pytest.mark.slow] * (arch in OTHERS), id=f"{group}-sm_{arch}")


@pytest.fixture(scope="module", params=cases())
def built(request: Any) -> tuple[int, list[Unit]]:
    """All kernels of a group, compiled for an architecture: once for all tests."""
    group, arch = request.param
    return arch, [(unit, nvrtc.compile(source_of(unit), arch, group)) for unit in units(kernel_texts(group))]


def test_every_kernel_is_compiled(built: tuple[int, list[Unit]]) -> None:
    for unit, result in built[1]:
        assert result.resources.keys() == {entry for kernel in unit for entry in kernel.entries}


def test_no_register_is_spilled(built: tuple[int, list[Unit]]) -> None:
    arch, compiled = built
    for unit, result in compiled:
        for kernel in unit:
            stores = sum(result.resources[entry].spill_stores for entry in kernel.entries)
            assert stores <= SPILLS.get((kernel.name, kernel.types, arch), 0), f"{kernel.name} ({kernel.types})"


def test_launches_fit_a_multiprocessor(built: tuple[int, list[Unit]]) -> None:
    for unit, result in built[1]:
        for kernel in unit:
            for launch in kernel.launches:
                needs = result.resources[launch.entry]
                assert launch.block <= 1024 and launch.block % 32 == 0, launch
                assert -(-needs.registers // 8) * 8 * launch.block <= REGISTERS, (launch, needs)
                assert needs.shared + launch.shared <= SHARED, (launch, needs)


def test_float32_is_read_by_16_bytes(built: tuple[int, list[Unit]]) -> None:
    for unit, result in built[1]:
        for kernel in unit:
            if kernel.types.endswith("T float32") or kernel.name.startswith("multi_"):
                assert kernel.name in READ_NO_ROWS or LOADS.search(parts_of(result.ptx, kernel)), kernel.name


def parts_of(ptx: str, kernel: KernelText) -> str:
    """The PTX of a kernel's functions."""
    functions = [re.search(rf"\.entry {entry}\(.*?^}}", ptx, re.DOTALL | re.MULTILINE) for entry in kernel.entries]
    return "\n".join(function[0] for function in functions if function)


def test_no_atomic_operation_on_floats(built: tuple[int, list[Unit]]) -> None:
    for _, result in built[1]:
        assert not FLOAT_ATOMICS.findall(result.ptx)


def test_the_search_for_atomics_finds_them() -> None:
    source = 'extern "C" __global__ void k(float *x, double *y, int *n)\n{ atomicAdd(x, *x); %s atomicAdd(n, 1); }'
    assert len(FLOAT_ATOMICS.findall(nvrtc.compile(source % "*y = atomicAdd(y, 1.0);", 90).ptx)) == 2
    assert len(FLOAT_ATOMICS.findall(nvrtc.compile(source % "", 90).ptx)) == 1


def test_every_row_kernel_has_examples() -> None:
    assert [spec.name for spec in row_specs() if not spec.examples] == []
