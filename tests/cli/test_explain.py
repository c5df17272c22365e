"""gradcore explain."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.common import Gradcore, python


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("neuron", ["0.7311", "[0.0529, 0.1058]", "-0.0529"]),
        ("two-layer", ["0.1013", "0.4039", "[-0.4875, -0.4964]", "[[-0.0446, 0.0333],", "[-0.0714, 0.0533]]"]),
        ("xor", ["logits", "0.weight", "2.bias"]),
    ],
)
def test_examples(gradcore: Gradcore, name: str, numbers: list[str]) -> None:
    done = gradcore("explain", name)
    assert (done.code, done.err) == (0, "")
    assert [number for number in numbers if number not in done.out] == []


def test_files(gradcore: Gradcore, tmp_path: Path) -> None:
    html, svg = tmp_path / "page.html", tmp_path / "picture.svg"
    assert gradcore("explain", "xor", "--expand", "--html", html, "--svg", svg).code == 0
    assert "matmul" not in html.read_text(encoding="utf-8")
    assert "transpose(0.weight" in html.read_text(encoding="utf-8")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_wrong_usage(gradcore: Gradcore, tmp_path: Path) -> None:
    assert "neuron" in gradcore.refused("explain", "mouse")
    done = gradcore("explain", "neuron", "--html", tmp_path / "nowhere" / "page.html")
    assert done.code == 2
    assert "cannot write " in done.err
    assert gradcore.refused("explain").count("xor") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_without_unicode() -> None:
    program = "import sys; sys.argv = ['gradcore', 'explain', 'neuron']; from gradcore.cli import main; main()"
    done = python(f"import sys; sys.stdout.reconfigure(encoding='ascii'); {program}")
    assert (done.code, done.err) == (0, "")
    assert "da/dz = a * (1 - a) = 0.1966" in done.out
