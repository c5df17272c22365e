"""How good a model is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradcore.autodiff.tape import no_grad
from gradcore.core.cell import Cell
from gradcore.core.tensor import Tensor
from gradcore.core.trees import flatten, tree_map
from gradcore.factories import asarray
from gradcore.nn.module import Module


@contextmanager
def mode(model: Module, training: bool) -> Iterator[None]:
    """The model trains, or is evaluated, while the block runs; then each of its modules is in its old mode."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


def home(model: Module) -> str:
    """The device of a model's first parameter.

    >>> import gradcore as gc
    >>> home(gc.nn.Linear(1, 1))
    'cpu'
    """
    first = next(model.parameters(), None)
    return "cpu" if first is None else first.read().aval.device


def sent(batch: Any, device: str) -> Any:
    """A batch with what is on the CPU sent to a device, without waiting for it.

    Args:
        batch: a tree of arrays and tensors.
        device: with "cpu" the batch is left as it is.

    Example:
        >>> import gradcore as gc
        >>> batch = (gc.ones(2, 1), gc.ones(2))
        >>> sent(batch, "cpu") is batch
        True
    """
    return batch if device == "cpu" else tree_map(lambda leaf: _sent(leaf, device), batch)


def _sent(leaf: Any, device: str) -> Any:
    if isinstance(leaf, np.ndarray):
        leaf = asarray(leaf)
    value: Any = leaf.read() if isinstance(leaf, Cell) else leaf
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) and value.device == "cpu" else leaf


def predict(model: Module, x: Any) -> Any:
    """What a model gives for x, in evaluation mode and without a record, on the model's device.

    >>> import gradcore as gc
    >>> predict(gc.nn.Sequential(gc.nn.Dropout(0.5)), gc.ones(3))
    tensor([1., 1., 1.], dtype=float32, device='cpu')
    """
    with mode(model, training=False), no_grad():
        return model(sent(x, home(model)))


def count_examples(x: Any, y: Any) -> int:
    """Length of the first axis that a batch has: of an array in y, or else in x; both may be trees.

    Raises:
        ValueError: no array of the batch has an axis.

    Example:
        >>> import gradcore as gc
        >>> count_examples({"left": gc.ones(3, 2), "right": gc.ones(3, 5)}, gc.ones(3))
        3
    """
    shapes = [np.shape(leaf) for leaf in [*flatten(y)[0], *flatten(x)[0]]]
    for shape in shapes:
        if shape:
            return int(shape[0])
    raise ValueError(f"a batch has arrays of the shapes {shapes}; the first axis of one must be the examples")


def evaluate(model: Module, loss: Callable[..., Any], data: Iterable[tuple[Any, Any]]) -> float:
    """Mean loss over the examples of some batches, in evaluation mode; one number is read back.

    Args:
        model: called with the x of a batch.
        loss: called with the model's output and the y of a batch; the mean over its examples.
        data: pairs (x, y) of arrays, or trees of them, whose first axes are the examples; they are sent to the model's
            device.

    Raises:
        ValueError: there are no examples.

    Example:
        >>> import gradcore as gc
        >>> evaluate(gc.nn.Identity(), gc.nn.functional.mse_loss, [(gc.ones(2, 1), gc.zeros(2, 1))])
        1.0
    """
    total: Any = 0.0
    samples, device = 0, home(model)
    for x, y in data:
        count = count_examples(x, y)
        with no_grad():
            total = total + loss(predict(model, x), sent(y, device)).astype(np.float64) * count
        samples += count
    if not samples:
        raise ValueError("there are no examples to evaluate the model on")
    return float(total) / samples


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
    return float((predict(model, x).numpy().argmax(-1) == labels.numpy()).mean())
