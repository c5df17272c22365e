"""Modules: trees of cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

from gradcore.autodiff.arguments import as_value
from gradcore.backend import Device
from gradcore.core.cell import Cell
from gradcore.core.state import pushed, state
from gradcore.core.tensor import Tensor
from gradcore.factories import device_or_dtype
from gradcore.io.state_dict import KeyDifference, restore, snapshot
from gradcore.nn.parameter import Buffer, Parameter

Held = TypeVar("Held", Parameter, Buffer)


class Module:
    """Base class of layers and models.

    Parameters, buffers and modules that are assigned to attributes belong to the module, in the order of assignment.
    A subclass defines `forward`; calling the module calls it.  Modules in a plain list or dictionary do not belong to
    it, so they have no parameters there: keep a list of modules in a `ModuleList`.

    Example:
        >>> import gradcore as gc
        >>> class Scale(gc.nn.Module):
        ...     def __init__(self):
        ...         self.factor = gc.nn.Parameter([2.0])
        ...
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> Scale()(gc.tensor([1.0, 3.0]))
        tensor([2., 6.], dtype=float32, device='cpu', requires_grad=True)
    """

    training: bool = True

    def __init_subclass__(cls, **options: Any) -> None:
        """A call of a module is a call of its `forward`, without a function between (it costs 0.1 microseconds)."""
        super().__init_subclass__(**options)
        if "forward" in vars(cls) and "__call__" not in vars(cls):
            cls.__call__ = vars(cls)["forward"]  # type: ignore[method-assign]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if isinstance(old, Cell) and value is not None and not isinstance(value, Cell):
            raise TypeError(
                f"{type(self).__name__}.{name} is a {type(old).__name__} and cannot become {type(value).__name__}; "
                f"change what it holds with .{name}.assign(tensor)"
            )
        object.__setattr__(self, name, value)
        _name(value, name)

    # --- the tree -----------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules that are attributes of this one, with their names."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """Modules that are attributes of this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module itself and all below it, with dotted paths; a module that is used twice comes once."""
        seen: set[Module] = set()
        stack = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if module not in seen:
                seen.add(module)
                yield path, module
                stack.extend(reversed([(f"{path}.{n}" if path else n, child) for n, child in module.named_children()]))

    def modules(self) -> Iterator[Module]:
        """The module itself and all below it."""
        return (module for _, module in self.named_modules())

    def _named(self, kind: type[Held], prefix: str = "") -> Iterator[tuple[str, Held]]:
        seen: set[Held] = set()
        for path, module in self.named_modules(prefix):
            for name, value in vars(module).items():
                if isinstance(value, kind) and value not in seen:
                    seen.add(value)
                    whole = f"{path}.{name}" if path else name
                    _name(value, whole)
                    yield whole, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted paths; a parameter that is used twice comes once, under its first path."""
        return self._named(Parameter)

    def parameters(self) -> Iterator[Parameter]:
        """All parameters."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with dotted paths."""
        return self._named(Buffer)

    def buffers(self) -> Iterator[Buffer]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def named_cells(self, prefix: str = "") -> dict[str, Parameter | Buffer]:
        """All parameters and buffers by dotted path: the keys of `state_dict` and of `functional_call`."""
        return {**dict(self._named(Parameter, prefix)), **dict(self._named(Buffer, prefix))}

    # --- the content --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """What parameters and buffers hold now, by dotted path; later steps do not change it."""
        return snapshot(self.named_cells())

    def load_state_dict(self, values: Mapping[str, Any], strict: bool = True) -> KeyDifference:
        """Assign parameters and buffers by dotted path.

        Args:
            values: tensors or arrays of the same shapes and dtypes, as `state_dict` gives.
            strict: refuse missing and unexpected names.

        Returns:
            `missing_keys` and `unexpected_keys`.

        Raises:
            KeyError: names differ, and `strict`.
            ValueError: a shape or dtype differs. Nothing has been assigned then.
        """
        return restore(self.named_cells(), values, strict)

    def train(self, mode: bool = True) -> Self:
        """Switch to training (Dropout drops), or with `mode=False` to evaluation."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation: Dropout passes its input on."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            if parameter.leaf is not None:
                parameter.grad = None

    def to(self, target: Any) -> Self:
        """Move parameters, buffers and gradients to a device, or cast the floating ones to a dtype: all or none.

        Call it before the optimiser is made: the optimiser's state takes the parameters' dtype and device.

        Args:
            target: `"cpu"`, `"cuda:0"`, a Device, or a floating dtype.

        Raises:
            DeviceError: the device is not there.
            TypeError: the target is neither a device nor a floating dtype.
            MemoryError: everything is as it was.
        """
        target = device_or_dtype(target)
        if not isinstance(target, Device) and target.kind != "f":
            raise TypeError(f"a module can be cast to floating dtypes only, not to {target}")
        cells: list[Cell] = list(self.named_cells().values())
        cells += [cell.leaf.grad for cell in cells if cell.leaf is not None]
        for cell, value in [(cell, _converted(cell, target)) for cell in cells]:
            if value is not None:
                cell.assign(None)  # a cell keeps its dtype and device unless it is emptied first
                cell.assign(value)
        return self

    def cpu(self) -> Self:
        """Move everything to the CPU, as `to("cpu")`."""
        return self.to("cpu")

    def cuda(self, device: Device | str = "cuda") -> Self:
        """Move everything to a CUDA device, as `to("cuda")`."""
        return self.to(device)

    # --- text ---------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the brackets of `repr` for a module without children."""
        return ""

    def __repr__(self) -> str:
        """The tree of modules."""
        lines = [f"({name}): {child!r}" for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


def _name(value: Any, path: str) -> None:
    """Cells show their dotted path; the longest one, from the largest module, wins."""
    if isinstance(value, Module):
        value.named_cells(path)
    elif isinstance(value, (Parameter, Buffer)) and len(path) > len(value.name):
        value.rename(path)


def _converted(cell: Cell, target: Any) -> Any:
    """What the cell is to hold; None where nothing changes."""
    old = cell.read()
    if old is None or (not isinstance(target, Device) and old.dtype.kind != "f"):
        return None
    new = old.detach().to(target)
    return new if new.data is not old.data else None


class ModuleList(Module):
    """Modules in a list; they belong to the module that holds the list.

    >>> import gradcore as gc
    >>> layers = gc.nn.ModuleList([gc.nn.ReLU(), gc.nn.Tanh()])
    >>> len(layers), layers[-1]
    (2, Tanh())
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.items: list[Module] = []
        self.extend(modules)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((str(i), module) for i, module in enumerate(self.items))

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} takes modules, not {type(module).__name__}")
        _name(module, str(len(self.items)))
        self.items.append(module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Module:
        return self.items[index]


def functional_call(module: Module, cells: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Call a module with other contents of its parameters and buffers; the module itself stays as it is.

    Works inside `grad`, `vmap`, `jvp` with respect to the dictionary.

    Args:
        module: a Module.
        cells: tensors or arrays by dotted path, as `state_dict` gives; cells without an entry keep their own content.
        args: passed to the module.
        kwargs: passed to the module.

    Returns:
        What the module returns, and a dictionary like `cells` with what they hold afterwards.

    Raises:
        KeyError: a name is not that of a parameter or buffer.

    Example:
        >>> import gradcore as gc
        >>> layer = gc.nn.Linear(2, 1, bias=False)
        >>> x = gc.tensor([[1.0, 2.0]])
        >>> def loss(cells):
        ...     return gc.nn.functional_call(layer, cells, x)[0].sum()
        >>> gc.grad(loss)(layer.state_dict())
        {'weight': tensor([[1., 2.]], dtype=float32, device='cpu')}
    """
    if not isinstance(module, Module):
        raise TypeError(f"functional_call takes a Module, not {type(module).__name__}")
    named = module.named_cells()
    unknown = [name for name in cells if name not in named]
    if unknown:
        raise KeyError(f"{type(module).__name__} has no parameters or buffers named {unknown}; it has {list(named)}")
    overlay: dict[Cell, Any] = {named[name]: as_value(value, name) for name, value in cells.items()}
    with pushed(state.overlays, overlay):
        result = module(*args, **kwargs)
    return result, {name: overlay[named[name]] for name in cells}
