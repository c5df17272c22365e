"""What is under a name: for messages about files that cannot be read."""

from __future__ import annotations

import stat
from pathlib import Path

SIGNATURES = {
    b"PK": "a zip archive (PyTorch's .pt files and NumPy's .npz files are)",
    b"\x80": "a pickle, which could run any program and is not read",
    b"\x1f\x8b": "compressed with gzip",
    b"\x93NUMPY": "a single array (.npy)",
    b"\x89HDF": "an HDF5 file",
}


def unreadable(path: Path) -> str:
    """Why a file cannot be read, or nothing.

    Args:
        path: of the file.

    Example:
        >>> unreadable(Path("nowhere")), unreadable(Path("."))
        ('does not exist', 'is a directory; give the name of a file')
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return "is a directory; give the name of a file"
        if not stat.S_ISREG(found.st_mode):
            return "is not a regular file"
        path.open("rb").close()
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return "" if found.st_size else "is empty"


def kind_of(start: bytes) -> str:
    r"""What a file is that starts like this, or nothing.

    Args:
        start: its first bytes.

    Example:
        >>> kind_of(b"PK\x03\x04")
        "a zip archive (PyTorch's .pt files and NumPy's .npz files are)"
    """
    return next((what for signature, what in SIGNATURES.items() if start.startswith(signature)), "")
