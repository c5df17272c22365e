"""The plain loop in `examples/` does what `fit` does."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import gradcore as gc
from gradcore import data, io, nn, optim
from gradcore.train import fit

pytest.importorskip("sklearn", reason="the demo extra is not installed")
PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "train_plain.py"


@pytest.fixture(scope="module")
def train() -> Any:
    return runpy.run_path(str(PROGRAM))["train"]


def test_it_gives_the_bits_of_fit(train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plain = train(6)
    gc.random.seed(0)
    split = data.datasets.digits()
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = optim.AdamW(model.parameters(), lr=0.005)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    loader = data.DataLoader(data.ArrayDataset(split.train_x, split.train_y), batch_size=64, shuffle=True)
    loss = nn.functional.cross_entropy
    history = fit(model, loss, optimizer, loader, 6, schedule=schedule, schedule_on="epoch")
    for name, value in plain.state_dict().items():
        assert (model.state_dict()[name].numpy() == value.numpy()).all(), name
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [f"epoch {p.epoch:3}  loss {p.loss:.4f}" for p in history]


def test_it_goes_on_with_the_same_bits(train: Any, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(6, whole)
    train(3, parts)
    train(6, parts, parts)
    assert parts.read_bytes() == whole.read_bytes()
    assert io.read(parts)[1] == {"epochs": 6}
