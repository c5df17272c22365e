"""A small training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from gradcore.autodiff.tape import no_grad
from gradcore.nn.module import Module
from gradcore.optim.optimizer import Optimizer

Batches = Iterable[tuple[Any, Any]]


class Progress(NamedTuple):
    """What `fit` reports after each epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean loss of its examples, each as it was when its batch was used.
        samples: how many examples it had.

    Example:
        >>> Progress(epoch=1, loss=0.5, samples=64).loss
        0.5
    """

    epoch: int
    loss: float
    samples: int


def train_step(model: Module, loss: Callable[..., Any], optimizer: Optimizer, x: Any, y: Any) -> Any:
    """One step on one batch: forward, backward, update.  Returns the loss, a 0-d Tensor without a record.

    >>> import gradcore as gc
    >>> model = gc.nn.Linear(1, 1, bias=False)
    >>> optimizer = gc.optim.SGD(gc.nn.init.zeros_(model.weight), lr=0.25)
    >>> train_step(model, gc.nn.functional.mse_loss, optimizer, gc.ones(1, 1), gc.ones(1, 1))
    tensor(1., dtype=float32, device='cpu')
    >>> float(model.weight)
    0.5
    """
    value = loss(model(x), y)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.detach()


def fit(
    model: Module,
    loss: Callable[..., Any],
    optimizer: Optimizer,
    batches: Callable[[], Batches],
    epochs: int,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[Progress]:
    """Train a model.

    Losses are summed where they are computed; one number is read back per epoch.

    Args:
        model: called with the x of a batch; it is in training mode during the call and in its old mode after it.
        loss: called with the model's output and the y of a batch; the mean over the examples of the batch.
        optimizer: of the model's parameters.
        batches: called once per epoch; gives pairs (x, y) whose first axes are the examples.
        epochs: how often to go through them.
        report: called after each epoch.

    Returns:
        What was reported.

    Raises:
        ValueError: an epoch had no batches.

    Example:
        >>> import gradcore as gc
        >>> model = gc.nn.Linear(1, 1)
        >>> optimizer = gc.optim.SGD(model.parameters(), lr=0.1)
        >>> x = gc.tensor([[0.0], [1.0], [2.0]])
        >>> history = fit(model, gc.nn.functional.mse_loss, optimizer, lambda: [(x, 2 * x + 1)], 300)
        >>> history[-1].loss < 1e-4
        True
    """
    mode = model.training
    model.train()
    history: list[Progress] = []
    try:
        for epoch in range(1, epochs + 1):
            history.append(_epoch(epoch, model, loss, optimizer, batches()))
            report(history[-1])
    finally:
        model.train(mode)
    return history


def _epoch(number: int, model: Module, loss: Callable[..., Any], optimizer: Optimizer, batches: Batches) -> Progress:
    total: Any = 0.0
    samples = 0
    for x, y in batches:
        total = total + train_step(model, loss, optimizer, x, y) * len(x)
        samples += len(x)
    if not samples:
        raise ValueError(f"epoch {number} had no batches; `batches` must give new ones each time that it is called")
    return Progress(number, float(total) / samples, samples)


def accuracy(model: Module, x: Any, labels: Any) -> float:
    """Share of examples whose largest output is at their label; the model is in evaluation mode during the call.

    Args:
        model: gives (examples, classes).
        x: its input.
        labels: integers of shape (examples,).

    Example:
        >>> import gradcore as gc
        >>> scores = gc.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> accuracy(gc.nn.Identity(), scores, gc.tensor([0, 0]))
        0.5
    """
    mode = model.training
    model.eval()
    try:
        with no_grad():
            scores = model(x).numpy()
    finally:
        model.train(mode)
    return float((scores.argmax(-1) == labels.numpy()).mean())
