"""Clipping by value, and norms that are not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.compile import Program


def given(gradient: Any, dtype: Any = np.float32) -> nn.Parameter:
    p = nn.Parameter(np.ones(np.shape(gradient), dtype))
    p.grad = np.asarray(gradient, dtype)
    return p


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("limit", [0.1, 1, 0.0, 1e6, float("inf"), np.float64(0.1), gc.tensor(0.1, dtype=np.float64)])
def test_clip_grad_value(limit: Any, dtype: Any) -> None:
    values = np.asarray([np.nan, -3.0, 0.05, np.inf, -np.inf], dtype)
    p, empty, none = given(values, dtype), given(np.ones((0, 2)), dtype), nn.Parameter([1.0])
    number = np.float64(limit.item() if isinstance(limit, gc.Tensor) else limit)
    with np.errstate(over="ignore"):  # 1e6 becomes infinite in float16
        nn.utils.clip_grad_value_([p, empty, none], limit)
        np.testing.assert_array_equal(p.grad.numpy(), np.clip(values, -number.astype(dtype), number.astype(dtype)))
    assert (p.grad.dtype, empty.grad.shape, none.grad) == (dtype, (0, 2), None)


def test_clip_grad_value_refuses() -> None:
    for limit in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="clip_value must be a number that is not negative, not"):
            nn.utils.clip_grad_value_([given([1.0])], limit)
    with pytest.raises(TypeError, match="clip_grad_value_ takes parameters, not Tensor"):
        nn.utils.clip_grad_value_(gc.ones(2), 1.0)  # type: ignore[arg-type]


def test_both_can_be_captured() -> None:
    p = nn.Parameter([1.0, 2.0, 3.0])

    def step(x: Any) -> Any:
        p.grad = x
        nn.utils.clip_grad_value_([p], 2.0)
        norm = nn.utils.clip_grad_norm_([p], 1.0)
        return norm, p.leaf.grad.read()

    x = gc.tensor([3.0, 0.5, -2.5])
    norm, clipped = Program(gc.make_graph(step)(x))(x)
    expected = np.float32([2.0, 0.5, -2.0])
    assert norm.item() == np.linalg.norm(expected)
    np.testing.assert_array_equal(clipped.numpy(), expected * np.float32(1 / (norm.item() + 1e-6)))


def test_small_factors_keep_their_digits_in_float16() -> None:
    p = given([6e4, 1e4], np.float16)
    norm = nn.utils.clip_grad_norm_([p], 1e-2)
    wide = np.asarray([6e4, 1e4], np.float16).astype(np.float32)
    np.testing.assert_array_equal(p.grad.numpy(), (wide * np.float32(1e-2 / norm.item())).astype(np.float16))


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [([np.inf, 1.0], [np.nan, 0.0]), ([np.nan, 1.0], [np.nan, np.nan]), ([1e30, 1.0], [0.0, 0.0])],
)
def test_norms_that_are_not_finite(gradient: Any, expected: Any) -> None:
    p = given(gradient)
    with np.errstate(all="ignore"):
        with pytest.raises(RuntimeError, match=r"norm of the gradients is (inf|nan); skip the step"):
            nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        np.testing.assert_array_equal(p.grad.numpy(), np.float32(gradient))
        nn.utils.clip_grad_norm_([p], 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_absolute_value_as_norm(dtype: Any) -> None:
    p, q, empty = given([1.0, -8.0], dtype), given([[4.0]], dtype), given(np.ones((0, 2)), dtype)
    norm = nn.utils.clip_grad_norm_([empty, p, q], 2.0, norm_type=math.inf)
    assert norm.item() == 8.0
    np.testing.assert_allclose(p.grad.numpy(), [0.25, -2.0], rtol=1e-3 if dtype == np.float16 else 1e-6)
    np.testing.assert_allclose(q.grad.numpy(), [[1.0]], rtol=1e-3 if dtype == np.float16 else 1e-6)
    assert nn.utils.clip_grad_norm_([empty], 1.0, math.inf).item() == 0.0
    with pytest.raises(RuntimeError, match="norm of the gradients is nan"):
        nn.utils.clip_grad_norm_([p, given([math.nan, 1.0])], 1.0, math.inf, error_if_nonfinite=True)


@pytest.mark.parametrize("norm_type", [1.0, 0, -math.inf, math.nan, "inf"])
def test_other_norms_are_refused(norm_type: Any) -> None:
    with pytest.raises(ValueError, match=r"norm_type must be 2 or math\.inf, not"):
        nn.utils.clip_grad_norm_([given([1.0])], 1.0, norm_type)
