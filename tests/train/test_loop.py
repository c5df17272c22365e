"""The training loop and the digits."""

from __future__ import annotations

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.train import Progress, accuracy, datasets, fit, train_step

X = gc.tensor([[0.0], [1.0], [2.0]])
Y = gc.tensor([[1.0], [3.0], [5.0]])


def line() -> tuple[nn.Linear, optim.SGD]:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    return model, optim.SGD(model.parameters(), lr=0.1)


def test_one_step() -> None:
    model, optimizer = line()
    loss = train_step(model, nn.functional.mse_loss, optimizer, X, Y)
    assert float(loss) == pytest.approx(35 / 3)
    assert not loss.requires_grad
    assert model.weight.numpy() == pytest.approx(0.1 * 2 * 13 / 3)
    assert model.bias.numpy() == pytest.approx(0.1 * 2 * 3)


def test_fit_learns_and_reports() -> None:
    model, optimizer = line()
    reports: list[Progress] = []
    history = fit(model.eval(), nn.functional.mse_loss, optimizer, lambda: [(X, Y)], 300, reports.append)
    assert history == reports
    assert [p.epoch for p in history] == list(range(1, 301))
    assert history[0].loss == pytest.approx(35 / 3)
    assert history[-1].loss < 1e-4
    assert {p.samples for p in history} == {3}
    assert model.training is False


def test_fit_weighs_batches_by_size() -> None:
    model, optimizer = line()
    optimizer.lr = 0.0
    (progress,) = fit(model, nn.functional.mse_loss, optimizer, lambda: [(X[:1], Y[:1]), (X[1:], Y[1:])], 1)
    assert progress.loss == pytest.approx(35 / 3)


def test_fit_needs_batches_in_every_epoch() -> None:
    model, optimizer = line()
    once = iter([(X, Y)])
    with pytest.raises(ValueError, match="epoch 2 had no batches"):
        fit(model, nn.functional.mse_loss, optimizer, lambda: once, 2)


def test_accuracy_is_taken_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.9))
    scores = gc.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    assert accuracy(model, scores, gc.tensor([0, 1, 0, 0])) == 0.75
    assert model.training


@pytest.fixture(scope="module")
def digits() -> datasets.Split:
    pytest.importorskip("sklearn", reason="the demo extra is not installed")
    gc.random.seed(0)
    return datasets.digits()


def test_digits_are_split_by_class(digits: datasets.Split) -> None:
    assert len(digits.train_x) + len(digits.test_x) == 1797
    train, test = (np.bincount(y.numpy(), minlength=10) for y in (digits.train_y, digits.test_y))
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.003)
    rows = {row.tobytes() for row in digits.train_x.numpy()}
    assert sum(row.tobytes() in rows for row in digits.test_x.numpy()) == 0


def test_digits_are_standardised_by_the_training_part(digits: datasets.Split) -> None:
    x = digits.train_x.numpy()
    assert x.dtype == np.float32
    deviation = x.std(0)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(deviation[deviation > 0], 1, atol=1e-3)
    assert abs(digits.test_x.numpy().mean()) > 1e-6


def test_digits_follow_the_seed(digits: datasets.Split) -> None:
    gc.random.seed(0)
    again, other = datasets.digits(), datasets.digits()
    for a, b in zip(digits, again, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert (other.test_y.numpy() != again.test_y.numpy()).any()


def test_batches_are_shuffled_anew_and_complete() -> None:
    x = gc.arange(10)
    batches = datasets.shuffled(x, x, 4)
    gc.random.seed(0)
    first, second = ([pair for pair in batches()] for _ in range(2))  # noqa: C416
    assert [len(a) for a, _ in first] == [4, 4, 2]
    orders = [np.concatenate([a.numpy() for a, _ in epoch]) for epoch in (first, second)]
    assert (orders[0] != orders[1]).any()
    for order in orders:
        assert sorted(order) == list(range(10))
    assert all((a.numpy() == b.numpy()).all() for a, b in first)
