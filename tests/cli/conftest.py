"""The command for tests."""

import pytest

from cli.common import Gradcore


@pytest.fixture
def gradcore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gradcore:
    pytest.importorskip("typer", reason="the cli extra is not installed")
    return Gradcore(monkeypatch, capsys)
