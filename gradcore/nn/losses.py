"""Loss functions as modules."""

from __future__ import annotations

from typing import Any

from gradcore.nn import functional
from gradcore.nn.module import Module
from gradcore.nn.parameter import Buffer


class _Loss(Module):
    """A loss of predictions and targets.

    Args:
        reduction: "mean", "sum" or "none" over the examples.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """Cross entropy between softmax(logits) and labels; see `functional.cross_entropy`.

    Args:
        reduction: "mean", "sum" or "none" over the examples.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.CrossEntropyLoss()(gc.tensor([[0.0, 0.0]]), gc.tensor([1])).numpy().round(4)
        np.float32(0.6931)
    """

    def forward(self, logits: Any, labels: Any) -> Any:
        """Logits (..., classes) and labels (...) to a scalar."""
        return functional.cross_entropy(logits, labels, self.reduction)


class MSELoss(_Loss):
    """Mean squared error; see `functional.mse_loss`.

    Args:
        reduction: "mean", "sum" or "none" over the elements.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.MSELoss()(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 4.0]))
        tensor(2., dtype=float32, device='cpu')
    """

    def forward(self, predictions: Any, targets: Any) -> Any:
        """Two tensors of one shape to a scalar."""
        return functional.mse_loss(predictions, targets, self.reduction)


class L1Loss(_Loss):
    """Mean absolute error; see `functional.l1_loss`.

    Args:
        reduction: "mean", "sum" or "none" over the elements.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.L1Loss()(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 4.0]))
        tensor(1., dtype=float32, device='cpu')
    """

    def forward(self, predictions: Any, targets: Any) -> Any:
        """Two tensors of one shape to a scalar."""
        return functional.l1_loss(predictions, targets, self.reduction)


class HuberLoss(_Loss):
    """Squared error up to delta, absolute error above; see `functional.huber_loss`.

    Args:
        reduction: "mean", "sum" or "none" over the elements.
        delta: positive.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.HuberLoss()(gc.tensor([1.0, 2.0]), gc.tensor([1.0, 4.0]))
        tensor(0.75, dtype=float32, device='cpu')
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, predictions: Any, targets: Any) -> Any:
        """Two tensors of one shape to a scalar."""
        return functional.huber_loss(predictions, targets, self.reduction, self.delta)


class NLLLoss(_Loss):
    """Negative log-likelihood of labels; see `functional.nll_loss`.

    Args:
        reduction: "mean", "sum" or "none" over the examples.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.NLLLoss()(gc.tensor([[-1.0, -2.0]]), gc.tensor([1]))
        tensor(2., dtype=float32, device='cpu')
    """

    def forward(self, log_probabilities: Any, labels: Any) -> Any:
        """Log-probabilities (..., classes) and labels (...) to a scalar."""
        return functional.nll_loss(log_probabilities, labels, self.reduction)


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence from the targets; see `functional.kl_div`.

    Args:
        reduction: "mean", "sum" or "none" over the elements, or "batchmean".
        log_target: targets are logarithms of probabilities.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.KLDivLoss("batchmean")(gc.tensor([[-2.0, -3.0]]), gc.tensor([[1.0, 0.0]]))
        tensor(2., dtype=float32, device='cpu')
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, log_probabilities: Any, targets: Any) -> Any:
        """Two tensors of one shape to a scalar."""
        return functional.kl_div(log_probabilities, targets, self.reduction, self.log_target)


class BCEWithLogitsLoss(_Loss):
    """Cross entropy between sigmoid(logits) and probabilities; see `functional.binary_cross_entropy_with_logits`.

    Args:
        reduction: "mean", "sum" or "none" over the elements.
        pos_weight: factor of the terms of positive targets, for instance one per class; kept as a buffer.

    Example:
        >>> import gradcore as gc
        >>> gc.nn.BCEWithLogitsLoss(pos_weight=[3.0])(gc.tensor([-1000.0]), gc.tensor([1.0]))
        tensor(3000., dtype=float32, device='cpu')
    """

    def __init__(self, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.pos_weight = None if pos_weight is None else Buffer(pos_weight)

    def forward(self, logits: Any, targets: Any) -> Any:
        """Two tensors of one shape to a scalar."""
        weight = None if self.pos_weight is None else self.pos_weight.read()
        return functional.binary_cross_entropy_with_logits(logits, targets, self.reduction, weight)
