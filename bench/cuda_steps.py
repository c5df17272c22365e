"""Training steps on CUDA: in gradcore, and by hand in CuPy with the same fusions; and what each of their calls moves.

Both train on the same data from the same weights.  Every call notes its name and the bytes of the arrays that it reads
and writes in a ledger, so that the two can be laid side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from cuda_kernels import elementwise, raw

Step = Callable[[], Any]


class Call(NamedTuple):
    """One launch: bytes of the arrays on the device that it reads and writes, and floating operations of products."""

    name: str
    read: int
    written: int
    flops: int


Ledger = list[Call]


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron that classifies; `normal` puts layer norm and dropout after the first layer."""

    name: str
    sizes: tuple[int, ...] = (784, 512, 256, 10)
    batch: int = 128
    normal: bool = False
    dropout: float = 0.0
    rate: float = 1e-3
    most: float = 1.0

    def data(self) -> tuple[Any, Any]:
        random = np.random.default_rng(1)
        x = random.standard_normal((self.batch, self.sizes[0]), np.float32)
        return x, random.integers(0, self.sizes[-1], self.batch)

    def weights(self) -> list[Any]:
        """Weights (out, in) and biases of each layer, in order; of the layer norm behind those of the first."""
        random = np.random.default_rng(2)
        arrays = []
        for i, (n, m) in enumerate(pairwise(self.sizes)):
            bound = n**-0.5
            arrays += [random.uniform(-bound, bound, shape).astype(np.float32) for shape in ((m, n), (m,))]
            if i == 0 and self.normal:
                arrays += [np.ones(m, np.float32), np.zeros(m, np.float32)]
        return arrays

    def without_chance(self) -> Network:
        """The same without dropout, whose masks no two libraries share."""
        return replace(self, dropout=0.0)


NETWORKS = {
    "mlp": Network("MLP 784-512-256-10, ReLU"),
    "normal": Network("MLP 784-512-256-10, layer norm, ReLU, dropout", normal=True, dropout=0.1),
}


# --- gradcore ---------------------------------------------------------------------------------------------------------


def gradcore_step(network: Network) -> Step:
    """What a user of gradcore writes."""
    import gradcore as gc
    from gradcore import nn, optim

    layers: list[Any] = []
    for i, (n, m) in enumerate(pairwise(network.sizes)):
        layers += [nn.Linear(n, m)]
        layers += [nn.LayerNorm(m)] if i == 0 and network.normal else []
        layers += [nn.ReLU()] if i < len(network.sizes) - 2 else []
        layers += [nn.Dropout(network.dropout)] if i == 0 and network.dropout else []
    model = nn.Sequential(*layers)
    for parameter, value in zip(model.parameters(), network.weights(), strict=True):
        parameter.assign(gc.tensor(value))
    model.to("cuda")
    optimizer = optim.AdamW(model.parameters(), lr=network.rate)
    x, labels = (gc.tensor(array, device="cuda") for array in network.data())

    def step() -> Any:
        loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), network.most)
        optimizer.step()
        return loss

    return step


@contextmanager
def noted(ledger: Ledger) -> Iterator[None]:
    """Everything that gradcore launches on the device in the block goes into the ledger."""
    from gradcore.backend.cuda.backend import CudaBackend

    run = CudaBackend.run

    def noting(self: Any, op: Any, out: Any, values: Any, params: Any) -> Any:
        outputs = run(self, op, out, values, params)
        if op.alias is None:
            ledger.extend(_calls(op.name, values, outputs if isinstance(outputs, tuple) else (outputs,), params))
        return outputs

    CudaBackend.run = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        CudaBackend.run = run  # type: ignore[method-assign]


def _calls(name: str, values: Any, outs: Any, params: Any) -> Iterator[Call]:
    """What one op launches; ops that launch several things are taken apart here."""
    if name == "linear":
        x, w, bias = values
        yield call("matmul", (x, w), outs, 2 * x.size * w.shape[0])
        yield call("add_bias", (*outs, bias), outs)
    elif name == "linear_vjp":
        g, *saved = values
        others = [array for array, wanted in zip((saved[-1], saved[0]), params[0][:2], strict=True) if wanted]
        for other, out in zip(others, outs, strict=False):
            yield call("matmul", (g, other), (out,), 2 * g.size * other.shape[-1])
        if params[0][2]:
            yield call("column_sum", (g,), outs[-1:])
    elif name == "layer_norm_vjp":
        yield call("layer_norm_vjp, rows", values, outs[:1])
        yield call("layer_norm_vjp, columns", values[:2], outs[1:])
    else:
        yield call(name, values, outs)


def call(name: str, reads: Any, writes: Any, flops: int = 0) -> Call:
    return Call(name, size_of(reads), size_of(writes), int(flops))


def size_of(values: Any) -> int:
    """Bytes of the distinct arrays on a device."""
    return sum(
        {value.data.ptr: value.nbytes for value in values if hasattr(value, "__cuda_array_interface__")}.values()
    )


# --- by hand in CuPy --------------------------------------------------------------------------------------------------


class ByHand:
    """The step in plain CuPy.  Parameters, gradients and moments lie in long arrays, so that one launch does all."""

    def __init__(self, network: Network, ledger: Ledger | None = None) -> None:
        import cupy

        self.cupy, self.network, self.ledger = cupy, network, ledger
        arrays = network.weights()
        self.flat = cupy.asarray(np.concatenate([array.reshape(-1) for array in arrays]))
        self.gradient, self.clipped, self.first, self.second = (cupy.zeros_like(self.flat) for _ in range(4))
        self.parameters = self._parts(self.flat, arrays)
        self.gradients = self._parts(self.gradient, arrays)
        self.x, self.labels = map(cupy.asarray, network.data())
        self.count = 0

    def _parts(self, flat: Any, like: list[Any]) -> list[Any]:
        ends = np.cumsum([array.size for array in like])
        return [flat[end - array.size : end].reshape(array.shape) for end, array in zip(ends, like, strict=True)]

    def __call__(self) -> Any:
        loss = (self._normal if self.network.normal else self._plain)()
        self._update()
        return loss

    def _plain(self) -> Any:
        w1, b1, w2, b2, w3, b3 = self.parameters
        g = self.gradients
        h1 = self._elementwise("bias_relu", self._product(self.x, w1.T), b1)
        h2 = self._elementwise("bias_relu", self._product(h1, w2.T), b2)
        loss, d3 = self._loss(self._product(h2, w3.T), b3)
        d2 = self._elementwise("relu_gradient", self._layer_back(d3, h2, w3, g[4], g[5]), h2)
        d1 = self._elementwise("relu_gradient", self._layer_back(d2, h1, w2, g[2], g[3]), h1)
        self._weights_back(d1, self.x, g[0], g[1])
        return loss

    def _normal(self) -> Any:
        w1, b1, w, b, w2, b2, w3, b3 = self.parameters
        g, net = self.gradients, self.network
        n, key = net.sizes[1], np.uint64(self.count)
        z1 = self._elementwise("add", self._product(self.x, w1.T), b1)
        normal, mean, rstd = (self.cupy.empty(s, np.float32) for s in (z1.shape, net.batch, net.batch))
        self._raw("layer_norm", net.batch, 128, (z1, w, b), (normal, mean, rstd), n)
        r1 = self._elementwise("relu", normal)
        h1 = self._elementwise("dropout", r1, key, np.float32(net.dropout))
        h2 = self._elementwise("bias_relu", self._product(h1, w2.T), b2)
        loss, d3 = self._loss(self._product(h2, w3.T), b3)
        d2 = self._elementwise("relu_gradient", self._layer_back(d3, h2, w3, g[6], g[7]), h2)
        dropped = self._layer_back(d2, h1, w2, g[4], g[5])
        kept = self._elementwise("dropout", dropped, key, np.float32(net.dropout))
        dn = self._elementwise("relu_gradient", kept, r1)
        d1 = self.cupy.empty_like(z1)
        self._raw("layer_norm_rows", net.batch, 128, (dn, z1, w, mean, rstd), (d1,), n)
        self._raw("layer_norm_columns", -(-n // 128), 128, (dn, z1, mean, rstd), (g[2], g[3]), net.batch, n)
        self._weights_back(d1, self.x, g[0], g[1])
        return loss

    def _update(self) -> None:
        """Clip by the norm of all gradients, and AdamW."""
        self.count += 1
        rate, most = np.float32(self.network.rate), np.float32(self.network.most)
        norm = self._elementwise("norm", self.gradient)
        self._elementwise("clip", self.gradient, norm, most, out=(self.clipped,))
        corrections = [np.float32(1 - beta**self.count) for beta in (0.9, 0.999)]
        state = (self.flat, self.first, self.second)
        self._elementwise("adamw", self.clipped, rate, np.float32(0.01), *corrections, out=state, updates=True)

    def _loss(self, z: Any, bias: Any) -> tuple[Any, Any]:
        loss, gradient = self.cupy.empty((), np.float32), self.cupy.empty_like(z)
        self._raw("cross_entropy", 1, 1024, (z, bias, self.labels), (loss, gradient), *z.shape)
        return loss, gradient

    def _layer_back(self, g: Any, x: Any, w: Any, gw: Any, gb: Any) -> Any:
        self._weights_back(g, x, gw, gb)
        return self._product(g, w)

    def _weights_back(self, g: Any, x: Any, gw: Any, gb: Any) -> None:
        self._product(g.T, x, gw)
        self._raw("column_sum", -(-g.shape[1] // 128), 128, (g,), (gb,), *g.shape)

    def _product(self, a: Any, b: Any, out: Any = None) -> Any:
        out = self.cupy.matmul(a, b, out=out)
        self._note("matmul", (a, b), (out,), 2 * a.size * b.shape[1])
        return out

    def _elementwise(self, name: str, *operands: Any, out: Any = (), updates: bool = False) -> Any:
        made = elementwise(name)(*operands, *out)
        written = out or (made,)
        self._note(name, (*operands, *(out if updates else ())), written)
        return made

    def _raw(self, name: str, grid: int, block: int, reads: Any, writes: Any, *sizes: int) -> None:
        raw(name)((grid,), (block,), (*reads, *writes, *map(np.int32, sizes)))
        self._note(name, reads, writes)

    def _note(self, name: str, reads: Any, writes: Any, flops: int = 0) -> None:
        if self.ledger is not None:
            self.ledger.append(call(name, reads, writes, flops))


def agree(network: Network, steps: int = 3, tolerance: float = 2e-5) -> tuple[float, float]:
    """The losses of gradcore and by hand after some steps without dropout.

    Raises:
        AssertionError: they differ by more than float32 rounding.
    """
    losses = []
    for step in (gradcore_step(network.without_chance()), ByHand(network.without_chance())):
        for _ in range(steps - 1):
            step()
        losses.append(float(step()))
    ours, by_hand = losses
    assert abs(ours - by_hand) <= tolerance * abs(by_hand), f"{network.name}: {ours} in gradcore, {by_hand} by hand"
    return ours, by_hand
