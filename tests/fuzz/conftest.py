"""Importing PyTorch and JAX takes seconds, so what needs them is collected only if it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    lanes = config.getoption("markexpr")
    return True if collection_path.name == "test_peers.py" and "not compare" in lanes and "not slow" in lanes else None
