"""Memory shared with CuPy, and with what else there is on the device."""

from __future__ import annotations

import cupy
import numpy as np
import pytest

import gradcore as gc
from gradcore.backend.cuda import streams

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool"]


@pytest.fixture(autouse=True)
def one_stream():
    """Tests of other files find a program that has only one stream."""
    yield
    streams.leave()
    streams.order.active = False


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
@pytest.mark.parametrize("share", [gc.from_dlpack, gc.asarray])
def test_cupy_shares_the_memory_both_ways(dtype, shape, share):
    array = cupy.ones(shape, dtype)
    x = share(array)
    assert x.data.data.ptr == array.data.ptr and x.device == "cuda:0" and x.dtype == array.dtype
    back = cupy.from_dlpack(x)
    assert back.data.ptr == array.data.ptr and back.shape == shape
    assert bool((back == array).all())


def test_views_keep_their_strides():
    array = cupy.arange(12).reshape(3, 4)[::2, 1:].T
    x = gc.from_dlpack(array)
    assert x.data.strides == array.strides and np.array_equal(x.numpy(), cupy.asnumpy(array))


def test_sharing_copies_nothing(counters):
    array = cupy.ones(3)
    import cusim

    cusim.reset()
    cupy.from_dlpack(gc.from_dlpack(array)), gc.asarray(array)
    stats = counters()
    assert (stats["h2d"], stats["d2h"], stats["d2d"], stats["kernel_launches"]) == (0, 0, 0, 0)


def test_comparing_with_an_array_of_cupy():
    array = cupy.arange(3)
    x = gc.tensor([0, 5, 2], device="cuda")
    for equal in (x == array, array == x):
        assert equal.tolist() == [True, False, True]
    for other in (x != array, array != x):
        assert other.tolist() == [False, True, False]


def test_scalars_of_numpy_meet_what_is_on_the_device(counters):
    x = gc.tensor([1.0, 2.0], device="cuda")
    host = gc.tensor([1.0, 2.0])
    for function in (lambda v: v * np.sqrt(2), lambda v: np.float32(3) - v, lambda v: gc.maximum(v, np.int64(2))):
        before = counters()
        found, expected = function(x), function(host)
        assert counters()["h2d"] == before["h2d"] and counters()["d2h"] == before["d2h"]
        assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist())


def test_cupy_functions_are_pointed_to_dlpack():
    with pytest.raises(TypeError, match=r"cupy\.from_dlpack"):
        cupy.asarray(gc.ones(2, device="cuda"))


def test_tensor_copies():
    array = cupy.ones(3)
    assert gc.tensor(array).data.data.ptr != array.data.ptr


@pytest.mark.parametrize("share", [gc.from_dlpack, gc.asarray])
@pytest.mark.parametrize("make", [gc.optim.SGD, gc.optim.AdamW])
def test_optimisers_do_not_write_into_shared_memory(share, make):
    array = cupy.ones(5000, np.float32)
    p = gc.nn.Parameter(share(array))
    assert p.read().data.data.ptr == array.data.ptr
    optimizer = make([p], lr=0.1)
    for _ in range(3):
        p.grad = gc.ones(5000, device="cuda")
        optimizer.step()
    assert bool((array == 1).all())
    assert (p.numpy() < 0.9).all()


def test_what_another_library_holds_is_not_written():
    """A cell's own array, given away: the next step makes a new one."""
    p = gc.nn.Parameter(gc.ones(5000, device="cuda"))
    given = cupy.from_dlpack(p.detach())
    p.grad = gc.ones(5000, device="cuda")
    gc.optim.SGD([p], lr=0.5).step()
    assert bool((given == 1).all()) and (p.numpy() == 0.5).all()


def test_numpy_refuses_and_a_copy_can_be_asked_for():
    x = gc.ones(3, device="cuda")
    with pytest.raises((RuntimeError, BufferError, ValueError)):
        np.from_dlpack(x)
    assert np.from_dlpack(x, device="cpu", copy=True).tolist() == [1, 1, 1]


def test_numpy_functions_say_what_to_do():
    with pytest.raises(TypeError, match=r"pass \.numpy\(\) to copy it to the CPU"):
        np.asarray(gc.ones(3, device="cuda"))


def test_what_records_a_gradient_is_refused():
    with pytest.raises(BufferError, match=r"pass x\.detach\(\)"):
        cupy.from_dlpack(gc.ones(3, device="cuda", requires_grad=True))


def test_the_device():
    assert gc.ones(1, device="cuda").__dlpack_device__() == (2, 0)
    assert gc.ones(1).__dlpack_device__() == (1, 0)


def test_what_comes_in_is_waited_for_by_other_streams():
    side = cupy.cuda.Stream(non_blocking=True)
    array = cupy.ones(3)
    with gc.cuda.stream(side):
        x = gc.from_dlpack(array)
        assert streams._older[0].made.key == (0, side.ptr)
    assert (x * 2).tolist() == [2, 2, 2]


@pytest.mark.gpu
def test_torch_on_the_device():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no CUDA device")
    theirs = torch.ones(3, device="cuda")
    ours = gc.from_dlpack(theirs)
    assert ours.data.data.ptr == theirs.data_ptr()
    assert torch.from_dlpack(ours * 2).tolist() == [2, 2, 2]
