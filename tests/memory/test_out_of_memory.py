"""On the CPU: no memory for any one op or vjp of a step does no harm."""

from __future__ import annotations

import gc as garbage
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore import nn
from gradcore.autodiff.record import Pull
from gradcore.core.hooks import Hook, hooked

WIDTH, BATCH = 16, 1024  # an activation has 64 KiB


class Layer(nn.Module):
    def __init__(self) -> None:
        self.norm, self.linear, self.dropout = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1)

    def forward(self, x: Any) -> Any:
        return x + self.dropout(gc.tanh(self.linear(self.norm(x))))


def by_chain(layers: list[Any]) -> Callable[[Any], Any]:
    return gc.memory.checkpoint_chain(layers, slots=1)


def by_checkpoint(layers: list[Any]) -> Callable[[Any], Any]:
    return gc.checkpoint(nn.Sequential(*layers))


def partly(layers: list[Any]) -> Callable[[Any], Any]:
    return lambda x: gc.checkpoint(layers[1])(layers[0](x))


class Training:
    """A small step with regions."""

    def __init__(self, planned: Any) -> None:
        gc.random.seed(0)
        layers = [Layer() for _ in range(2)]
        self.model, self.function = nn.Sequential(*layers), planned(layers)
        self.optimizer = gc.optim.AdamW(self.model.parameters(), lr=0.1)
        self.x = gc.tensor(np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype(np.float32))

    def step(self) -> None:
        self.optimizer.zero_grad()
        (self.function(self.x) ** 2).mean().backward()
        self.optimizer.step()

    def bits(self) -> list[bytes]:
        values = [*self.model.state_dict().values(), *self.optimizer.state_dict().values()]
        return [value.numpy().tobytes() for value in values]


class Failing(Hook):
    """Counts calls, of which one finds no memory."""

    left = 0

    def before(self, op: Any, values: Any, params: Any) -> None:
        self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise MemoryError


@pytest.fixture
def at_every_op() -> Iterator[Failing]:
    failing = Failing()
    with hooked(failing):
        yield failing


@pytest.fixture
def at_every_short_cut(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """The generated backward functions, which no hook sees."""
    Training(partly).step()  # they are made at first use
    failing = Failing()

    def counted(raw: Any) -> Any:
        return lambda record, g: (failing.count(), raw(record, g))[1]

    for pull in garbage.get_objects():
        if isinstance(pull, Pull) and pull.raw is not None:
            monkeypatch.setattr(pull, "raw", counted(pull.raw))
    return failing


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """Bytes that Python and NumPy hold."""
    tracemalloc.start()

    def held() -> int:
        return tracemalloc.get_traced_memory()[0]

    yield held
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("place", "planned"),
    [("at_every_op", by_chain), ("at_every_op", by_checkpoint), ("at_every_short_cut", partly)],
)
def test_out_of_memory_in_a_step(request: Any, traced: Callable[[], int], planned: Any, place: str) -> None:
    failing = request.getfixturevalue(place)
    undisturbed = Training(planned)
    undisturbed.step()
    expected, notes = undisturbed.bits(), []
    del undisturbed
    garbage.collect()
    for number in range(1, 1000):
        training = Training(planned)
        before, key, memory = training.bits(), gc.random.state_dict(), traced()
        failing.left = number
        try:
            training.step()
        except MemoryError as error:
            notes.append("\n".join(getattr(error, "__notes__", [])))
        else:
            break
        assert training.bits() == before
        training.optimizer.zero_grad()
        assert traced() - memory < BATCH * WIDTH * 4 / 2, notes[-1]  # no activation is left
        gc.random.load_state_dict(key)
        training.step()
        assert training.bits() == expected, notes[-1]
    again = [note for note in notes if "of a checkpoint again; it ran first at" in note]
    back = [note for note in notes if "in the vjp of" in note]
    assert all("test_out_of_memory.py" in note for note in [*again, *back])
    assert len(back) > 4
    assert (len(again) >= 4) == (place == "at_every_op")
