"""`fit`, `evaluate` and `predict` with a model on CUDA: batches go there, and one number an epoch comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn, optim
from gradcore.data import ArrayDataset, DataLoader
from gradcore.train import (
    Callback,
    Checkpoint,
    DivergedError,
    EarlyStopping,
    JSONLines,
    Progress,
    Run,
    accuracy,
    evaluate,
    fit,
    predict,
)

EPOCHS, BATCHES = 3, 5


def examples(dtype: str = "float32") -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    x = random.standard_normal((40, 6)).astype(dtype)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64) + (x[:, 2] > 0)


def network(device: str, dtype: str = "float32") -> nn.Sequential:
    gc.random.seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Dropout(0.2), nn.Linear(12, 3)).to(dtype).to(device)


def train(device: str, data: Any = None, dtype: str = "float32", **options: Any) -> tuple[nn.Module, list[Progress]]:
    model = network(device, dtype)
    optimizer = optim.AdamW(model.parameters(), lr=0.01, eps=1e-3)
    data = data or DataLoader(ArrayDataset(*examples(dtype)), 8, shuffle=True)
    return model, fit(model, nn.functional.cross_entropy, optimizer, data, EPOCHS, **options)


def assert_alike(cuda: list[Progress], cpu: list[Progress], tolerance: float = 1e-4) -> None:
    for a, b in zip(cuda, cpu, strict=True):
        assert a[:2] == b[:2]
        assert a.loss == pytest.approx(b.loss, rel=tolerance)
        assert a.measures == pytest.approx(b.measures, rel=tolerance)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_run_is_that_of_the_cpu_and_reads_one_number_an_epoch(prefetch: int, counters: Any) -> None:
    histories = []
    for device in ("cpu", "cuda"):
        gc.random.seed(7)
        loader = DataLoader(ArrayDataset(*examples()), 8, shuffle=True, prefetch=prefetch)
        before = counters()
        histories.append(train(device, loader)[1])
    after = counters()
    assert_alike(*histories)
    assert after["d2h"] - before["d2h"] == EPOCHS
    moved = 4 + 2 * EPOCHS * BATCHES  # parameters, x and y
    assert after["h2d"] - before["h2d"] == moved


def test_steps_do_not_read_anything(counters: Any) -> None:
    class Count(Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def after_step(self, run: Run) -> None:
            self.seen.append(counters()["d2h"] + counters()["syncs"])

    count = Count()
    train("cuda", callbacks=[count])
    epochs = [count.seen[i : i + BATCHES] for i in range(0, EPOCHS * BATCHES, BATCHES)]
    assert all(len(set(epoch)) == 1 for epoch in epochs)


def test_examples_that_are_on_the_device_from_the_beginning(counters: Any) -> None:
    x, y = examples()
    before = counters()["h2d"]
    histories = []
    for device in ("cpu", "cuda"):
        gc.random.seed(7)
        dataset = ArrayDataset(gc.tensor(x, device=device), gc.tensor(y, device=device))
        histories.append(train(device, DataLoader(dataset, 8, shuffle=True))[1])
    assert_alike(*histories)
    assert counters()["h2d"] - before == 2 + 4 + 2 * EPOCHS * BATCHES  # examples, parameters, indices
    one, several = dataset[3], dataset[[1, 2]]
    assert {str(part.device) for part in (*one, *several)} == {"cuda:0"}
    np.testing.assert_array_equal(several[0].numpy(), x[[1, 2]])


def test_trees_of_arrays_are_sent() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.layer(x["left"]) + self.layer(x["right"]) * x["factor"]

    x, y = examples()
    losses = []
    for device in ("cpu", "cuda"):
        gc.random.seed(0)
        model = Sum().to(device)
        batch = {"left": x, "right": gc.tensor(x), "factor": 0.5}
        history = fit(model, nn.functional.cross_entropy, optim.SGD(model.parameters(), lr=0.1), [(batch, y)], 2)
        losses.append(history)
    assert_alike(*losses)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype: str) -> None:
    gc.random.seed(7)
    histories = []
    for device in ("cpu", "cuda"):
        gc.random.seed(7)
        model, history = train(device, dtype=dtype, validation=[examples(dtype)])
        assert {str(p.dtype) for p in model.parameters()} == {dtype}
        histories.append(history)
    assert_alike(histories[1], histories[0], 5e-3 if dtype == "float16" else 1e-12)


def test_evaluate_predict_and_accuracy_send_their_arguments() -> None:
    x, y = examples()
    model = {device: network(device) for device in ("cpu", "cuda")}
    outputs = {device: predict(model[device], gc.tensor(x)) for device in model}
    assert outputs["cuda"].device == "cuda:0"
    np.testing.assert_allclose(outputs["cuda"].numpy(), outputs["cpu"].numpy(), rtol=1e-4, atol=1e-5)
    losses = {device: evaluate(model[device], nn.functional.cross_entropy, [(x, y)]) for device in model}
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-5)
    shares = {device: accuracy(model[device], gc.tensor(x), gc.tensor(y)) for device in model}
    assert shares["cuda"] == shares["cpu"]


def test_early_stopping_gives_the_best_network_back() -> None:
    class Keep(Callback):
        def __init__(self) -> None:
            self.states: list[Any] = []

        def after_epoch(self, run: Run, progress: Progress) -> None:
            self.states.append({name: value.numpy() for name, value in run.model.state_dict().items()})

    losses: Iterator[float] = iter([3.0, 1.0, 2.0])
    keep, stopping = Keep(), EarlyStopping("made_up", patience=5, restore_best=True)
    model, _ = train("cuda", validation=lambda model: {"made_up": next(losses)}, callbacks=[keep, stopping])
    for name, value in model.state_dict().items():
        assert value.device == "cuda:0"
        np.testing.assert_array_equal(value.numpy(), keep.states[1][name])
        assert (value.numpy() != keep.states[2][name]).any()


def test_schedules_that_follow_a_number_and_logs(tmp_path: Path) -> None:
    model = network("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=10.0, mode="max")
    data = DataLoader(ArrayDataset(*examples()), 8)
    log = JSONLines(tmp_path / "log.jsonl", every=2)
    options: Any = {"schedule": schedule, "schedule_on": "loss", "callbacks": [log]}
    fit(model, nn.functional.cross_entropy, optimizer, data, 2, **options)
    assert optimizer.lr == pytest.approx(0.01)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 5, 6, 8, 10, 10]


def test_divergence_is_told_with_its_step(tmp_path: Path) -> None:
    x, y = examples()
    bad = np.where(np.arange(40)[:, None] == 20, np.nan, x)
    data = [(bad[i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)]
    with pytest.raises(DivergedError, match="the loss is nan in epoch 1, step 3"):
        train("cuda", data, callbacks=[Checkpoint(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_parameters_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    model = network("cuda")
    run = Run(model, nn.functional.cross_entropy, optim.SGD(model.parameters()), [], 1)
    run.save(tmp_path / "run")
    saved = (tmp_path / "run").read_bytes()
    bias = model.items[0].bias  # type: ignore[attr-defined]
    bias.assign(gc.where(gc.arange(12, device="cuda") == 3, float("inf"), bias))
    with pytest.raises(DivergedError, match=r"parameter 0.bias is not finite after step 0"):
        run.save(tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == saved
