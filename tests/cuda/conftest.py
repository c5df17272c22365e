"""Every test in this folder belongs to the cuda lane: CuPy on a CUDA device, real or simulated."""

from importlib.util import find_spec
from pathlib import Path

import pytest

import gradcore as gc

FOLDER = Path(__file__).parent
collect_ignore_glob = [] if find_spec("cupy") else ["test_*.py"]  # tests/conftest.py says so at the end


def pytest_collection_modifyitems(items):
    """`pytest -m cuda` runs these tests on any device, `pytest -m gpu` on a GPU, and those that need one besides."""
    for item in items:
        if FOLDER in item.path.parents and item.get_closest_marker("gpu") is None:
            item.add_marker(pytest.mark.cuda)
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True, scope="session")
def device(request):
    """A CUDA device, or the reason why there is none."""
    try:
        device = gc.zeros(1, device="cuda").device
    except gc.core.errors.DeviceError as error:
        pytest.skip(str(error))
    lane = request.config.option.markexpr
    if "gpu" in lane and "not gpu" not in lane and "CPU" in gc.cuda.get_device_name():
        pytest.skip(f"needs a GPU: this device is simulated ({gc.cuda.get_device_name()})")
    return device


@pytest.fixture
def counters():
    """The simulator's counters, set to zero."""
    cusim = pytest.importorskip("cusim", reason="counts launches and copies; needs simulated CUDA")
    cusim.reset()
    return cusim.stats
