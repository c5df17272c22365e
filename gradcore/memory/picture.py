"""A profile as a picture."""

from __future__ import annotations

from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcore.backend.sizes import size_text

if TYPE_CHECKING:
    from gradcore.memory.report import Profile

COLORS = {"forward": "#3b75af", "backward": "#c5523f", "recomputation": "#d9a441", "optimiser": "#519e3e"}


def draw(profile: Profile, path: str | Path) -> None:
    """Bytes over time on the left, who held the peak on the right."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "a picture of a profile needs matplotlib: pip install 'gradcore[plot]'", name=error.name
        ) from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    time, kinds = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_time(time, profile)
    _draw_kinds(kinds, profile)
    figure.savefig(path, dpi=120)


def _draw_time(axes: Any, profile: Profile) -> None:
    times = [moment.seconds * 1e3 for moment in profile.timeline]
    edges = [*times, max(times[-1], profile.seconds * 1e3)]
    for phase, color in COLORS.items():
        live = [moment.live / 2**20 if moment.phase == phase else nan for moment in profile.timeline]
        if any(moment.phase == phase for moment in profile.timeline):
            axes.stairs(live, edges, fill=True, color=color, linewidth=0.5, label=phase)
    axes.axhline(profile.peak / 2**20, color="black", linewidth=0.8, linestyle="--")
    axes.set(title=f"peak {size_text(profile.peak)} on {profile.device}", xlabel="ms", ylabel="MiB", ylim=(0, None))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=len(COLORS), frameon=False)


def _draw_kinds(axes: Any, profile: Profile) -> None:
    kinds = profile.by_kind()
    bars = axes.barh(list(kinds), [size / 2**20 for size in kinds.values()], color="#888888")
    axes.bar_label(bars, [size_text(size) for size in kinds.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set(title="held at the peak", xlabel="MiB")
