"""What every test must leave behind: nothing.  And what a run leaves out, said at its end."""

from importlib.util import find_spec
from typing import Any

import pytest

from gradcore.core.state import state, switch
from gradcore.testing import nvrtc


@pytest.fixture(autouse=True)
def sealed():
    """Fail a test that leaves a transform, a mode, an overlay or a hook open."""
    yield
    left = {name: getattr(state, name) for name in ("levels", "overlays", "hooks") if getattr(state, name)}
    left |= {} if state.recording else {"recording": False}
    left |= {} if state.base is None else {"base": state.base}
    left |= {} if switch.busy == 0 else {"busy": switch.busy}
    if left:
        state.levels.clear(), state.overlays.clear(), state.hooks.clear()
        state.recording, state.base, switch.busy = True, None, 0
        pytest.fail(f"the test left open: {left}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the lanes that this run leaves out or that lack what they need, with the reason and the cure."""
    for lane, absent in lanes_without_their_needs().items():
        asked = lane in config.option.markexpr and f"not {lane}" not in config.option.markexpr
        if f"not {lane}" in config.option.markexpr or (asked and absent):
            terminalreporter.write_line(f"not run: {lane} tests: {absent or f'asked for by `pytest -m {lane}`'}")


def lanes_without_their_needs() -> dict[str, str | None]:
    """Each lane for CUDA, and what it lacks here; None where it can run."""
    cupy = None if find_spec("cupy") else "CuPy is not installed: pip install -e '.[cuda13]' on a machine with a GPU"
    return {"cuda": cupy, "nvrtc": nvrtc.missing(), "gpu": cupy}
