"""gradcore ops, the rows that it lists, and the printed page."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

import gradcore as gradcore_package
import gradcore.ops as gradcore_ops
from cli.common import Gradcore
from gradcore.core.op import OPS
from gradcore.ops.print_table import PAGE, page
from gradcore.ops.table import details_of, row_of, rows
from gradcore.testing.cases import cases_of


def test_the_printed_page_is_current() -> None:
    expected = page()
    printed = Path(__file__).resolve().parents[2] / PAGE
    assert printed.read_text(encoding="utf-8") == expected, "run `python -m gradcore.ops.print_table`"


def test_every_op_has_a_row_and_a_line_of_doc() -> None:
    table = rows()
    assert sorted(row.name for row in table) == sorted(OPS)
    assert [row.name for row in table if not row.doc] == []


def test_orders_are_what_the_tests_do() -> None:
    differentiable = defaultdict(bool)
    for case in cases_of():
        differentiable[case.op.name] |= case.differentiable()
    assert {row.name: row.order is not None for row in rows()} == differentiable


def test_what_rows_say() -> None:
    assert row_of(OPS["sigmoid"]).saved == ("result",)
    assert row_of(OPS["mul"]).saved == ("a", "b")
    assert row_of(OPS["sum"]).saved == ()
    assert row_of(OPS["less"]).order is None
    assert row_of(OPS["exp"]).devices["cuda"] == "derived kernel"
    assert row_of(OPS["softmax"]).devices["cuda"] == "written kernel"
    assert row_of(OPS["matmul"]).devices["cuda"] == "CuPy"


@pytest.mark.parametrize("name", sorted(OPS))
def test_details_of_every_op(name: str) -> None:
    details = details_of(OPS[name])
    assert len(details.samples) == len(OPS[name].samples) > 0
    assert (details.meaning is None) == (OPS[name].meaning is None)


def test_the_list(gradcore: Gradcore) -> None:
    done = gradcore("ops")
    assert done.code == 0
    assert listed(done.out) == OPS.keys()
    assert "\n# Matrix products\nmatmul " in done.out
    assert {OPS[name].family.value for name in listed(gradcore("ops", "--family", "bilinear").out)} == {"bilinear"}


def listed(out: str) -> set[str]:
    """The first words of the lines below the heads of the columns, without headings."""
    return {line.split()[0] for line in out.splitlines()[1:] if line and not line.startswith("#")}


def test_the_list_fits_the_terminal(gradcore: Gradcore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, gradcore("ops").out.splitlines())) > 100
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    lines = gradcore("ops").out.splitlines()
    assert listed("\n".join(lines)) == OPS.keys()
    assert 70 < max(map(len, lines)) <= 80


def test_public_names_are_those_of_the_page() -> None:
    text = page()
    assert [name for name in gradcore_ops.__all__ if f"`{name}(" not in text] == []
    assert [name for name in gradcore_ops.__all__ if not hasattr(gradcore_package, name)] == []
    assert "`eye(n, m=None, k=0, dtype=float32, device=None)`" in text
    assert "| *`softmax_vjp(g, y)`* |" in text
    assert ">>>" not in text


def test_one_op(gradcore: Gradcore) -> None:
    out = gradcore("ops", "sigmoid").out
    for text in ("d/dx = y * (1 - y)", "saved        result", "float64[3, 4]", "out0[i] = g * (y * (T(1) - y));"):
        assert text in out
    assert "graph cross_entropy(v0: float64[3,4], v1: int64[3]):" in gradcore("ops", "cross_entropy").out


def test_json(gradcore: Gradcore) -> None:
    assert {row["name"] for row in json.loads(gradcore("ops", "--json").out)} == OPS.keys()
    one = json.loads(gradcore("ops", "tanh", "--json").out)
    assert one["derivatives"] == {"x": ["1 - y * y"]}
    assert (one["family"], one["order"]) == ("elementwise", 3)


def test_unknown_names(gradcore: Gradcore) -> None:
    assert "did you mean sigmoid" in gradcore.refused("ops", "sigmod")
    assert "`gradcore ops` lists all" in gradcore.refused("ops", "xyzzy")
    assert "median is a function made of other ops" in gradcore.refused("ops", "median")
    assert gradcore("ops", "sigmoid", "--family", "linear").code == 0
