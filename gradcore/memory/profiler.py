"""`gradcore.profile()`: what a training step holds, who holds it, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

from gradcore.backend import Device
from gradcore.core.hooks import hooked
from gradcore.memory.accounting import new_account
from gradcore.memory.attribution import Attribution
from gradcore.memory.modules import followed
from gradcore.memory.recorder import Recorder
from gradcore.memory.report import Profile


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
    account.ledger.events = []
    attribution = Attribution(account)
    recorder = Recorder(account, attribution)
    result = Profile(account.device)
    start = perf_counter()
    with ExitStack() as stack:
        stack.enter_context(account.opened(resident=True))
        stack.callback(lambda: result.fill(account, attribution, start))
        stack.callback(attribution.settle)
        if model is not None:
            stack.enter_context(followed(model, recorder.modules))
        stack.enter_context(hooked(recorder))
        start = perf_counter()
        account.later((account.ledger.at, start))
        try:
            yield result
        finally:
            result.seconds = perf_counter() - start


def _device_of(model: Any) -> str:
    """Where the parameters of a model are; "cpu" where there are none."""
    first = next(iter(model.parameters()), None) if model is not None else None
    return "cpu" if first is None else str(first.read().aval.device)
