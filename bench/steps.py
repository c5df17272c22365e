"""One training step of two small networks, in gradcore, by hand in NumPy, and in other libraries.

Every step runs on the same data from the same initial weights, in float32, with plain gradient descent; `agree` checks
that the losses are equal before anything is timed.  A step is a callable without arguments that returns the loss as
the library has it; reading that loss as a number is left to the caller, so that no library is made to wait each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Step: TypeAlias = Callable[[], Any]
Maker: TypeAlias = Callable[["Problem"], Step]


@dataclass(frozen=True)
class Problem:
    """A multilayer perceptron, its data and its learning rate.

    Attributes:
        name: shown in tables.
        sizes: units per layer, input first.
        batch: examples per step.
        activation: "sigmoid" (after every layer, squared error) or "relu" (between layers, cross entropy).
        rate: learning rate.
        threads: how many threads every library gets; None is the machine's number.
        steps: how many steps to time unless told otherwise.
    """

    name: str
    sizes: tuple[int, ...]
    batch: int
    activation: str
    rate: float
    threads: int | None
    steps: int

    @property
    def classifies(self) -> bool:
        return self.activation == "relu"

    def data(self) -> tuple[Array, Array]:
        """Inputs and targets."""
        random = np.random.default_rng(1)
        x = random.standard_normal((self.batch, self.sizes[0]), np.float32)
        if self.classifies:
            return x, random.integers(0, self.sizes[-1], self.batch)
        return x, random.random((self.batch, self.sizes[-1]), np.float32)

    def weights(self) -> list[Array]:
        """New weights (out, in) and biases (out,), alternating; the same at every call."""
        random = np.random.default_rng(2)
        arrays = []
        for n, m in pairwise(self.sizes):
            arrays += [_uniform(random, (m, n), n), _uniform(random, (m,), n)]
        return arrays


def _uniform(random: np.random.Generator, shape: tuple[int, ...], inputs: int) -> Array:
    bound = inputs**-0.5
    return random.uniform(-bound, bound, shape).astype(np.float32)


SMALL = Problem("MLP 2-8-1, batch 4", (2, 8, 1), 4, "sigmoid", 0.5, 1, 10000)
LARGE = Problem("MLP 784-512-256-10, batch 128", (784, 512, 256, 10), 128, "relu", 0.1, None, 300)
PROBLEMS = {"small": SMALL, "large": LARGE}


# --- gradcore ---------------------------------------------------------------------------------------------------------


def gradcore_step(problem: Problem) -> Step:
    """What a user of gradcore writes."""
    import gradcore as gc
    from gradcore import nn, optim

    model = nn.Sequential(*_layers(nn, problem))
    for parameter, value in zip(model.parameters(), problem.weights(), strict=True):
        parameter.assign(gc.tensor(value))
    opt = optim.SGD(model.parameters(), lr=problem.rate)
    loss_of = nn.functional.cross_entropy if problem.classifies else nn.functional.mse_loss
    x, y = (gc.tensor(array) for array in problem.data())

    def step() -> Any:
        loss = loss_of(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def _layers(nn: Any, problem: Problem) -> Iterator[Any]:
    """Layers of a `Sequential`, in gradcore's names and PyTorch's, which are the same."""
    activation = nn.ReLU if problem.classifies else nn.Sigmoid
    last = len(problem.sizes) - 2
    for i, (n, m) in enumerate(pairwise(problem.sizes)):
        yield nn.Linear(n, m)
        if i < last or not problem.classifies:
            yield activation()


# --- NumPy by hand ----------------------------------------------------------------------------------------------------


def numpy_step(problem: Problem) -> Step:
    """Forward, backward and update by hand, as the textbook has it: what a user would write, and the budgets mean."""
    return (_textbook_classifier if problem.classifies else _textbook_regression)(problem)


def _textbook_regression(problem: Problem) -> Step:
    x, y = problem.data()
    w1, b1, w2, b2 = parameters = problem.weights()
    rate = np.float32(problem.rate)

    def step() -> Any:
        h = 1 / (1 + np.exp(-(x @ w1.T + b1)))
        p = 1 / (1 + np.exp(-(h @ w2.T + b2)))
        loss = ((p - y) ** 2).mean()
        d = 2 / y.size * (p - y) * p * (1 - p)
        gh = d @ w2 * h * (1 - h)
        for weight, gradient in zip(parameters, (gh.T @ x, gh.sum(0), d.T @ h, d.sum(0)), strict=True):
            weight -= rate * gradient
        return loss

    return step


def _textbook_classifier(problem: Problem) -> Step:
    x, labels = problem.data()
    w1, b1, w2, b2, w3, b3 = parameters = problem.weights()
    rate, rows = np.float32(problem.rate), np.arange(problem.batch)

    def step() -> Any:
        h1 = np.maximum(x @ w1.T + b1, 0)
        h2 = np.maximum(h1 @ w2.T + b2, 0)
        z = h2 @ w3.T + b3
        e = np.exp(z - z.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        loss = -np.log(p[rows, labels]).mean()
        p[rows, labels] -= 1
        d = p / len(rows)
        g2 = d @ w3 * (h2 > 0)
        g1 = g2 @ w2 * (h1 > 0)
        gradients = g1.T @ x, g1.sum(0), g2.T @ h1, g2.sum(0), d.T @ h2, d.sum(0)
        for weight, gradient in zip(parameters, gradients, strict=True):
            weight -= rate * gradient
        return loss

    return step


def numpy_tuned_step(problem: Problem) -> Step:
    """The same by somebody who counts: results reused, weights updated in place, `dot` rather than `@`.

    (`dot` costs NumPy half a microsecond less than `@`, which is a tenth of the small step.)
    """
    return (_numpy_classifier if problem.classifies else _numpy_regression)(problem)


def _numpy_regression(problem: Problem) -> Step:
    x, y = problem.data()
    w1, b1, w2, b2 = problem.weights()
    rate, scale = np.float32(problem.rate), np.float32(2 / y.size)

    def step() -> Any:
        h = _sigmoid(x.dot(w1.T) + b1)
        p = _sigmoid(h.dot(w2.T) + b2)
        d = p - y
        loss = (d * d).mean()
        d *= scale
        d *= p * (1 - p)
        gh = d.dot(w2)
        gh *= h * (1 - h)
        _descend(rate, (w1, gh.T.dot(x)), (b1, gh.sum(0)), (w2, d.T.dot(h)), (b2, d.sum(0)))
        return loss

    return step


def _sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), in the memory of `z`."""
    np.negative(z, z)
    np.exp(z, z)
    z += 1
    return np.reciprocal(z, z)


def _descend(rate: np.float32, *pairs: tuple[Array, Array]) -> None:
    for weight, gradient in pairs:
        gradient *= rate
        weight -= gradient


def _numpy_classifier(problem: Problem) -> Step:
    x, labels = problem.data()
    w1, b1, w2, b2, w3, b3 = problem.weights()
    rate, rows = np.float32(problem.rate), np.arange(problem.batch)

    def step() -> Any:
        h1 = _relu(x.dot(w1.T), b1)
        h2 = _relu(h1.dot(w2.T), b2)
        loss, d = _cross_entropy(h2.dot(w3.T) + b3, labels, rows)
        g2 = d.dot(w3)
        g2 *= h2 > 0
        g1 = g2.dot(w2)
        g1 *= h1 > 0
        _descend(rate, (w3, d.T.dot(h2)), (b3, d.sum(0)), (w2, g2.T.dot(h1)), (b2, g2.sum(0)))
        _descend(rate, (w1, g1.T.dot(x)), (b1, g1.sum(0)))
        return loss

    return step


def _relu(z: Array, b: Array) -> Array:
    """max(z + b, 0), in the memory of `z`."""
    z += b
    return np.maximum(z, 0, out=z)


def _cross_entropy(z: Array, labels: Array, rows: Array) -> tuple[Any, Array]:
    """The mean loss and the gradient of the logits, in the memory of `z`."""
    z -= z.max(1, keepdims=True)
    picked = z[rows, labels]
    np.exp(z, z)
    total = z.sum(1, keepdims=True)
    z /= total
    z[rows, labels] -= 1
    z *= np.float32(1 / len(rows))
    return (np.log(total[:, 0]) - picked).mean(), z


# --- other libraries --------------------------------------------------------------------------------------------------


def torch_step(problem: Problem) -> Step:
    """PyTorch, eager."""
    torch: Any = import_module("torch")  # as Any: its backward() is not annotated
    nn = torch.nn

    torch.set_num_threads(problem.threads or len(os.sched_getaffinity(0)))
    model = nn.Sequential(*_layers(nn, problem))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), problem.weights(), strict=True):
            parameter.copy_(torch.from_numpy(value))
    opt = torch.optim.SGD(model.parameters(), lr=problem.rate)
    loss_of = nn.functional.cross_entropy if problem.classifies else nn.functional.mse_loss
    x, y = (torch.from_numpy(array) for array in problem.data())

    def step() -> Any:
        loss = loss_of(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss.detach()

    return step


def jax_step(problem: Problem) -> Step:
    """JAX: the whole step, gradients and update, in one `jax.jit` that takes the weights' memory over."""
    import jax
    import jax.numpy as jnp

    loss_of = jax.value_and_grad(_loss(jnp, problem))

    def update(weights: list[Any], x: Any, y: Any) -> Any:
        loss, gradients = loss_of(weights, x, y)
        return loss, [w - problem.rate * g for w, g in zip(weights, gradients, strict=True)]

    compiled = jax.jit(update, donate_argnums=0)
    x, y = (jnp.asarray(array) for array in problem.data())
    weights = [jnp.asarray(array) for array in problem.weights()]

    def step() -> Any:
        nonlocal weights
        loss, weights = compiled(weights, x, y)
        return loss

    return step


def autograd_step(problem: Problem) -> Step:
    """HIPS autograd."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    loss_of = value_and_grad(_loss(anp, problem))
    weights, (x, y) = problem.weights(), problem.data()
    rate = np.float32(problem.rate)

    def step() -> Any:
        loss, gradients = loss_of(weights, x, y)
        _descend(rate, *zip(weights, gradients, strict=True))
        return loss

    return step


def _loss(xp: Any, problem: Problem) -> Callable[[list[Any], Any, Any], Any]:
    """The loss as a function of the weights, on the NumPy module of JAX or autograd."""
    rows = np.arange(problem.batch)

    def squared_error(weights: list[Any], x: Any, y: Any) -> Any:
        for w, b in zip(weights[::2], weights[1::2], strict=True):
            x = 1 / (1 + xp.exp(-(xp.dot(x, w.T) + b)))
        return xp.mean((x - y) ** 2)

    def cross_entropy(weights: list[Any], x: Any, y: Any) -> Any:
        *hidden, (w_last, b_last) = zip(weights[::2], weights[1::2], strict=True)
        for w, b in hidden:
            x = xp.maximum(xp.dot(x, w.T) + b, 0)
        z = xp.dot(x, w_last.T) + b_last
        z = z - xp.max(z, axis=1, keepdims=True)
        return xp.mean(xp.log(xp.sum(xp.exp(z), axis=1)) - z[rows, y])

    return cross_entropy if problem.classifies else squared_error


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Framework:
    """A library: its name in tables, the package that must be installed, and what makes its step."""

    name: str
    package: str
    make: Maker

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None


FRAMEWORKS = (
    Framework("gradcore", "gradcore", gradcore_step),
    Framework("NumPy by hand", "numpy", numpy_step),
    Framework("NumPy, tuned", "numpy", numpy_tuned_step),
    Framework("PyTorch eager", "torch", torch_step),
    Framework("jax.jit", "jax", jax_step),
    Framework("HIPS autograd", "autograd", autograd_step),
)


def agree(problem: Problem, steps: int = 3, tolerance: float = 2e-5) -> dict[str, float]:
    """The loss of every installed library after some steps.

    Raises:
        AssertionError: a library's loss differs from the hand-written one by more than float32 rounding.
    """
    losses = {f.name: _loss_after(f.make(problem), steps) for f in FRAMEWORKS if f.installed}
    expected = losses["NumPy by hand"]
    wrong = {name: loss for name, loss in losses.items() if abs(loss - expected) > tolerance * abs(expected)}
    if wrong:
        raise AssertionError(f"{problem.name}: after {steps} steps the losses are {wrong}, by hand it is {expected}")
    return losses


def _loss_after(step: Step, steps: int) -> float:
    for _ in range(steps - 1):
        step()
    return float(step())
