"""A training loop in plain sight: what `gradcore.train.fit` does, without it.

    python examples/train_plain.py --epochs 10 --save run.safetensors > log.jsonl
    python examples/train_plain.py --epochs 20 --save run.safetensors --resume run.safetensors >> log.jsonl

The second command goes on where the first one ended, with the bits of a run of 20 epochs. Ctrl-C ends a run after the
running epoch; it goes on in the same way.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import gradcore as gc
from gradcore import data, io, nn, optim
from gradcore.train.interrupts import Interrupts


def train(
    epochs: int, save: Path | None = None, best: Path | None = None, resume: Path | None = None, patience: int = 10
) -> nn.Module:
    """Train a network on scikit-learn's digits; a fifth of the training examples is for validation."""
    gc.random.seed(0)
    split = data.datasets.digits()
    held = len(split.train_x) // 5
    held_x, held_y = split.train_x[:held], split.train_y[:held]
    loader = data.DataLoader(data.ArrayDataset(split.train_x[held:], split.train_y[held:]), 64, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
    optimizer = optim.AdamW(model.parameters(), lr=0.005)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)

    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "loader": loader, "random": gc.random}
    held_losses = io.load(resume, parts)["held_losses"] if resume else []  # one for each epoch so far

    with Interrupts() as interrupts:
        while len(held_losses) < epochs and since_best(held_losses) < patience and not interrupts.noted:
            loss = one_epoch(model, optimizer, loader)
            schedule.step()
            with gc.no_grad():
                held_losses.append(float(nn.functional.cross_entropy(model.eval()(held_x), held_y)))
            if not np.isfinite([loss, held_losses[-1]]).all():
                raise SystemExit(f"training diverged in epoch {len(held_losses)}; try a smaller learning rate")
            print(json.dumps({"epoch": len(held_losses), "loss": loss, "validation_loss": held_losses[-1]}), flush=True)
            if best and since_best(held_losses) == 0:
                io.save(best, {"model": model})
            if save:
                io.save(save, parts, {"held_losses": held_losses})
    if interrupts.noted:
        raise KeyboardInterrupt
    with gc.no_grad():
        print(json.dumps({"test": split.task.scores(model.eval()(split.test_x), split.test_y)}))
    return model


def one_epoch(model: nn.Module, optimizer: optim.Optimizer, loader: data.DataLoader) -> float:
    """Use every example once; their mean loss, the only number that is read back."""
    model.train()
    total, count = gc.tensor(0.0, dtype="float64"), 0
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, count = total + loss.detach().astype("float64") * len(x), count + len(x)
    return float(total) / count


def since_best(losses: list[float]) -> int:
    """How many epochs came after the one with the least loss."""
    return len(losses) - int(np.argmin([np.inf, *losses]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--patience", type=int, default=10, help="epochs without a better validation loss")
    for name in ("save", "best", "resume"):
        parser.add_argument(f"--{name}", type=Path)
    try:
        train(**vars(parser.parse_args()))
    except io.FileError as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted\n")
