"""Memory shared with other libraries through DLPack, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import DeviceError

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint64", "bool"]
"""What PyTorch and JAX have as well."""


class Old:
    """A library of before 2023: it asks for the protocol that cannot mark memory as read-only."""

    def __init__(self, x):
        self.x = x

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()

    def __dlpack__(self, **asked):
        return self.x.__dlpack__()


def pointer(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_numpy_shares_the_memory_both_ways(dtype, shape):
    array = np.ones(shape, dtype)
    x = gc.from_dlpack(array)
    assert pointer(x.data) == pointer(array) and x.dtype == array.dtype and x.shape == shape
    back = np.from_dlpack(x)
    assert pointer(back) == pointer(array) and not back.flags.writeable and np.array_equal(back, array)


def test_views_keep_their_strides():
    x = gc.from_dlpack(np.arange(12).reshape(3, 4)[::2, 1:].T)
    assert np.array_equal(x.numpy(), np.arange(12).reshape(3, 4)[::2, 1:].T)
    assert np.array_equal(np.from_dlpack(x.T), x.numpy().T)


def test_a_copy_is_the_readers_own():
    x = gc.ones(3)
    copy = np.from_dlpack(x, copy=True)
    copy[:] = 5
    assert x.tolist() == [1, 1, 1]


def test_the_old_protocol_cannot_say_read_only():
    x = gc.ones(3)
    assert pointer(np.from_dlpack(Old(x))) == pointer(x.data)
    read_only = np.ones(3)
    read_only.flags.writeable = False
    with pytest.raises(BufferError, match=r"readonly.*Pass x.numpy\(\).copy\(\)"):
        np.from_dlpack(Old(gc.asarray(read_only)))
    assert np.from_dlpack(gc.asarray(read_only)).tolist() == [1, 1, 1]


def test_what_records_a_gradient_is_refused():
    x = gc.ones(3, requires_grad=True)
    for value in (x, x * 2, gc.nn.Parameter([1.0])):
        with pytest.raises(BufferError, match=r"pass x\.detach\(\)"):
            np.from_dlpack(value)
    assert np.from_dlpack((x * 2).detach()).tolist() == [2, 2, 2]
    assert np.from_dlpack(gc.nn.Buffer([1.0])).tolist() == [1]


def test_tensors_of_transforms_and_graphs_are_refused():
    with pytest.raises(BufferError, match="gradient"):
        gc.grad(lambda x: np.from_dlpack(x).sum())(gc.ones(3))
    with pytest.raises(BufferError, match="when the graph runs"):
        gc.make_graph(lambda x: np.from_dlpack(x))(gc.ones(3))


def test_optimisers_do_not_write_into_shared_memory():
    array = np.ones(5000, np.float32)
    for share in (gc.from_dlpack, gc.asarray):
        p = gc.nn.Parameter(share(array))
        assert pointer(p.read().data) == pointer(array)
        optimizer = gc.optim.SGD([p], lr=0.1)
        for _ in range(2):
            p.grad = gc.ones(5000)
            optimizer.step()
        assert (array == 1).all() and np.allclose(p.numpy(), 0.8)


def test_what_is_no_array():
    with pytest.raises(TypeError, match=r"__dlpack__, not list; use gradcore\.tensor"):
        gc.from_dlpack([1, 2])
    with pytest.raises(TypeError, match="real numbers"):
        gc.from_dlpack(np.ones(2, complex))


def test_devices_that_nobody_has():
    class Elsewhere(Old):
        def __dlpack_device__(self):
            return 8, 0

    with pytest.raises(DeviceError, match="device of type 8"):
        gc.from_dlpack(Elsewhere(np.ones(2)))


@pytest.mark.compare
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (3, 4)])
def test_torch(dtype, shape):
    torch = pytest.importorskip("torch")
    theirs = torch.ones(shape, dtype=getattr(torch, dtype))
    ours = gc.from_dlpack(theirs)
    assert not theirs.numel() or pointer(ours.data) == theirs.data_ptr()
    back = torch.from_dlpack(ours)
    assert back.dtype == theirs.dtype and back.shape == theirs.shape and back.data_ptr() == theirs.data_ptr()
    with pytest.raises(BufferError, match="detach"):
        torch.from_dlpack(gc.ones(2, requires_grad=True))


@pytest.mark.compare
def test_torch_bfloat16():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="cast it to float32"):
        gc.from_dlpack(torch.ones(2, dtype=torch.bfloat16))


@pytest.mark.compare
@pytest.mark.parametrize("shape", [(0,), (3, 4)])
def test_jax(shape):
    jax = pytest.importorskip("jax")
    theirs = jax.numpy.ones(shape, "float32")
    ours = gc.from_dlpack(theirs)
    assert pointer(ours.data) == theirs.unsafe_buffer_pointer() or not ours.size
    back = jax.dlpack.from_dlpack(gc.ones(*shape))
    assert back.shape == shape and (np.asarray(back) == 1).all()
