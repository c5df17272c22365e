"""What every test must leave behind: nothing."""

import pytest

from gradcore.core.state import state, switch


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
