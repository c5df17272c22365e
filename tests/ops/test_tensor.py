"""Operators and protocols of Tensor and of cells."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.special

import gradcore as gc
from gradcore.core.errors import GradcoreError, StageError


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, bool, np.float32, np.float64, np.float16])
@pytest.mark.parametrize("exponent", [2, 2.0, 0.5, 3, 1.5])
def test_powers_have_the_dtype_of_numpy(dtype, exponent):
    x = np.array([0, 1, 1]).astype(dtype)
    if dtype is bool and type(exponent) is float and np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("NumPy 2.0 squares booleans as integers when the exponent is 2.0; later ones do not")
    got, want = gc.tensor(x) ** exponent, x**exponent
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want)


RECORDED = gc.tensor(np.ones(3), requires_grad=True)


@pytest.mark.parametrize("call", [np.asarray, lambda x: gc.tensor([x, x]), scipy.special.logsumexp])
def test_arrays_of_tensors_do_not_lose_gradients(call):
    for x in (RECORDED, RECORDED * 2, gc.nn.Parameter(np.ones(3))):
        with pytest.raises(TypeError, match=r"\.numpy\(\) or \.detach\(\)"):
            call(x)
    with pytest.raises(TypeError, match=r"inside grad.*gradcore.special.logsumexp"):
        gc.grad(lambda x: call(x) and x)(np.ones(3))
    call(RECORDED.detach())
    call(RECORDED.numpy())


def test_tensors_without_a_gradient_are_arrays():
    x = gc.tensor([1.0, 2.0])
    assert np.asarray(x).tolist() == [1, 2] and np.asarray(x, np.int64).dtype == np.int64
    assert np.asarray(gc.nn.Buffer([1.0])).tolist() == [1]
    with pytest.raises(ValueError):
        np.asarray(x)[0] = 3


def test_comparison_with_other_things():
    x = gc.tensor([1.0, 2.0])
    for other in (None, "text", {}, object()):
        assert (x == other) is False
        assert (x != other) is True
    for other in (1.0, 1, np.float32(1), np.array([1.0, 3.0]), gc.tensor([1.0, 3.0]), gc.nn.Parameter([1.0, 3.0])):
        assert (x == other).numpy().tolist() == [True, False]
        assert (x != other).numpy().tolist() == [False, True]
    assert x not in [None, "text"]


def test_to_takes_a_device_a_dtype_or_both():
    x = gc.tensor([1, 2])
    assert x.to("cpu") is x and x.to("int64") is x and x.cpu() is x and x.to() is x
    for y in (x.to("cpu", "float16"), x.to("float16", "cpu"), x.to(dtype="float16", device="cpu")):
        assert y.dtype == np.float16 and y.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("target", ["cuad", "gpu", True, 0, gc.ones(1), np.ones(1)])
def test_to_refuses_what_is_neither_device_nor_dtype(target):
    for to in (gc.ones(1).to, gc.nn.Linear(1, 1).to):
        with pytest.raises(TypeError, match="is neither a device"):
            to(target)
    with pytest.raises(ValueError, match="no device is named '0'"):
        gc.zeros(1, device=0)


def test_formatting():
    loss = gc.tensor([0.12345], requires_grad=True)
    assert f"{loss:.3f}" == "0.123" and f"{gc.nn.Parameter([0.5]):.1f}" == "0.5"
    assert f"{gc.tensor(3):04d}" == "0003"
    assert f"{loss}" == str(loss) == repr(loss)
    assert f"{gc.nn.Parameter([0.5])}".startswith("Parameter(")
    with pytest.raises(ValueError, match="only a tensor of one element"):
        f"{gc.tensor([1.0, 2.0]):.3f}"
    with pytest.raises(GradcoreError, match="inside vmap"):
        gc.vmap(lambda x: f"{x:.3f}" and x)(np.ones(2))


@pytest.mark.parametrize("value", [gc.tensor([1.0]), gc.nn.Parameter([1.0])], ids=["tensor", "cell"])
def test_items_cannot_be_set(value):
    with pytest.raises(TypeError, match=r"cannot be changed in place; make a new one with x\.at\[i\]\.set\(v\)"):
        value[0] = 2.0


# --- backward(gradient) -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.array, gc.tensor, lambda v: gc.nn.Buffer(v), lambda v: np.array(v, np.float32)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward_takes_arrays_and_casts_them(make, dtype):
    x = gc.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    (x * x).backward(make([1.0, 10.0]))
    assert x.grad.dtype == dtype and x.grad.numpy().tolist() == [2, 40]


def test_backward_takes_a_number():
    x = gc.tensor(2.0, requires_grad=True)
    (x * x).backward(3)
    assert x.grad.item() == 12 and x.grad.dtype == np.float32


@pytest.mark.parametrize("gradient", ["text", [1.0, 1.0], True, object()])
def test_backward_refuses_other_types(gradient):
    with pytest.raises(TypeError, match=r"takes a tensor or an array, not"):
        (RECORDED * 2).backward(gradient)


@pytest.mark.parametrize("gradient", [np.ones(3, int), gc.tensor([True, True, False])])
def test_backward_refuses_gradients_that_are_not_floating(gradient):
    with pytest.raises(TypeError, match="takes floating numbers, not"):
        (RECORDED * 2).backward(gradient)


def test_backward_refuses_a_gradient_inside_a_transform():
    with pytest.raises(GradcoreError, match=r"a gradient inside vmap; use vjp\(\)"):
        gc.vmap(lambda g: (RECORDED * 2).backward(g))(np.ones((2, 3)))


@pytest.mark.parametrize("option", ["create_graph", "retain_graph"])
def test_backward_points_to_grad_and_vjp(option):
    with pytest.raises(GradcoreError, match=r"nest gradcore.grad\(f\).*use gradcore.vjp"):
        gc.sum(RECORDED).backward(**{option: True})
    gc.sum(RECORDED * 2).backward(None, False, False)


def test_backward_with_a_gradient_in_a_graph():
    def f(x, g):
        (x * x).backward(g)
        got = x.grad
        x.zero_grad()
        return got

    graph = gc.make_graph(f)(gc.tensor([1.0, 2.0], requires_grad=True), gc.tensor(np.ones(2)))
    assert "cast" in str(graph)


# --- the namespace ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compile", "train", "testing", "nn", "optim", "random", "io"])
def test_rooms_are_reachable(name):
    assert getattr(gc, name).__name__ == f"gradcore.{name}"
    assert name in dir(gc)


def test_nothing_else_is():
    assert not {"optimizers", "Any", "TYPE_CHECKING", "import_module"} & set(dir(gc))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gc.nothing


def test_rooms_are_imported_when_they_are_asked_for():
    rooms = ("compile", "testing", "train")
    code = f"import sys, gradcore; print([m for m in {rooms} if 'gradcore.' + m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_logic_of_boolean_tensors():
    x = gc.tensor([1.0, 2.0, 3.0])
    assert x[(x > 1) & (x < 3)].tolist() == [2]
    assert ((x > 2) | (x < 2)).tolist() == [True, False, True]
    assert (~(x > 1) ^ True).tolist() == [False, True, True]
    assert (np.array([True, False, True]) & (x > 1)).tolist() == [False, False, True]
    for wrong in (lambda: x & (x > 1), lambda: ~gc.arange(3), lambda: (x > 1) & 1):
        with pytest.raises(TypeError, match="takes boolean tensors, such as x > 0, not"):
            wrong()


def test_integer_tensors_are_indices():
    x = gc.arange(5)
    assert x[gc.tensor(1) : gc.tensor(3)].tolist() == [1, 2]
    assert list(range(gc.tensor(2))) == [0, 1]
    for wrong in (gc.tensor(1.0), gc.tensor([1])):
        with pytest.raises(TypeError, match="only an integer tensor without axes"):
            range(wrong)
    with pytest.raises(StageError):
        gc.make_graph(lambda i: x[i:])(gc.tensor(1))
    assert (x.size, gc.nn.Parameter([1.0]).size, gc.zeros(2, 0).size) == (5, 1, 0)
    assert (+x).tolist() == x.tolist()
