"""gradcore doctor."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cli.common import Gradcore, python

pytest.importorskip("typer", reason="the cli extra is not installed")
from gradcore.cli import doctor

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


def test_it_says_what_is_here(gradcore: Gradcore) -> None:
    done = gradcore("doctor")
    assert done.code == 0
    versions = [importlib.metadata.version(name) for name in ("gradcore", "numpy", "scipy", "safetensors", "typer")]
    assert [text for text in (*versions, "cpu: this version computes on the CPU only") if text not in done.out] == []
    assert max(map(len, done.out.splitlines())) <= 80


def test_json(gradcore: Gradcore) -> None:
    report = json.loads(gradcore("doctor", "--json").out)
    assert report["works"] is True
    assert (report["device"], report["numpy"]) == ("cpu", np.__version__)
    assert report["extras"]["cli"]["typer"] == importlib.metadata.version("typer")


def test_a_wrong_gradient_is_found(gradcore: Gradcore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcore.autodiff.grad", lambda f: lambda x: x)
    done = gradcore("doctor")
    assert done.code == 1
    assert "FAILED: a gradient is [1.0, 2.0], not [3.0, 12.0]" in done.out


def test_an_exception_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise OSError("no BLAS")

    monkeypatch.setattr("gradcore.autodiff.grad", broken)
    assert doctor.self_check() == "OSError: no BLAS"


@pytest.mark.parametrize(
    ("version", "found"), [(12040, "12.4"), (13000, "13.0"), (11080, "11.8"), (0, None), (OSError, None)]
)
def test_the_driver(monkeypatch: pytest.MonkeyPatch, version: Any, found: str | None) -> None:
    def library(name: str) -> Any:
        if version is OSError:
            raise OSError(name)

        def get(pointer: Any) -> int:
            pointer._obj.value = version
            return 0

        return SimpleNamespace(cuDriverGetVersion=get)

    monkeypatch.setattr("ctypes.CDLL", library)
    assert doctor.cuda_driver() == found


def test_advice_names_extras_that_exist() -> None:
    assert "pip install cupy-cuda12x" in doctor.advice("12.4")
    assert "pip install cupy-cuda13x" in doctor.advice("13.1")
    assert "update the driver" in doctor.advice("11.8")
    assert "no NVIDIA driver" in doctor.advice(None)
    extras = PROJECT["optional-dependencies"]
    assert {"cuda12", "cuda13", *doctor.EXTRAS} <= extras.keys()
    for extra, packages in doctor.EXTRAS.items():
        assert all(any(wanted.startswith(name) for wanted in extras[extra]) for name in packages if extra != "demo")


def test_cupy_is_not_imported() -> None:
    program = "import sys; from gradcore.cli.doctor import examine; examine(); print('cupy' in sys.modules)"
    assert python(program).out.strip() == "False", sys.executable
