"""What is in use, peaks and limits."""

from __future__ import annotations

import gc as collector

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.backend.cuda import memory
from gradcore.core.errors import DeviceError, OutOfMemoryError

UNIT = 512  # CuPy's pool rounds up to this
MEBI = 2**20


@pytest.fixture(autouse=True)
def nothing_left_of_other_tests():
    """Neither garbage nor blocks that wait for another stream: those go back at the next allocation, uncounted here."""
    collector.collect()
    memory.reclaim()


@pytest.fixture
def limited():
    """The limit is what it was, whatever the test does."""
    yield
    gc.cuda.set_memory_limit(None)


def used():
    return cupy.get_default_memory_pool().used_bytes()


def test_the_device():
    assert gc.cuda.is_available()
    assert gc.cuda.device_count() == cupy.cuda.runtime.getDeviceCount()
    properties = gc.cuda.get_device_properties()
    assert properties.name == gc.cuda.get_device_name(0) != ""
    assert properties.total_memory == cupy.cuda.Device(0).mem_info[1]
    gc.cuda.synchronize()


def test_in_use_and_reserved():
    before = gc.cuda.memory_stats()
    x = gc.zeros(MEBI, device="cuda")
    during = gc.cuda.memory_stats()
    assert during.in_use - before.in_use == 4 * MEBI
    assert during.reserved >= during.in_use
    del x
    assert gc.cuda.memory_stats().in_use == before.in_use


def test_peak_is_the_most_that_was_in_use():
    old = gc.zeros(MEBI, device="cuda")  # not seen by the counting, and let go while it counts
    gc.cuda.reset_peak_memory_stats()
    start = gc.cuda.memory_stats()
    assert start.peak == start.in_use
    x, y = gc.zeros(MEBI, device="cuda"), gc.zeros(MEBI, device="cuda")
    del x, y
    assert gc.cuda.memory_stats().peak == start.in_use + 8 * MEBI
    del old
    z = gc.zeros(2 * MEBI, device="cuda")
    assert gc.cuda.memory_stats().peak == start.in_use + 8 * MEBI
    gc.cuda.reset_peak_memory_stats()
    del z
    assert gc.cuda.memory_stats().peak == start.in_use + 4 * MEBI


def test_peak_of_a_computation_is_that_of_its_arrays():
    x = gc.ones(MEBI, device="cuda")
    gc.exp(x)  # compiled
    gc.cuda.reset_peak_memory_stats()
    start = used()
    y = gc.exp(x) + gc.exp(x)
    assert gc.cuda.memory_stats().peak == start + 3 * 4 * MEBI
    assert used() == start + y.numpy().nbytes


def test_nothing_is_counted_twice_after_many_arrays():
    gc.cuda.reset_peak_memory_stats()
    start = used()
    for _ in range(1000):
        gc.zeros(10, device="cuda")
    assert gc.cuda.memory_stats().peak == start + UNIT


@pytest.mark.parametrize(
    ("limit", "size"), [(3 * MEBI, 3 * MEBI), ("2 MiB", 2 * MEBI), ("1.5GB", 1.5e9), ("4096", 4096), (0.25, None)]
)
def test_limits(limited, limit, size):
    gc.cuda.set_memory_limit(limit)
    assert gc.cuda.memory_stats().limit == (size or cupy.cuda.Device(0).mem_info[1] // 4)


@pytest.mark.parametrize("limit", ["much", "-1 GiB", -5, 1.5, 0, "1.2.3 MB"])
def test_limits_that_are_none(limit):
    with pytest.raises(ValueError, match=r"number of bytes|not be negative|such as '4 GiB', or a share"):
        gc.cuda.set_memory_limit(limit)


def test_no_limit_is_the_memory_of_the_device(limited):
    gc.cuda.set_memory_limit(MEBI)
    gc.cuda.set_memory_limit(None)
    assert gc.cuda.memory_stats().limit == cupy.cuda.Device(0).mem_info[1]


def test_above_the_limit(limited):
    gc.cuda.empty_cache()
    start = used()
    gc.cuda.set_memory_limit(gc.cuda.memory_stats().reserved + 4 * MEBI)
    with pytest.raises(OutOfMemoryError, match=r"'zeros'.*the limit is.*Use a smaller batch.*memory_stats"):
        gc.zeros(gc.cuda.memory_stats().reserved // 4 + 2 * MEBI, device="cuda")  # more than what the pool holds free
    assert used() == start
    assert gc.zeros(MEBI // 2, device="cuda").sum().item() == 0


def test_empty_cache_gives_memory_back():
    x = gc.zeros(MEBI, device="cuda")
    del x
    gc.cuda.empty_cache()
    stats = gc.cuda.memory_stats()
    assert stats.reserved - stats.in_use < 4 * MEBI


def test_devices_that_are_not_there():
    for function in (gc.cuda.memory_stats, gc.cuda.synchronize, gc.cuda.get_device_properties):
        with pytest.raises(DeviceError, match="cuda:7 is not there; this machine has cuda:0"):
            function("cuda:7")
        with pytest.raises(ValueError, match="not a CUDA device"):
            function("cpu")


def test_the_allocator_of_the_user_stays_below_ours(monkeypatch):
    monkeypatch.setattr(memory, "_below", None)
    asked = []
    old = cupy.cuda.get_allocator()
    pool = cupy.get_default_memory_pool()

    def allocate(size):
        asked.append(size)
        return pool.malloc(size)

    try:
        cupy.cuda.set_allocator(allocate)
        gc.cuda.reset_peak_memory_stats()
        gc.zeros(100, dtype=np.float64, device="cuda")
        assert asked == [800]
    finally:
        cupy.cuda.set_allocator(old)
