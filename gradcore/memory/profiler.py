"""`gradcore.profile()`: what a training step holds, who holds it, and when."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter
from types import CodeType
from typing import Any

from gradcore.backend import Device
from gradcore.core.cell import Leaf
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Op
from gradcore.core.state import INTERNAL
from gradcore.memory.accounting import Account, new_account
from gradcore.memory.modules import followed
from gradcore.memory.owners import OTHER, Label, alive, raw
from gradcore.memory.report import Profile, Site, Top

PHASES = {  # our functions
    "walk": "backward",
    "Region.recompute": "recomputation",
    "Optimizer.step": "optimiser",
    "SingleSteps.step": "optimiser",
}
MADE = {"backward": "gradient", "optimiser": "optimiser state"}  # what the results of these phases are
LASTING = ("parameter", "gradient", "optimiser state", "buffer")


class Recorder(Hook):
    """Tells an account whose the blocks are, and notes each op.

    Attributes:
        spans: ops in the order in which they ran, as the fields of a Span.
        sites: where they ran.
        top: the last moment at which the peak rose, inside an op.
        modules: paths of those that are at work, the innermost last.
    """

    sees_into_pulls = False

    def __init__(self, account: Account) -> None:
        self.account = account
        self.spans: list[tuple[Any, ...]] = []
        self.sites: dict[Any, Site] = {}
        self.top: Top | None = None
        self.modules: list[str] = []
        self._module_of: dict[int, str] = {}  # of records by serial
        self._hollow: set[int] = set()  # serials of those whose values a checkpoint computes again
        self._pulled: list[tuple[CodeType, int, str]] = []  # where the records were made that a backward pass is in
        self._known: dict[int, tuple[CodeType, bool, str, str]] = {}  # code by id: is it ours? its phase, its module
        self._now: Any = None  # the site of the op that runs
        self._live = self._peak = 0
        self._start = 0.0

    def before(self, op: Op, values: Sequence[Any], params: tuple[Any, ...]) -> None:
        account = self.account
        self._now = self._pull_site(op.name) if self._pulled else self._site(op.name, *self._here())
        account.label = self._now.working
        account.before(op, values, params)
        self._live, self._peak = account.live, account.peak
        self._start = perf_counter()

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        seconds = perf_counter() - self._start
        account, site = self.account, self._now
        account.label = site.result
        account.after(op, values, params, outputs)
        if account.device != "cpu":
            self._claim(outputs, site)
        account.label = OTHER
        allocated = account.live - self._live
        extra = account.op_peak - allocated
        if account.peak > self._peak and account.events is not None:
            self.top = Top(account.peak, len(account.events), account.peak - account.live, site.working)
        self.spans.append((site, self._start, seconds, allocated, extra, account.live + extra))

    def _claim(self, outputs: Sequence[Any], site: Site) -> None:
        """Among the blocks that an op asked for on CUDA, its results are no workspace."""
        for output in outputs:
            held = self.account.find(output)
            if held is not None and held.label is site.working:
                held.label, held.shape, held.dtype = site.result, output.shape, output.dtype

    def recorded(self, record: Any, outputs: Sequence[Any]) -> None:
        module = self._module_of[record.serial] = self._now.module if self._now is not None else ""
        saved = record.saved
        if type(saved) is tuple:
            self._keep(record, module)
        else:
            self._hollow.add(record.serial)

    def _keep(self, record: Any, module: str) -> None:
        """What a record has saved belongs to it from now on."""
        site = self._site(record.pull.op.name, "forward", record.code, record.offset, module)
        for array in raw(record.saved):
            known = self.account.find(array)
            held = known or self.account.meet(array, site.saved)
            if held is not None and (known is None or _is_free(held.label)):
                held.label = site.saved
                site.count += 1
                site.bytes += held.size

    def pulling(self, record: Any, g: Any) -> None:
        self._pulled.append((record.code, record.offset, self._module_of.get(record.serial, "")))
        if record.serial in self._hollow:
            self._keep(record, self._module_of[record.serial])

    def pulled(self, record: Any, parts: Sequence[Any]) -> None:
        site = self._pull_site(record.pull.op.name)
        self._pulled.pop()
        for parent, part in zip(record.parents, parts, strict=False):
            for array in raw((part,)):
                held = self.account.meet(array, site.result)
                if type(parent) is Leaf and held is not None and _is_free(held.label):
                    held.label = site.named(parent.grad.name)

    def _pull_site(self, op: str) -> Site:
        return self._site(op, "backward", *self._pulled[-1])

    def _site(self, op: str, phase: str, code: CodeType, offset: int, module: str) -> Site:
        key = op, phase, id(code), offset, module
        site = self.sites.get(key)
        if site is None:
            site = self.sites[key] = Site(op, phase, code, offset, module, MADE.get(phase, "other"))
        return site

    def _here(self) -> tuple[str, CodeType, int, str]:
        """The phase, the user's instruction and the module, from the frames between the op and the user's line."""
        frame, phase, module = sys._getframe(2), "", ""
        while True:
            code, internal, at, inside = self._known.get(id(frame.f_code)) or self._look_at(frame.f_code)
            module = module or inside
            if not internal or frame.f_back is None:
                break
            phase = phase or at
            frame = frame.f_back
        return phase or "forward", code, frame.f_lasti, self.modules[-1] if self.modules else module

    def _look_at(self, code: CodeType) -> tuple[CodeType, bool, str, str]:
        module = code.co_qualname.rpartition(".")[0] if code.co_name == "forward" else ""
        found = code, INTERNAL[code.co_filename], PHASES.get(code.co_qualname, ""), module
        self._known[id(code)] = found
        return found

    def settle(self) -> None:
        """Name what lasts: parameters, gradients and slots that were assigned meanwhile."""
        for array, label in alive(self.account.device):
            if label.kind in LASTING:
                held = self.account.find(array)
                if held is not None and held.label.kind not in LASTING:
                    held.label = held.label._replace(kind=label.kind, name=label.name)


def _is_free(label: Label) -> bool:
    """May a block with this label get a better one?"""
    return label.kind in ("other", "gradient") and not label.name


@contextmanager
def profile(model: Any = None, device: Device | str | None = None) -> Iterator[Profile]:
    """Find out what a piece of training holds in memory, who holds it, and how long its ops take.

    Works for anything that runs in the block and in this thread: forward passes, `backward()`, `grad`, steps of an
    optimiser, checkpoints.  What is measured, and what lies outside, says `gradcore.memory.account`.  Nothing is copied
    from a GPU and nothing waits for it, so times there are those of the CPU, which only launches.

    Let a step or two run before: the first one also compiles, and allocates the optimiser's gradients.

    Args:
        model: a module; its parts then have their dotted paths in the tables. Without it they have their class.
        device: what to measure; the model's device, or the CPU, if not given.

    Yields:
        A `Profile`, which is filled at the end of the block, even where an exception ends it.

    Raises:
        DeviceError: the device is not there.
        TypeError: `model` is no module.

    Example:
        >>> import gradcore as gc
        >>> model = gc.nn.Sequential(gc.nn.Linear(64, 256), gc.nn.Tanh(), gc.nn.Linear(256, 1))
        >>> with gc.profile(model) as p:
        ...     model(gc.ones(1000, 64)).sum().backward()
        >>> p.peak == sum(holder.bytes for holder in p.holders_at_peak)
        True
        >>> p.saved[0].op, p.saved[0].bytes, [row.module for row in p.modules]
        ('tanh', 1024000, ['0', '1', '2', ''])
    """
    if model is not None and not hasattr(model, "named_modules"):
        raise TypeError(f"profile takes a module, or nothing, and device='cpu' by name; got {type(model).__name__}")
    account = new_account(_device_of(model) if device is None else device)
    account.events = []
    recorder = Recorder(account)
    result = Profile(account.device)
    start = perf_counter()
    with ExitStack() as stack:
        stack.enter_context(account.opened(resident=True))
        stack.callback(lambda: result.fill(account, recorder, start))
        stack.callback(recorder.settle)
        if model is not None:
            stack.enter_context(followed(model, recorder.modules))
        stack.enter_context(hooked(recorder))
        start = perf_counter()
        try:
            yield result
        finally:
            result.seconds = perf_counter() - start


def _device_of(model: Any) -> str:
    """Where the parameters of a model are; "cpu" where there are none."""
    first = next(iter(model.parameters()), None) if model is not None else None
    return "cpu" if first is None else str(first.read().aval.device)
