"""Modes that look for trouble: the first NaN or infinity, and saved values that somebody changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from gradcore.autodiff.capture import CaptureTensor
from gradcore.autodiff.forward import ForwardTensor
from gradcore.autodiff.record import Record
from gradcore.backend import Backend, backend_of, is_cupy
from gradcore.backend.checksum import checksum
from gradcore.core.bind import as_tuple
from gradcore.core.errors import AnomalyError, ChangedError
from gradcore.core.graph import Node
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Family, Op
from gradcore.core.state import describe_site, state, user_frame
from gradcore.core.tensor import Tensor, Traced


def _arrays(values: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Positions and raw arrays among values of any level; graph variables and numbers have none."""
    for position, value in enumerate(values):
        while isinstance(value, Traced) and not isinstance(value, CaptureTensor):
            value = value.primal if isinstance(value, ForwardTensor) else value.value
        raw = value.data if isinstance(value, Tensor) else value
        if isinstance(raw, np.ndarray) or is_cupy(raw):
            yield position, raw


def _kind(value: Any) -> str:
    aval = getattr(value, "aval", None) or (Tensor(value).aval if hasattr(value, "dtype") else None)
    return str(value) if aval is None else str(aval)


def _here() -> str:
    frame = user_frame()
    return describe_site(frame.f_code, frame.f_lasti)


# --- at once ----------------------------------------------------------------------------------------------------------


class _Search(Hook):
    """Raises at the first op that makes a NaN or an infinity."""

    def __init__(self) -> None:
        self.records: list[Record] = []  # those that a backward pass is in, the innermost last
        self.seen: dict[int, ref[Any]] = {}  # results of ops, by identity: what is not among them comes from elsewhere
        self.node: Node | None = None  # of the body of a scan or cond

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        visible = _visible(op, outputs)
        if op.family is not Family.CALL:  # its nodes were examined one by one
            self.examine(f"'{op.name}'", visible, values)
        self.seen |= {id(array): ref(array) for array in visible}

    def inside(self, node: Node, values: Sequence[Any], outputs: tuple[Any, ...]) -> None:
        if node.op.family is not Family.CALL:
            self.node = node
            self.examine(f"'{node.op.name}'", _visible(node.op, outputs), values)
            self.node = None

    def recorded(self, record: Record, outputs: Sequence[Any]) -> None:
        op = record.pull.op
        self.examine(f"'{op.name}'", _visible(op, outputs), (), self.seen)

    def pulling(self, record: Record, g: Any) -> None:
        self.records.append(record)

    def pulled(self, record: Record, parts: Sequence[Any]) -> None:
        try:
            self.examine(f"the vjp of '{record.pull.op.name}'", parts, (), self.seen)
        finally:
            self.records.pop()

    def examine(
        self, name: str, outputs: Sequence[Any], values: Sequence[Any], seen: Any = MappingProxyType({})
    ) -> None:
        for position, array in _arrays(outputs):
            if id(array) in seen and seen[id(array)]() is array:
                continue
            if array.dtype.kind == "f" and not bool(backend_of(array).np.isfinite(array).all()):
                self.report(name, position, array, values, outputs)

    def report(self, name: str, position: int, array: Any, values: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Raise, unless only infinities came out and an operand had some already (as masks have)."""
        host = backend_of(array).fetch(array)
        before = [_worst(value) for value in values]
        if not np.isnan(host).any() and "inf" in before:
            return
        first = np.argwhere(~np.isfinite(host))[0].tolist()
        result = f"result {position}" if len(outputs) > 1 else "its result"
        operands = ", ".join(_kind(v) + (f" with {b}" if b else "") for v, b in zip(values, before, strict=True))
        message = f"{name} gave {float(host[tuple(first)])} at {first} of {result}, {_kind(array)}"
        message += f" (operands: {operands})" if values else ""
        lines = [f"  {'backward' if self.records else 'forward'}: {_here()}"]
        if self.node is not None:
            lines.insert(0, f"  in a body: {describe_site(self.node.code, self.node.offset)}")
        if self.records:
            record = self.records[-1]
            message += f", in the vjp of '{record.pull.op.name}'" if not name.startswith("the vjp") else ""
            lines.append(f"  forward: {record.site()}")
        self.node = None
        raise AnomalyError("\n".join([message, *lines]))


def _visible(op: Op, outputs: Sequence[Any]) -> Sequence[Any]:
    return outputs if op.visible < 0 else outputs[: op.visible]


def _worst(value: Any) -> str:
    """What an operand holds: "NaN", "inf", or "" where all is finite."""
    array = backend_of(value).fetch(value) if hasattr(value, "dtype") else np.asarray(value)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return ""
    return "NaN" if np.isnan(array).any() else "inf"


# --- deferred ---------------------------------------------------------------------------------------------------------


class Found:
    """What backward passes since the last check left behind; `check()` reads it.

    Attributes:
        count: number of passes.
        passes: of those that may have failed the number, the names that have, and names and flags for each device.
    """

    def __init__(self) -> None:
        self.count = 0
        self.passes: list[tuple[int, list[str], list[tuple[list[str], Any]]]] = []
        self._begin()

    def _begin(self) -> None:
        self._met = False
        self._wrong: list[str] = []
        self._flags: dict[Backend, list[tuple[str, Any]]] = {}

    def note(self, loss: Tensor | None, grads: dict[Any, Any]) -> None:
        """Look at the loss and the gradients of one backward pass, which is over, without waiting for a GPU.

        On the CPU the names of those that are not finite are known at once; of each device one array of flags is kept.
        """
        self._look("the loss", loss)
        for leaf, g in grads.items():
            self.look(leaf, g)
        kept = [
            ([name for name, _ in pairs], b.make("stack", [flag for _, flag in pairs]))
            for b, pairs in self._flags.items()
        ]
        self.count += self._met
        if self._wrong or kept:
            self.passes.append((self.count, self._wrong, kept))
        self._begin()

    def look(self, leaf: Any, g: Any) -> None:
        """Look at one gradient of a backward pass that still goes on."""
        self._look(_name(leaf), g)

    def _look(self, name: str, value: Any) -> None:
        for _, array in _arrays((value,)):
            self._met = True
            if type(array) is not np.ndarray:
                backend = backend_of(array)
                self._flags.setdefault(backend, []).append((name, backend.np.isfinite(array).all()))
            elif not _finite(array):
                self._wrong.append(name)

    def check(self) -> None:
        """Raise if a backward pass since the last check met a NaN or an infinity.

        Raises:
            AnomalyError: one did; the message says which pass, and whether the loss or which gradients.
        """
        passes, count, self.passes, self.count = self.passes, self.count, [], 0
        for number, wrong, kept in passes:
            for names, flags in kept:
                fine = backend_of(flags).fetch(flags)
                wrong += [name for name, good in zip(names, fine, strict=True) if not good]
            if wrong:
                raise AnomalyError(
                    f"{_listed(wrong)} NaN or infinite in backward pass {number} of {count} since the last "
                    "check. To learn which op and which line made it, run that pass again with the same parameters, "
                    "data and random state in `with gradcore.detect_anomaly():`; call check() before the optimiser's "
                    "step, and the parameters are still those of that pass"
                )


def _finite(array: Any) -> bool:
    """A sum of squares is finite if all are, unless it overflows; it costs a fifth of a look at each."""
    return bool(array.dtype.kind != "f" or np.isfinite(np.vdot(array, array)) or np.isfinite(array).all())


def _listed(names: list[str]) -> str:
    """`the loss and 3 more were`; the first ones by name."""
    names = list(dict.fromkeys(names))
    shown, more = names[:4], len(names) - 4
    text = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return f"{text} {'was' if len(names) == 1 else 'were'}"


def _name(leaf: Any) -> str:
    name = getattr(leaf, "name", "")
    return f"the gradient of {name}" if name else "a gradient"


@contextmanager
def _deferred() -> Iterator[Found]:
    found, before = Found(), state.watch
    state.watch = found
    try:
        yield found
    finally:
        state.watch = before
    found.check()


# --- public -----------------------------------------------------------------------------------------------------------


@contextmanager
def detect_anomaly(deferred: bool = False) -> Iterator[Any]:
    """While the block runs, the first NaN or infinity raises.

    By default every op, forward and backward, is examined as it happens (which waits for a GPU, and reads every result
    again), and the error names the op, what it got, your line, and for a backward pass the line of the forward pass. An
    infinity is no error where an operand holds one already, as masks do; a NaN always is. Saved values are compared as
    in `check_saved`.

    Args:
        deferred: only note, for each backward pass, whether the loss and the gradients of leaves are finite. That needs
            no look at the device and next to no time. `check()` of the block's target raises if one was not; so does
            the end of the block. The error names the pass, and the loss and gradients that were not finite (in the
            order of the pass: the first is nearest to the cause), but no op: run that pass again in the mode that does.
            What a captured program computes is not noted. On a GPU one small array per pass is kept until `check()`.

    Raises:
        AnomalyError: there is one.

    Example:
        >>> import gradcore as gc
        >>> with gc.detect_anomaly():
        ...     gc.sqrt(gc.tensor([4.0, 1.0])) / gc.tensor([2.0, 1.0])
        tensor([1., 1.], dtype=float32, device='cpu')
        >>> with gc.detect_anomaly(deferred=True) as found:
        ...     x = gc.tensor(3.0, requires_grad=True)
        ...     (x * x).backward()
        ...     found.check()
    """
    if deferred:
        with _deferred() as found:
            yield found
    else:
        with hooked(_Search()), hooked(_Sums()):
            yield None


class _Sums(Hook):
    """Checksums of what records save."""

    def __init__(self) -> None:
        self.known: WeakKeyDictionary[Record, list[int]] = WeakKeyDictionary()

    def recorded(self, record: Record, outputs: Sequence[Any]) -> None:
        if type(record.saved) is tuple:  # else a checkpoint region computes it again, see `checkpoint(check=True)`
            self.known[record] = _sums(record)

    def pulling(self, record: Record, g: Any) -> None:
        if record in self.known and self.known[record] != _sums(record):
            names = _changed(record, self.known[record])
            raise ChangedError(
                f"the array of {names} changed after '{record.pull.op.name}' had saved it, so its gradient would be "
                f"wrong; asarray, from_dlpack and .numpy() share memory: change a copy, or make tensors with "
                f"gradcore.tensor\n  forward: {record.site()}\n  backward: {_here()}"
            )


def _sums(record: Record) -> list[int]:
    return [checksum(array) for _, array in _arrays(as_tuple(record.saved))]


def _changed(record: Record, known: list[int]) -> str:
    """Which saved values differ, by the names of operands and results."""
    op = record.pull.op
    saves = op.saves(record.pull.needed, record.params)
    every = [*[_operand(op, i) for i in saves.inputs], *["the result" for _ in saves.outputs]]
    names = [every[position] for position, _ in _arrays(as_tuple(record.saved))]
    return " and ".join(name for name, old, new in zip(names, known, _sums(record), strict=True) if old != new)


def _operand(op: Op, position: int) -> str:
    return f"operand {position}" if op.variadic else f"operand '{op.inputs[position]}'"


def check_saved() -> AbstractContextManager[None]:
    """While the block runs, a backward pass compares what the forward pass saved with a checksum of it.

    Tensors are never changed, but an array that shares memory with one (`asarray`, `from_dlpack`, a writable alias) may
    be. Both passes must run in the block; each value costs one read when it is saved and one when it is used.

    Raises:
        ChangedError: a saved array changed in between; the message names the operand, the op and both lines.

    Example:
        >>> import numpy as np, gradcore as gc
        >>> a = np.ones(2)
        >>> x = gc.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
        >>> try:
        ...     with gc.check_saved():
        ...         loss = (x * gc.asarray(a)).sum()
        ...         a[0] = 5.0
        ...         loss.backward()
        ... except RuntimeError as error:
        ...     print(str(error).partition(",")[0])
        the array of operand 'b' changed after 'mul' had saved it
    """
    return hooked(_Sums())
