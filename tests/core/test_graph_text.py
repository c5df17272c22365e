"""Graphs as text: what is written is read back, and gives the same bits; and as drawings."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import GradcoreError
from gradcore.core.graph import Graph
from gradcore.testing.cases import cases_of, cotangents_for, pulled
from gradcore.testing.compare import assert_all, assert_same_bits
from gradcore.testing.staging import interpret


def round_trip(graph, cells=None):
    text = graph.to_text()
    again = Graph.from_text(text, cells)
    assert str(again) == str(graph)
    assert again.to_text() == text
    assert (again.in_structure, again.out_structure) == (graph.in_structure, graph.out_structure)
    assert [node.params for node in again.nodes] == [node.params for node in graph.nodes]
    assert [var.aval for var in again.constants] == [var.aval for var in graph.constants]
    return again


@pytest.mark.parametrize("case", cases_of(), ids=str)
def test_every_op_and_its_vjp(case):
    functions = [(case.call, case.operands())]
    if case.differentiable():
        operands = case.operands()
        functions.append((pulled(case, len(operands)), [*operands, *cotangents_for(case, operands)]))
    for function, operands in functions:
        graph = gc.make_graph(function)(*operands)
        again = round_trip(graph)
        known, read = interpret(graph, operands, "graph"), interpret(again, operands, "graph that was read")
        want, got = [known.get(v, v) for v in graph.outputs], [read.get(v, v) for v in again.outputs]
        assert_all(assert_same_bits, got, want, str(case))


def training(seed=0):
    rng = np.random.default_rng(seed)
    gc.random.seed(0)
    model = gc.nn.Sequential(
        gc.nn.Linear(4, 8), gc.nn.LayerNorm(8), gc.nn.GELU(), gc.nn.Dropout(0.2), gc.nn.Linear(8, 3)
    )
    optimizer = gc.optim.AdamW(model.parameters(), lr=1e-2)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    labels = rng.integers(0, 3, 5)

    def step(batch):
        loss = gc.cross_entropy(model(batch["x"]), batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    return model, step, {"x": x, "labels": labels}


def test_a_training_step():
    results = []
    for read_back in (False, True):
        model, step, batch = training()
        graph = gc.make_graph(step)(batch)
        if read_back:
            graph = round_trip(graph, {slot.cell.name: slot.cell for slot in graph.cells})
        program = gc.compile.Program(graph)
        losses = [float(program(batch)["loss"]) for _ in range(4)]
        results.append((losses, [p.numpy().copy() for p in model.parameters()]))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_second_derivatives_and_formulas_of_users():
    swish = gc.elementwise(lambda x, b: x * gc.sigmoid(b * x))
    exact = gc.elementwise(lambda x: gc.exp(-x), partials=lambda y, x: -y)

    def f(x):
        return gc.grad(gc.grad(lambda x: swish(exact(x), 2.0)))(x)

    graph = gc.make_graph(f)(np.array(0.3))
    again = round_trip(graph)
    assert float(gc.compile.Program(again)(np.array(0.3))) == float(gc.compile.Program(graph)(np.array(0.3)))
    formula = Graph.from_text(gc.make_graph(exact)(np.array(0.3)).to_text()).nodes[0].op
    assert [str(e) for e in formula.spec.rows()[0]] == ["-y"]


def test_loops_and_branches_keep_their_bodies():
    def f(carry, xs):
        total, parts = gc.scan(lambda c, x: (c * gc.sin(x), c + x), carry, xs)
        return gc.cond(total > 0, lambda y: y.sum(), lambda y: y.mean(), parts)

    for function in (f, gc.grad(f, (0, 1))):
        graph = gc.make_graph(function)(np.array(1.0), np.ones(4))
        again = Graph.from_text(graph.to_text())
        assert again.to_text() == graph.to_text()
        known, read = (interpret(g, [np.array(1.0), np.ones(4)], "graph") for g in (graph, again))
        want, got = [known[v] for v in graph.outputs], [read[v] for v in again.outputs]
        assert_all(assert_same_bits, got, want, "loop")


def test_bodies_are_printed_below_their_node():
    def step(c, x):
        return gc.cond(x > 0, lambda c: c * x, lambda c: c, c), None

    lines = str(gc.make_graph(lambda x: gc.scan(step, gc.tensor(1.0), x)[0])(gc.ones(3))).splitlines()
    assert [line for line in lines if "graph" in line or "mul" in line] == [
        "graph <lambda>(v0: float32[3]):",
        "    graph scan(v0: float32[], v1: float32[]):",
        "        graph cond(v1: float32[], v0: float32[]):",
        "          v2: float32[] = mul(v0, v1)",
        "        graph cond(v-1: float32[], v0: float32[]):",
    ]


def test_constants_keep_their_bits_and_layout():
    constants = [
        np.array([[0.0, -0.0, np.nan], [np.inf, 1e-40, 3]], np.float32).T,
        np.broadcast_to(np.array(2.0), (900, 900)),
    ]
    graph = gc.make_graph(lambda x: tuple(x * gc.asarray(c) for c in constants))(np.array(1.0))
    again = round_trip(graph)
    for a, b in zip(graph.constants.values(), again.constants.values(), strict=True):
        assert_same_bits(b, a, "constant")
        assert a.strides == b.strides


def test_numbers_and_trees_of_arguments():
    graph = gc.make_graph(lambda p, scale, rest: [p["w"] * scale, (rest[0],)])(
        {"w": np.ones(2)}, float("inf"), [np.ones(3)]
    )
    again = round_trip(graph)
    assert again.sources[1] == float("inf")


def test_what_has_no_text_form_says_so():
    big = gc.asarray(np.zeros(5000))
    with pytest.raises(GradcoreError, match=r"constant of float64\[5000\].*argument"):
        gc.make_graph(lambda x: x + big)(np.zeros(5000)).to_text()
    composite = gc.fused(lambda x: x * 2.0)
    with pytest.raises(GradcoreError, match=r"'<lambda>', which is Python code"):
        gc.make_graph(composite)(np.zeros(2)).to_text()
    a, b = gc.Cell(gc.zeros(2), "same"), gc.Cell(gc.zeros(2), "same")
    with pytest.raises(GradcoreError, match="name of its own"):
        gc.make_graph(lambda: a.read() + b.read())().to_text()


def test_bad_text_names_the_line():
    text = gc.make_graph(gc.sin)(np.zeros(2)).to_text()
    with pytest.raises(GradcoreError, match="starts with"):
        Graph.from_text("digraph {}")
    with pytest.raises(GradcoreError, match=r"line 8 .*__import__"):
        Graph.from_text(text.replace("node (", "node __import__('os').getcwd() or ("))
    with pytest.raises(GradcoreError, match="'sine', which is not in the op table"):
        Graph.from_text(text.replace("'sin'", "'sine'"))
    cell = gc.Cell(gc.zeros(2), "w")
    text = gc.make_graph(lambda: cell.read() * 2.0)().to_text()
    with pytest.raises(GradcoreError, match="cell 'w'"):
        Graph.from_text(text)
    with pytest.raises(GradcoreError, match="captured with"):
        Graph.from_text(text, {"w": gc.Cell(gc.zeros(3), "w")})


def test_a_drawing_names_every_op_and_cell():
    _, step, batch = training()
    graph = gc.make_graph(step)(batch)
    dot = graph.dot()
    assert dot.startswith('digraph "step" {') and dot.endswith("}")
    for node in graph.nodes:
        assert f'label="{node.op.name}' in dot
    for slot in graph.cells:
        assert slot.cell.name in dot
    assert dot.count("{") == dot.count("}") == 1
