"""Chains under a budget on CUDA: the predicted peak is what CuPy's own memory hook counts."""

from __future__ import annotations

from typing import Any

import cupy
import pytest
from chain_models import Trial, residual, trial, unequal

import gradcore as gc
from gradcore.memory import extra_steps

MODELS = {"residual": residual, "unequal": unequal}


class Requested(cupy.cuda.memory_hook.MemoryHook):
    """Counts the bytes that are asked of the pool: independent of gradcore's accounting."""

    name = "requested"

    def __init__(self) -> None:
        self.live = self.peak = 0
        self.sizes: dict[int, int] = {}

    def malloc_postprocess(self, device_id: int, size: int, mem_size: int, mem_ptr: int, pmem_id: int) -> None:
        self.sizes[mem_ptr] = size
        self.live += size
        self.peak = max(self.peak, self.live)

    def free_postprocess(self, device_id: int, mem_size: int, mem_ptr: int, pmem_id: int) -> None:
        self.live -= self.sizes.pop(mem_ptr, 0)


@pytest.fixture(scope="module", params=MODELS)
def on_cuda(request: pytest.FixtureRequest) -> Trial:
    return trial(MODELS[request.param], "cuda", batch=256)


def test_predicted_is_what_the_memory_hook_counts(on_cuda: Trial) -> None:
    plain = on_cuda.bits(on_cuda.model)
    for budget in on_cuda.budgets(12):
        chain = on_cuda.chain(budget)
        on_cuda.model.zero_grad()
        with Requested() as counted:
            on_cuda.backward(chain)
        assert counted.peak == chain.predicted_peak <= budget
        assert on_cuda.bits(chain) == plain
    assert extra_steps(chain.plan) == 0


def test_a_chain_copies_nothing_and_waits_for_nothing(on_cuda: Trial, counters: Any) -> None:
    import cusim

    chain = on_cuda.chain("60%")
    y = chain(on_cuda.x)
    g = gc.ones(*y.shape, device="cuda")
    on_cuda.model.zero_grad()
    cusim.reset()
    chain(on_cuda.x).backward(g)
    found = counters()
    assert [found[name] for name in ("d2h", "h2d", "syncs")] == [0, 0, 0]
