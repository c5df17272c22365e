"""The bare Tensor: two slots.  Operators, methods and protocols are attached in `gradcore/tensor.py`."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from gradcore.backend import backend_of, backend_on, is_cupy, native
from gradcore.core.aval import Aval, Shape, aval_of

if TYPE_CHECKING:
    from gradcore.core.bind import Interpreter


class Tensor:
    """An n-dimensional array whose operations can be differentiated.

    Make one with `gradcore.tensor` (copies) or `gradcore.asarray` (shares).  A Tensor is a value: nothing changes it.

    Slots:
        data: the raw array (a graph variable while a program is captured).
        node: what made it, for `backward()`: a record, a leaf, or None when no gradient is recorded.
    """

    __slots__ = ("__weakref__", "data", "node")

    data: Any
    node: Any

    if TYPE_CHECKING:  # attached by gradcore/tensor.py and from the op table

        def __getattr__(self, name: str) -> Any: ...
        def _op(self, *others: Any) -> Tensor: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _op
        __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = __abs__ = __getitem__ = _op
        __lt__ = __le__ = __gt__ = __ge__ = _op

        def __len__(self) -> int: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def __bool__(self) -> bool: ...

    def __init__(self, data: Any, node: Any = None) -> None:
        self.data = data
        self.node = node

    def __reduce__(self) -> Any:
        if is_cupy(self.data):
            return _returned, (backend_of(self.data).fetch(self.data), self.node, self.aval.device)
        return _restored, (self.data, self.node)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        on_gpu = is_cupy(self.data)  # a copy stays there
        data = backend_of(self.data).make("array", self.data) if on_gpu else deepcopy(self.data, memo)
        return Tensor(data, deepcopy(self.node, memo))

    @property
    def shape(self) -> Shape:
        """Sizes of the axes."""
        return self.data.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> Any:
        """NumPy dtype of the elements."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def aval(self) -> Aval:
        """Shape, dtype, device and strides, without the elements."""
        return aval_of(self.data)


def _restored(data: Any, node: Any) -> Tensor:
    return Tensor(native(data), node)


def _returned(data: Any, node: Any, device: str) -> Tensor:
    return Tensor(backend_on(device).receive(data), node)


class Traced(Tensor):
    """A Tensor inside a transform.  `data` is None: the transform's own slots hold Tensors of the level below."""

    __slots__ = ("level",)

    level: Interpreter

    @property
    def shape(self) -> Shape:
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        return self.aval.dtype

    @property
    def aval(self) -> Aval:
        raise NotImplementedError

    def rebuilt(self, change: Callable[[Any], Any]) -> Traced:
        """A tensor like this on what `change` makes of its parts, which are Tensors of the level below."""
        return self  # a variable has no parts
