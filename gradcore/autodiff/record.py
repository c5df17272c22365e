"""Records, and the walk backward over them.

A record is made by the op that it remembers and is reachable only from the outputs of that op, so dropping the loss
drops all of them.  Serial numbers grow, and an op is recorded after everything that it reads; so descending serial is
a topological order, and a heap of the records that wait for their turn is all that the walk needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from types import CodeType
from typing import Any
from weakref import ref

import numpy as np

from gradcore.autodiff.regions import Region, kept_by
from gradcore.backend import backend_on
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import as_tuple, bind
from gradcore.core.cell import Leaf
from gradcore.core.errors import AnomalyError, AssignedError, ChangedError, GraphFreedError, KernelError, RuleError
from gradcore.core.hooks import Hook
from gradcore.core.op import OPS, Family, Mask, Op
from gradcore.core.state import describe_site, next_serial, state
from gradcore.core.tensor import Tensor

FREED: Any = object()


class Record:
    """One application of an op, as far as its vjp needs it.

    Slots:
        pull: the op and which operands want a gradient.
        params: static parameters.
        parents: for each operand its node (a record, a port, a leaf) or None.
        saved: the values that the vjp reads, of the level below (raw arrays at the bottom); a Kept in a checkpoint
            region; FREED when a backward pass has been here.
        avals: shapes of the operands (None: all like the output), or Avals of operands and outputs.
        serial: grows over the whole process.
        code, offset: the user's code object and instruction, for messages.  Never a frame: it would keep locals alive.
    """

    __slots__ = ("__weakref__", "avals", "code", "offset", "params", "parents", "pull", "saved", "serial")

    def __init__(
        self,
        pull: Pull,
        params: tuple[Any, ...],
        parents: tuple[Any, ...],
        saved: Any,
        avals: Any,
        serial: int,
        code: CodeType,
        offset: int,
    ) -> None:
        self.pull = pull
        self.params = params
        self.parents = parents
        self.saved = saved
        self.avals = avals
        self.serial = serial
        self.code = code
        self.offset = offset

    def site(self) -> str:
        return describe_site(self.code, self.offset)

    def with_saved(self, saved: tuple[Any, ...]) -> Record:
        """A copy of this record that holds other values."""
        return Record(self.pull, self.params, self.parents, saved, self.avals, self.serial, self.code, self.offset)


class Port:
    """One of several outputs of a record."""

    __slots__ = ("index", "record")

    def __init__(self, record: Record, index: int) -> None:
        self.record = record
        self.index = index


class Pull:
    """An op together with the mask of wanted gradients.

    `raw(record, g)` is the generated short cut on raw NumPy arrays, or None; hooks see it as the op `told`.
    """

    __slots__ = ("needed", "op", "raw", "told")

    def __init__(self, op: Op, needed: Mask) -> None:
        self.op = op
        self.needed = needed
        self.raw: Callable[[Record, Any], tuple[Any, ...]] | None = None
        self.told: Op | None = None


def pull_of(op: Op, needed: Mask) -> Pull:
    """The one Pull of an op and a mask."""
    key = ("pull", needed)
    if key not in op.cache:
        op.cache[key] = Pull(op, needed)
    return op.cache[key]  # type: ignore[no-any-return]


def cotangents(record: Record, g: Any) -> tuple[Any, ...]:
    """One cotangent (or None) per operand, by the op's rule, on Tensors."""
    op, needed = record.pull.op, record.pull.needed
    if op.vjp_op is not None:
        return _by_op(record, g)
    xs, ys = _values(record, g)
    assert op.vjp is not None
    return as_tuple(op.vjp(needed, g, xs, ys, record.params))


def _by_op(record: Record, g: Any) -> tuple[Any, ...]:
    op, needed = record.pull.op, record.pull.needed
    assert op.vjp_op is not None
    back, params = op.vjp_op(needed, record.params)
    gs = without_gaps(g, _avals(record, g)[1]) if isinstance(g, tuple) else (g,)
    found = iter(as_tuple(bind(back, (*gs, *record.saved), params)))
    return tuple([next(found) if need else None for need in needed])


def without_gaps(gs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """Cotangents of several outputs, with zeros in place of absent ones."""
    some = next(c for c in gs if c is not None)
    return [zeros(aval_of(y), some) if c is None else c for c, y in zip(gs, outputs, strict=False)]


def _avals(record: Record, g: Any) -> tuple[Sequence[Aval], Sequence[Aval]]:
    """Avals of operands and outputs; short-cut records keep shapes only, of operands that are like the output.

    Those of auxiliary outputs are not known there: a rule that reads one saves it.
    """
    kept = record.avals
    if kept is not None and isinstance(kept[0], list):
        return kept[0], kept[1]
    like = aval_of(g)
    shapes = kept or (like.shape,) * len(record.pull.needed)
    return [like.update(shape=s) for s in shapes], [like, *[None] * record.pull.op.aux]  # type: ignore[list-item]


def _values(record: Record, g: Any) -> tuple[list[Any], list[Any]]:
    xs, ys = map(list, _avals(record, g))
    saves = record.pull.op.saves(record.pull.needed, record.params)
    saved = iter(record.saved)
    for position in saves.inputs:
        xs[position] = next(saved)
    for position in saves.outputs:
        ys[position] = next(saved)
    return xs, ys


def make_record(
    op: Op, params: tuple[Any, ...], nodes: Sequence[Any], values: Any, outs: Any, frame: Any, depth: int
) -> Record:
    """A record of the general path of the tape at this depth; `values` and `outs` are of the level below."""
    needed = tuple([node is not None for node in nodes])
    saves = op.saves(needed, params)
    saved = (*[values[i] for i in saves.inputs], *[outs[i] for i in saves.outputs])
    kept = kept_by(depth, saved) if state.regions else saved
    avals = [aval_of(v) for v in values], [aval_of(o) for o in outs]
    pull = pull_of(op, needed)
    record = Record(pull, params, tuple(nodes), kept, avals, next_serial(), frame.f_code, frame.f_lasti)
    for hook in state.hooks:
        hook.recorded(record, outs)
    return record


def nodes_of(record: Record) -> list[Any]:
    """The node of each visible output."""
    visible = record.pull.op.visible
    if visible < 0:
        visible = len(record.avals[1])
    return [record] if visible == 1 else [Port(record, i) for i in range(visible)]


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a cotangent over the axes along which an operand of this shape was broadcast."""
    if g.shape == shape:
        return g
    extra = len(g.shape) - len(shape)
    axes = (*range(extra), *[i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1])
    if axes:
        g = bind(OPS["sum"], (g,), (axes, False))
    return g if g.shape == shape else bind(OPS["reshape"], (g,), (shape,))


def zeros(aval: Aval, like: Any) -> Any:
    """A tensor of zeros on the device of `like`, as a broadcast view of one element."""
    backend = backend_on(aval_of(like).device)
    return Tensor(backend.np.broadcast_to(backend.make("zeros", (), aval.dtype), aval.shape))


_ONES: dict[Any, Any] = {}


def ones(value: Any) -> Any:
    """A raw array of ones, like an array, graph variable or Aval: what backward starts from.

    It is shared, since nobody writes into a cotangent.
    """
    device = "cpu" if type(value) is np.ndarray else aval_of(value).device
    key = value.shape, value.dtype, device
    found = _ONES.get(key)
    if found is None:
        found = _ONES[key] = backend_on(device).make("ones", value.shape, value.dtype)
        if type(found) is np.ndarray:
            found.flags.writeable = False
    return found


def is_ones(x: Any) -> bool:
    """Is it the tensor of ones that backward starts from?"""
    return type(x) is Tensor and _ONES.get((x.data.shape, x.data.dtype, x.aval.device)) is x.data


def add(a: Any, b: Any) -> Any:
    return bind(OPS["add"], (a, b))


# --- the walk ---------------------------------------------------------------------------------------------------------


def walk(
    seeds: Iterable[tuple[Any, Any]],
    pull: Callable[[Record, Any], tuple[Any, ...]],
    add: Callable[[Any, Any], Any],
    free: bool = True,
    raw: bool = False,
    grads: dict[Any, Any] | None = None,
) -> dict[Any, Any]:
    """Propagate cotangents from `seeds` (node, cotangent) to the leaves.

    Returns the sum of cotangents per leaf.  With `free`, each record lets its saved values go as it is passed.  With
    `raw`, values are NumPy arrays, and the generated backward functions are used where there are any.  Cotangents are
    collected in `grads`, if that is given.
    """
    if state.hooks:
        pull, raw = _watched(pull, raw), False
    grads = {} if grads is None else grads
    waiting: list[tuple[int, Record]] = []  # a heap: newest first
    regions: list[ref[Region]] = []  # of which values were computed again; they die as the walk passes them
    for node, g in seeds:
        _deposit(grads, waiting, node, g, add)
    try:
        while waiting:
            record = heappop(waiting)[1]
            g = grads.pop(record)
            full: Any = record if type(record.saved) is tuple else _filled(record, regions)
            try:
                short = record.pull.raw if raw else None
                parts: Any = pull(full, g) if short is None else short(full, g)
            except (MemoryError, KernelError) as error:
                error.add_note(f"in the vjp of '{record.pull.op.name}', recorded at {record.site()}")
                raise
            except (AnomalyError, ChangedError):
                raise
            except Exception as error:
                raise _explained(record, error) from error
            for parent, part in zip(record.parents, parts):  # noqa: B905 - checking costs time
                if parent is None or part is None:
                    continue
                kind = type(parent)
                if kind is Leaf and parent.assigned > record.serial:
                    raise assigned_after(record, parent)
                if kind is Port or parent in grads:
                    _deposit(grads, waiting, parent, part, add)
                else:
                    grads[parent] = part
                    if kind is Record:
                        heappush(waiting, (-parent.serial, parent))
            full = g = parts = part = None  # values and cotangents go as soon as they are consumed
            if free:
                record.saved = FREED
                record.parents = ()
    finally:
        for region in regions:
            if (left := region()) is not None:
                left.forget()
    return grads


def _filled(record: Record, regions: list[ref[Region]]) -> Record:
    """A copy of a record that has no saved values now, or no more: with those that its region computes again."""
    kept: Any = record.saved
    if kept is FREED:
        raise freed(record)
    if kept.values is None:
        regions.append(ref(kept.region.root()))
    return record.with_saved(kept.take())


def _watched(pull: Callable[[Record, Any], tuple[Any, ...]], raw: bool) -> Callable[[Record, Any], tuple[Any, ...]]:
    """`pull`, or the short cut, of which the hooks of this thread are told."""
    hooks = state.hooks

    def short(record: Record, g: Any) -> tuple[Any, ...]:
        return pull(record, g) if record.pull.raw is None else _told(record, g, hooks)

    watched = short if raw else pull
    for hook in reversed(hooks):
        watched = _seen_by(hook, watched)
    return watched


def _seen_by(hook: Hook, pull: Callable[[Record, Any], tuple[Any, ...]]) -> Callable[[Record, Any], tuple[Any, ...]]:
    """`pull`, of whose end a hook is told even where it fails, or where another hook inside does."""

    def seen(record: Record, g: Any) -> tuple[Any, ...]:
        hook.pulling(record, g)
        parts: tuple[Any, ...] = ()
        try:
            parts = pull(record, g)
        finally:
            hook.pulled(record, parts)
        return parts

    return seen


def _told(record: Record, g: Any, hooks: Sequence[Hook]) -> tuple[Any, ...]:
    """The short cut of a pull; hooks see it as one op."""
    pull = record.pull
    assert pull.raw is not None
    op = pull.told = pull.told or _as_op(pull)
    values, params = (g, *record.saved), (record.params, record.avals)
    for hook in hooks:
        hook.before(op, values, params)
    parts = pull.raw(record, g)
    made = tuple([part for part in parts if part is not None])
    for hook in hooks:
        hook.after(op, values, params, made)
    return parts


def _as_op(pull: Pull) -> Op:
    """The short cut of a pull as an op on the cotangent and the saved values."""

    def impl(xp: Any, out: Any, g: Any, *rest: Any) -> tuple[Any, ...]:
        *saved, params, avals = rest
        assert pull.raw is not None
        parts = pull.raw(Record(pull, params, (), tuple(saved), avals, 0, impl.__code__, 0), g)
        return tuple([part for part in parts if part is not None])

    return Op(
        name=f"{pull.op.name}_vjp",
        family=Family.FUSED,
        inputs=("g", "saved"),
        variadic=True,
        outputs=-1,
        impl=impl,
        abstract=lambda *avals: (),
        half=False,
        internal=True,
    )


def _deposit(grads: dict[Any, Any], waiting: list[Any], node: Any, g: Any, add: Callable[[Any, Any], Any]) -> None:
    """Add a cotangent to those that a node has already; a record then waits for its turn."""
    record = node.record if type(node) is Port else node
    if type(record) is Record and record not in grads:
        heappush(waiting, (-record.serial, record))
    if type(node) is not Port:
        old = grads.get(node)
        grads[node] = g if old is None else add(old, g)
    else:
        ports = grads.get(record, (None,) * len(nodes_of(record)))
        old = ports[node.index]
        new = g if old is None else add(old, g)
        grads[record] = (*ports[: node.index], new, *ports[node.index + 1 :])


def freed(record: Record) -> GraphFreedError:
    return GraphFreedError(
        f"backward() reached '{record.pull.op.name}' (recorded at {record.site()}) a second time, but the first "
        "backward() freed its saved values; run the forward pass again, or add the losses and call backward() once"
    )


def _explained(record: Record, error: Exception) -> RuleError:
    """The error to raise in place of one from a rule: it names the op and the user's forward line."""
    message = f"the vjp of '{record.pull.op.name}' failed: {type(error).__name__}: {error}"
    return RuleError(f"{message}\n  forward: {record.site()}")


def assigned_after(record: Record, leaf: Leaf) -> AssignedError:
    return AssignedError(
        f"parameter {leaf.name or 'without a name'} was assigned after the forward pass had read it, so its gradient "
        f"would belong to another value\n  read by '{record.pull.op.name}': {record.site()}\n"
        f"  assigned: {describe_site(*leaf.site)}\n  call backward() before the assignment, or run the "
        "forward pass again after it"
    )
