"""Writing a file so that a complete one exists at every moment."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from gradcore.io.errors import FileError


def previous(path: Path) -> Path:
    """Where the file is kept that a save replaces.

    Args:
        path: of the file.

    Example:
        >>> previous(Path("run.safetensors")).name
        'run.safetensors.previous'
    """
    return path.with_name(path.name + ".previous")


def write(path: Path, fill: Callable[[Path], None]) -> None:
    """Write a file aside, make sure that it is on the disk, and put it in the place of the old one.

    Whatever stops this, a kill included, a complete file is under the name: the old one or the new one.  The old one
    is kept as `previous(path)`.  The folders aside that killed processes left are removed by the next write.

    Args:
        path: of the file; of its target, if it is a symbolic link.
        fill: writes the content to the path that it gets, where an empty file is.

    Raises:
        FileError: it cannot be written. No complete file is lost.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers"
        >>> for text in ("1", "2"):
        ...     write(path, lambda new: print("characters:", new.write_text(text)))
        characters: 1
        characters: 1
        >>> path.read_text(), previous(path).read_text()
        ('2', '1')
    """
    try:
        _check(path)
        _replace(Path(os.path.realpath(path)), fill)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}; no complete file was lost") from error


def _check(path: Path) -> None:
    if "\0" in str(path):
        raise FileError(f"cannot write {str(path)!r}: a name cannot hold NUL characters; give another name")
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a directory; give the name of a file")
    if path.exists() and not path.is_file():
        raise FileError(f"cannot write {path}: it is not a regular file; give another name")
    if not path.parent.is_dir():
        raise FileError(f"cannot write {path}: there is no folder {path.parent}; make it first")


def _replace(path: Path, fill: Callable[[Path], None]) -> None:
    _remove_stale(path)
    prefix = f"{_aside_prefix(path)}{os.getpid()}."
    with TemporaryDirectory(".part", prefix, path.parent, ignore_cleanup_errors=True) as folder:
        new = Path(folder, "new")
        new.touch()
        mode = new.stat().st_mode
        fill(new)
        new.chmod(mode)  # safetensors lets nobody else read what it writes
        _sync(new, os.O_RDWR)
        _keep(path, Path(folder, "old"))
        new.replace(path)
        if os.name != "nt":
            _sync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):  # a file system or a user that cannot do this
            raise


def _keep(path: Path, link: Path) -> None:
    """The old file gets a second name first, so that the first one never lacks a file.

    If both names are of one file already (a kill between the two replacements), replacing one by the other leaves both.
    """
    try:
        os.link(path, link)
    except FileNotFoundError:
        return
    except OSError:  # a file system without hard links
        shutil.copyfile(path, link)
    link.replace(previous(path))


def _aside_prefix(path: Path) -> str:
    """Names of folders aside also hold the host's, whose processes alone can be asked after."""
    return f"{path.name}.{platform.node()}."


def _remove_stale(path: Path) -> None:
    aside = re.compile(re.escape(_aside_prefix(path)) + r"(\d+)\.\w{8}\.part")
    with suppress(OSError):  # a folder that this user may write to but not list
        for other in path.parent.iterdir():
            found = aside.fullmatch(other.name)
            if found and _is_gone(found[1]):
                shutil.rmtree(other, ignore_errors=True)


def _is_gone(process: str) -> bool:
    if os.name == "nt":
        return False
    try:
        os.kill(int(process), 0)
    except (OSError, OverflowError) as error:
        return not isinstance(error, PermissionError)
    return False
