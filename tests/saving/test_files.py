"""What `save` writes comes back bit for bit; what does not fit is refused and changes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import settings as configured
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import gradcore as gc
from gradcore import nn, optim
from gradcore.io import FileError, load, read, save
from gradcore.io.safetensors_format import DTYPES, read_tensors, write_tensors

from .bad_files import described, entry, raw, written


class Part:
    """The smallest part."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def state_dict(self) -> dict[str, Any]:
        return dict(self.values)

    def load_state_dict(self, values: Any) -> None:
        self.values = dict(values)


def bits(values: Any) -> dict[str, tuple[Any, ...]]:
    return {name: (value.dtype, value.shape, value.numpy().tobytes()) for name, value in values.items()}


def trained() -> dict[str, Any]:
    """A model, its optimiser, and a loader in the middle of an epoch."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    batches = gc.data.DataLoader(gc.data.ArrayDataset(gc.random.uniform((8, 3))), 2, shuffle=True)
    for _, (x,) in zip(range(3), batches, strict=False):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    return {"model": model, "optimizer": optimizer, "data": batches}


# --- round trips ------------------------------------------------------------------------------------------------------


@configured(max_examples=25, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
        st.sampled_from(list(DTYPES.values())).flatmap(
            lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
        ),
        max_size=5,
    )
)
def test_every_tensor_comes_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    tensors = {name: gc.tensor(value) for name, value in values.items()}
    write_tensors(path, tensors, "text")
    found, metadata = read_tensors(path)
    assert (bits(found), metadata) == (bits(tensors), {"gradcore": "text"})


def test_special_bits_come_back(tmp_path: Path) -> None:
    patterns = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 1], np.uint32)  # NaNs, -0.0, a subnormal
    values = {"f": gc.tensor(patterns.view(np.float32)), "h": gc.tensor(np.array(0x7E01, np.uint16).view(np.float16))}
    values |= {"u": gc.tensor(np.array(2**64 - 1, np.uint64)), "empty": gc.zeros(0, 3), "scalar": gc.tensor(True)}
    path = tmp_path / "a.safetensors"
    save(path, {"part": Part(**values)})
    other = Part(**dict.fromkeys(values))
    load(path, {"part": other}, allow_nan=True)
    assert bits(other.values) == bits(values)


def test_arrays_and_views_are_written_in_order(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(2, 3)
    save(tmp_path / "a", {"part": Part(t=x.T, view=gc.tensor(x)[:, 1], big=x.astype(">f8"), number=np.float32(2))})
    found, _ = read(tmp_path / "a")
    np.testing.assert_array_equal(found["part.t"].numpy(), x.T)
    np.testing.assert_array_equal(found["part.view"].numpy(), x[:, 1])
    np.testing.assert_array_equal(found["part.big"].numpy(), x)
    assert found["part.number"].shape == ()


def test_training_goes_on_from_a_file(tmp_path: Path) -> None:
    parts, others = trained(), trained()
    save(tmp_path / "run", parts, {"epoch": 3, "name": "größe"})
    assert load(tmp_path / "run", others) == {"epoch": 3, "name": "größe"}
    for name in parts:
        assert bits(parts[name].state_dict()) == bits(others[name].state_dict())
    assert len(list(others["data"])) == 1


def test_the_state_of_random_is_a_part(tmp_path: Path) -> None:
    gc.random.seed(5)
    save(tmp_path / "run", {"random": gc.random})
    first = gc.random.uniform(3).numpy()
    load(tmp_path / "run", {"random": gc.random})
    np.testing.assert_array_equal(gc.random.uniform(3).numpy(), first)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = gc.ones(3), gc.arange(4)
    save(tmp_path / "1", {"x": Part(a=a, b=b), "y": Part(c=a)}, {"p": 1, "q": [2]})
    save(tmp_path / "2", {"y": Part(c=a), "x": Part(b=b, a=a)}, {"q": [2], "p": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_other_programs_read_our_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, {"model": Part(w=gc.arange(3), h=gc.ones(2, dtype="float16"), b=gc.tensor(True))}, {"epoch": 1})
    found = safetensors.numpy.load_file(path)
    assert {name: (value.dtype.name, value.tolist()) for name, value in found.items()} == {
        "model.w": ("int64", [0, 1, 2]),
        "model.h": ("float16", [1, 1]),
        "model.b": ("bool", True),
    }
    with safetensors.safe_open(path, "numpy") as file:
        own = file.metadata()
    assert list(own) == ["gradcore"]
    assert json.loads(own["gradcore"]) == {"version": 1, "gradcore": gc.__version__, "metadata": {"epoch": 1}}


def test_we_read_the_files_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"weight": np.ones((1, 2), np.float32), "bias": np.zeros(1)}, path, {"made by": "hand"})
    tensors, metadata = read(path)
    assert (sorted(tensors), metadata) == (["bias", "weight"], {"made by": "hand"})
    nn.Linear(2, 1).load_state_dict({**tensors, "bias": tensors["bias"].astype("float32")})


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(path: Path, parts: dict[str, Any], **options: Any) -> str:
    """The message; the parts are as they were."""
    before = {name: bits(part.state_dict()) for name, part in parts.items()}
    with pytest.raises(FileError) as caught:
        load(path, parts, **options)
    assert {name: bits(part.state_dict()) for name, part in parts.items()} == before
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def test_bad_files_are_refused(tmp_path: Path) -> None:
    cases = list(described(tmp_path))
    assert len(cases) > 40
    parts = {"model": nn.Linear(2, 1)}
    wrong = [(name, words, got) for name, path, words in cases if words not in (got := refused(path, parts))]
    assert not wrong
    assert not (tmp_path / "trap-was-sprung").exists()


def test_files_that_only_do_not_fit_can_be_looked_into(tmp_path: Path) -> None:
    readable = {"other program", "NaN", "wrong shape", "no tensors", "many more"}
    for name, path, _ in described(tmp_path):
        if name in readable:
            read(path)
            readable.remove(name)
    assert not readable


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = written()
    path = tmp_path / "a.safetensors"
    model = nn.Linear(2, 1)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        refused(path, {"model": model})


@pytest.mark.parametrize("times", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_files_never_raise_anything_else(tmp_path: Path, times: int) -> None:
    """Bits flipped in the length of the header, and anywhere."""
    content = written()
    path = tmp_path / "a.safetensors"
    model = nn.Linear(2, 1)
    rng = np.random.default_rng(0)
    count = 0
    for _ in range(times):
        copy = bytearray(content)
        for place in rng.integers(rng.choice([8, len(content)]), size=rng.integers(1, 4)):
            copy[place] ^= 1 << rng.integers(8)
        path.write_bytes(copy)
        try:
            load(path, {"model": model})
        except FileError as error:
            assert len(str(error).splitlines()) == 1
            count += 1
    assert count > 0.6 * times


@configured(max_examples=50, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(raw))
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError):
        read(path)


def test_all_parts_or_none(tmp_path: Path) -> None:
    parts = trained()
    save(tmp_path / "run", parts)
    others = trained()
    others["optimizer"] = optim.SGD(others["model"].parameters())
    assert "optimizer: state_dict does not fit: missing [" in refused(tmp_path / "run", others)
    others["optimizer"] = optim.AdamW(nn.Linear(1, 1).parameters())
    assert "optimizer.slots.0.exp_avg is float32[4, 3] there and" in refused(tmp_path / "run", others)


def test_an_interrupt_while_loading_restores_all_parts(tmp_path: Path) -> None:
    class Interrupted(Part):
        def load_state_dict(self, values: Any) -> None:
            super().load_state_dict(values)
            if float(values["x"]) == 1:
                raise KeyboardInterrupt

    save(tmp_path / "run", {"first": Part(x=gc.tensor(1.0)), "second": Part(x=gc.tensor(1.0))})
    parts = {"first": Part(x=gc.tensor(0.0)), "second": Interrupted(x=gc.tensor(0.0))}
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path / "run", parts)
    assert [float(part.values["x"]) for part in parts.values()] == [0, 0]


def test_parts_after_the_one_that_does_not_fit_are_not_touched(tmp_path: Path) -> None:
    """A loader whose loop was left would go on in the middle of its epoch."""
    parts = trained()
    save(tmp_path / "run", parts)
    lost = {**parts, "optimizer": optim.SGD(parts["model"].parameters())}
    refused(tmp_path / "run", lost)
    assert len(list(parts["data"])) == len(parts["data"])


def test_the_own_reason_of_a_part_is_shown(tmp_path: Path) -> None:
    """Also if it has other names now than in the file, as a run has whose history grew."""

    class Strict(Part):
        def load_state_dict(self, values: Any) -> None:
            if "b" in values:
                raise KeyError("it's 'b' that nothing takes")

    save(tmp_path / "a", {"part": Part(a=gc.ones(1), b=gc.ones(1))})
    assert "does not fit: part: it's 'b' that nothing takes" in refused(tmp_path / "a", {"part": Strict(a=gc.ones(1))})


def test_a_part_decides_what_it_takes(tmp_path: Path) -> None:
    """Other shapes are no error by themselves; the part's own reason is shown."""

    class Picky(Part):
        def load_state_dict(self, values: Any) -> None:
            if float(values["x"].sum()) == 3:
                raise ValueError("three is\ntoo many")
            super().load_state_dict(values)

    for size in (2, 3):
        save(tmp_path / str(size), {"part": Picky(x=gc.ones(size))})
    load(tmp_path / "2", {"part": Picky(x=gc.ones(5))})
    message = refused(tmp_path / "3", {"part": Picky(x=gc.zeros(3))})
    assert "part: three is too many" in message


def test_what_fits_can_be_loaded(tmp_path: Path) -> None:
    save(tmp_path / "a", {"model": Part(x=gc.ones(1), y=gc.ones(1))})
    part, absent = Part(x=gc.zeros(1), z=gc.zeros(1)), Part(w=gc.zeros(1))
    load(tmp_path / "a", {"model": part, "absent": absent}, strict=False)
    assert {name: float(value) for name, value in part.values.items()} == {"x": 1, "z": 0}
    assert float(absent.values["w"]) == 0


def test_parts_that_are_not_asked_for_stay_in_the_file(tmp_path: Path) -> None:
    parts = trained()
    save(tmp_path / "run", parts)
    other = trained()["model"]
    load(tmp_path / "run", {"model": other})
    assert bits(other.state_dict()) == bits(parts["model"].state_dict())


def test_nan_is_loaded_where_it_is_allowed(tmp_path: Path) -> None:
    save(tmp_path / "a", {"model": Part(x=gc.tensor([1.0, float("nan")])), "other": Part(y=gc.tensor(float("inf")))})
    part = Part(x=gc.zeros(2))
    assert "holds NaN in model.x" in refused(tmp_path / "a", {"model": part})
    load(tmp_path / "a", {"model": part}, allow_nan=True)
    load(tmp_path / "a", {"other": Part(y=gc.tensor(0.0))})


def test_the_message_names_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "run"
    parts = {"model": nn.Linear(2, 1)}
    for _ in range(2):
        save(path, parts)
    path.write_bytes(b"")
    assert f"is empty; the save before it is {path}.previous" in refused(path, parts)
    load(f"{path}.previous", parts)


@pytest.mark.parametrize(
    ("parts", "metadata", "kind", "words"),
    [
        ({"a.b": Part()}, {}, ValueError, "'a.b' cannot name a part"),
        ({"": Part()}, {}, ValueError, "'' cannot name a part"),
        ({"a": 3}, {}, TypeError, "part 'a' is int"),
        ({"a": Part(x=1.0)}, {}, TypeError, "the state 'a.x' is float"),
        ({"a": Part(x=np.array(["text"]))}, {}, TypeError, "the state 'a.x' is <U4"),
        ({"a": Part(x=np.ones(1, complex))}, {}, TypeError, "the state 'a.x' is complex128"),
        ({}, {"x": object()}, TypeError, "metadata must be what JSON can hold"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, parts: Any, metadata: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        save(tmp_path / "a", parts, metadata)
    assert not list(tmp_path.iterdir())


def test_a_header_may_be_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(raw({"b": entry(4, 12, [2]), "a": entry(0, 4, [])}, np.arange(3, dtype=np.float32).tobytes()))
    tensors, metadata = read(path)
    assert {name: value.numpy().tolist() for name, value in tensors.items()} == {"a": 0, "b": [1, 2]}
    assert metadata == {}
