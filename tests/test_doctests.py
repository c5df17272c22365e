"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from importlib.util import find_spec

import pytest

import gradcore


def _is_for_others(name: str) -> bool:
    """Does it need a program of its own, or CuPy where that is not installed?"""
    return "__main__" in name or (name.startswith("gradcore.backend.cuda.") and not find_spec("cupy"))


WALK = pkgutil.walk_packages(gradcore.__path__, "gradcore.")
NAMES = sorted(module.name for module in WALK if not _is_for_others(module.name))


@pytest.mark.parametrize("name", ["gradcore", *NAMES])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def _is_generated(value: object) -> bool:
    code = getattr(value, "__code__", None)
    return code is not None and code.co_filename.startswith("<gradcore op")


GENERATED = sorted(name for name in dir(gradcore) if _is_generated(getattr(gradcore, name)))


@pytest.mark.parametrize("name", GENERATED)
def test_examples_of_generated_functions(name: str) -> None:
    """They have globals of their own, so `testmod` takes them for functions of another module."""
    (test,) = doctest.DocTestFinder().find(getattr(gradcore, name), name, module=False, globs={})
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.attempted and not result.failed


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in NAMES]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) > 20
