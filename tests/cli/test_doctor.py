"""gradcore doctor."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradcore.factories as gradcore_factories
from cli.common import Gradcore

pytest.importorskip("typer", reason="the cli extra is not installed")
from gradcore.cli import doctor

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


def test_it_says_what_is_here(gradcore: Gradcore) -> None:
    done = gradcore("doctor")
    assert done.code == 0
    versions = [importlib.metadata.version(name) for name in ("gradcore", "numpy", "scipy", "safetensors", "typer")]
    texts = (*versions, "gradients and matrix products are right on cpu")
    assert [text for text in texts if text not in done.out] == []
    assert max(map(len, done.out.splitlines())) <= 80


def test_json(gradcore: Gradcore) -> None:
    report = json.loads(gradcore("doctor", "--json").out)
    assert report["works"] is True
    assert report["numpy"] == np.__version__
    assert report["extras"]["cli"]["typer"] == importlib.metadata.version("typer")


def test_a_wrong_gradient_is_found(gradcore: Gradcore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradcore.autodiff.grad", lambda f: lambda x: x)
    done = gradcore("doctor")
    assert done.code == 1
    assert "FAILED on cpu: a gradient is [1.0, 2.0], not [3.0, 12.0]" in done.out


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
    assert "pip install 'gradcore[cuda12]'" in doctor.advice("12.4")
    assert "pip install 'gradcore[cuda13]'" in doctor.advice("13.1")
    assert "update the driver" in doctor.advice("11.8")
    assert "no NVIDIA driver" in doctor.advice(None)
    extras = PROJECT["optional-dependencies"]
    assert {"cuda12", "cuda13", *doctor.EXTRAS} <= extras.keys()
    for extra, packages in doctor.EXTRAS.items():
        assert all(any(wanted.startswith(name) for wanted in extras[extra]) for name in packages if extra != "demo")


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_why_the_cpu_is_used(gradcore: Gradcore) -> None:
    report = json.loads(gradcore("doctor", "--json").out)
    assert (report["device"], report["cupy"], report["cuda_devices"]) == ("cpu", None, {})
    assert report["reason"].startswith("CuPy is not installed; pip install 'gradcore[cuda13]'")
    assert report["advice"].startswith("for CUDA: ")


def test_a_matrix_product_with_too_few_bits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    full = gradcore_factories.full
    monkeypatch.setattr(gradcore_factories, "full", lambda shape, value, device: full(shape, 1.0, device=device))
    assert doctor.self_check() == "a matrix product in float32 has 32.0, not 32.0078125"


def test_a_device_that_is_there(gradcore: Gradcore, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"name": "A card", "memory": 80 * 2**30, "capability": "9.0"}
    monkeypatch.setattr(doctor, "cuda_devices", lambda: ({"cuda:0": about}, None))
    monkeypatch.setattr(doctor, "self_check", lambda device: None if device == "cpu" else "no")
    done = gradcore("doctor")
    assert done.code == 1
    for text in ("A card, 80.0 GiB, compute capability 9.0", "CuPy finds 1 CUDA device", "FAILED on cuda:0: no"):
        assert text in done.out
