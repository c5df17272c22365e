"""The house of DESIGN section 2: no import runs upward, none in a circle, no file or function is too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "version": 0,
    "kernels": 0,
    "backend": 1,
    "core": 2,
    "autodiff": 3,
    "ops": 4,
    "linalg": 5,
    "special": 5,
    "numpy_protocol": 5,
    "tensor": 5,
    "factories": 5,
    "cuda": 5,
    "custom": 6,
    "dlpack": 5,
    "random": 6,
    "memory": 6,
    "compile": 6,
    "testing": 6,
    "nn": 7,
    "optim": 7,
    "data": 7,
    "io": 7,
    "explanation": 8,
    "train": 8,
    "cli": 9,
    "__main__": 10,
}
FILES = sorted([*ROOT.glob("gradcore/**/*.py"), *ROOT.glob("kernels/**/*.py")])
IDS = [str(path.relative_to(ROOT)) for path in FILES]


def module_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = ["gradcore", *parts] if parts[0] == "kernels" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of ours that a file imports, in functions as well; `if TYPE_CHECKING` blocks do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("gradcore"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradcore"):
            names = [f"{node.module}.{a.name}" for a in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)
        else:
            yield from imported(node)


IMPORTS = {name: set(imported(ast.parse(path.read_text()))) for name, path in MODULES.items()}


@pytest.mark.parametrize("name", [n for n in MODULES if room(n)])
def test_imports_run_downward(name: str) -> None:
    floor = FLOORS[room(name)]
    upward = [other for other in IMPORTS[name] if room(other) and FLOORS[room(other)] > floor]
    assert not upward


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in MODULES} - {""} <= FLOORS.keys()


def test_no_circles() -> None:
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in finished:
            for other in IMPORTS[name] & MODULES.keys():
                visit(other, (*path, name))
            finished.add(name)

    for name in MODULES:
        visit(name, ())


def test_the_check_for_circles_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMPORTS, "gradcore.core.op", {"gradcore.core.bind"})
    with pytest.raises(AssertionError, match=r"gradcore\.core\.op"):
        test_no_circles()


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 60, f"{node.name} at line {node.lineno} is too long"


def test_only_backend_imports_cupy() -> None:
    for name, path in MODULES.items():
        lines = [line.strip() for line in path.read_text().splitlines()]
        assert not any(line.startswith(("import cupy", "from cupy")) for line in lines) or room(name) == "backend", name
