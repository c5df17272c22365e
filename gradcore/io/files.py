"""Files of named parts: whatever has `state_dict` and `load_state_dict`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradcore.backend import is_cupy
from gradcore.core.tensor import Tensor
from gradcore.factories import asarray
from gradcore.io import atomic
from gradcore.io.errors import FileError
from gradcore.io.safetensors_format import DTYPES, read_tensors, write_tensors
from gradcore.io.state_dict import few
from gradcore.version import __version__

VERSION = 1
State = Mapping[str, Any]


def save(path: str | Path, parts: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Write the states of parts to one file, in the safetensors format.

    A complete file is under the name at every moment, the old one or the new one; the old one is kept as
    `<name>.previous`.  The same content gives the same bytes.

    Args:
        path: of the file.
        parts: model, optimizer, `gradcore.random`, a DataLoader ..., by names without dots.
        metadata: anything that JSON can hold.

    Raises:
        FileError: the file cannot be written. No complete file is lost.
        TypeError: a part has no state_dict, or its state or the metadata cannot be written.

    Example:
        >>> import tempfile, gradcore as gc
        >>> model = gc.nn.Linear(2, 1)
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> gc.io.save(path, {"model": model}, {"epoch": 3})
        >>> other = gc.nn.Linear(2, 1)
        >>> gc.io.load(path, {"model": other})
        {'epoch': 3}
        >>> bool((model.weight.numpy() == other.weight.numpy()).all())
        True
    """
    _check_parts(parts)
    if dotted := [name for name in parts if "." in name]:
        raise ValueError(f"{dotted[0]!r} cannot name a part; use a name without dots")
    tensors = {
        f"{part}.{key}": _as_tensor(f"{part}.{key}", value)
        for part, state in parts.items()
        for key, value in state.state_dict().items()
    }
    try:
        own = {"version": VERSION, "gradcore": __version__, "metadata": dict(metadata or {})}
        text = json.dumps(own, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be what JSON can hold: {error}") from error
    atomic.write(Path(path), lambda new: write_tensors(new, tensors, text))


def _check_parts(parts: Mapping[str, Any]) -> None:
    for name, part in parts.items():
        if not name:
            raise ValueError("'' cannot name a part; use a name without dots")
        if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
            raise TypeError(f"part {name!r} is {type(part).__name__}, which has no state_dict and load_state_dict")


def _as_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, (Tensor, np.ndarray, np.generic)) and not is_cupy(value):
        raise TypeError(f"the state {name!r} is {type(value).__name__}; a state_dict must hold tensors or arrays")
    if value.dtype.name not in DTYPES.values():
        raise TypeError(f"the state {name!r} is {value.dtype}, which the file format does not know")
    return asarray(value)


def load(path: str | Path, parts: Mapping[str, Any], strict: bool = True, allow_nan: bool = False) -> dict[str, Any]:
    """Give parts the states that a file holds: all of them, or none if anything is wrong.

    Args:
        path: of the file.
        parts: by the names that `save` got; others of the file are not loaded. A longer name, such as
            "model.encoder", means what is under it.
        strict: refuse a file that lacks some of a part's tensors or has others. Else load those that are there.
        allow_nan: load tensors that hold NaN.

    Returns:
        The metadata.

    Raises:
        FileError: the file cannot be read, or does not fit. The parts have the states that they had: what was loaded
            into some of them is undone by their `load_state_dict`.
        TypeError: a part has no load_state_dict.

    Example:
        >>> import tempfile, gradcore as gc
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> gc.io.save(path, {"model": gc.nn.Linear(2, 1)})
        >>> try:
        ...     gc.io.load(path, {"model": gc.nn.Linear(3, 1)})
        ... except gc.io.FileError as error:
        ...     print(str(error).replace(path, "FILE"))
        FILE does not fit: model.weight is float32[1, 2] there and float32[1, 3] here
    """
    _check_parts(parts)
    old = {name: dict(part.state_dict()) for name, part in parts.items()}
    path = Path(path)
    try:
        tensors, metadata = read(path)
        values = {name: _state_of(name, tensors) for name in parts}
        if not allow_nan:
            _refuse_nan(path, values)
        if not strict:
            values = {name: old[name] | {k: v for k, v in values[name].items() if k in old[name]} for name in parts}
        _load_all(path, parts, old, values, sorted({name.split(".")[0] for name in tensors}))
    except FileError as error:
        if atomic.previous(path).is_file():
            raise FileError(f"{error}; the save before it is {atomic.previous(path)}") from error
        raise
    return metadata


def _state_of(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(part + "."): value for name, value in tensors.items() if name.startswith(part + ".")}


def _refuse_nan(path: Path, values: Mapping[str, State]) -> None:
    for part, state in values.items():
        for key, value in state.items():
            if value.dtype.kind == "f" and np.isnan(value.numpy()).any():
                advice = "use a file from before the training diverged, or pass allow_nan=True"
                raise FileError(f"{path} holds NaN in {part}.{key}; {advice}")


def _load_all(
    path: Path, parts: Mapping[str, Any], old: Mapping[str, State], values: Mapping[str, State], found: list[str]
) -> None:
    """All or none: parts that have been touched get their old states back."""
    touched = []
    try:
        for name, part in parts.items():
            touched.append(name)
            try:
                part.load_state_dict(values[name])
            except Exception as error:
                if old[name] and not values[name]:
                    raise FileError(f"{path} does not fit: it has no part {name!r} but {few(found)}") from error
                raise FileError(f"{path} does not fit: {_reason(name, old[name], values[name], error)}") from error
    except BaseException:
        for name in touched:
            parts[name].load_state_dict(old[name])
        raise


def _reason(part: str, here: State, there: State, error: Exception) -> str:
    kinds = [(key, _kind(there[key]), _kind(here[key])) for key in here if key in there]
    for key, a, b in kinds:
        if a != b:
            return f"{part}.{key} is {a} there and {b} here"
    reason = error.args[0] if isinstance(error, KeyError) and error.args else error  # else it is in quotes
    return f"{part}: {' '.join(str(reason).split())}"


def _kind(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}"


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors of a safetensors file by their names (`part.key` in a file that `save` wrote), and its metadata.

    Args:
        path: of the file; it may come from another program.

    Raises:
        FileError: the file cannot be read, or was written by a newer version.

    Example:
        >>> import tempfile, gradcore as gc
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> gc.io.save(path, {"model": gc.nn.Linear(2, 1, bias=False)}, {"note": "new"})
        >>> tensors, metadata = gc.io.read(path)
        >>> list(tensors), metadata
        (['model.weight'], {'note': 'new'})
    """
    path = Path(path)
    tensors, texts = read_tensors(path)
    return tensors, _metadata(path, texts["gradcore"]) if "gradcore" in texts else dict(texts)


def _metadata(path: Path, text: str) -> dict[str, Any]:
    try:
        own = json.loads(text)
        version, metadata = own["version"], own.get("metadata")
    except (KeyError, TypeError, ValueError, RecursionError):
        version = metadata = None
    if isinstance(version, int) and version > VERSION:
        raise FileError(f"{path} was written by a newer gradcore (version {version} of the file format); upgrade")
    if version != VERSION or not isinstance(metadata, dict):
        raise FileError(f"{path} is damaged: its metadata is not what gradcore writes")
    return metadata
