"""What gradcore profile does: a network, a batch, and steps of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradcore.cli.job import job
from gradcore.nn import GELU, Dropout, LayerNorm, Linear, Module, ReLU, Sequential, Sigmoid, Tanh

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradcore import optim
    from gradcore.cli.settings import Settings
    from gradcore.memory import Profile

KINDS: dict[str, type[Module]] = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh, "gelu": GELU}
DROPPED = 0.1


class ResidualBlock(Module):
    """x + dropout(linear(activation(linear(layer_norm(x))))), of one width."""

    def __init__(self, width: int, activation: str) -> None:
        self.norm = LayerNorm(width)
        self.first = Linear(width, width)
        self.activation = KINDS[activation]()
        self.second = Linear(width, width)
        self.drop = Dropout(DROPPED)

    def forward(self, x: Any) -> Any:
        return x + self.drop(self.second(self.activation(self.first(self.norm(x)))))


def residual(depth: int) -> Callable[[list[int], Settings], Sequential]:
    """A maker of networks with so many residual blocks, as wide as the first hidden layer."""

    def network(widths: list[int], settings: Settings) -> Sequential:
        first, width, last = widths[0], widths[1], widths[-1]
        blocks = [ResidualBlock(width, settings.activation) for _ in range(depth)]
        return Sequential(Linear(first, width), *blocks, Linear(width, last)).to(settings.dtype)

    return network


@dataclass
class Trial:
    """A network with one batch to train it on.

    Attributes:
        model: its parts are the stages of a chain.
        apply: computes its output; may be replaced by something that computes the same and keeps less.
    """

    model: Sequential
    apply: Callable[[Any], Any]
    loss: Callable[..., Any]
    optimizer: optim.Optimizer
    x: Any
    y: Any

    def step(self) -> None:
        """One step of training."""
        self.loss(self.apply(self.x), self.y).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    @property
    def device(self) -> str:
        """Where it trains."""
        return str(self.x.aval.device)


def trial(settings: Settings, device: str, depth: int | None) -> Trial:
    """The network of a job, or a residual one of some depth, with the first batch of its data."""
    made = job(settings, device=device, network=None if depth is None else residual(depth))
    place = next(made.model.parameters()).device
    x, y = (part.to(place) for part in next(iter(made.loader)))
    return Trial(made.model, made.model, made.loss, made.optimizer, x, y)


def profiled(work: Trial, steps: int) -> Profile:
    """One step, after some that compile, allocate, and measure what each op needs."""
    from gradcore.memory import account, profile

    for _ in range(steps):
        work.step()
    with account(work.device, resident=False):
        work.step()
    with profile(work.model) as found:
        work.step()
    return found
