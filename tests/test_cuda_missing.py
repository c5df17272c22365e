"""What a machine without CuPy, or with one that does not work, is told."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

WITHOUT = importlib.util.find_spec("cupy") is None
ASK = """
import gradcore as gc
from gradcore.core.errors import DeviceError
assert not gc.cuda.is_available() and gc.cuda.device_count() == 0
for ask in (lambda: gc.zeros(1, device="cuda"), lambda: gc.ones(1).to("cuda"), lambda: gc.nn.Linear(1, 1).to("cuda"),
            gc.cuda.memory_stats, gc.cuda.synchronize, lambda: gc.cuda.pin([1.0]), gc.cuda.stream().__enter__,
            gc.cuda.check_streams().__enter__, lambda: gc.cuda.set_memory_limit("1 GiB")):
    try: ask()
    except DeviceError as error: message = str(error)
    else: raise AssertionError(ask)
assert gc.zeros(1).tolist() == [0.0] and gc.cuda.pin is not None
print(message)
"""


def message(before="", path=None):
    done = subprocess.run([sys.executable, "-P", "-c", before + ASK], capture_output=True, text=True, cwd=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake(text):
    """A CuPy that is this text."""
    return f"""
import importlib.machinery, sys, types
class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "cupy" else None
    def create_module(self, spec): return None
    def exec_module(self, module): exec({text!r}, module.__dict__)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.skipif(not WITHOUT, reason="CuPy is installed here")
def test_no_cupy():
    said = message()
    assert said.startswith("no CUDA device can be used: CuPy is not installed; pip install 'gradcore[cuda13]'")
    assert "gradcore[cuda12]" in said


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_a_cupy_that_does_not_import(error):
    said = message(fake(f"raise {error}('libcudart.so.13: cannot open shared object file')"))
    assert "CuPy does not import (libcudart.so.13: cannot open shared object file); pip install" in said


def runtime(text):
    return fake(
        "import types\n"
        f"def getDeviceCount():\n    {text}\n"
        "cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=getDeviceCount))"
    )


def test_a_driver_that_is_too_old():
    said = message(runtime("raise RuntimeError('cudaErrorInsufficientDriver: driver version is insufficient')"))
    assert "the NVIDIA driver is older than the CUDA version of CuPy" in said
    assert "update the driver" in said and "CuPy for an older CUDA" in said


def test_no_device():
    assert "the driver sees none (is CUDA_VISIBLE_DEVICES empty?)" in message(runtime("return 0"))
    assert "docker without --gpus all" in message(runtime("raise RuntimeError('cudaErrorNoDevice: no device')"))


def test_any_other_trouble():
    said = message(runtime("raise RuntimeError('cudaErrorSystemNotReady')"))
    assert "cudaErrorSystemNotReady; `gradcore doctor` says what is installed" in said
