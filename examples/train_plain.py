"""A training loop in plain sight: what `gradcore.train.fit` does, without it.

    python examples/train_plain.py --epochs 10 --save run.safetensors
    python examples/train_plain.py --epochs 20 --save run.safetensors --resume run.safetensors

The second command goes on where the first one ended, with the bits of a run of 20 epochs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import gradcore as gc
from gradcore import data, io, nn, optim


def train(epochs: int, save: Path | None = None, resume: Path | None = None) -> nn.Module:
    """Train a network on scikit-learn's digits."""
    gc.random.seed(0)
    split = data.datasets.digits()
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = optim.AdamW(model.parameters(), lr=0.005)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
    loader = data.DataLoader(data.ArrayDataset(split.train_x, split.train_y), batch_size=64, shuffle=True)

    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "loader": loader, "random": gc.random}
    done = io.load(resume, parts)["epochs"] if resume else 0

    for epoch in range(done + 1, epochs + 1):
        total = gc.tensor(0.0)
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = total + loss.detach() * len(x)
        schedule.step()
        mean = float(total) / len(split.train_x)  # the only number of the epoch that is read back
        if not np.isfinite(mean):
            raise SystemExit(f"training diverged in epoch {epoch}; try a smaller learning rate")
        print(f"epoch {epoch:3}  loss {mean:.4f}")
        if save:
            io.save(save, parts, {"epochs": epoch})

    model.eval()
    with gc.no_grad():
        print("test", split.task.scores(model(split.test_x), split.test_y))
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--resume", type=Path)
    train(**vars(parser.parse_args()))
