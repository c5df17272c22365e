"""Losses against their formulas in plain NumPy, at extremes, and on bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.nn import functional
from gradcore.testing import gradcheck

GENERATOR = np.random.default_rng(4)
X, T = GENERATOR.normal(size=(2, 4, 3))
P, Q = GENERATOR.dirichlet(np.ones(3), size=(2, 4))
LABELS = np.array([0, 2, 1, 2])


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


LOSSES: dict[str, tuple[Callable[..., Any], nn.Module, tuple[Any, ...], Any]] = {
    "mse": (functional.mse_loss, nn.MSELoss("none"), (X, T), (X - T) ** 2),
    "l1": (functional.l1_loss, nn.L1Loss("none"), (X, T), abs(X - T)),
    "huber": (
        lambda x, t, reduction="mean": functional.huber_loss(x, t, reduction, 0.7),
        nn.HuberLoss("none", 0.7),
        (X, T),
        np.where(abs(X - T) < 0.7, (X - T) ** 2 / 2, 0.7 * (abs(X - T) - 0.35)),
    ),
    "bce": (
        functional.binary_cross_entropy_with_logits,
        nn.BCEWithLogitsLoss("none"),
        (X, P),
        -P * np.log(logistic(X)) - (1 - P) * np.log(1 - logistic(X)),
    ),
    "weighted bce": (
        lambda x, t, reduction="mean": functional.binary_cross_entropy_with_logits(x, t, reduction, gc.asarray(P[0])),
        nn.BCEWithLogitsLoss("none", P[0]),
        (X, Q),
        -P[0] * Q * np.log(logistic(X)) - (1 - Q) * np.log(1 - logistic(X)),
    ),
    "kl": (functional.kl_div, nn.KLDivLoss("none"), (np.log(P), Q), Q * np.log(Q / P)),
    "kl of logarithms": (
        lambda x, t, reduction="mean": functional.kl_div(x, t, reduction, log_target=True),
        nn.KLDivLoss("none", log_target=True),
        (np.log(P), np.log(Q)),
        Q * np.log(Q / P),
    ),
    "nll": (functional.nll_loss, nn.NLLLoss("none"), (np.log(P), LABELS), -np.log(P)[np.arange(4), LABELS]),
    "cross entropy": (
        functional.cross_entropy,
        nn.CrossEntropyLoss("none"),
        (np.log(P), LABELS),
        -np.log(P)[np.arange(4), LABELS],
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_reductions_and_gradients(name: str) -> None:
    loss, module, args, want = LOSSES[name]
    np.testing.assert_allclose(module(*args).numpy(), want, rtol=1e-12, atol=1e-15)
    for reduction, total in (("none", want), ("sum", want.sum()), ("mean", want.mean())):
        got = loss(*args, reduction=reduction)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got.numpy(), total, rtol=1e-12, atol=1e-15)
        gradcheck(lambda *xs, r=reduction: loss(*xs, reduction=r), args)


@pytest.mark.parametrize("name", LOSSES)
def test_bad_input_raises(name: str) -> None:
    loss, _, (x, target), _ = LOSSES[name]
    with pytest.raises(ValueError, match="reduction must be one of"):
        loss(x, target, reduction="average")
    with pytest.raises(ValueError, match=r"must have one shape|need labels of shape"):
        loss(x, target[:1])


def test_batchmean_is_the_divergence_of_distributions() -> None:
    want = (Q * np.log(Q / P)).sum() / 4
    np.testing.assert_allclose(nn.KLDivLoss("batchmean")(np.log(P), Q).numpy(), want, rtol=1e-12)
    with pytest.raises(ValueError, match="has no batch"):
        functional.kl_div(np.array(0.0), np.array(1.0), "batchmean")


def test_other_bad_input_raises() -> None:
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\), got 0 to 3"):
        functional.nll_loss(X, np.array([0, 3, 1, 1]))
    with pytest.raises(TypeError, match="integer labels, not float64"):
        functional.nll_loss(X, LABELS * 1.0)
    with pytest.raises(ValueError, match="delta must be positive"):
        functional.huber_loss(X, T, delta=0)
    with pytest.raises(ValueError, match="does not broadcast"):
        functional.binary_cross_entropy_with_logits(X, P, pos_weight=np.ones((2, 4, 3)))


def gradient(loss: Callable[..., Any], x: Any) -> Any:
    return np.asarray(gc.grad(lambda x: loss(x).sum())(x)).tolist()


def test_logits_at_extremes() -> None:
    x, target = np.array([1e4, -1e4, 1e4, -1e4]), np.array([1.0, 1.0, 0.0, 0.0])

    def loss(x: Any, weight: Any = None) -> Any:
        return functional.binary_cross_entropy_with_logits(x, target, "none", weight)

    assert loss(x).numpy().tolist() == [0, 1e4, 1e4, 0]
    assert loss(x, 3.0).numpy().tolist() == [0, 3e4, 1e4, 0]
    assert gradient(loss, x) == [0, -1, 1, 0]
    assert gradient(lambda x: loss(x, 3.0), x) == [0, -3, 1, 0]
    tail = functional.binary_cross_entropy_with_logits(np.array(50.0), np.array(1.0))
    assert tail.item() == pytest.approx(np.exp(-50), rel=1e-12)


def test_infinite_logits() -> None:
    x, target = np.array([np.inf, -np.inf]), np.array([0.25, 0.25])
    assert functional.binary_cross_entropy_with_logits(x, target, "none").numpy().tolist() == [np.inf, np.inf]
    assert gradient(lambda x: functional.binary_cross_entropy_with_logits(x, target, "none"), x) == [0.75, -0.25]


def test_impossible_targets_do_not_count() -> None:
    x, none = np.array([-np.inf, -1.0]), np.array([0.0, 0.0])
    assert functional.kl_div(x, none, "none").numpy().tolist() == [0, 0]
    assert gradient(lambda t: functional.kl_div(x, t, "none"), none) == [0, 0]
    assert np.isnan(functional.kl_div(np.array(np.nan), none[0]).numpy())
    logs = np.array([-np.inf, -np.inf])
    assert functional.kl_div(x[1:], logs[1:], "none", log_target=True).numpy().tolist() == [0]
    assert gradient(lambda t: functional.kl_div(x[1:], t, "none", log_target=True), logs[1:]) == [0]


def test_huber_far_away() -> None:
    x = np.array([1e300, -1e300, 1.0, 0.5, 0.0])
    loss = lambda x: functional.huber_loss(x, np.zeros(5), "none")  # noqa: E731
    assert loss(x).numpy().tolist() == [1e300, 1e300, 0.5, 0.125, 0]
    assert gradient(loss, x) == [1, -1, 1, 0.5, 0]


def test_a_weight_is_a_buffer_and_travels_with_the_module() -> None:
    loss = nn.BCEWithLogitsLoss(pos_weight=[2.0, 3.0, 4.0])
    assert [name for name, _ in loss.named_buffers()] == ["pos_weight"]
    assert nn.BCEWithLogitsLoss().pos_weight is None


def test_a_loss_is_one_kernel_and_one_reduction() -> None:
    for name, (loss, _, args, _) in LOSSES.items():
        nodes = gc.make_graph(loss)(*map(gc.asarray, args)).nodes
        assert len(nodes) <= 2, f"{name}: {[node.op.name for node in nodes]}"
