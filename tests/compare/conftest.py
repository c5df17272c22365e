"""Importing PyTorch and JAX takes seconds, so nothing here is even collected unless it was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if "not compare" in config.getoption("markexpr") else None
