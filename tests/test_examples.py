"""The programs in `examples/` that are plain NumPy code reach what they state."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> list[float]:
    """All numbers that an example prints, in order."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?", capsys.readouterr().out)]


def test_rosenbrock(capsys: pytest.CaptureFixture[str]) -> None:
    distance, iterations = printed("rosenbrock", capsys)
    assert distance < 1e-8
    assert iterations < 50


def test_logistic_regression(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the demo extra is not installed")
    accuracy, iterations, difference = printed("logistic_regression", capsys)
    assert accuracy > 98
    assert iterations < 20
    assert difference < 1e-5


def test_gaussian_process(capsys: pytest.CaptureFixture[str]) -> None:
    """The amplitude of so few values is known to a third only, the noise well."""
    length, drawn, amplitude, _, noise, _, error, of_data = printed("gaussian_process", capsys)
    assert length == pytest.approx(drawn, rel=0.3)
    assert 0.8 < amplitude < 2.2
    assert noise == pytest.approx(0.2, rel=0.2)
    assert error < 0.7 * of_data


def test_spring_chain(capsys: pytest.CaptureFixture[str]) -> None:
    before, after, gradients, steps = printed("spring_chain", capsys)
    assert before > 2
    assert after < 0.02
    assert gradients < 40
    assert steps == 100


def test_mixture_model(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = printed("mixture_model", capsys)
    for at in (0, 6, 12):
        assert numbers[at : at + 3] == pytest.approx(numbers[at + 3 : at + 6], abs=0.05)
