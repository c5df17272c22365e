"""A complete file is under the name at every moment: after failures, interrupts, and 200 kills."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from gradcore.io import FileError, atomic

from . import stopping
from .stopping import SIZE, count_in, names, save_count

posix = pytest.mark.skipif(os.name == "nt", reason="needs fork and signals")


# --- what is left -----------------------------------------------------------------------------------------------------


def test_the_last_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run"
    save_count(path, 0)
    assert names(tmp_path) == ["run"]
    for count in (1, 2):
        save_count(path, count)
        assert names(tmp_path) == ["run", "run.previous"]
        assert (count_in(path), count_in(atomic.previous(path))) == (count, count - 1)


def test_both_names_may_be_one_file(tmp_path: Path) -> None:
    """As after a kill between the two replacements."""
    path = tmp_path / "run"
    save_count(path, 0)
    os.link(path, atomic.previous(path))
    save_count(path, 1)
    assert names(tmp_path) == ["run", "run.previous"]
    assert (count_in(path), count_in(atomic.previous(path))) == (1, 0)


def test_a_link_stays_and_its_target_changes(tmp_path: Path) -> None:
    target, link = tmp_path / "run-1", tmp_path / "latest"
    link.symlink_to(target.name)
    for count in range(2):
        save_count(link, count)
    assert link.is_symlink()
    assert count_in(target) == 1
    assert names(tmp_path) == ["latest", "run-1", "run-1.previous"]


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(OSError(errno.EPERM, "Operation not permitted")))
    (tmp_path / "run").write_bytes(b"old")
    for count in (1, 2):
        save_count(tmp_path / "run", count)
    assert count_in(tmp_path / "run") == 2
    assert count_in(tmp_path / "run.previous") == 1


def failing(error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


STEPS = [(os, "fsync"), (os, "link"), (Path, "replace"), (atomic, "_sync_folder"), (atomic, "_remove_stale")]


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_failure_leaves_a_complete_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: BaseException
) -> None:
    path = tmp_path / "run"
    save_count(path, 0)
    if name == "link" and isinstance(error, OSError):
        monkeypatch.setattr(shutil, "copyfile", failing(error))
    with monkeypatch.context() as patch, pytest.raises((FileError, KeyboardInterrupt)) as caught:
        patch.setattr(owner, name, failing(error))
        save_count(path, 1)
    assert isinstance(caught.value, FileError if isinstance(error, OSError) else KeyboardInterrupt)
    assert count_in(path) == (1 if name == "_sync_folder" else 0)
    assert set(names(tmp_path)) <= {"run", "run.previous"}


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(FileError, match=r"cannot write .*run: No space left on device; no complete file was lost"):
        save_count(tmp_path / "run", 0)
    assert not names(tmp_path)


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """A disk that really takes no more, in the middle of the file."""
    resource = pytest.importorskip("resource", reason="needs limits of processes")
    path = tmp_path / "run"
    save_count(path, 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, limits[1]))
        with pytest.raises(FileError, match="File too large"):
            save_count(path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert count_in(path) == 0
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(("number", "refused"), [(errno.EINVAL, False), (errno.EACCES, False), (errno.EIO, True)])
def test_folders_that_cannot_be_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refused: bool
) -> None:
    """No failure where a file system or a user cannot do that, but one where the disk fails."""
    sync = atomic._sync

    def fail(path: Path, flags: int) -> None:
        if path == tmp_path:
            raise OSError(number, os.strerror(number))
        sync(path, flags)

    monkeypatch.setattr(atomic, "_sync", fail)
    with pytest.raises(FileError) if refused else nullcontext():
        save_count(tmp_path / "run", 1)
    assert names(tmp_path) == ["run"]


def test_a_name_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for count in range(2):
        save_count(Path("run"), count)
    assert count_in(Path("run")) == 1
    assert names(tmp_path) == ["run", "run.previous"]


def test_a_link_into_a_missing_folder(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to("missing/run")
    with pytest.raises(FileError, match=r"cannot write .*latest: No such file or directory"):
        save_count(link, 0)
    assert names(tmp_path) == ["latest"]


def test_a_failure_that_is_not_the_disks_is_not_hidden(tmp_path: Path) -> None:
    def fill(new: Path) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        atomic.write(tmp_path / "run", fill)
    assert not names(tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (".", "it is a directory"),
        ("a\0b", "a name cannot hold NUL characters"),
        ("missing/run", "there is no folder .*missing; make it first"),
        ("x" * 300, "cannot write .*: File name too long"),
        ("pipe", "it is not a regular file"),
    ],
)
def test_where_nothing_can_be_written(tmp_path: Path, path: str, words: str) -> None:
    if path == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("needs pipes")
        os.mkfifo(tmp_path / path)
    with pytest.raises(FileError, match=words) as caught:
        save_count(tmp_path / path, 0)
    assert len(str(caught.value).splitlines()) == 1


@posix
def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """Only that: not what a living process writes, not another host's, nothing of other names."""
    path = tmp_path / "run"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = platform.node()
    stale = [f"run.{host}.{gone.pid}.{mark}.part" for mark in ("abcd_123", "12345678")]
    kept = [f"run.{host}.{os.getpid()}.abcd_123.part", f"run.elsewhere.{gone.pid}.abcd_123.part"]
    kept += [f"run.{gone.pid}.abcd_123.part", f"other.{host}.{gone.pid}.abcd_123.part", f"run.{host}.1.abcd_123.part"]
    kept += [f"run.{host}.{gone.pid}.{end}" for end in ("abcd_123", "abcd_123.txt", "abc.part")]
    for name in stale + kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "new").write_bytes(b"half")
    save_count(path, 0)
    assert names(tmp_path) == sorted(["run", *kept])


def test_the_mode_of_a_new_file_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    save_count(tmp_path / "run", 0)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


# --- kills and interrupts ---------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 200), (signal.SIGINT, 20)], ids=["kill", "interrupt"])
def test_a_process_that_is_stopped_leaves_a_complete_file(tmp_path: Path, number: int, times: int) -> None:
    path = tmp_path / "run"
    command = [sys.executable, "-P", stopping.__file__, str(path), str(int(number)), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found, aside = json.loads(done.stdout)
    assert len(found) == times + 1
    assert found == sorted(found)
    assert found[-1] > 0
    if number == signal.SIGKILL:
        assert aside > 0
    else:
        assert aside < times / 2  # an interrupt may come while the folder aside is being removed
    save_count(path, 0)
    assert names(tmp_path) == ["run", "run.previous"]
