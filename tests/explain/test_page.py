"""Pictures and pages: the numbers of the worked examples, well-formed, without anything from outside."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import gradcore as gc
from gradcore.explanation.examples import EXAMPLES, example
from gradcore.explanation.numbers import block

WORKED = {  # what tests/test_worked_examples.py prints
    "neuron": ["0.731", "0.0529", "0.1058", "-0.0529"],
    "two-layer": ["0.1013", "0.4039", "-0.4875", "-0.4964", "-0.0446", "0.0333", "-0.0714", "0.0533"],
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def missing(numbers: list[str], text: str) -> list[str]:
    return [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}", text)]


@pytest.mark.parametrize("name", WORKED)
def test_the_numbers_of_the_worked_examples(name: str) -> None:
    explanation = example(name)
    for text in (explanation.html(), explanation.svg(), explanation.text(False)):
        assert missing(WORKED[name], text) == []
    assert missing(["0.1234"], explanation.html()) == ["0.1234"]


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
def test_pictures_are_well_formed(name: str, expand: bool) -> None:
    explanation = example(name, expand)
    svg = ElementTree.fromstring(explanation.svg())
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in svg.iter(f"{space}text")]
    assert svg.findtext(f"{space}title") == explanation.title
    names = {value.name for value in explanation.graph.values}
    assert all(any(name in (text or "") for text in texts) for name in names)
    width = float(svg.attrib["width"])
    assert all(0 <= float(text.attrib["x"]) <= width for text in svg.iter(f"{space}text"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_pages_need_nothing_from_outside(name: str) -> None:
    html = example(name).html()
    assert html.startswith("<!DOCTYPE html>")
    assert f"<title>{example(name).title}</title>" in html
    assert "<script" not in html
    assert re.findall(r"(?:src|href)=|url\(|@import", html) == []
    assert set(re.findall(r"https?://[^\"' <]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "local derivative × incoming gradient" in html
    assert "prefers-color-scheme: dark" in html


def test_names_are_escaped() -> None:
    explanation = gc.explain(lambda values: values["<b>&"] * values["<b>&"], {"<b>&": 2.0})
    assert "<b>" not in explanation.html()
    assert "values.&lt;b&gt;&amp;" in explanation.html()
    ElementTree.fromstring(explanation.svg())


def test_save(tmp_path: Path) -> None:
    explanation = example("neuron")
    explanation.save(tmp_path / "page.html")
    explanation.save(str(tmp_path / "picture.svg"))
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == explanation.html()
    assert (tmp_path / "picture.svg").read_text(encoding="utf-8") == explanation.svg()
    with pytest.raises(ValueError, match=r"\.html or \.svg, not as 'page.pdf'"):
        explanation.save(tmp_path / "page.pdf")


def test_a_notebook_shows_the_page() -> None:
    shown = example("neuron")._repr_html_()
    assert shown.startswith('<div class="gradcore">')
    assert missing(WORKED["neuron"], shown) == []


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = example("neuron")
    plain, painted = explanation.text(False), explanation.text(True)
    assert "\033" not in plain
    assert re.sub(r"\033\[\d+m", "", painted) == plain
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert str(explanation) == plain  # no terminal
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert str(explanation) == painted
    monkeypatch.setenv("NO_COLOR", "1")
    assert str(explanation) == plain


def test_wide_pictures_shrink_and_then_scroll() -> None:
    page = example("two-layer").html()
    width = int(re.search(r'width="(\d+)"', page)[1])  # type: ignore[index]
    assert f"min-width: {0.7 * width:.0f}px" in page
    assert 'tabindex="0"' in page


def test_a_long_chain_is_drawn_soon() -> None:
    def chain(x: Any) -> Any:
        h = x
        for i in range(40):
            h = gc.tanh(h * x + i)
        return h

    svg = ElementTree.fromstring(gc.explain(chain, 0.3).svg())
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}rect"))) == 122


def test_large_arrays_are_summarised() -> None:
    large = np.linspace(-1, 1, 500, dtype=np.float32).reshape(5, 100)
    assert block(large) == ["float32[5, 100]", "-1 to 1"]
    explanation = gc.explain(lambda x: (x * x).mean(), large)
    assert "float32[5, 100]" in explanation.text(False)
    assert len(explanation.html()) < 20_000


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", WORKED)
def test_a_browser_shows_the_numbers(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    example(name).save(page)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run([str(CHROMIUM), *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert missing(WORKED[name], done.stdout) == []
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in done.stdout
