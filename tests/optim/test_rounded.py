"""Hyperparameters are checked as they are stored: a large number is infinite in float32, one near 1 is 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcore import nn, optim
from gradcore.optim import lr_scheduler

SINGLE = nn.Parameter(np.ones(2, np.float32))
DOUBLE = nn.Parameter(np.ones(2))
HALF = nn.Parameter(np.ones(2, np.float16))
TOO_LARGE = r"lr must be a finite number that is not negative, not 1e\+39, which is inf in float32"
TOO_NEAR = r"beta2 must be in \[0, 1\), not 0.99999999, which is 1.0 in float32"


@pytest.mark.parametrize("params", [[SINGLE], [DOUBLE, SINGLE], [HALF]])
def test_what_float32_cannot_hold_is_refused(params: Any) -> None:
    with pytest.raises(ValueError, match=TOO_LARGE):
        optim.SGD(params, lr=1e39)
    with pytest.raises(ValueError, match=TOO_NEAR):
        optim.Adam(params, betas=(0.9, 0.99999999))
    optimizer = optim.AdamW(params)
    for group in (optimizer, optimizer.param_groups[0]):
        set_to(group, "lr", 0.5)
        for name, value, words in (("lr", 1e39, TOO_LARGE), ("beta2", 0.99999999, TOO_NEAR)):
            for given in (value, np.float64(value), np.asarray(value)):
                with pytest.raises(ValueError, match=words):
                    set_to(group, name, given)
        assert (optimizer.lr, optimizer.beta2) == (0.5, 0.999)


def set_to(group: Any, name: str, value: Any) -> None:
    if isinstance(group, optim.Optimizer):
        setattr(group, name, value)
    else:
        group[name] = value


def test_what_float64_can_hold_is_taken() -> None:
    optimizer = optim.Adam([DOUBLE], lr=1e39, betas=(0.9, 0.99999999))
    assert (optimizer.lr, optimizer.beta2) == (1e39, 0.99999999)
    with pytest.raises(ValueError, match="lr must be a finite number"):
        optimizer.lr = 10**400


def test_the_largest_numbers_that_fit_are_taken() -> None:
    largest = float(np.finfo(np.float32).max)
    optimizer = optim.Adam([SINGLE], lr=largest, betas=(0.9, 0.99999996))
    optimizer.lr = optimizer.lr  # the shortest number that stands for it is larger
    assert np.float32(optimizer.lr) == largest
    assert optimizer.beta2 == 0.99999994


def test_a_group_that_is_refused_is_not_added() -> None:
    optimizer = optim.SGD([DOUBLE], lr=1e39)
    with pytest.raises(ValueError, match=TOO_LARGE):
        optimizer.add_param_group({"params": [SINGLE]})
    assert (len(optimizer.param_groups), len(optimizer.parameters)) == (1, 1)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 1e39])
def test_the_first_sum_of_adagrad(value: float) -> None:
    with pytest.raises(ValueError, match="initial_accumulator_value must be a finite number that is not negative"):
        optim.Adagrad([SINGLE], initial_accumulator_value=value)


def test_the_first_sum_of_adagrad_is_in_the_dtype_of_the_parameter() -> None:
    with pytest.raises(ValueError, match="which is inf in float16"):
        optim.Adagrad([HALF], initial_accumulator_value=1e5)


def test_rates_of_schedules() -> None:
    optimizer = optim.SGD([SINGLE], lr=0.1)
    with pytest.raises(ValueError, match=TOO_LARGE):
        lr_scheduler.OneCycleLR(optimizer, 1e39, 10)
    with pytest.raises(ValueError, match=TOO_LARGE):
        lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=1e39)
    assert optimizer.lr == 0.1
