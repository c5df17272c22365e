"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gradcore

NAMES = sorted(m.name for m in pkgutil.walk_packages(gradcore.__path__, "gradcore.") if "__main__" not in m.name)


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
