"""Files of examples that must be refused, each with one clear line."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "trap-was-sprung"

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def claiming(shape: tuple[int, ...]) -> bytes:
    """An array whose header promises more than there is."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + X.tobytes()


def changed(array: Any, place: Any, value: Any) -> Any:
    array = np.array(array, float)
    array[place] = value
    return array


def arrays() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, arrays, and words of the message."""
    yield "without X", {"y": Y, "data": X}, "lacks the array 'X'; it has 'y', 'data'"
    yield "without y", {"X": X}, "lacks the array 'y'"
    yield "without arrays", {}, "it has nothing"
    yield "lengths differ", {"X": X, "y": Y[:5]}, "X has 6 examples and y has 5"
    yield "X is 0-d", {"X": np.array(1.0), "y": Y}, "X has shape ()"
    yield "no examples", {"X": X[:0], "y": Y[:0]}, "too few examples (0)"
    yield "one example", {"X": X[:1], "y": Y[:1]}, "too few examples (1)"
    yield "no features", {"X": X[:, :0], "y": Y}, "X has shape (6, 0)"
    yield "NaN in X", {"X": changed(X, (3, 1), np.nan), "y": Y}, "X[3, 1] is nan"
    yield "infinity in X", {"X": changed(X, (0, 0), -np.inf), "y": Y}, "X[0, 0] is -inf"
    yield "NaN in y", {"X": X, "y": changed(Y, 2, np.nan)}, "y[2] is nan"
    yield "X of text", {"X": X.astype(str), "y": Y}, "X holds text"
    yield "X of bytes", {"X": X.astype("S"), "y": Y}, "X holds bytes"
    yield "complex X", {"X": X + 1j, "y": Y}, "X holds complex numbers"
    yield "dates in X", {"X": X.astype("datetime64[s]"), "y": Y}, "X holds dates"
    yield "times in y", {"X": X, "y": Y.astype("timedelta64[s]")}, "y holds time spans"
    yield "records", {"X": np.zeros(6, [("a", float), ("b", int)]), "y": Y}, "X holds records"
    yield "y with two columns", {"X": X, "y": X}, "y has shape (6, 2)"
    yield "y is 0-d", {"X": X, "y": np.array(1)}, "y has shape ()"
    yield "one class", {"X": X, "y": Y * 0 + 7}, "one class only (7)"
    yield "a class with one example", {"X": X, "y": np.array([0, 1, 0, 1, 0, 2])}, "class 2 has a single example"
    yield "classes too large", {"X": X, "y": Y.astype(np.uint64) + np.uint64(2**63)}, "too large for a class"
    yield "constant target", {"X": X, "y": Y * 0.0}, "y is 0.0 for every example"
    yield "Python objects", {"X": X.astype(object), "y": Y}, "X holds Python objects"
    yield "bytes in y", {"X": X, "y": Y.astype("S")}, "y holds bytes; it must hold real numbers, or text that names"
    yield "one text class", {"X": X, "y": np.array(["no"] * 6)}, "one class only (no)"
    yield "objects as targets", {"X": X, "y": np.array(["a", datetime(2020, 1, 1)] * 3)}, "y holds Python objects"


def archives(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    good = npz(X=X, y=Y)
    trap = pickle.dumps(Trap(folder))
    yield "empty", b"", "is empty"
    yield "text", b"not an archive at all", "is not a .npz file"
    yield "pickle", trap, "a pickle, which could run any program"
    yield "pickle as X", npz(X=np.array([Trap(folder)], object), y=Y), "X holds Python objects"
    yield "pickle in the archive", archive({"X.npy": trap, "y.npy": npy(Y)}), "is damaged"
    yield "gzip", gzip.compress(good), "compressed with gzip"
    yield "single array", npy(X), "a single array"
    yield "cut in the middle", good[: len(good) // 2], "is damaged"
    yield "cut at the end", good[:-1], "is damaged"
    yield "only the start", good[:4], "is damaged"
    yield "zip of texts", archive({"readme.txt": b"hello"}), "it has 'readme.txt'"
    yield "X without .npy", archive({"X": b"1", "y": b"2"}), "is damaged"
    yield "header promises too much", archive({"X.npy": claiming((2**40, 2)), "y.npy": npy(Y)}), "numbers; arrays of up"
    huge = (2**31).to_bytes(4, "little")
    yield (
        "directory promises too much",
        _patched(archive({"X.npy": npy(X), "y.npy": npy(Y)}), 24, huge),
        "bytes; arrays",
    )
    yield (
        "header promises more",
        archive({"X.npy": claiming((60, 2)), "y.npy": npy(Y)}),
        "does not have the 120 numbers",
    )
    yield "header with a negative size", archive({"X.npy": claiming((-6, 2)), "y.npy": npy(Y)}), "is damaged"
    yield "bomb", archive({"X.npy": npy(X) + bytes(10**7), "y.npy": npy(Y)}), "is damaged"
    yield "wrong check sum", _patched(archive({"X.npy": npy(X), "y.npy": npy(Y)}), 16, bytes(4)), "is damaged"


def _patched(content: bytes, offset: int, value: bytes) -> bytes:
    """Other bytes in the entry of the first member in the directory."""
    place = content.index(b"PK\1\2") + offset
    return content[:place] + value + content[place + len(value) :]


GOOD = "a,b,y\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n"


def texts() -> Iterator[tuple[str, bytes, str]]:
    def wrong(old: str, new: str) -> bytes:
        assert old in GOOD
        return GOOD.replace(old, new, 1).encode()

    yield "empty", b"", "is empty"
    yield "blank lines", b"\n\n\n", "is empty"
    yield "header only", b"a,b,y\n", "no examples"
    yield "one column", b"y\n1\n0\n", "one column only"
    yield "too few cells", wrong("3,4,1", "3,4"), "line 3: 2 cells, but the first line has 3"
    yield "too many cells", wrong("5,6,0", "5,6,0,9"), "line 4: 4 cells, but the first line has 3"
    yield "empty cell", wrong("3,4,1", "3,,1"), "line 3, column 'b': empty"
    yield "empty target", wrong("3,4,1", "3,4,"), "line 3, column 'y': empty"
    yield "text cell", wrong("5,6", "5,six"), "line 4, column 'b': 'six' is not a number"
    yield "text cell without header", b"1,2,0\n3,x,1\n", "line 2, column 2: 'x' is not a number"
    yield "text cell in the first line", b"1,x,0\n3,4,1\n", "line 1, column 2: 'x' is not a number"
    yield (
        "text and numbers",
        GOOD.replace(",0\n", ",no\n").encode(),
        "column 'y': '1' is a number, but the targets",
    )
    yield "numbers and text", GOOD.replace(",1\n", ",yes\n").encode(), "line 3, column 'y': 'yes' is not a number"
    yield "a text class without a name", b"a,y\n1,no\n2,\n", "line 3, column 'y': empty"
    yield "NUL bytes in a class", b"a,y\n1,n\0o\n", "column 'y': holds NUL bytes"
    yield "long text class", b"a,y\n1," + b"n" * 101, "nnn...' is too long to name a class; number the classes"
    yield "one text class", b"a,y\n1,no\n2,no\n", "one class only (no)"
    yield "a text class with one example", b"a,y\n1,no\n2,no\n3,yes\n", "class yes has a single example"
    yield "long text", wrong("5,6", "5," + "z" * 100000), "zzz...' is not a number"
    yield "nan", wrong("5,6", "5,nan"), "line 4, column 'b': 'nan' is not finite"
    yield "overflow", wrong("5,6", "5,1e999"), "'1e999' is not finite"
    yield "latin-1", "größe,y\n1,0\n2,1\n".encode("latin-1"), "is not UTF-8 text (it has byte 0xf6)"
    yield "utf-16", GOOD.encode("utf-16"), "is not UTF-8 text"
    yield "NUL bytes", wrong("5,6", "5,\0006"), "line 4, column 'b': holds NUL bytes"
    yield "quoted commas", wrong("3,4,1", '3,"4,5",1'), "line 3, column 'b': '4,5' is not a number"
    yield "open quote", wrong("3,4,1", '3,"4,1'), "line 5: unexpected end of data"
    yield "text after a quote", wrong("3,4,1", '3,"4"x,1'), "line 3: ',' expected after '\"'"
    yield "semicolons", GOOD.replace(",", ";").encode(), "separated by semicolons"
    yield "semicolons and decimal commas", b"1,5;2,5;0,5\n3,5;4,5;1,5\n", "line 1, column 2: '5;2' is not a number"
    yield "tabs", GOOD.replace(",", "\t").encode(), "separated by tabs"
    yield "two targets", b"y,a,y\n1,2,0\n3,4,1\n", "2 columns named 'y'"
    yield "huge class", wrong("3,4,1", "3,4," + "9" * 30), "is too large for a class"
    yield "one class", GOOD.replace(",1\n", ",0\n").encode(), "one class only (0)"
    yield "a class with one example", wrong("3,4,1", "3,4,2"), "has a single example"
    yield "constant target", b"1,0.5\n2,0.5\n", "y is 0.5 for every example"
    yield "huge cell", wrong("5,6", "5," + "1" * 200000), "line 4: field larger than field limit"
    yield "archive", npz(X=X, y=Y), "is not UTF-8 text"
    yield "pickle", pickle.dumps({"X": X}), "is not UTF-8 text"


def described(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Write the files: name, path, and words of the message."""
    contents = [(name, ".npz", npz(**content), words) for name, content, words in arrays()]
    contents += [(name, ".npz", content, words) for name, content, words in archives(folder)]
    contents += [(name, ".csv", content, words) for name, content, words in texts()]
    for number, (name, suffix, content, words) in enumerate(contents):
        path = folder / f"{number}{suffix}"
        path.write_bytes(content)
        yield f"{name} ({suffix})", path, words
    (folder / "folder.npz").mkdir()
    yield "directory", folder / "folder.npz", "is a directory"
    yield "missing", folder / "nowhere.csv", "does not exist"
    yield "below a file", folder / "0.npz" / "file.csv", "cannot be read: Not a directory"
    (folder / "examples.txt").write_text(GOOD)
    yield "wrong extension", folder / "examples.txt", "must be named FILE.npz or FILE.csv"
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.csv")
        yield "pipe", folder / "pipe.csv", "is not a regular file"


def bad_files(folder: Path) -> list[tuple[str, Path]]:
    """Names and paths of files in `folder` that `read_file` refuses."""
    return [(name, path) for name, path, _ in described(folder)]
