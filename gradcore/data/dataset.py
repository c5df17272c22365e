"""Examples in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcore.core.tensor import Tensor
from gradcore.factories import asarray


class ArrayDataset:
    """Tensors or arrays whose first axes are the examples.  Arrays are shared, not copied.

    A batch is where the tensors are: examples that fit into the memory of a GPU may be there from the beginning.

    Args:
        arrays: tensors or arrays of any dtypes, with equal first axes.

    Raises:
        ValueError: no arrays, one without axes, or first axes that differ.

    Example:
        >>> import gradcore as gc
        >>> dataset = gc.data.ArrayDataset(gc.tensor([[1.0], [2.0], [3.0]]), gc.tensor([0, 1, 0]))
        >>> len(dataset)
        3
        >>> dataset[1]
        (tensor([2.], dtype=float32, device='cpu'), tensor(1, dtype=int64, device='cpu'))
        >>> dataset[[0, 2]][1]
        tensor([0, 0], dtype=int64, device='cpu')
    """

    def __init__(self, *arrays: Any) -> None:
        self.tensors = tuple([asarray(array).detach() for array in arrays])
        shapes = [tensor.shape for tensor in self.tensors]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(f"ArrayDataset takes arrays whose first axes are equally long, not of shapes {shapes}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, indices: Any) -> tuple[Tensor, ...]:
        """One example for an integer, a batch for a slice or for several integers in a list, array or Tensor."""
        if isinstance(indices, slice) or np.ndim(indices) == 0:
            return tuple([tensor[indices] for tensor in self.tensors])
        return tuple([tensor.take(_beside(tensor, indices), 0) for tensor in self.tensors])


def _beside(tensor: Tensor, indices: Any) -> Any:
    """Indices on the device of a tensor; it is far less to copy than examples are."""
    return indices if tensor.device == "cpu" else asarray(indices, device=tensor.device)
