"""The wrapper of NVIDIA's compiler: what it refuses, what it reads from a log, how kernels are put together."""

from __future__ import annotations

import pytest

from gradcore.testing import nvrtc
from gradcore.testing.kernel_texts import KernelText, source_of, units
from gradcore.testing.nvrtc import CompileError, Resources

LOG = """\
ptxas info    : 272 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
ptxas         .     40 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 40 bytes cumulative stack size, 132 bytes smem
ptxas info    : Function properties for called
ptxas         .     16 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Function properties for second
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 61 registers, used 0 barriers
"""
GOOD = 'extern "C" __global__ void good(float *x) { x[threadIdx.x] = 1; }'
SPILLING = """
extern "C" __global__ void __launch_bounds__(1024) spilling(const double *x, double *y, int n)
{
    double a[64];
    for (int i = 0; i < 64; i++) a[i] = x[i * n];
    __syncthreads();
    for (int i = 0; i < 64; i++) y[i * n] = a[i] * a[63 - i];
}
"""


@pytest.fixture
def compiler() -> None:
    if reason := nvrtc.missing():
        pytest.skip(reason)


def test_the_log_is_read() -> None:
    assert nvrtc.resources(LOG) == {"first": Resources(24, 12, 16, 56, 132), "second": Resources(registers=61)}


def test_kernels_of_one_name_are_not_put_together() -> None:
    texts = [KernelText("a", t, GOOD) for t in ("float32", "float64")] + [KernelText("b", "float32", SPILLING)]
    assert [[(k.name, k.types) for k in unit] for unit in units(texts)] == [
        [("a", "float32"), ("b", "float32")],
        [("a", "float64")],
    ]
    assert texts[2].entries == ("spilling",)


def test_without_the_compiler_the_reason_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_find", lambda package: None)
    reason = nvrtc.missing()
    assert reason and "nvidia-cuda-nvrtc" in reason and ".[nvrtc]" in reason
    nvrtc._library.cache_clear()
    with pytest.raises(RuntimeError, match="nvidia-cuda-nvrtc"):
        nvrtc.compile(GOOD, 90)


@pytest.mark.nvrtc
@pytest.mark.usefixtures("compiler")
def test_an_error_names_the_kernel_and_its_line() -> None:
    bad = KernelText("softmax", "float32", 'extern "C" __global__ void bad(float *x)\n{\n    x[0] = missing;\n}')
    with pytest.raises(CompileError, match=r'softmax \(float32\)\(3\): error: identifier "missing"'):
        nvrtc.compile(source_of([KernelText("good", "float32", GOOD), bad]), 90)


@pytest.mark.nvrtc
@pytest.mark.usefixtures("compiler")
def test_an_architecture_that_is_not_known() -> None:
    with pytest.raises(CompileError, match="sm_1"):
        nvrtc.compile(GOOD, 1)


@pytest.mark.nvrtc
@pytest.mark.usefixtures("compiler")
def test_spills_are_seen() -> None:
    found = nvrtc.compile(SPILLING, 90).resources["spilling"]
    assert found.spill_stores > 0 and found.spill_loads > 0 and found.registers <= 64


@pytest.mark.nvrtc
@pytest.mark.usefixtures("compiler")
def test_the_result_has_ptx_and_figures() -> None:
    compiled = nvrtc.compile(GOOD, 75)
    assert ".visible .entry good(" in compiled.ptx and ".target sm_75" in compiled.ptx
    assert compiled.resources["good"].registers > 0
    assert int(nvrtc.version().split(".")[0]) >= 12
