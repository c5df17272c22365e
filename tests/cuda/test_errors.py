"""Every error says what to do; after it, the next step works and no memory is lost."""

from __future__ import annotations

import gc as garbage
import os
import subprocess
import sys

import cupy
import numpy as np
import pytest
from gradcore.kernels.spec import ElementwiseSpec, Launch, Plan, RowSpec

import gradcore as gc
from gradcore.core.errors import DeviceError, KernelError, OutOfMemoryError
from gradcore.core.op import OPS

MEBI = 2**20
OutOfMemory = cupy.cuda.memory.OutOfMemoryError


class Failing:
    """An allocator of which one call, counted from `arm`, finds no memory."""

    def __init__(self):
        self.below = cupy.cuda.get_allocator()
        self.left = -1

    def __call__(self, size):
        self.left -= 1
        if self.left == 0:
            raise OutOfMemory(size, 0)
        return self.below(size)

    def arm(self, call):
        self.left = call


@pytest.fixture
def failing():
    allocator = Failing()
    cupy.cuda.set_allocator(allocator)
    yield allocator
    cupy.cuda.set_allocator(allocator.below)


def used():
    return cupy.get_default_memory_pool().used_bytes()


class Training:
    """A network with what a step usually has."""

    def __init__(self):
        gc.random.seed(0)
        nn = gc.nn
        self.model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 3))
        self.model.to("cuda")
        self.optimizer = gc.optim.AdamW(self.model.parameters(), lr=0.1)
        rng = np.random.default_rng(0)
        self.x = gc.tensor(rng.normal(size=(5, 6)).astype(np.float32), device="cuda")
        self.y = gc.tensor([0, 1, 2, 0, 1], device="cuda")

    def step(self):
        self.optimizer.zero_grad()
        loss = gc.nn.functional.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        gc.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
        self.optimizer.step()
        return loss

    def bits(self):
        values = [*self.model.state_dict().values(), *self.optimizer.state_dict().values()]
        return [value.numpy().tobytes() for value in values]


@pytest.mark.parametrize("shared", [False, True], ids=["in place", "shared"])
@pytest.mark.parametrize("first", [True, False], ids=["first step", "second step"])
def test_out_of_memory_at_every_allocation_of_a_step(failing, shared, first):
    """The step that fails changes neither parameters nor optimiser; the next is that of an undisturbed run."""

    def fresh():
        training = Training()
        training.step() if not first else None
        return training

    undisturbed = fresh()
    undisturbed.step()
    expected, names = undisturbed.bits(), []
    for call in range(1, 1000):
        training = fresh()
        training.optimizer.zero_grad()
        others = [p.detach() for p in training.model.parameters()] if shared else []
        before, memory, key = training.bits(), used(), gc.random.state_dict()
        failing.arm(call)
        try:
            training.step()
        except OutOfMemoryError as error:
            assert isinstance(error, MemoryError) and "Use a smaller batch" in str(error)
            names.append(str(error).split("'")[1])
        else:
            break
        assert training.bits() == before
        training.optimizer.zero_grad()
        assert used() == memory, names
        gc.random.load_state_dict(key)
        training.step()
        assert training.bits() == expected, names
        assert len(others) in (0, 6)
    assert {"linear", "cross_entropy_with_gradient", "linear_vjp", "global_norm"} <= set(names)
    assert shared == ("empty" in names)
    assert len(names) > 20


def test_out_of_memory_outside_of_ops(failing):
    """Whatever allocates raises our error."""
    x = gc.ones(3, 2, device="cuda", requires_grad=True)
    host = gc.ones(3)
    raw = cupy.ones((3, 2))
    attempts = {
        "zeros": lambda: gc.zeros(2, device="cuda"),
        "ones": lambda: gc.ones(7, device="cuda"),
        "full": lambda: gc.zeros_like(x),
        "array": lambda: gc.tensor(raw),
        "asarray": lambda: gc.asarray(raw, dtype="float32"),
        "to_device": lambda: host.to("cuda"),
        "ascontiguousarray": lambda: gc.core.cell.Cell(x.detach().T),
        "arange": lambda: gc.arange(3, device="cuda"),
    }
    for name, attempt in attempts.items():
        memory = used()
        failing.arm(1)
        with pytest.raises(OutOfMemoryError, match="cuda:0 ran out of memory in '"):
            attempt()
        assert failing.left <= 0, name
        assert used() == memory, name
        assert attempt() is not None


def test_out_of_memory_in_the_start_of_backward(failing):
    x = gc.ones(11, device="cuda", requires_grad=True)
    y = x.sum()
    failing.arm(1)
    with pytest.raises(OutOfMemoryError, match="'asarray'"):
        y.backward(2.0)
    assert x.grad is None
    y.backward(2.0)
    assert x.grad.tolist() == [2.0] * 11


@pytest.fixture
def full():
    """Nothing is cached, and whatever the test does, the limits are what they were."""
    garbage.collect()
    gc.cuda.empty_cache()
    yield
    gc.cuda.set_memory_limit(None)


def test_the_limit_is_named_and_can_be_raised(full):
    x = gc.ones(MEBI, device="cuda")
    gc.cuda.set_memory_limit(gc.cuda.memory_stats().reserved + MEBI)
    garbage.collect()  # as CuPy does before it gives up
    memory = used()
    with pytest.raises(OutOfMemoryError, match=r"'exp': Out of memory.*the limit is .* MiB.*set_memory_limit"):
        gc.exp(x)
    assert used() == memory
    gc.cuda.set_memory_limit(None)
    assert gc.exp(x).shape == (MEBI,)


def test_a_device_that_is_full():
    code = """
import cusim, cupy, gradcore as gc
x = gc.ones(2**20, device="cuda")
gc.exp(x)
gc.cuda.empty_cache()
cusim.set_memory(cusim.stats()["current_bytes"] + 2**20)
start = gc.cuda.memory_stats().in_use
try: gc.exp(x)
except MemoryError as error: print(type(error).__name__, error)
assert gc.cuda.memory_stats().in_use == start
y = gc.exp(x[:1000])
cusim.set_memory(2**28)
print(gc.exp(x).shape)
"""
    first, head, holder, *_, last = run(code).splitlines()
    assert first.startswith("OutOfMemoryError cuda:0 ran out of memory in 'exp': ")
    assert (head, holder) == ("the largest holders on cuda:0:", "  4.0 MiB input float32[1048576]")
    assert last == "(1048576,)"


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- kernels ----------------------------------------------------------------------------------------------------------


def broken_spec(name, *inputs):
    def plan(operands, params):
        return Plan({"T": operands[0].dtype}, (Launch("gradcore_broken", 1, 32, (inputs[0], "out0")),))

    text = 'extern "C" __global__ void gradcore_broken(const T *x, T *y) { y[0] = what; }'
    return RowSpec(name, text, inputs, plan)


def test_a_kernel_that_does_not_compile(monkeypatch):
    x = gc.tensor([1.0, 2.0], device="cuda")
    with monkeypatch.context() as patch:
        patch.setitem(OPS["cumsum"].kernels, "cuda", broken_spec("broken", "x"))
        memory = used()
        with pytest.raises(KernelError, match=r"the CUDA kernel of 'cumsum' does not compile: .*what.*gradcore doctor"):
            gc.cumsum(x)
        assert used() == memory
    assert gc.cumsum(x).tolist() == [1, 3]


def test_a_kernel_that_does_not_compile_in_backward(monkeypatch):
    x = gc.ones(2, 3, device="cuda", requires_grad=True)
    y = gc.softmax(x).sum()
    with monkeypatch.context() as patch:
        patch.setitem(OPS["softmax_vjp"].kernels, "cuda", broken_spec("broken_too", *OPS["softmax_vjp"].inputs))
        with pytest.raises(KernelError, match="'softmax_vjp'") as caught:
            y.backward()
        assert "recorded at" in caught.value.__notes__[0]
    gc.softmax(x).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0]] * 2


def test_an_elementwise_kernel_that_does_not_compile():
    x = gc.tensor([0.25, 2.0], device="cuda")
    spec = OPS["sin"].spec.forward
    assert type(spec) is ElementwiseSpec
    from gradcore.backend.cuda import elementwise

    old = elementwise._kernels.pop(id(spec), None)
    broken = cupy.ElementwiseKernel("T x", "T y", "y = what(x)", "gradcore_broken_sin")
    elementwise._kernels[id(spec)] = (spec, broken)
    try:
        with pytest.raises(KernelError, match=r"'sin' does not compile.*what"):
            gc.sin(x)
    finally:
        del elementwise._kernels[id(spec)]
        elementwise._kernels.update({id(spec): old} if old else {})
    assert np.allclose(gc.sin(x).numpy(), np.sin([0.25, 2.0]))


# --- devices ----------------------------------------------------------------------------------------------------------


def test_mixing_the_host_and_the_device():
    x, y = gc.ones(2, device="cuda"), gc.ones(2)
    for mix in (lambda: x + y, lambda: gc.where(x > 0, x, y), lambda: gc.concatenate([x, y]), lambda: x @ y):
        with pytest.raises(DeviceError, match=r"tensors on cpu and cuda:0; move them to one device with \.to"):
            mix()
    assert (x + y.to("cuda")).tolist() == [2, 2]
    z = gc.ones(2, device="cuda", requires_grad=True)
    with pytest.raises(DeviceError, match="the gradient is on cpu, the tensor on cuda:0"):
        (z * 2).backward(y)


def test_a_module_and_its_input_on_two_devices():
    model = gc.nn.Linear(2, 3)
    with pytest.raises(DeviceError, match=r"'linear' got tensors on cpu and cuda:0"):
        model(gc.ones(1, 2, device="cuda"))
    assert model.to("cuda")(gc.ones(1, 2, device="cuda")).shape == (1, 3)


@pytest.mark.parametrize("make", [lambda d: gc.zeros(1, device=d), lambda d: gc.ones(1).to(d), gc.nn.Linear(1, 1).to])
def test_a_device_that_is_not_there(make):
    with pytest.raises(DeviceError, match=r"device cuda:9 is not there; this machine has cuda:0"):
        make("cuda:9")
    with pytest.raises(ValueError, match="use 'cpu', 'cuda' or 'cuda:N'"):
        gc.zeros(1, device="cuda:x")


def test_no_device():
    code = """
import gradcore as gc
assert not gc.cuda.is_available() and gc.cuda.device_count() == 0
try: gc.zeros(1, device="cuda")
except gc.core.errors.DeviceError as error: print(error)
print(gc.zeros(1))
"""
    message, after = run(code, CUSIM_DEVICES="0").splitlines()
    assert "no CUDA device can be used: the driver sees none" in message and "CUDA_VISIBLE_DEVICES" in message
    assert after == "tensor([0.], dtype=float32, device='cpu')"


def test_a_driver_that_is_too_old():
    code = """
import cupy, gradcore as gc
def old():
    raise cupy.cuda.runtime.CUDARuntimeError(35)
cupy.cuda.runtime.getDeviceCount = old
assert not gc.cuda.is_available()
try: gc.zeros(1, device="cuda")
except gc.core.errors.DeviceError as error: print(error)
print(gc.zeros(1))
"""
    message, after = run(code).splitlines()
    assert "the NVIDIA driver is older than the CUDA version of CuPy" in message
    assert "update the driver" in message and "gradcore[cuda12]" in message
    assert after == "tensor([0.], dtype=float32, device='cpu')"


# --- what does not load CuPy ------------------------------------------------------------------------------------------


def test_cpu_tensors_do_not_load_cupy(tmp_path):
    code = f"""
import sys
import gradcore as gc, gradcore.cuda
import numpy as np
def absent(what):
    assert "cupy" not in sys.modules, what
absent("import")
model = gc.nn.Sequential(gc.nn.Linear(3, 4), gc.nn.ReLU())
optimizer = gc.optim.AdamW(model.parameters(), lr=0.1)
(model(gc.ones(5, 3)) ** 2).mean().backward()
gc.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
absent("a training step")
path = {str(tmp_path / "model.safetensors")!r}
gc.io.save(path, {{"model": model, "optimizer": optimizer}})
gc.io.load(path, {{"model": model, "optimizer": optimizer}})
absent("saving and loading")
np.from_dlpack(gc.from_dlpack(np.ones(2))), gc.asarray(np.ones(2)), gc.vmap(gc.grad(lambda x: x ** 2))(gc.ones(2))
gc.random.normal((2,)), repr(gc.ones(2)), float(gc.ones(1)), gc.ones(2).to("cpu")
absent("the rest")
x = gc.zeros(1, device="cuda")
assert "cupy" in sys.modules
print("done")
"""
    assert run(code) == "done"
