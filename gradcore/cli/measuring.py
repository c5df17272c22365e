"""What gradcore bench measures: how fast this machine copies, computes and trains with gradcore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from gradcore import nn, optim
from gradcore import ops as gc
from gradcore.autodiff import value_and_grad, vjp
from gradcore.backend import Device, backend_on
from gradcore.core.hooks import Hook, hooked
from gradcore.core.op import Op
from gradcore.factories import ones, tensor

Run = Callable[[], Any]
WIDTH = 1024  # columns of the arrays that the kernels work on
SIZES, BATCH = (784, 512, 256, 10), 128
BLOCKS = 5


@dataclass(frozen=True)
class Sizes:
    """How much to measure.

    Attributes:
        mebibytes: of the arrays that are copied and worked on.
        product: rows and columns of the matrices that are multiplied.
        count: calls in each of the blocks whose median is taken.
    """

    mebibytes: float
    product: int
    count: int


def measure(device: Device, sizes: Sizes, progress: Callable[[Sequence[str]], Any] = iter) -> dict[str, Any]:
    """All figures: bytes, operations and steps per second.

    Args:
        device: where to compute.
        sizes: how much.
        progress: gives names again one by one, such as `tqdm.tqdm`.
    """
    parts = {"copy": _copy, "kernels": _kernels, "products": _products, "steps": _steps}
    about = {"device": str(device), "name": _name(device), "simulated": _simulated(device), "MiB": sizes.mebibytes}
    return about | {name: parts[name](device, sizes) for name in progress(list(parts))}


def _name(device: Device) -> str:
    from gradcore import cuda

    return "NumPy" if device.kind == "cpu" else cuda.get_device_name(device)


def _simulated(device: Device) -> bool:
    """Does a CPU play the CUDA device?  Then times mean nothing."""
    return device.kind == "cuda" and "CPU" in _name(device)


def seconds(device: Device, run: Run, count: int) -> float:
    """Seconds per call, the median over blocks of calls, after one that compiles and allocates."""
    run()
    return median([_block(device, run, count) for _ in range(BLOCKS)])


def _block(device: Device, run: Run, count: int) -> float:
    if device.kind == "cuda":
        from gradcore.backend.cuda.timing import device_seconds

        return device_seconds(device.index, run, count)
    start = perf_counter()
    for _ in range(count):
        run()
    return (perf_counter() - start) / count


# --- memory -----------------------------------------------------------------------------------------------------------


def _matrix(device: Device, sizes: Sizes) -> Any:
    rows = max(1, round(sizes.mebibytes * 2**20 / 4 / WIDTH))
    return tensor(np.linspace(-2.0, 2.0, rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH), device=device)


def _copy(device: Device, sizes: Sizes) -> float:
    """Bytes per second, read and written, of a copy from one array to another."""
    x, xp = _matrix(device, sizes).data, backend_on(device)
    y = xp.empty(x.shape, x.dtype)
    return float(2 * x.nbytes / seconds(device, lambda: xp.np.copyto(y, x), sizes.count))


class _Moved(Hook):
    """Counts the bytes of operands and results."""

    def __init__(self) -> None:
        self.count = 0

    def after(self, op: Op, values: Sequence[Any], params: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
        if op.alias is None:
            self.count += sum(map(_bytes, (*values, *outputs)))


def _bytes(value: Any) -> int:
    """Of an array; a broadcast one counts as often as it lies in memory."""
    if not hasattr(value, "strides"):
        return 0
    lying = [size for size, stride in zip(value.shape, value.strides, strict=True) if stride]
    return int(np.prod(lying)) * int(value.dtype.itemsize)


def _kernels(device: Device, sizes: Sizes) -> dict[str, dict[str, float]]:
    """For each kernel how long it takes, and how many bytes its operands and results have."""
    found = {}
    for name, run in _runs(_matrix(device, sizes), device).items():
        moved = _Moved()
        with hooked(moved):
            run()
        found[name] = {"seconds": seconds(device, run, sizes.count), "bytes": moved.count}
    return found


def _runs(x: Any, device: Device) -> dict[str, Run]:
    g, labels = gc.ones_like(x), tensor(np.arange(x.shape[0]) % WIDTH, device=device)
    w, b = ones(WIDTH, device=device), ones(WIDTH, device=device)
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "relu": (gc.relu, (x,)),
        "gelu": (gc.gelu, (x,)),
        "softmax": (gc.softmax, (x,)),
        "layer_norm": (gc.layer_norm, (x, w, b)),
    }
    runs: dict[str, Run] = {}
    for name, (function, operands) in functions.items():
        runs[name] = partial(function, *operands)
        runs[f"{name}, gradient"] = partial(vjp(function, *operands)[1], g)
    dropout, loss = nn.Dropout(0.1), value_and_grad(lambda z: nn.functional.cross_entropy(z, labels))
    runs["dropout"] = lambda: dropout(x)
    runs["cross_entropy with gradient"] = lambda: loss(x)
    runs["sum"] = lambda: gc.sum(x)
    runs["sum of columns"] = lambda: gc.sum(x, axis=0)
    return runs | _optimizer_runs(x, g)


def _optimizer_runs(x: Any, g: Any) -> dict[str, Run]:
    parameter = nn.Parameter(x)
    parameter.leaf.grad.assign(g)  # type: ignore[union-attr]
    return {
        "clip_grad_norm_": lambda: nn.utils.clip_grad_norm_([parameter], 1.0),
        "AdamW": optim.AdamW([parameter]).step,
    }


# --- products and steps -----------------------------------------------------------------------------------------------


def _products(device: Device, sizes: Sizes) -> dict[str, float]:
    """Floating operations per second of products of square matrices."""
    n = sizes.product
    dtypes = ("float32", "float64") if device.kind == "cpu" else ("float32", "float16", "float64")
    found = {}
    for dtype in dtypes:
        a = gc.cast(ones(n, n, device=device), dtype)
        found[dtype] = 2 * n**3 / seconds(device, partial(gc.matmul, a, a), sizes.count)
    return found


def _steps(device: Device, sizes: Sizes) -> dict[str, float]:
    """Training steps per second: cross entropy, clipping and AdamW, of two multilayer perceptrons."""
    plain = [nn.ReLU()]
    normal = [nn.LayerNorm(SIZES[1]), nn.ReLU(), nn.Dropout(0.1)]
    title = "MLP " + "-".join(map(str, SIZES))
    networks = {title: plain, f"{title}, layer norm, dropout": normal}
    count = 10 * sizes.count
    return {name: 1 / seconds(device, _step(first, device), count) for name, first in networks.items()}


def _step(first: Sequence[nn.Module], device: Device) -> Run:
    inputs, wide, narrow, classes = SIZES
    last = [nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, classes)]
    model = nn.Sequential(nn.Linear(inputs, wide), *first, *last).to(device)
    optimizer = optim.AdamW(model.parameters())
    x, labels = ones(BATCH, inputs, device=device), tensor(np.arange(BATCH) % classes, device=device)

    def step() -> None:
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
