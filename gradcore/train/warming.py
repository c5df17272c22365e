"""Compiling kernels before they are needed.

CuPy compiles a kernel when it is first launched and keeps it on the disk.  What a training step launches depends on
the operands: a sum along rows and one along columns are two kernels.  So the surest way to compile what training uses
is to train: each layer, loss and optimiser does one small step, and the usual ops run on the samples that their tests
use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradcore import nn, optim, random
from gradcore.autodiff import vjp
from gradcore.backend import Device, backend_on
from gradcore.backend.cuda.cache import cache_folder, cached_kernels
from gradcore.core.errors import DeviceError, KernelError, OutOfMemoryError
from gradcore.core.op import OPS, Op
from gradcore.factories import ones, tensor
from gradcore.ops import broadcast_to, cast, ones_like, sum

if TYPE_CHECKING:
    from gradcore.testing.cases import Case

Task = tuple[str, Callable[[], Any]]
USUAL = (
    *("add", "sub", "mul", "div", "neg", "abs", "square", "sqrt", "exp", "log", "power", "maximum", "minimum", "where"),
    *("sum", "mean", "max", "matmul", "cast", "concatenate", "take", "equal", "less", "argmax", "softmax", "logsumexp"),
    *("cross_entropy", "mse", "layer_norm"),
)
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.SELU, nn.Mish, nn.Softplus),
    *(nn.Hardtanh, nn.Softsign, nn.LogSigmoid),
)
OPTIMIZERS: tuple[Callable[[Any], Any], ...] = (
    *(optim.AdamW, optim.Adam, optim.Adagrad, optim.RMSprop, optim.Lion, partial(optim.SGD, lr=0.1)),
    *(partial(optim.SGD, lr=0.1, momentum=0.9), partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True)),
)
ROWS, WIDTH = 24, 72


class Warmth(NamedTuple):
    """What a warm-up did.

    Attributes:
        kernels: how many were compiled; the others were in the cache.
        seconds: how long it took.
        folder: the cache, None where kernels are kept in memory only.
        failed: what did not run, with the reason.
    """

    kernels: int
    seconds: float
    folder: str | None
    failed: dict[str, str]


def warmup(
    dtypes: Sequence[Any] = ("float32",),
    device: Device | str = "cuda",
    whole_table: bool = False,
    progress: Callable[[Sequence[Task]], Iterable[Task]] = iter,
) -> Warmth:
    """Compile the kernels that training uses, so that the first step need not wait for them.

    The random numbers that are drawn afterwards are what they would have been.

    Args:
        dtypes: floating dtypes to compile for.
        device: a CUDA device.
        whole_table: run all ops of the table, not only the usual ones.
        progress: gives the tasks again one by one, such as `tqdm.tqdm`.

    Raises:
        DeviceError: the device is not there.

    Example::

        done = gc.train.warmup(["float32", "float16"])
        print(done.kernels, "kernels compiled in", done.seconds, "s")
    """
    device = Device(device)
    if device.kind != "cuda":
        raise ValueError("only CUDA kernels are compiled ahead; NumPy has nothing to warm up")
    backend_on(device)  # raises where CUDA cannot be used
    before, start, source = cached_kernels(), perf_counter(), random.state_dict()
    failed: dict[str, str] = {}
    try:
        for name, run in progress([task for dtype in dtypes for task in tasks(np.dtype(dtype), device, whole_table)]):
            try:
                run()
            except (DeviceError, KernelError, NotImplementedError, OutOfMemoryError, TypeError, ValueError) as error:
                failed[name] = f"{type(error).__name__}: {error}"
    finally:
        random.load_state_dict(source)
    folder = cache_folder()
    seconds = perf_counter() - start
    return Warmth(cached_kernels() - before, seconds, None if folder is None else str(folder), failed)


def tasks(dtype: Any, device: Device, whole_table: bool = False) -> list[Task]:
    """Names of what is run for one dtype, with functions that do."""
    steps = [(name, partial(_step, model, loss, make, dtype, device)) for name, model, loss, make in _steps()]
    ops = OPS.values() if whole_table else [OPS[name] for name in USUAL]
    samples = [(op.name, partial(_run_samples, op, dtype, device)) for op in ops]
    return [(f"{name}, {dtype}", run) for name, run in [*steps, *samples]]


# --- steps of training ------------------------------------------------------------------------------------------------


def _steps() -> Iterator[tuple[str, nn.Module, nn.Module, Any]]:
    """Small networks with a loss and an optimiser."""
    for activation in ACTIVATIONS:
        yield activation.__name__, _network(activation()), nn.CrossEntropyLoss(), optim.AdamW
    for make in OPTIMIZERS:
        name = getattr(make, "func", make).__name__
        yield name, _network(nn.LayerNorm(WIDTH), nn.ReLU(), nn.Dropout(0.1)), nn.CrossEntropyLoss(), make
    for regression in (nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss()):
        yield type(regression).__name__, _network(nn.ReLU()), regression, optim.AdamW
    for likelihood in (nn.NLLLoss(), nn.KLDivLoss(reduction="batchmean")):
        yield type(likelihood).__name__, _network(nn.ReLU(), last=[nn.LogSoftmax()]), likelihood, optim.AdamW


def _network(*between: nn.Module, last: Sequence[nn.Module] = ()) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *between, nn.Linear(WIDTH, 8), *last)


def _step(model: nn.Module, loss_of: nn.Module, make: Any, dtype: Any, device: Device) -> None:
    """Forward, backward, both ways to clip, and a step."""
    model.to(dtype).to(device)
    parameters = list(model.parameters())
    optimizer = make(parameters)
    x = cast(ones(ROWS, WIDTH, device=device), dtype)
    labels = isinstance(loss_of, (nn.CrossEntropyLoss, nn.NLLLoss))
    target = tensor(np.zeros(ROWS, np.int64) if labels else np.full((ROWS, 8), 0.125, dtype), device=device)
    loss_of(model(x), target).backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    nn.utils.clip_grad_value_(parameters, 1.0)
    optimizer.step()


# --- samples of ops ---------------------------------------------------------------------------------------------------


def _run_samples(op: Op, dtype: Any, device: Device) -> None:
    """An op and its gradients, on all of its samples that are of this dtype."""
    from gradcore.testing.cases import cases_of

    for case in cases_of([op]):
        _run_case(case, dtype, device)


def _run_case(case: Case, dtype: Any, device: Device) -> None:
    places = ["cpu" if i in case.op.host else device for i in range(len(case.operands(dtype)))]
    operands = [tensor(x, device=place) for x, place in zip(case.operands(dtype), places, strict=True)]
    moving = case.moving(operands)
    if not moving:
        case.call(*operands)
        return
    outs, pull = vjp(case.function(operands), *[operands[k] for k in moving])
    if outs:
        pull(tuple(map(ones_like, outs)))
        pull(tuple([broadcast_to(ones_like(sum(out)), out.shape) for out in outs]))  # as behind a sum
