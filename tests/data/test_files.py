"""Users' files: good ones are read, bad ones are refused with one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcore.data import DataError, prepare, read_file

from .bad_files import GOOD, X, Y, changed, described, npz


def refused(path: Path, task: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path, task)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_bad_files_are_refused(tmp_path: Path) -> None:
    cases = list(described(tmp_path))
    assert len(cases) > 70
    wrong = [(name, words, got) for name, path, words in cases if words not in (got := refused(path))]
    assert not wrong
    assert not (tmp_path / "trap-was-sprung").exists()


def test_the_trap_works(tmp_path: Path) -> None:
    """Else the test above shows nothing."""
    (number,) = [path for name, path, _ in described(tmp_path) if name == "pickle (.npz)"]
    np.load(number, allow_pickle=True)
    assert (tmp_path / "trap-was-sprung").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a file that this user may not read")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_text(GOOD)
    path.chmod(0)
    assert "cannot be read: Permission denied" in refused(path)


def test_permission_denied_while_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.csv"
    path.write_text(GOOD)
    monkeypatch.setattr(Path, "open", deny)
    assert "cannot be read: Permission denied" in refused(path)


@pytest.mark.parametrize("times", [80, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives_never_raise_anything_else(tmp_path: Path, save: Callable[..., None], times: int) -> None:
    """Truncations, and random bytes flipped: refused, or the same arrays (a byte of a time stamp, say)."""
    path = tmp_path / "examples.npz"
    save(path, X=X, y=Y)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[:end] for end in range(0, len(content), max(1, len(content) // times))]
    for _ in range(times):
        copy = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            copy[place] ^= 1 << rng.integers(8)
        damaged.append(bytes(copy))
    outcomes = [_outcome(path, copy) for copy in damaged]
    assert outcomes.count("refused") > 0.5 * len(damaged)
    assert set(outcomes) <= {"refused", "same"}


def _outcome(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        x, y = read_file(path)
    except DataError as error:
        assert "\n" not in str(error)
        return "refused"
    return "same" if np.array_equal(x, X) and np.array_equal(y, Y) else "other"


@pytest.mark.parametrize("times", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_texts_never_raise_anything_else(tmp_path: Path, times: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(times):
        copy = bytearray(GOOD.encode())
        for place in rng.integers(len(copy), size=rng.integers(1, 5)):
            copy[place] = rng.choice(np.frombuffer(b'0,.-"\n\r\0e;nx\xff \xc3', np.uint8))
        path = tmp_path / "examples.csv"
        path.write_bytes(copy)
        try:
            read_file(path)
        except DataError as error:
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("x", "y", "kind"),
    [
        (X, Y, "i"),
        (X.astype(np.float32), Y.astype(bool), "i"),
        (X.astype(np.int8), Y[:, None].astype(np.uint64), "i"),
        (X.reshape(6, 1, 2), Y * 1.5, "f"),
        (np.asfortranarray(X), Y.astype(">i2") - 5, "i"),
        (X.astype(">f8"), Y.astype(np.float16) / 3, "f"),
        (X[:, 0], Y, "i"),
        (X > 3, Y, "i"),
    ],
)
def test_good_archives(tmp_path: Path, x: Any, y: Any, kind: str) -> None:
    path = tmp_path / "examples.NPZ"
    path.write_bytes(npz(X=x, y=y, other=np.array(["more"])))
    features, targets = read_file(path)
    np.testing.assert_array_equal(features, x.reshape(6, -1))
    np.testing.assert_array_equal(targets, y.reshape(-1))
    assert features.dtype == np.float64
    assert targets.dtype == {"i": np.int64, "f": np.float64}[kind]


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        (GOOD, [[1, 2], [3, 4], [5, 6], [7, 8]], [0, 1, 0, 1]),
        ("\ufeff" + GOOD.replace("\n", "\r\n") + "\r\n", [[1, 2], [3, 4], [5, 6], [7, 8]], [0, 1, 0, 1]),
        ("1.5,-2\n2.5,+3\n1,-2\n1,3", [[1.5], [2.5], [1], [1]], [-2, 3, -2, 3]),
        ("1,2.0\n3,4\n", [[1], [3]], [2.0, 4.0]),
        ('"y","a"\n"1"," 2 "\n1,3\n0,4\n0,5\n', [[2], [3], [4], [5]], [1, 1, 0, 0]),
        ("0,target,1\n1,0.5,2\n3,1e3,4\n", [[1, 2], [3, 4]], [0.5, 1000.0]),
        ("a,target,b\n1,0.5,2\n3,1,4\n", [[1, 2], [3, 4]], [0.5, 1.0]),
        ("y,target\n1,0.5\n3,1\n1,1\n3,2\n", [[0.5], [1], [1], [2]], [1, 3, 1, 3]),
        ('"a, in m",b; in s,y\n1,2,0.5\n3,4,1\n', [[1, 2], [3, 4]], [0.5, 1]),
    ],
)
def test_good_texts(tmp_path: Path, text: str, x: Any, y: Any) -> None:
    path = tmp_path / "examples.csv"
    path.write_bytes(text.encode())
    features, targets = read_file(path)
    np.testing.assert_array_equal(features, x)
    np.testing.assert_array_equal(targets, y)
    assert targets.dtype == np.array(y).dtype


def test_the_task_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "examples.csv"
    path.write_text(GOOD)
    assert read_file(path, "regression")[1].dtype == np.float64
    path.write_text(GOOD.replace(",0\n", ",0.0\n"))
    assert read_file(path)[1].dtype == np.float64
    assert read_file(path, "classification")[1].tolist() == [0, 1, 0, 1]
    path.write_text(GOOD.replace(",0\n", ",0.5\n"))
    assert "0.5 in y is not a class" in refused(path, "classification")
    assert "'ranking' is not a task" in refused(path, "ranking")


def test_ages_are_taken_for_classes_and_the_message_says_what_to_choose(tmp_path: Path) -> None:
    path = tmp_path / "ages.csv"
    path.write_text("1,30\n2,31\n3,32\n")
    assert "choose regression" in refused(path)
    assert read_file(path, "regression")[1].tolist() == [30, 31, 32]


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(float).max, reason="needs a larger type than double")
@pytest.mark.parametrize("name", ["X", "y"])
def test_numbers_beyond_double(name: str) -> None:
    arrays = {"X": X.astype(np.longdouble), "y": Y.astype(np.longdouble)}
    arrays[name][1:] = np.finfo(np.longdouble).max
    with pytest.raises(DataError, match=rf"{name}\[.*\] is inf"):
        prepare(arrays["X"], arrays["y"])


def test_arrays_are_checked_as_files_are() -> None:
    with pytest.raises(DataError, match=r"X\[1, 1\] is nan"):
        prepare(changed(X, (1, 1), np.nan), Y)


IRIS = "length,width,species\n5.1,3.5,setosa\n7.0,3.2, versicolor\n4.9,3.0,setosa\n6.4,3.1,versicolor\n"


def test_text_classes(tmp_path: Path) -> None:
    path = tmp_path / "iris.csv"
    path.write_text(IRIS)
    x, y = read_file(path)
    assert x.tolist() == [[5.1, 3.5], [7.0, 3.2], [4.9, 3.0], [6.4, 3.1]]
    assert y.tolist() == ["setosa", "versicolor"] * 2
    data = prepare(x, y)
    assert data.task.classes == ("setosa", "versicolor")
    assert sorted(data.task.actual(data.test_y)) == ["setosa", "versicolor"]
    (other := tmp_path / "iris.npz").write_bytes(npz(X=x, y=y))
    assert read_file(other)[1].tolist() == y.tolist()
    for file in (path, other):
        assert "y holds text" in refused(file, "regression")
