"""Optimisers and schedules against PyTorch's, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcore import nn, optim

from .references import SHAPES

pytestmark = pytest.mark.compare


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="compares with PyTorch: pip install -e '.[compare]'")


OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "betas": (0.5, 0.7)}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "eps": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.1, "centered": True}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "momentum": 0.9, "centered": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.3, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_optimizers(torch: Any, name: str, options: dict[str, Any]) -> None:
    """20 steps with the defaults and with other values, in two groups."""
    generator = np.random.default_rng(0)
    values = [np.asarray(generator.normal(size=shape)) for shape in SHAPES]
    ours = [nn.Parameter(value) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]
    mine, other = (
        getattr(module, name)([{"params": cells[:2], "lr": 0.02}, {"params": cells[2:]}], **options)
        for module, cells in ((optim, ours), (torch.optim, theirs))
    )
    for _ in range(20):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = np.asarray(generator.normal(size=p.shape))
            q.grad = torch.tensor(p.grad.numpy())
        mine.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-14)


def rates(schedule: Any, optimizer: Any, steps: int, *metrics: Any) -> list[list[float]]:
    found = []
    for count in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        schedule.step(*[metric[count] for metric in metrics])
    return found


def both(torch: Any, ours: Callable[[Any], Any], theirs: Callable[[Any], Any], steps: int, *metrics: Any) -> None:
    """A schedule of ours and one of PyTorch's, each with an optimiser of two groups."""
    mine = optim.SGD([{"params": nn.Parameter(np.ones(1))}, {"params": nn.Parameter(np.ones(1)), "lr": 0.2}], lr=0.3)
    groups = [
        {"params": [torch.ones(1, requires_grad=True)]},
        {"params": [torch.ones(1, requires_grad=True)], "lr": 0.2},
    ]
    other = torch.optim.SGD(groups, lr=0.3)
    found, expected = rates(ours(mine), mine, steps, *metrics), []
    schedule = theirs(other)
    for count in range(steps):
        expected.append([group["lr"] for group in other.param_groups])
        other.step()
        schedule.step(*[metric[count] for metric in metrics])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_step_lr(torch: Any) -> None:
    both(
        torch,
        lambda o: optim.lr_scheduler.StepLR(o, 7, 0.6),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.6),
        50,
    )


def test_cosine_annealing(torch: Any) -> None:
    both(
        torch,
        lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 50, final_lr=0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50, eta_min=0.01),
        51,
    )


def test_warm_up_and_cosine_annealing(torch: Any) -> None:
    def theirs(optimizer: Any) -> Any:
        library = torch.optim.lr_scheduler
        warm = library.LinearLR(optimizer, start_factor=1 / 11, total_iters=10)
        fall = library.CosineAnnealingLR(optimizer, 40, eta_min=0.01)
        return library.SequentialLR(optimizer, [warm, fall], [10])

    both(torch, lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 50, 10, 0.01), theirs, 51)


@pytest.mark.parametrize("share", [0.3, 0.52, 0.9])
def test_one_cycle(torch: Any, share: float) -> None:
    both(
        torch,
        lambda o: optim.lr_scheduler.OneCycleLR(o, [0.3, 0.2], 50, share),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, [0.3, 0.2], 50, pct_start=share, cycle_momentum=False),
        50,
    )


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options", [{}, {"patience": 1, "factor": 0.5, "cooldown": 2, "threshold": 0.05, "min_lr": 1e-3}]
)
def test_reduce_on_plateau(torch: Any, options: dict[str, Any], mode: str) -> None:
    metrics = 10 + np.random.default_rng(0).normal(size=50).cumsum()
    both(
        torch,
        lambda o: optim.lr_scheduler.ReduceLROnPlateau(o, mode, **options),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, mode, **options),
        50,
        metrics.tolist(),
    )


def test_clipping(torch: Any) -> None:
    gradient = np.random.default_rng(0).normal(size=(3, 4))
    norm = "clip_grad_norm_"
    for name, *limits in ((norm, 0.5), (norm, 50.0), (norm, 0.5, np.inf), (norm, 50.0, 2), ("clip_grad_value_", 0.5)):
        p, q = nn.Parameter(np.ones((3, 4))), torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
        p.grad, q.grad = gradient, torch.tensor(gradient)
        getattr(nn.utils, name)([p], *limits)
        getattr(torch.nn.utils, name)([q], *limits)
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
