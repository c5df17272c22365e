"""JAX and PyTorch under the names that the instructions use.

Operands of different dtypes are converted by NumPy's rules first; the peers' own rules differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from compare.libraries import F, jax, jnp, jsp, torch

from .programs import weights

torch.set_num_threads(1)
jax.config.update("jax_disable_most_optimizations", True)  # programs are compiled once and run once
FLOAT_NAMES = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64, torch.bool: np.bool_}
TORCH_DTYPES = {np.dtype(value): key for key, value in FLOAT_NAMES.items()}


def met(promotion: str, dtypes: list[Any]) -> list[Any]:
    """The dtypes in which operands are used, by NumPy's rules; booleans stay what they are."""
    numbers = [dtype for dtype in dtypes if dtype != np.bool_]
    if promotion == "none" or not numbers:
        return dtypes
    common = np.result_type(*numbers)
    common = np.dtype(np.float64) if promotion == "float" and common.kind != "f" else common
    return [dtype if dtype == np.bool_ else common for dtype in dtypes]


class Peer:
    """What both have in common."""

    same_dtypes = True

    def dtype(self, x: Any) -> Any:
        return np.dtype(x.dtype)

    def promoted(self, promotion: str, operands: list[Any]) -> list[Any]:
        dtypes = met(promotion, [self.dtype(x) for x in operands])
        return [self.cast(x, dtype) for x, dtype in zip(operands, dtypes, strict=True)]  # type: ignore[attr-defined]

    def weights(self, x: Any) -> Any:
        return self.constant(weights(tuple(x.shape), self.dtype(x)))  # type: ignore[attr-defined]

    def floating(self, x: Any) -> bool:
        return bool(self.dtype(x).kind == "f")

    def derivatives(self, loss: Any, xs: Any, vs: Any) -> tuple[Any, ...]:
        """All in one pass: what a peer has to compile is what takes the time."""
        both = self.value_and_grad(loss, tuple(range(len(xs))))  # type: ignore[attr-defined]
        (value, grads), (tangent, products) = self.jvp(both, tuple(xs), tuple(vs))  # type: ignore[attr-defined]
        return value, tangent, *grads, *products


class Jax(Peer):
    """Names that differ from NumPy's; the rest is looked up in jax.numpy and jax.nn."""

    constant = staticmethod(jnp.asarray)
    array = staticmethod(np.asarray)
    stop_gradient = staticmethod(jax.lax.stop_gradient)
    rsqrt = staticmethod(jax.lax.rsqrt)
    erf, erfc, logsumexp = map(staticmethod, (jsp.erf, jsp.erfc, jsp.logsumexp))
    grad, value_and_grad, jvp, vmap = map(staticmethod, (jax.grad, jax.value_and_grad, jax.jvp, jax.vmap))
    cond, scan = map(staticmethod, (jax.lax.cond, jax.lax.scan))
    sub, mul, div = map(staticmethod, (jnp.subtract, jnp.multiply, jnp.divide))
    softsign, hardtanh = map(staticmethod, (jax.nn.soft_sign, jax.nn.hard_tanh))

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name) if hasattr(jnp, name) else getattr(jax.nn, name)

    def cast(self, x: Any, dtype: Any) -> Any:
        return x.astype(dtype)

    def batched(self, function: Any, axes: Any) -> Any:
        return jax.vmap(function, axes)

    def gelu(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=False)

    def leaky_relu(self, x: Any) -> Any:
        return jax.nn.leaky_relu(x, 0.01)

    def norm(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return jnp.sqrt(jnp.sum(x * x, axis=axis, keepdims=keepdims))

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        return jnp.take(x, indices, axis)

    def getitem(self, x: Any, key: Any) -> Any:
        return x[key]

    def at_add(self, x: Any, i: Any, y: Any) -> Any:
        return x.at[i].add(y)

    def at_set(self, x: Any, i: Any, y: Any) -> Any:
        return x.at[i].set(y)

    def layer_norm(self, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)

    def vjp(self, function: Any, x: Any, cotangent: Any) -> Any:
        y, pull = jax.vjp(function, x)
        return pull(cotangent(y))[0]


class TorchLinalg:
    """Of positive definite matrices, in float64: PyTorch cannot multiply by its own tangents of another dtype.

    `torch.linalg.solve` loses a term (jvp of jvp), `det` and `slogdet` are wrong (vmap of jvp) or NaN (second order).
    """

    def cholesky(self, a: Any) -> Any:
        return torch.linalg.cholesky(a.double()).to(a.dtype)

    def inv(self, a: Any) -> Any:
        return torch.linalg.inv(a.double()).to(a.dtype)

    def solve(self, a: Any, b: Any) -> Any:
        return (torch.linalg.inv(a.double()) @ b.double()).to(a.dtype)

    def slogdet(self, a: Any) -> Any:
        logs = torch.log(torch.diagonal(torch.linalg.cholesky(a.double()), dim1=-2, dim2=-1))
        return torch.ones_like(logs[..., 0]), 2 * logs.sum(-1).to(a.dtype)

    def det(self, a: Any) -> Any:
        return torch.exp(self.slogdet(a)[1])


class Torch(Peer):
    """PyTorch has other names and other keywords for most of it; its zero tangents of float32 scalars are float64."""

    same_dtypes = False
    linalg = TorchLinalg()

    grad = staticmethod(torch.func.grad)
    sub, mul, div = map(staticmethod, (torch.subtract, torch.multiply, torch.divide))
    less, greater_equal = map(staticmethod, (torch.less, torch.greater_equal))
    power, expand_dims, transpose = map(staticmethod, (torch.pow, torch.unsqueeze, torch.permute))
    arctan2, relu = map(staticmethod, (torch.arctan2, torch.relu))
    constant = staticmethod(torch.tensor)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name) if hasattr(torch, name) else getattr(F, name)

    def dtype(self, x: Any) -> Any:
        return np.dtype(FLOAT_NAMES[x.dtype])

    def array(self, x: Any) -> Any:
        return x.detach().numpy(force=True)

    def cast(self, x: Any, dtype: Any) -> Any:
        return x.to(TORCH_DTYPES[np.dtype(dtype)])

    def stop_gradient(self, x: Any) -> Any:
        return x.detach()

    def value_and_grad(self, function: Any, argnums: Any) -> Any:
        return lambda *xs: torch.func.grad_and_value(function, argnums)(*xs)[::-1]

    def log_sigmoid(self, x: Any) -> Any:
        return F.logsigmoid(x)

    def gelu(self, x: Any) -> Any:  # theirs cannot mix transforms and dtypes
        return 0.5 * x * (1 + torch.erf(x * 0.5**0.5))

    def batched(self, function: Any, axes: Any) -> Any:
        return torch.func.vmap(function, axes)

    def vmap(self, function: Any, in_axes: int, out_axes: int) -> Any:
        def mapped(x: Any) -> Any:  # PyTorch cannot place an axis in a result that is the same for all examples
            y = function(x)
            return y + torch.zeros_like(x, dtype=y.dtype).sum()

        return torch.func.vmap(mapped, in_axes, out_axes)

    def vjp(self, function: Any, x: Any, cotangent: Any) -> Any:
        y, pull = torch.func.vjp(function, x)
        return pull(cotangent(y))[0]

    def cond(self, pred: Any, true: Any, false: Any, x: Any) -> Any:
        return torch.where(pred, true(x), false(x))

    def scan(self, step: Any, carry: Any, xs: Any) -> Any:
        ys = []
        for x in xs:
            carry, y = step(carry, x)
            ys.append(y)
        return carry, torch.stack(ys)

    # reductions

    def _all(self, x: Any, axis: Any) -> Any:
        return tuple(range(x.ndim)) if axis is None else axis

    def prod(self, x: Any, axis: Any, keepdims: bool) -> Any:
        if axis is not None:
            return torch.prod(x, axis, keepdims)
        return torch.prod(x).reshape((1,) * x.ndim if keepdims else ())

    def mean(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.mean(x, self._all(x, axis), keepdims) if x.ndim else x

    def logsumexp(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.logsumexp(x, self._all(x, axis), keepdims)

    def max(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.amax(x, self._all(x, axis), keepdims)

    def min(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.amin(x, self._all(x, axis), keepdims)

    def var(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.var(x, self._all(x, axis), correction=0, keepdim=keepdims)

    def std(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.sqrt(self.var(x, axis, keepdims))

    def norm(self, x: Any, axis: Any, keepdims: bool) -> Any:
        return torch.sqrt(torch.sum(x * x, self._all(x, axis), keepdims))

    def softmax(self, x: Any, axis: int) -> Any:
        return torch.softmax(x, axis)

    def log_softmax(self, x: Any, axis: int) -> Any:
        return torch.log_softmax(x, axis)

    def sort(self, x: Any, axis: int) -> Any:
        return torch.sort(x, axis)[0]

    def jvp(self, function: Any, xs: Any, vs: Any) -> Any:  # theirs refuses views that were broadcast
        return torch.func.jvp(function, tuple([x.clone() for x in xs]), tuple([v.clone() for v in vs]))

    def layer_norm(self, x: Any) -> Any:  # theirs is wrong under jvp of jvp
        centred = x - x.mean(-1, keepdim=True)
        return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + 1e-5)

    # products: of matrices, theirs refuse the float64 tangents that they make

    def matmul(self, x: Any, y: Any) -> Any:
        return torch.matmul(x.double(), y.double()).to(x.dtype)

    def tensordot(self, x: Any, y: Any, axes: int) -> Any:
        return torch.tensordot(x.double(), y.double(), axes).to(x.dtype)

    def einsum(self, subscripts: str, x: Any, y: Any) -> Any:
        return torch.einsum(subscripts, x.double(), y.double()).to(x.dtype)

    def outer(self, x: Any, y: Any) -> Any:
        return x.ravel()[:, None] * y.ravel()

    def kron(self, x: Any, y: Any) -> Any:  # theirs needs contiguous gradients
        both = x[:, None, :, None] * y[:, None]
        return both.reshape(x.shape[0] * y.shape[0], -1)

    # shapes

    def flip(self, x: Any, axis: int) -> Any:
        return torch.flip(x, (axis,))

    def repeat(self, x: Any, count: int, axis: int) -> Any:
        return torch.repeat_interleave(x, count, axis)

    def pad(self, x: Any, widths: Any) -> Any:
        return F.pad(x, [n for pair in reversed(widths) for n in pair])

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        return torch.index_select(x, axis, torch.tensor(indices % x.shape[axis]))

    def getitem(self, x: Any, key: Any) -> Any:
        """PyTorch's slices have no negative steps: such axes are turned round first; vmap takes no scalar index."""
        if isinstance(key, torch.Tensor):
            return x[key.ravel()].reshape((*key.shape, *x.shape[1:]))
        parts = [part for part in key if part is not None]
        rest = [slice(None)] * (x.ndim - len(parts) + 1)
        full = [p for part in parts for p in (rest if part is Ellipsis else [part])]
        backward = slice(None, None, -1)
        x = torch.flip(x, [k for k, part in enumerate(full) if part == backward])
        return x[tuple(slice(None) if part == backward else part for part in key)]

    def at_add(self, x: Any, i: Any, y: Any) -> Any:
        return torch.index_put(x, (i.ravel(),), y.reshape(-1, *x.shape[1:]), accumulate=True)

    def at_set(self, x: Any, i: Any, y: Any) -> Any:
        return torch.index_put(x, (i,), y)

    def take_along_axis(self, x: Any, indices: Any, axis: int) -> Any:
        return torch.take_along_dim(x, indices, axis)

    def median(self, x: Any, axis: int) -> Any:
        return torch.quantile(x, 0.5, axis)

    def quantile(self, x: Any, q: float, axis: int) -> Any:
        return torch.quantile(x, q, axis)

    def mod(self, x: Any, y: float) -> Any:
        return torch.remainder(x, y)
