"""What the stages of a chain cost, measured by running each of them in every way in which a plan may run it.

Nothing is modelled here: a stage runs in a region, saved, and again, through the same code as in training, with an
account open.  `peak` then only adds up.  Cells (running statistics, random counters) are overlaid meanwhile, so none
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from time import perf_counter
from typing import Any

from gradcore.autodiff.record import walk
from gradcore.autodiff.regions import Region, kept_by, opened
from gradcore.autodiff.tape import add_base, is_raw, pull_base
from gradcore.backend import backend_of, backend_on
from gradcore.core.aval import Aval, aval_of
from gradcore.core.bind import bind
from gradcore.core.cell import EveryCell, Leaf
from gradcore.core.errors import GradcoreError
from gradcore.core.state import next_serial, pushed, state
from gradcore.core.tensor import Tensor, Traced
from gradcore.core.trees import flatten, tree_map
from gradcore.memory.accounting import Account, account
from gradcore.memory.costs import Costs, StageCosts
from gradcore.ops.arithmetic import mul
from gradcore.ops.naming import hold_op

Stage = Callable[[Any], Any]


def advance(stage: Stage, x: Any) -> Any:
    """One stage of a chain; its input stays until the backward pass has left the stage, whatever the stage saves."""
    return stage(_held(x))


def _held(tree: Any) -> Any:
    held: dict[int, Any] = {}  # a tensor that is there twice stays one, so its cotangents are summed as ever

    def hold(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) not in held:
            held[id(x)] = bind(hold_op, (x,))
        return held[id(x)]

    return tree_map(hold, tree)


def measured_costs(stages: Sequence[Stage], sample: Any) -> Costs:
    """Bytes and seconds of each stage, by running all of them on `sample` one after the other.

    Each stage runs about ten times, forward and backward; no more than one stage is saved at any time.  No cell
    changes, and no gradient is accumulated.  `Chain` says when the peaks that follow are exact and when upper bounds.

    Args:
        stages: functions or modules, each takes what the one before returns (a tensor or a tree of them).
        sample: what the first takes; only shapes, dtypes and the device matter for bytes.

    Returns:
        `Costs`, good for any budget: `checkpoint_chain(stages, budget=…, costs=costs)`.

    Raises:
        GradcoreError: called inside a transform or a capture.
        TypeError: the sample has no tensor in it, or what a stage returns has none.

    Example:
        >>> import gradcore as gc
        >>> costs = gc.memory.measured_costs([gc.tanh, gc.exp], gc.ones(8, 32, dtype="float32"))
        >>> [stage.output for stage in costs.stages]
        [1024, 1024]
    """
    if state.levels or state.base is not None or state.regions:
        raise GradcoreError("the costs of a chain are measured outside of transforms, captures and checkpoints")
    tensors = _tensors(sample)
    if not tensors:
        raise TypeError("sample is a tensor, or a tree with tensors, like what the first stage takes")
    device = tensors[0].aval.device
    with pushed(state.overlays, EveryCell()):
        times, leaves = _first_pass(stages, sample, device)
        with account(device) as counted:
            return Costs(tuple(_Measured(counted, stages, times, leaves).costs(sample)))


def _first_pass(
    stages: Sequence[Stage], x: Any, device: str
) -> tuple[list[tuple[float, float]], list[dict[Any, Aval]]]:
    """Seconds of forward and backward of each stage, and the gradients that its backward leaves."""
    times: list[tuple[float, float]] = []
    leaves: list[dict[Any, Aval]] = []
    for stage in stages:
        for _ in range(2):  # the first compiles kernels
            own = _fresh(x)
            since = next_serial()
            start = _now(device)
            y = advance(stage, own)
            if not _tensors(y):
                raise TypeError(f"stage {len(times)} returned {type(y).__name__}, not a tensor or a tree of them")
            middle = _now(device)
            grads = _backward(_nodes(y), [_ones(aval_of(t)) for t in _floating(y)], since)
            times_of_this = middle - start, _now(device) - middle
        times.append(times_of_this)
        inputs = {t.node for t in _tensors(own)}
        leaves.append({leaf: aval_of(g) for leaf, g in grads.items() if leaf not in inputs})
        x = _fresh(y)
        del own, y, grads
    return times, leaves


def _now(device: str) -> float:
    """Seconds, when the device has done what it was given."""
    if device != "cpu":
        import_module("gradcore.cuda").synchronize(device)
    return perf_counter()


class _Measured:
    """Goes through the stages with an account open."""

    def __init__(
        self,
        counted: Account,
        stages: Sequence[Stage],
        times: list[tuple[float, float]],
        leaves: list[dict[Any, Aval]],
    ) -> None:
        self.counted, self.stages, self.times, self.leaves = counted, stages, times, leaves

    def costs(self, x: Any) -> Iterator[StageCosts]:
        x = _fresh(x)
        for number, stage in enumerate(self.stages):
            yield self._stage(number, stage, x)
            x = _fresh(advance(stage, x))

    def _stage(self, number: int, stage: Stage, x: Any) -> StageCosts:
        forward, backward = self.times[number]
        found: dict[str, Any] = {"input": _bytes(x), "time_forward": forward, "time_backward": backward}
        advance(stage, x)  # cells have overlaid values from here on, as they have values of their own in training
        found |= self._in_region(stage, x, number)
        found |= self._saved_again(stage, x)
        found |= self._output_again(stage, x)
        found |= self._saved(stage, x, number)
        return StageCosts(**found)

    def _beyond(self, start: int) -> tuple[int, int]:
        """The most bytes since `start` was the live number, and what has stayed."""
        return self.counted.peak - start, self.counted.live - start

    def _start(self) -> int:
        self.counted.reset_peak()
        return self.counted.live

    def _in_region(self, stage: Stage, x: Any, number: int) -> dict[str, Any]:
        region, since, start = Region(), next_serial(), self._start()
        with opened(region):
            y = advance(stage, x)
        peak, stayed = self._beyond(start)
        size, nodes, avals = _bytes(y), _nodes(y), [aval_of(t) for t in _floating(y)]
        del y
        start = self._start()
        region.recompute(-1)
        peak_again, stayed_again = self._beyond(start)
        peak_backward, _ = self._backward(number, nodes, [_ones(aval) for aval in avals], since)
        return {
            "output": size,
            "peak_forward": peak,
            "captured": max(stayed - size, 0),
            "again_last": peak_again,
            "inner_last": stayed_again,
            "peak_backward_again": peak_backward,
        }

    def _saved_again(self, stage: Stage, x: Any) -> dict[str, Any]:
        region = Region()
        with opened(region):
            y = advance(stage, x)
            following, size = _wanting(y), _bytes(y)
        nodes = _nodes(y)
        del y
        start = self._start()
        region.recompute(-1)
        peak, stayed = self._beyond(start)
        del following
        alone = self._beyond(start)[1]
        del nodes
        return {"again_saved": peak, "inner_again": max(stayed - size, 0), "keeps_output": alone > stayed - size}

    def _output_again(self, stage: Stage, x: Any) -> dict[str, Any]:
        """Where only the output is asked for: with an input that is held, and with one that is not."""
        found = {}
        for name in ("again_held", "again_dropped"):
            region = Region()
            with opened(region):
                with opened(Region()):
                    own = x if name == "again_held" else tree_map(_copy, x)
                    size = 0 if own is x else _bytes(own)
                    y = advance(stage, own)
                following = _wanting(y)
            del own, y
            start = self._start()
            region.recompute(-1)
            found[name] = max(self._beyond(start)[0] - size, 0)
            del following
        return found

    def _saved(self, stage: Stage, x: Any, number: int) -> dict[str, Any]:
        last = number == len(self.stages) - 1
        since, start = next_serial(), self._start()
        y = advance(stage, x)
        peak, stayed = self._beyond(start)
        size, nodes, cotangents = _bytes(y), _nodes(y), [_ones(aval_of(t)) for t in _floating(y)]
        result = (y, list(cotangents)) if last else None  # the user holds these to the end
        del y
        peak_backward, grads = self._backward(number, nodes, cotangents, since)
        later, own = self._later(number), {t.node for t in _tensors(x)}
        new = [g for leaf, g in grads.items() if leaf not in own and leaf not in later]
        del result
        return {
            "peak_saved": peak,
            "inner_first": max(stayed - size, 0),
            "peak_backward": peak_backward,
            "gradients": sum(g.nbytes for g in new),
        }

    def _later(self, number: int) -> set[Any]:
        """Leaves that stages after this one have given a gradient already."""
        return set().union(*self.leaves[number + 1 :])

    def _backward(self, number: int, nodes: list[Any], cotangents: list[Any], since: int) -> tuple[int, dict[Any, Any]]:
        """The most bytes beyond, and the gradients; cotangents are handed over."""
        later = self._later(number)
        shared = [(leaf, _zeros(aval)) for leaf, aval in self.leaves[number].items() if leaf in later]
        start = self._start()
        grads = _backward(nodes, cotangents, since, shared)
        return self._beyond(start)[0], grads


class _LeftStageError(Exception):
    """The walk has left the stage."""


class _OfStage(dict[Any, Any]):
    """What a walk collects that ends at records older than the stage: tensors from outside that need gradients."""

    def __init__(self, since: int) -> None:
        self.since = since

    def pop(self, record: Any) -> Any:  # type: ignore[override]
        if record.serial < self.since:
            raise _LeftStageError
        return super().pop(record)


def _backward(
    nodes: Sequence[Any], cotangents: list[Any], since: int, shared: list[tuple[Any, Any]] | None = None
) -> dict[Any, Any]:
    """The walk of one stage, to which cotangents are handed over, and gradients that later stages have left."""

    def seeds() -> Iterator[tuple[Any, Any]]:
        while shared:
            yield shared.pop()
        for node in nodes:
            g = cotangents.pop(0)
            if node is not None:
                yield node, g

    grads = _OfStage(since)
    with suppress(_LeftStageError):
        walk(seeds(), pull_base, add_base, raw=is_raw(next(iter(cotangents), None)), grads=grads)
    return grads


def _wanting(y: Any) -> Any:
    """What a region keeps that needs all of `y` as its input, whether or not a gradient flows back to `y`."""
    with opened(Region()):
        return kept_by(-1, tuple([t.data for t in _tensors(y)]))


def _tensors(tree: Any) -> list[Any]:
    return [leaf for leaf in flatten(tree)[0] if isinstance(leaf, Tensor)]


def _floating(tree: Any) -> list[Any]:
    return [t for t in _tensors(tree) if t.dtype.kind == "f"]


def _nodes(tree: Any) -> list[Any]:
    return [t.node for t in _floating(tree)]


def _bytes(tree: Any) -> int:
    """What stays while the tree does: of views the arrays under them; but no less than the tensors have elements."""
    elements: dict[Any, int] = {}
    whole: dict[Any, int] = {}
    for array in {id(t.data): t.data for t in _tensors(tree)}.values():
        block = backend_of(array).block_of(array)
        key, size = (id(array), array.nbytes) if block is None else (block.key, block.size)
        elements[key] = elements.get(key, 0) + array.nbytes
        whole[key] = size
    return sum(max(whole[key], size) for key, size in elements.items())


def _fresh(tree: Any) -> Any:
    """The same arrays in tensors that something flows back to, where something did."""

    def fresh(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if isinstance(x, Traced):
            raise GradcoreError("a stage returned a tensor of a transform that is still open")
        return Tensor(x.data, None if x.node is None else Leaf())

    return tree_map(fresh, tree)


def _copy(x: Any) -> Any:
    return mul(x, 1) if isinstance(x, Tensor) else x


def _ones(aval: Aval) -> Any:
    return backend_on(aval.device).make("ones", aval.shape, aval.dtype)


def _zeros(aval: Aval) -> Any:
    return backend_on(aval.device).make("zeros", aval.shape, aval.dtype)
