"""The training loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.optim import lr_scheduler
from gradcore.train import Callback, DivergedError, Progress, Run, accuracy, evaluate, fit, predict, train_step
from gradcore.train.measures import count_examples

X = gc.tensor([[0.0], [1.0], [2.0]])
Y = gc.tensor([[1.0], [3.0], [5.0]])
mse = nn.functional.mse_loss


def line() -> tuple[nn.Linear, optim.SGD]:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    return model, optim.SGD(model.parameters(), lr=0.1)


class Recorder(Callback):
    """Remembers what was called, and how far the run was."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def begin(self, run: Run) -> None:
        self.calls.append(("begin", run.step))

    def after_step(self, run: Run) -> None:
        self.calls.append(("after_step", run.step))

    def after_epoch(self, run: Run, progress: Progress) -> None:
        self.calls.append(("after_epoch", progress.epoch))

    def save(self, run: Run) -> None:
        self.calls.append(("save", run.epoch))

    def end(self, run: Run) -> None:
        self.calls.append(("end", run.step))

    def close(self) -> None:
        self.calls.append(("close", 0))


def test_one_step() -> None:
    model, optimizer = line()
    loss = train_step(model, mse, optimizer, X, Y)
    assert float(loss) == pytest.approx(35 / 3)
    assert not loss.requires_grad
    assert model.weight.numpy() == pytest.approx(0.1 * 2 * 13 / 3)
    assert model.bias.numpy() == pytest.approx(0.1 * 2 * 3)


def test_fit_learns() -> None:
    model, optimizer = line()
    history = fit(model.eval(), mse, optimizer, [(X, Y)], 300)
    assert [p.epoch for p in history] == [p.step for p in history] == list(range(1, 301))
    assert history[0].loss == pytest.approx(35 / 3)
    assert history[-1].loss < 1e-4
    assert {p.samples for p in history} == {3}
    assert model.training is False


def test_fit_weighs_batches_by_size() -> None:
    model, optimizer = line()
    optimizer.lr = 0.0
    (progress,) = fit(model, mse, optimizer, [(X[:1], Y[:1]), (X[1:], Y[1:])], 1)
    assert progress.loss == pytest.approx(35 / 3)


@pytest.mark.parametrize("pack", [lambda x, y: ((x, x * 0), y), lambda x, y: ({"z": x, "a": x}, (y, None))])
def test_batches_of_trees_are_weighed_by_size(pack: Any) -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = line()[0]

        def forward(self, x: Any) -> Any:
            return self.line(x["z"] if isinstance(x, dict) else x[0])

    def loss(out: Any, y: Any) -> Any:
        return mse(out, y[0] if isinstance(y, tuple) else y)

    model = First()
    data = [pack(X[:1], Y[:1]), pack(X[1:], Y[1:])]
    assert evaluate(model, loss, data) == pytest.approx(35 / 3)
    (progress,) = fit(model, loss, optim.SGD(model.parameters(), lr=0.0), data, 1)
    assert progress.loss == pytest.approx(35 / 3)
    assert progress.samples == 3


def test_examples_are_counted_in_y() -> None:
    steps_first = gc.zeros(7, 2, 1)
    assert count_examples(steps_first, gc.zeros(2)) == 2
    assert count_examples(steps_first[0], None) == count_examples(steps_first[0], gc.tensor(1.0)) == 2
    with pytest.raises(ValueError, match="the first axis of one must be the examples"):
        count_examples(gc.tensor(1.0), None)


def test_fit_needs_batches_in_every_epoch() -> None:
    model, optimizer = line()
    with pytest.raises(ValueError, match="epoch 2 had no batches"):
        fit(model, mse, optimizer, iter([(X, Y)]), 2)


def test_callbacks_are_called_in_order() -> None:
    model, optimizer = line()
    first, second = Recorder(), Recorder()
    fit(model, mse, optimizer, [(X, Y), (X, Y)], 2, callbacks=[first, second])
    steps = [("after_step", 1), ("after_step", 2), ("after_epoch", 1), ("save", 1)]
    steps += [("after_step", 3), ("after_step", 4), ("after_epoch", 2), ("save", 2)]
    assert first.calls == second.calls == [("begin", 0), *steps, ("end", 4), ("close", 0)]


def test_callbacks_are_closed_after_an_error() -> None:
    class Fail(Callback):
        def close(self) -> None:
            raise OSError("no space left")

    recorder = Recorder()
    model, optimizer = line()
    with pytest.raises(OSError, match="no space left") as raised:
        fit(model, lambda out, y: None * out, optimizer, [(X, Y)], 1, callbacks=[Fail(), recorder])
    assert isinstance(raised.value.__context__, TypeError)
    assert recorder.calls == [("begin", 0), ("close", 0)]
    assert model.training


def test_a_callback_can_stop_the_run() -> None:
    class Stop(Callback):
        def after_epoch(self, run: Run, progress: Progress) -> None:
            self.stop = progress.epoch == 3

    model, optimizer = line()
    assert len(fit(model, mse, optimizer, [(X, Y)], 9, callbacks=[Stop()])) == 3


def test_validation_on_batches() -> None:
    model, optimizer = line()
    history = fit(model, mse, optimizer, [(X, Y)], 2, validation=[(X, Y)])
    assert history[0].measures == {"validation_loss": pytest.approx(history[1].loss)}
    assert history[0].number("validation_loss") == history[0].measures["validation_loss"]
    with pytest.raises(KeyError, match="nothing called 'accuracy' is measured; there is loss, validation_loss"):
        history[0].number("accuracy")


def test_validation_by_a_function_sees_an_evaluated_model() -> None:
    model, optimizer = line()

    def measure(model: nn.Module) -> Mapping[str, float]:
        assert not model.training
        assert not model(X).requires_grad
        return {"slope": float(model(X)[1, 0] - model(X)[0, 0])}

    assert fit(model, mse, optimizer, [(X, Y)], 300, validation=measure)[-1].measures["slope"] == pytest.approx(2, 0.01)


def test_measures_must_stay_the_same() -> None:
    names = iter("ab")
    model, optimizer = line()
    with pytest.raises(ValueError, match=r"gave \['a'\] in the epoch before and \['b'\] now"):
        fit(model, mse, optimizer, [(X, Y)], 2, validation=lambda model: {next(names): 0.0})


@pytest.mark.parametrize(("on", "count"), [("step", 6), ("epoch", 3)])
def test_schedules_take_steps(on: str, count: int) -> None:
    model, optimizer = line()
    schedule = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    fit(model, mse, optimizer, [(X, Y), (X, Y)], 3, schedule=schedule, schedule_on=on)
    assert optimizer.lr == pytest.approx(0.1 * 0.5**count)


def test_a_schedule_can_follow_a_measure() -> None:
    model, optimizer = line()
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    fit(
        model,
        mse,
        optimizer,
        [(X, Y)],
        4,
        schedule=schedule,
        schedule_on="flat",
        validation=lambda model: {"flat": 1.0},
    )
    assert optimizer.lr == 0.05


def test_a_schedule_must_fit_what_it_is_called_on() -> None:
    model, optimizer = line()
    plateau, steps = lr_scheduler.ReduceLROnPlateau(optimizer), lr_scheduler.StepLR(optimizer, step_size=1)

    def refused(schedule: Any, on: str, message: str, **options: Any) -> None:
        with pytest.raises(ValueError, match=message):
            fit(model, mse, optimizer, [(X, Y)], 1, schedule=schedule, schedule_on=on, **options)
        assert float(model.weight) == 0.0

    for on in ("step", "epoch"):
        refused(plateau, on, "ReduceLROnPlateau follows a number; pass schedule_on='loss' or the name of a measure")
    refused(steps, "loss", "StepLR follows no number 'loss'; pass schedule_on='step' or 'epoch'")
    refused(plateau, "validation_loss", "ReduceLROnPlateau follows 'validation_loss', but there is loss; pass a valid")
    refused(plateau, "auc", "follows 'auc', but there is loss and validation_loss", validation=[(X, Y)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_names_epoch_and_step(value: float) -> None:
    losses = iter([1.0, 2.0, 3.0, 4.0, value, 1.0])
    model, optimizer = line()

    def loss(out: Any, y: Any) -> Any:
        return mse(out, y) * 0.0 + next(losses)

    with pytest.raises(DivergedError, match=rf"the loss is {value:g} in epoch 2, step 5; try a smaller learning rate"):
        fit(model, loss, optimizer, [(X, Y)] * 3, 2)


def test_a_measure_that_is_not_finite_ends_the_run() -> None:
    model, optimizer = line()
    with pytest.raises(ValueError, match="the validation gave r2 = nan after epoch 1; a measure must be finite"):
        fit(model, mse, optimizer, [(X, Y)], 2, validation=lambda model: {"r2": float("nan")})
    with pytest.raises(DivergedError, match="validation_loss is inf after epoch 1; try a smaller learning rate"):
        fit(model, mse, optimizer, [(X, Y)], 2, validation=[(X, Y * float("inf"))])


def test_losses_of_half_precision_are_summed_exactly() -> None:
    x = gc.zeros(5000, 1, dtype="float16")
    y = gc.full((5000, 1), 100.0, dtype="float16")
    model = line()[0].to("float16")
    frozen = optim.SGD(model.parameters(), lr=0.0)
    (progress,) = fit(model, mse, frozen, [(x, y)] * 2, 1)
    assert progress.loss == 10000.0


def test_modules_keep_their_modes() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5).eval())
    predict(model, X)
    fit(model, mse, optim.SGD(model.parameters()), [(X, Y)], 1, validation=[(X, Y)])
    assert [module.training for module in model.modules()] == [True, True, False]


def test_measures_are_taken_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Identity(), nn.Dropout(0.9))
    scores = gc.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    assert accuracy(model, scores, gc.tensor([0, 1, 0, 0])) == 0.75
    assert (predict(model, scores).numpy() == scores.numpy()).all()
    assert evaluate(model, mse, [(scores[:1], scores[:1]), (scores[1:], scores[1:] + 1)]) == 0.75
    assert model.training
    with pytest.raises(ValueError, match="no examples"):
        evaluate(model, mse, [])
