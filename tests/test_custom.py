"""Ops of one's own: formulas, composites with kernels, derivatives by hand."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.errors import GradcoreError
from gradcore.core.hooks import Hook, hooked
from gradcore.testing import gradcheck

X = np.random.default_rng(0).normal(size=(3, 4))
ROW = np.random.default_rng(1).normal(size=4)


@gc.elementwise
def swish(x, b=1.0):
    """x times the logistic function of b x."""
    return x * gc.sigmoid(b * x)


def plain_swish(x, b=1.0):
    return x * gc.sigmoid(b * x)


class Names(Hook):
    def __init__(self):
        self.names = []

    def after(self, op, values, params, outputs):
        self.names.append(op.name)


# --- elementwise ------------------------------------------------------------------------------------------------------


def test_formula_has_values_and_derivatives_of_every_order():
    np.testing.assert_allclose(swish(X, ROW).numpy(), plain_swish(gc.tensor(X), ROW).numpy(), rtol=1e-14)
    gradcheck(swish, (X, ROW), order=3)


def test_one_kernel_forward_and_one_backward():
    names = Names()
    x, b = gc.tensor(X, requires_grad=True), gc.tensor(X, requires_grad=True)
    with hooked(names):
        swish(x, b).sum().backward()
    assert [name for name in names.names if "swish" in name] == ["swish", "swish_vjp"]
    assert "sigmoid" not in names.names


def test_formula_in_every_interpreter():
    mapped = gc.vmap(gc.grad(lambda x: swish(x, 2.0).sum()))(X)
    looped = np.stack([gc.grad(lambda x: plain_swish(x, 2.0).sum())(gc.tensor(x)).numpy() for x in X])
    np.testing.assert_allclose(np.asarray(mapped), looped, rtol=1e-12)
    graph = gc.make_graph(lambda x: swish(x, 2.0))(X)
    assert [node.op.name for node in graph.nodes] == ["swish"]
    np.testing.assert_array_equal(gc.compile.Program(graph)(X).numpy(), swish(X, 2.0).numpy())


def test_formula_promotes_and_broadcasts():
    assert swish(np.arange(3, dtype=np.int32)).dtype == np.float64
    assert swish(gc.tensor([1.0, 2.0], dtype="float16")).dtype == np.float16
    assert swish(np.ones((3, 1), np.float32), np.ones(2)).shape == (3, 2)
    assert swish(np.ones(2, np.float32), np.ones(2)).dtype == np.float64
    assert swish(x=gc.tensor([1.0]), b=0.0).tolist() == [0.5]


def test_documentation_and_signature_are_those_of_the_formula():
    assert swish.__name__ == "swish" and swish.__doc__.startswith("x times") and swish.__module__ == __name__


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "silu", "log_sigmoid", "mish"])
def test_derivatives_at_zero_are_those_of_the_functions_inside(name):
    function = getattr(gc, name)
    formula = gc.elementwise(lambda x: function(x) * 2.0)
    ours, theirs = formula, lambda x: function(x) * 2.0
    for _ in range(3):
        ours, theirs = gc.grad(ours), gc.grad(theirs)
        assert float(ours(gc.tensor(0.0, dtype="float64"))) == pytest.approx(
            float(theirs(gc.tensor(0.0, dtype="float64"))), abs=1e-12
        )


def test_kinks_keep_their_derivative():
    formula = gc.elementwise(lambda x: gc.relu(x) + gc.abs(x) + gc.maximum(x, 0.0))
    gradient = gc.grad(lambda x: formula(x).sum())(gc.tensor([-1.0, 0.0, 1.0]))
    assert gradient.tolist() == [-1.0, 0.5, 3.0]


def test_where_keeps_infinities_of_the_other_branch_out():
    safe_log = gc.elementwise(lambda x: gc.where(x > 0, gc.log(gc.where(x > 0, x, 1.0)), 0.0))
    assert gc.grad(lambda x: safe_log(x).sum())(gc.tensor([0.0, 2.0])).tolist() == [0.0, 0.5]


@pytest.mark.parametrize("name", ["t", "d", "x0", "switch", "y", "g"])
def test_operands_may_have_any_name(name):
    formula = eval(f"gc.elementwise(lambda {name}, b: {name} * {name} * b)", {"gc": gc})
    gradcheck(formula, (X, ROW), order=2)
    assert formula(**{name: 3.0, "b": 2.0}).tolist() == 18.0


def test_formulas_of_formulas_and_gradients():
    slope = gc.elementwise(lambda x: gc.grad(swish)(x))
    gradcheck(slope, (X,), order=2)
    np.testing.assert_allclose(slope(X).numpy(), gc.grad(lambda x: swish(x).sum())(gc.tensor(X)).numpy(), rtol=1e-12)


def test_a_boolean_formula_has_no_derivative():
    inside = gc.elementwise(lambda x, r: x * x < r)
    x = gc.tensor([0.5, 2.0], requires_grad=True)
    assert inside(x, 1.0).tolist() == [True, False] and not inside(x, 1.0).requires_grad


def test_stated_partials_are_used_and_compared():
    saved = gc.elementwise(lambda x: gc.exp(-x), partials=lambda y, x: -y)
    x = gc.tensor([0.0, 1.0], requires_grad=True)
    y = saved(x)
    assert len(y.node.saved) == 1 and y.node.saved[0] is y.data
    gradcheck(saved, (X,), order=3)
    with pytest.raises(GradcoreError, match=r"partials of <lambda> .*test_custom.py:\d+\) give .* derivative by x"):
        gc.elementwise(lambda x: gc.exp(-x), partials=lambda y, x: y)
    with pytest.raises(GradcoreError, match="are 1, but it has 2 operands"):
        gc.elementwise(lambda x, b: x * b, partials=lambda y, x, b: b)


def test_what_is_not_a_formula_is_refused():
    outside = gc.tensor(2.0)
    with pytest.raises(GradcoreError, match=r"'sum', which is not an elementwise op(.|\n)*x\.sum\(\)"):
        gc.elementwise(lambda x: x / x.sum())
    with pytest.raises(GradcoreError, match="not one of its operands"):
        gc.elementwise(lambda x: x * outside)
    with pytest.raises(GradcoreError, match=r"`if` and `while` do\).*where\(\)"):
        gc.elementwise(lambda x: x if x > 0 else 0.0)
    with pytest.raises(GradcoreError, match="2 results"):
        gc.elementwise(lambda x: (x, x * x))
    with pytest.raises(TypeError, match="fixed number"):
        gc.elementwise(lambda *x: x[0])
    with pytest.raises(GradcoreError, match=r"number 1\.0"):
        gc.elementwise(lambda x: 1.0)


def test_what_a_formula_would_lose_is_refused():
    """They would have passed for the identity: a wrong derivative, without a word."""
    hand = gc.custom_vjp(lambda x: x * 1.0)
    hand.defvjp(lambda x: (x * 1.0, None), lambda _, g: (g * 100.0,))
    with pytest.raises(GradcoreError, match="'stop_gradient', which is not an elementwise op"):
        gc.elementwise(lambda x: x * x.detach())
    with pytest.raises(GradcoreError, match=r"derivative by hand, which the formula .* would lose"):
        gc.elementwise(lambda x: hand(x) * 2.0)


def test_partials_may_be_numbers():
    line = gc.elementwise(lambda x, b: 2.0 * x + b * b, partials=lambda y, x, b: (2.0, 2.0 * b))
    gradcheck(line, (X, ROW), order=2)
    assert gc.grad(lambda x: line(x, 0.0))(gc.tensor(np.inf)).item() == 2.0


# --- fused ------------------------------------------------------------------------------------------------------------


def rms_kernel(x, *, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)


@gc.fused(kernels={"cpu": rms_kernel})
def rms(x, *, eps=1e-5):
    return x / gc.sqrt((x * x).mean(-1, keepdims=True) + eps)


def test_fused_uses_its_kernel_and_differentiates_its_meaning():
    np.testing.assert_array_equal(rms(X, eps=0.1).numpy(), rms_kernel(X, eps=0.1))
    gradcheck(lambda x: rms(x, eps=0.1), (X,), order=3)
    assert [n.op.name for n in gc.make_graph(rms)(X).nodes] == ["rms"]
    mapped = gc.vmap(rms)(gc.tensor(X)).numpy()
    np.testing.assert_allclose(mapped, rms(X).numpy(), rtol=1e-12)


def test_fused_backward_records_one_op():
    x = gc.tensor(X, requires_grad=True)
    y = rms(x)
    assert y.node.pull.op.name == "rms"
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), gc.grad(lambda x: rms(x).sum())(gc.tensor(X)).numpy(), rtol=1e-12)


def test_fused_without_kernels_and_with_several_results():
    @gc.fused
    def moments(x):
        return x.mean(), (x * x).mean()

    mean, square = moments(X)
    assert float(mean) == pytest.approx(X.mean()) and float(square) == pytest.approx((X * X).mean())
    gradcheck(moments, (X,), order=2)


def test_a_kernel_that_returns_something_else_is_refused():
    wrong = gc.fused(lambda x: x * 2.0, kernels={"cpu": lambda x: x.sum()})
    with pytest.raises(
        GradcoreError, match=r"cpu kernel of <lambda> .*returned float64\[\], its meaning float64\[3,4\]|3, 4"
    ):
        wrong(X)
    with pytest.raises(ValueError, match="read-only"):
        gc.fused(lambda x: x * 2.0, kernels={"cpu": lambda x: np.multiply(x, 2.0, out=x)})(X)


def test_a_meaning_that_closes_over_a_parameter_is_refused():
    w = gc.tensor(2.0, requires_grad=True)
    with pytest.raises(GradcoreError, match="closes over"):
        gc.fused(lambda x: x * w)(X)
    for transform in (gc.vmap, gc.grad, lambda f: lambda x: gc.jvp(f, (x,), (x,))):
        with pytest.raises(GradcoreError, match="closes over"):
            transform(lambda v: gc.fused(lambda x: x * v)(2.0).sum())(gc.tensor([2.0])[:])


@pytest.mark.parametrize(
    "meaning", [lambda x: None, lambda x: 2.0, lambda x: {"y": x}, lambda x: (x, (x, x)), lambda x: ()]
)
def test_a_meaning_returns_tensors(meaning):
    with pytest.raises(TypeError, match=r"test_custom.py:\d+\) must return a tensor, or a tuple of tensors"):
        gc.fused(meaning)(X)


# --- custom_vjp -------------------------------------------------------------------------------------------------------


def opaque():
    @gc.custom_vjp
    def cube(x):
        return gc.asarray(x.numpy() ** 3)

    cube.defvjp(lambda x: (cube(x), x.numpy()), lambda x, g: (gc.asarray(3 * x**2 * g.numpy()),))
    return cube


def transparent():
    @gc.custom_vjp
    def cube(x):
        return x * x * x

    cube.defvjp(lambda x: (cube(x), x), lambda x, g: (3.0 * x * x * g,))
    return cube


def test_an_opaque_function_has_a_first_derivative_and_refuses_the_second():
    cube = opaque()
    x = gc.tensor(X, requires_grad=True)
    cube(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * X**2)
    gradcheck(cube, (X,), order=1, modes=("reverse",))
    with pytest.raises(GradcoreError, match="numpy"):
        gc.grad(gc.grad(cube))(gc.tensor(2.0))


def test_rules_made_of_ops_have_every_order_and_batch():
    cube = transparent()
    gradcheck(cube, (X,), order=3, modes=("reverse",))
    per_row = gc.vmap(gc.grad(lambda x: cube(x).sum()))(gc.tensor(X)).numpy()
    np.testing.assert_allclose(per_row, 3 * X**2)
    outside = gc.grad(lambda x: gc.vmap(cube)(x).sum())(gc.tensor(X)).numpy()
    np.testing.assert_allclose(outside, 3 * X**2)


def test_the_rule_and_not_the_function_is_differentiated_under_vmap():
    @gc.custom_vjp
    def scaled(x, w):
        return x * w

    scaled.defvjp(lambda x, w: (x * w, (x, w)), lambda saved, g: (g * 100.0, g * saved[0]))
    x, w = gc.tensor(X), gc.tensor(ROW)
    gx, gw = gc.grad(lambda x, w: gc.vmap(scaled, (0, None))(x, w).sum(), (0, 1))(x, w)
    np.testing.assert_array_equal(gx.numpy(), np.full((3, 4), 100.0))
    np.testing.assert_allclose(gw.numpy(), X.sum(0))


def test_trees_static_arguments_and_keywords():
    @gc.custom_vjp
    def model(parameters, x, kind="square"):
        return {"y": parameters["w"] * x * (2.0 if kind == "double" else 1.0)}

    def fwd(parameters, x, kind):
        return model(parameters, x, kind), (parameters, x, kind)

    def bwd(saved, g):
        _, x, kind = saved
        factor = 2.0 if kind == "double" else 1.0
        return {"w": g["y"] * x * factor}, None, None

    model.defvjp(fwd, bwd)
    w, x = gc.tensor(ROW), gc.tensor(X[0])
    gradient, none = gc.grad(lambda p, x: model(p, x, kind="double")["y"].sum(), (0, 1))({"w": w}, x)
    np.testing.assert_allclose(gradient["w"].numpy(), 2 * X[0])
    assert not none.numpy().any()


def test_forward_mode_of_custom_vjp_names_the_alternative():
    with pytest.raises(GradcoreError, match=r"cube \(.*test_custom.py:\d+\).*custom_jvp"):
        gc.jvp(transparent(), (gc.tensor(1.0),), (gc.tensor(1.0),))
    with pytest.raises(GradcoreError, match=r"no rule yet.*defvjp"):
        gc.custom_vjp(lambda x: x)(gc.tensor(1.0))


def test_hessian_is_forward_over_reverse():
    cube = transparent()
    cube.defvjp(lambda x: (x * x * x, x), cube.rules["bwd"])  # in forward mode, `fwd` must not call the function itself
    assert float(gc.hessian(cube)(gc.tensor(2.0))) == 12.0


@pytest.mark.parametrize(
    ("bwd", "message"),
    [
        (lambda r, g: g, "must return a tuple"),
        (lambda r, g: (g, g), "2 parts"),
        (lambda r, g: (g.sum(),), r"float64\(?\[?.*same shape"),
        (lambda r, g: (g.astype("float32"),), "same shape and dtype"),
        (lambda r, g: ({"x": g},), "argument 0"),
    ],
)
def test_wrong_cotangents_name_the_rule_and_its_line(bwd, message):
    f = gc.custom_vjp(lambda x: x * 2.0)
    f.defvjp(lambda x: (x * 2.0, None), bwd)
    x = gc.tensor(X, requires_grad=True)
    with pytest.raises(GradcoreError, match=rf"test_custom.py:\d+(.|\n)*{message}|{message}"):
        f(x).sum().backward()


def test_a_parameter_from_outside_is_refused():
    w = gc.tensor(2.0, requires_grad=True)
    f = gc.custom_vjp(lambda x: x * w)
    f.defvjp(lambda x: (x * w, None), lambda _, g: (g * w,))
    for x in (gc.tensor(3.0), gc.tensor(3.0, requires_grad=True)):
        with pytest.raises(GradcoreError, match="covers its arguments only"):
            f(x)

    def outer(v):
        h = gc.custom_vjp(lambda x: x * v)
        h.defvjp(lambda x: (x * v, None), lambda _, g: (g,))
        return h(v) + h(gc.tensor(1.0))

    with pytest.raises(GradcoreError, match="covers its arguments only"):
        gc.grad(outer)(gc.tensor(2.0))


@pytest.mark.parametrize("decorator", [gc.custom_vjp, gc.custom_jvp])
def test_bodies_that_would_lose_the_rule_are_refused(decorator):
    hand = decorator(lambda x: x * 1.0)
    define = hand.defvjp if decorator is gc.custom_vjp else lambda fwd, bwd: hand.defjvp(lambda p, t: (p[0], t[0]))
    define(lambda x: (x * 1.0, None), lambda _, g: (g,))
    with pytest.raises(GradcoreError, match=r"test_custom.py:\d+\) has a derivative by hand, which scan would lose"):
        gc.grad(lambda x: gc.scan(lambda s, v: (s + hand(v), s), gc.tensor(0.0, dtype="float64"), x)[0])(X[0])
    with pytest.raises(GradcoreError, match="which cond would lose"):
        gc.cond(gc.tensor(True), hand, lambda x: x, gc.tensor(X))


# --- custom_jvp -------------------------------------------------------------------------------------------------------


def softplus():
    @gc.custom_jvp
    def function(x, scale):
        return gc.log1p(gc.exp(x)) * scale

    @function.defjvp
    def rule(primals, tangents):
        (x, scale), (dx, ds) = primals, tangents
        y = function(x, scale)
        return y, dx * gc.sigmoid(x) * scale + ds * gc.log1p(gc.exp(x))

    return function


def test_custom_jvp_serves_both_modes_to_any_order():
    gradcheck(softplus(), (X, ROW), order=3)


def test_custom_jvp_in_vmap_and_backward():
    function = softplus()
    x = gc.tensor(X, requires_grad=True)
    function(x, 2.0).sum().backward()
    expected = 2 / (1 + np.exp(-X))
    np.testing.assert_allclose(x.grad.numpy(), expected)
    rows = gc.vmap(gc.grad(lambda x: function(x, gc.tensor(2.0, dtype="float64")).sum()))(gc.tensor(X))
    np.testing.assert_allclose(rows.numpy(), expected)
    outside = gc.grad(lambda x: gc.vmap(function, (0, None))(x, gc.tensor(ROW)).sum())(gc.tensor(X))
    np.testing.assert_allclose(outside.numpy(), expected / 2 * ROW)


def test_a_rule_that_is_not_linear_is_refused_in_reverse_mode():
    f = gc.custom_jvp(lambda x: x * 1.0)
    f.defjvp(lambda primals, tangents: (primals[0] * 1.0, tangents[0] * tangents[0]))
    with pytest.raises(GradcoreError, match="not linear"):
        gc.grad(lambda x: f(x))(gc.tensor(2.0))


@pytest.mark.parametrize("tangent", [lambda t: t + 1.0, gc.abs, lambda t: t * t, lambda t: gc.where(t > 0, t, 2.0 * t)])
def test_a_rule_that_is_not_linear_is_refused_in_both_modes(tangent):
    f = gc.custom_jvp(lambda x: x * 1.0)
    for _ in range(2):
        f.defjvp(lambda primals, tangents: (primals[0] * 1.0, tangent(tangents[0])))
        with pytest.raises(GradcoreError, match=r"test_custom.py:\d+\) is not linear in the tangents"):
            gc.jvp(f, (gc.tensor(X),), (gc.tensor(X),))
        with pytest.raises(GradcoreError, match=r"test_custom.py:\d+\) is not linear in the tangents"):
            gc.grad(lambda x: f(x).sum())(gc.tensor(X))


def test_a_rule_that_reads_a_tensor_of_the_same_transform_is_refused():
    def outer(v):
        f = gc.custom_jvp(lambda x: x * 2.0)
        f.defjvp(lambda primals, tangents: (primals[0] * 2.0, tangents[0] * v))
        return f(v)

    with pytest.raises(GradcoreError, match="covers its arguments only"):
        gc.jvp(outer, (gc.tensor(X),), (gc.tensor(X),))
    with pytest.raises(GradcoreError, match="LeakedTensorError"):
        gc.grad(lambda v: outer(v).sum())(gc.tensor(X))


def test_a_tangent_that_does_not_fit_is_refused():
    f = gc.custom_jvp(lambda x: x * 1.0)
    f.defjvp(lambda primals, tangents: (primals[0] * 1.0, tangents[0].sum()))
    with pytest.raises(TypeError, match=r"test_custom.py:\d+.*tangent of float64"):
        gc.jvp(f, (X,), (X,))


# --- the page of the documentation ------------------------------------------------------------------------------------


def test_the_documentation_runs_as_a_test_suite(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "custom_ops.md").read_text()
    page = tmp_path / "test_page.py"
    page.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)))
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
