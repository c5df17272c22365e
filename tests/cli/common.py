"""The command in this process and in one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

COMMAND = Path(sys.executable).with_name("gradcore")


class Done(NamedTuple):
    code: int
    out: str
    err: str


def command(*arguments: Any) -> Done:
    """Run the installed command."""
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)


def python(program: str) -> Done:
    """Run a program in a Python of its own."""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    return Done(done.returncode, done.stdout, done.stderr)


class Gradcore:
    """The command in this process: quicker, and the same but for the start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: Any) -> Done:
        from gradcore.cli import main

        self.monkeypatch.setattr(sys, "argv", ["gradcore", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as raised:
            main()
        out, err = self.capsys.readouterr()
        return Done(int(raised.value.code or 0), out, err)

    def refused(self, *arguments: Any) -> str:
        """The one line that a wrong call prints; nothing else is printed."""
        done = self(*arguments)
        assert (done.code, done.out) == (2, ""), done
        (line,) = done.err.splitlines()
        assert line.startswith("gradcore: ")
        return line
