"""What a network's inputs and outputs mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from gradcore.core.tensor import Tensor
from gradcore.data.checks import TASKS, DataError, checked_features
from gradcore.factories import tensor


@dataclass(frozen=True)
class Task:
    """What a network's inputs and outputs mean, and how good the outputs are.

    Attributes:
        kind: "classification" or "regression".
        classes: the user's label of each class, numbers or text; empty for regression.
        mean: what was subtracted from the targets of a regression.
        scale: what they were divided by then.
        feature_means: what was subtracted from each feature.
        feature_scales: what it was divided by then; 0 for a feature that became 0.
        dtype: of the inputs.

    Example:
        >>> import gradcore as gc
        >>> task = Task("classification", ("cat", "dog"), feature_means=(5.0,), feature_scales=(2.0,))
        >>> task.inputs([[9.0], [4.0]])
        tensor([[ 2. ],
                [-0.5]], dtype=float32, device='cpu')
        >>> scores = gc.tensor([[0.1, 0.9], [0.8, 0.2]])
        >>> task.predicted(scores).tolist()
        ['dog', 'cat']
        >>> task.scores(scores, gc.tensor([1, 1]))
        {'accuracy': 0.5}
    """

    kind: str
    classes: tuple[Any, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    feature_means: tuple[float, ...] = ()
    feature_scales: tuple[float, ...] = ()
    dtype: str = "float32"

    @classmethod
    def from_metadata(cls, metadata: Any) -> Task:
        """The task that `metadata` describes.

        Args:
            metadata: what `Task.metadata` gave; "task" in the metadata of a run that `gradcore train` saved.

        Raises:
            DataError: it describes none.

        Example:
            >>> task = Task("regression", mean=170.0, scale=10.0)
            >>> Task.from_metadata(task.metadata()) == task
            True
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(metadata, Mapping) or metadata.keys() != names or metadata["kind"] not in TASKS:
            raise DataError(f"the metadata does not describe a task; it must have {', '.join(sorted(names))}")
        lists: dict[str, Any] = {name: tuple(value) for name, value in metadata.items() if isinstance(value, list)}
        return cls(**{**metadata, **lists})

    def metadata(self) -> dict[str, Any]:
        """The task as JSON can hold it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for an example."""
        return len(self.classes) or 1

    def inputs(self, x: Any) -> Tensor:
        """The user's examples as the network takes them, standardised as those that it was trained on.

        Args:
            x: numbers, (examples, ...); further axes become one.

        Raises:
            DataError: they are not such numbers.
        """
        x = checked_features(x, "the inputs")
        if x.shape[1] != len(self.feature_means):
            expected = f"it must be (examples, {len(self.feature_means)}), as for training"
            raise DataError(f"the inputs: X has shape {x.shape}; {expected}")
        mean, scale = np.array(self.feature_means), np.array(self.feature_scales)
        factor = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
        return tensor(standardised(x, mean, factor, self.dtype, "X"))

    def actual(self, y: Tensor) -> Any:
        """Targets in the user's labels or units, a NumPy array (examples,).

        Args:
            y: targets of the Split.
        """
        return np.array(self.classes)[y.numpy()] if self.classes else self._units(y)

    def predicted(self, outputs: Tensor) -> Any:
        """What the network says, in the user's labels or units, a NumPy array (examples,).

        Args:
            outputs: of shape (examples, task.outputs).
        """
        return np.array(self.classes)[outputs.numpy().argmax(1)] if self.classes else self._units(outputs)

    def _units(self, y: Tensor) -> Any:
        return y.numpy()[:, 0].astype(np.float64) * self.scale + self.mean

    def scores(self, outputs: Tensor, y: Tensor) -> dict[str, float]:
        """{"accuracy"} for classes; {"r2", "rmse"} for numbers, the error in the user's units.

        Args:
            outputs: of shape (examples, task.outputs).
            y: targets of the Split.
        """
        predicted, actual = self.predicted(outputs), self.actual(y)
        if self.classes:
            return {"accuracy": float((predicted == actual).mean())}
        error = ((predicted - actual) ** 2).mean()
        spread = actual.var()
        return {"r2": float(1 - error / spread) if spread else float("nan"), "rmse": float(np.sqrt(error))}


def standardised(x: Any, mean: Any, factor: Any, dtype: Any, name: str) -> Any:
    """Columns less their means, times their factors.

    Raises:
        DataError: some are too large for the dtype.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result = ((x - mean) * factor).astype(dtype)
    if not np.isfinite(result).all():
        column = np.argwhere(~np.isfinite(result))[0][1]
        raise DataError(f"values in column {column} of {name} are too far apart for {dtype}; rescale it")
    return result
