"""The printed kernels are those that the op table gives today."""

from __future__ import annotations

from gradcore.ops.print_kernels import FOLDER, generated


def test_printed_kernels_are_current() -> None:
    printed = {path.name: path.read_text() for path in FOLDER.glob("*.cu")}
    assert printed == generated(), "run `python -m gradcore.ops.print_kernels` and commit the result"


def test_the_named_backward_kernels_are_there() -> None:
    texts = generated()
    assert "out0[i] = g * (y * (T(1) - y));" in texts["sigmoid_vjp.cu"]
    assert "out0[i] = y > T(0) ? g : T(0);" in texts["relu_vjp.cu"]
    assert "out0[i] = scale * (x - target);" in texts["mse_gradient.cu"]
