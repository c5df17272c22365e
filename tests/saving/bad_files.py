"""Model files that must be refused, each with one clear line."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

MODEL = {"model.bias": [1], "model.weight": [1, 2]}  # shapes of the parameters of `nn.Linear(2, 1)`


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "trap-was-sprung"

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def written(tensors: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """What `save` writes, with other tensors or metadata."""
    return annotated(json.dumps({"version": 1, "gradcore": "0", "metadata": {}} | changes), tensors)


def annotated(text: str, tensors: dict[str, Any] | None = None) -> bytes:
    """The same with any text for metadata."""
    values = {name: np.ones(shape, np.float32) for name, shape in MODEL.items()} if tensors is None else tensors
    return safetensors.numpy.save({name: np.asarray(value) for name, value in values.items()}, {"gradcore": text})


def raw(header: Any, data: bytes = bytes(12), length: int | None = None) -> bytes:
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("model/data.pkl", b"what PyTorch writes")
    return buffer.getvalue()


def unreadable(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    """Name, content, and words of the message."""
    good = written()
    length = int.from_bytes(good[:8], "little")
    weight, bias = entry(4, 12, [1, 2]), entry(0, 4, [1])
    damaged = "is damaged, or not a safetensors file: "
    yield "empty", b"", "is empty"
    yield "cut in the length", good[:5], "is cut off"
    yield "cut after the length", good[:8], "is cut off"
    yield "cut in the header", good[:50], "is cut off"
    yield "cut after the header", good[: 8 + length], damaged
    yield "cut in the data", good[:-5], damaged
    yield "one byte too many", good + b"\0", damaged
    yield "length too large", raw({}, length=2**40), "is not a safetensors file"
    yield "length too small", raw({"model.bias": bias, "model.weight": weight}, length=20), damaged
    yield "length beyond the end", raw({"model.bias": bias}, length=5000), "is cut off"
    yield "text", b"this is a text that someone has named wrongly", "is not a safetensors file"
    yield "short text", b"hello", "is cut off, or not a safetensors file"
    yield "pickle", pickle.dumps(Trap(folder)), "a pickle, which could run any program"
    yield "zip archive", archive(), "a zip archive (PyTorch's .pt files"
    yield "gzip", gzip.compress(good), "compressed with gzip"
    yield "NumPy array", b"\x93NUMPY\1\0" + bytes(100), "a single array (.npy)"
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"
    yield "zeros", bytes(64), damaged
    yield "broken JSON", raw(b'{"model.bias": {"dtype": "F32", '), damaged
    yield "header is a list", raw([1, 2]), damaged
    yield "header is not UTF-8", raw(b'{"\xff": 1}'), damaged
    yield "unknown dtype", raw({"model.bias": bias, "model.weight": entry(4, 12, [1, 2], "F99")}), damaged
    bfloat = {"model.bias": entry(0, 2, [1], "BF16"), "model.weight": entry(2, 6, [1, 2], "BF16")}
    yield "bfloat16", raw(bfloat, bytes(6)), "as BF16, which gradcore does not compute with; convert it to float32"
    yield "offsets overlap", raw({"model.bias": bias, "model.weight": entry(2, 10, [1, 2])}, bytes(10)), damaged
    yield "offsets leave a hole", raw({"model.bias": bias, "model.weight": entry(8, 16, [1, 2])}, bytes(16)), damaged
    yield "offsets run backwards", raw({"model.bias": entry(4, 0, [1])}), damaged
    yield "offsets beyond the end", raw({"model.bias": entry(0, 4000, [1000])}), damaged
    yield "shape is larger than the data", raw({"model.bias": entry(0, 12, [4])}), damaged
    yield "shape overflows", raw({"model.bias": entry(0, 12, [2**62, 2**62])}), damaged
    yield "negative shape", raw({"model.bias": entry(0, 12, [-3])}), damaged
    yield "newer version", written(version=2), "written by a newer gradcore (version 2 of the file format); upgrade"
    yield "newer in all", annotated('{"version": 3}'), "written by a newer gradcore (version 3 of the file format)"
    metadata = "is damaged: its metadata is not what gradcore writes"
    yield "version without sense", written(version="new"), metadata
    yield "no version", annotated('{"metadata": {}}'), metadata
    yield "metadata is not JSON", annotated("{"), metadata
    yield "metadata is a list", written(metadata=[]), metadata
    yield "metadata is a number", annotated("1"), metadata
    yield "metadata is deep", annotated("[" * 100000), metadata


def unfitting() -> Iterator[tuple[str, bytes, str]]:
    """Files that can be read, but that do not fit the model."""
    good = {name: np.ones(shape, np.float32) for name, shape in MODEL.items()}
    no_model = "it has no part 'model' but "
    yield "no tensors", written({}), no_model + "[]"
    yield "other part", written({"optimizer.lr": 0.1}), no_model + "['optimizer']"
    yield (
        "other program",
        raw({"weight": entry(0, 8, [1, 2]), "bias": entry(8, 12, [1])}),
        no_model + "['bias', 'weight']",
    )
    yield (
        "missing tensor",
        written({"model.bias": good["model.bias"]}),
        "model: state_dict does not fit: missing ['weight'], unexpected []",
    )
    yield "one more tensor", written(good | {"model.more": 1.0}), "missing [], unexpected ['more']"
    yield "many more", written(good | {f"model.{i}": 1.0 for i in range(9)}), "'4'] and 4 more"
    shape = good | {"model.weight": np.ones((1, 3), np.float32)}
    yield "wrong shape", written(shape), "model.weight is float32[1, 3] there and float32[1, 2] here"
    dtype = good | {"model.bias": np.ones(1)}
    yield "wrong dtype", written(dtype), "model.bias is float64[1] there and float32[1] here"
    yield "NaN", written(good | {"model.bias": np.full(1, np.nan, np.float32)}), "holds NaN in model.bias"


def described(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Write the files: name, path, and words of the message."""
    for number, (name, content, words) in enumerate([*unreadable(folder), *unfitting()]):
        path = folder / f"{number}.safetensors"
        path.write_bytes(content)
        yield name, path, words
    (folder / "folder.safetensors").mkdir()
    yield "directory", folder / "folder.safetensors", "is a directory"
    yield "missing", folder / "nowhere.safetensors", "does not exist"


def bad_files(folder: Path) -> list[tuple[str, Path]]:
    """Names and paths of files in `folder` that cannot be loaded into the part "model", an `nn.Linear(2, 1)`."""
    return [(name, path) for name, path, _ in described(folder)]
