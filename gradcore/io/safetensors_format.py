"""The safetensors format, https://github.com/huggingface/safetensors#format: its package reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gradcore.core.tensor import Tensor
from gradcore.factories import asarray
from gradcore.io.errors import FileError
from gradcore.io.kinds import kind_of, unreadable

LONGEST = 100_000_000  # bytes of a header that the package reads

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], text: str) -> None:
    """Write a file whose only metadata is a text, called "gradcore"; the same content gives the same bytes.

    The package sorts tensors, but several metadata would be in a random order.

    Args:
        path: of the file.
        tensors: by name.
        text: any.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile, gradcore as gc
        >>> path = Path(tempfile.mkdtemp()) / "a"
        >>> write_tensors(path, {"x": gc.tensor([True])}, "hello")
        >>> path.read_bytes()[8:81]
        b'{"__metadata__":{"gradcore":"hello"},"x":{"dtype":"BOOL","shape":[1],"dat'
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(tensor.numpy(), order="C") for name, tensor in tensors.items()}
    try:
        save_file(arrays, path, {"gradcore": text})
    except SafetensorError as error:
        raise OSError(" ".join(str(error).split())) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file.

    Args:
        path: of the file.

    Raises:
        FileError: it cannot be read.

    Example:
        >>> import tempfile, gradcore as gc
        >>> path = Path(tempfile.mkdtemp()) / "a"
        >>> write_tensors(path, {"x": gc.tensor([True])}, "hello")
        >>> read_tensors(path)
        ({'x': tensor([ True], dtype=bool, device='cpu')}, {'gradcore': 'hello'})
    """
    from safetensors import safe_open

    if problem := unreadable(path):
        raise FileError(f"{path} {problem}")
    try:
        with safe_open(path, "numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            foreign = [name for name, kind in kinds.items() if kind not in DTYPES]
            if not foreign:
                return {name: asarray(file.get_tensor(name)) for name in kinds}, file.metadata() or {}
    except MemoryError:
        raise FileError(f"{path} needs more memory than there is") from None
    except Exception as error:  # a damaged file may make the package raise anything
        raise FileError(f"{path} {_damage(path, error)}") from error
    kind = kinds[foreign[0]]
    raise FileError(
        f"{path} holds {foreign[0]!r} as {kind}, which gradcore does not compute with; convert it to float32"
    )


def _damage(path: Path, error: Exception) -> str:
    """What is wrong with a file that the package refused."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
    if kind_of(start) and start[8:] not in (b"", b"{"):  # else the length of a header looks like something else
        return f"is not a safetensors file but {kind_of(start)}"
    length = int.from_bytes(start[:8], "little")
    if size < 8 or size - 8 < length < LONGEST:
        return "is cut off, or not a safetensors file: its header is not complete"
    if length >= LONGEST:
        return "is not a safetensors file"
    return f"is damaged, or not a safetensors file: {' '.join(str(error).split())}"
