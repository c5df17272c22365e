"""gradcore profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.common import Gradcore

pytest.importorskip("typer", reason="the cli extra is not installed")
pytest.importorskip("sklearn", reason="the demo extra is not installed")


def test_the_table(gradcore: Gradcore) -> None:
    done = gradcore("profile", "digits", "--device", "cpu")
    assert done.code == 0
    for words in ("on cpu, of", "saved for backward", "optimiser state", "0.weight", "cross_entropy_vjp", "adamw"):
        assert words in done.out
    assert "main.py" not in done.out, "the user has no line here"


def test_files(gradcore: Gradcore, tmp_path: Path) -> None:
    names = {option: tmp_path / f"{option}.json" for option in ("json", "trace")}
    options = [word for option, path in names.items() for word in (f"--{option}", path)]
    assert gradcore("profile", "wine", "--device", "cpu", "--quiet", *options) == (0, "", "")
    found = json.loads(names["json"].read_text())
    assert found["peak"] == sum(holder["bytes"] for holder in found["holders_at_peak"])
    assert json.loads(names["trace"].read_text())["traceEvents"]


def test_depth_makes_a_residual_network(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = ("--device", "cpu", "--hidden", 16, "--batch-size", 100, "--steps", 1, "--json", path, "--quiet")
    peaks = []
    for depth in (2, 6):
        assert gradcore("profile", "digits", "--depth", depth, *options).code == 0
        found = json.loads(path.read_text())
        calls = {(row["op"], row["phase"]): row["calls"] for row in found["ops"]}
        assert calls["layer_norm", "forward"] == calls["dropout", "forward"] == depth
        assert calls["linear", "forward"] == 2 * depth + 2
        peaks.append(found["peak"])
    assert peaks[1] - peaks[0] > 4 * 3 * 4 * 100 * 16


def test_a_picture(gradcore: Gradcore, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    path = tmp_path / "memory.png"
    assert gradcore("profile", "wine", "--device", "cpu", "--plot", path, "--quiet").code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_same_bytes_again(gradcore: Gradcore, tmp_path: Path) -> None:
    peaks = set()
    for _ in range(2):
        gradcore("profile", "breast-cancer", "--device", "cpu", "--json", tmp_path / "p.json", "--quiet")
        found = json.loads((tmp_path / "p.json").read_text())
        peaks.add(found["peak"] - found["resident"])
    assert len(peaks) == 1


# --- --compare --------------------------------------------------------------------------------------------------------

SMALL = ("--device", "cpu", "--hidden", 16, "--batch-size", 300, "--depth", 6)
CHOICES = ["none", "sqrt", "revolve:2", "budget:60%"]


def test_ways_to_checkpoint_side_by_side(gradcore: Gradcore, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    done = gradcore("profile", "digits", *SMALL, "--compare", ", ".join([*CHOICES, "none"]), "--json", path)
    assert done.code == 0
    for words in ("of none", "stages run again", "same gradients", *CHOICES):
        assert words in done.out
    rows = json.loads(path.read_text())
    assert [row["choice"] for row in rows] == CHOICES, "each once"
    peaks = {row["choice"]: row["peak"] for row in rows}
    extra = {row["choice"]: row["extra"] for row in rows}
    assert peaks["revolve:2"] < peaks["sqrt"] < peaks["none"]
    assert peaks["budget:60%"] <= 0.6 * peaks["none"]
    assert extra["none"] == 0 < extra["sqrt"] < extra["revolve:2"]
    assert all(row["same_bits"] and row["seconds"] > 0 for row in rows)


def test_a_picture_of_ways_to_checkpoint(gradcore: Gradcore, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    path = tmp_path / "rows.png"
    assert gradcore("profile", "digits", *SMALL, "--compare", "none,sqrt", "--plot", path, "--quiet").code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_budget_that_is_too_small_says_the_least(gradcore: Gradcore) -> None:
    line = gradcore.refused("profile", "digits", *SMALL, "--compare", "none,budget:1%")
    assert "budget:1% is too little for this network; the least is " in line and "gradients" in line


@pytest.mark.parametrize("choice", ["rvolve:4", "sqrt:2", "revolve", "revolve:0", "budget:", "budget:5 apples", ""])
def test_choices_are_looked_at_before_anything_else(
    gradcore: Gradcore, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    from gradcore.cli import profiling

    monkeypatch.setattr(profiling, "trial", lambda *_: pytest.fail("work was done"))
    line = gradcore.refused("profile", "digits", "--compare", f"none,{choice}")
    assert "--compare takes none, sqrt, revolve:SLOTS" in line and repr(choice) in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--depth", 0), "depth"),
        (("--depth", 3, "--hidden", ""), "--depth needs the width of a hidden layer"),
        (("--steps", 0), "steps"),
        (("--compare", "none", "--trace", "t.json"), "--trace is of one step"),
        (("--plot", "memory.txt"), "must end in one of .png"),
        (("--device", "tpu"), "no device is named 'tpu'"),
        (("--json", "/nowhere/p.json"), "cannot write /nowhere/p.json"),
    ],
)
def test_what_is_refused(gradcore: Gradcore, arguments: tuple[object, ...], words: str) -> None:
    assert words in gradcore.refused("profile", "digits", *arguments)
