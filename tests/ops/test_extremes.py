"""Zeros, huge and tiny numbers, infinities and NaN: no overflow and no NaN where the function is finite."""

import numpy as np
import pytest

import gradcore as gc
from gradcore.core.op import OPS, Family

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.skipif(np.finfo(np.longdouble).maxexp <= 1024, reason="long double is no wider than double here"),
]

FINITE = [0.0, -0.0, 1e-300, -1e-300, 0.5, -0.5, 30.0, -30.0, 90.0, -90.0, 700.0, -700.0, 800.0, -800.0, 1e4, -1e4]
EXTREMES = [*FINITE, 1e200, -1e200, np.inf, -np.inf, np.nan]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def phi(x):
    """The normal distribution function; float64 is wide enough."""
    from scipy.special import ndtr

    return ndtr(x.astype(np.float64)).astype(np.longdouble)


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.longdouble(np.pi))


# name -> the function and its derivative, right in long double (whose exponents reach 1e4932)
REFERENCE = {
    "abs": (np.abs, np.sign),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "exp": (np.exp, np.exp),
    "gelu": (lambda x: x * phi(x), lambda x: phi(x) + x * density(x)),
    "log": (np.log, lambda x: 1 / x),
    "neg": (np.negative, lambda x: np.where(np.isnan(x), np.nan, -1.0)),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "sigmoid": (logistic, lambda x: 1 / (1 + np.exp(-np.abs(x))) / (1 + np.exp(np.abs(x)))),
    "sin": (np.sin, np.cos),
    "softplus": (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), logistic),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "tanh": (np.tanh, lambda x: 4 / (np.exp(np.minimum(np.abs(x), 5000)) + np.exp(-np.minimum(np.abs(x), 5000))) ** 2),
}
UNARY = sorted(op.name for op in OPS.values() if op.family is Family.ELEMENTWISE and op.inputs == ("x",))


def reverse(function, x):
    return gc.grad(lambda x: function(x).sum())(x).numpy()


def forward(function, x):
    return gc.jvp(function, (x,), (np.ones(x.shape, x.dtype),))[1].numpy()


def eager(function, x):
    leaf = gc.tensor(x, requires_grad=True)
    function(leaf).sum().backward()
    return leaf.grad.numpy()


def assert_equal(got, want, what):
    """Errors of a few units in the last place of the larger of |want| and 1; infinities and NaN in the same places."""
    want = want.astype(got.dtype)
    close = np.abs(got - want) <= 8 * np.finfo(got.dtype).eps * np.maximum(np.abs(want), 1)
    wrong = ~(close | (got == want) | (np.isnan(got) & np.isnan(want)))
    pairs = zip(got[wrong], want[wrong], strict=True)
    assert not wrong.any(), f"{what}: " + ", ".join(f"{g!r} for {w!r}" for g, w in pairs)


def test_every_unary_op_has_a_reference():
    assert set(UNARY) == set(REFERENCE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_values(name, dtype):
    x = np.array(EXTREMES).astype(dtype)
    got = getattr(gc, name)(x).numpy()
    assert_equal(got, REFERENCE[name][0](x.astype(np.longdouble)), name)


@pytest.mark.parametrize("mode", [reverse, forward, eager])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_derivatives(name, dtype, mode):
    x = np.array([*FINITE, 1e200, -1e200]).astype(dtype)
    x = x[np.isfinite(x)]
    assert_equal(mode(getattr(gc, name), x), REFERENCE[name][1](x.astype(np.longdouble)), f"derivative of {name}")


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_goes_through(name, dtype):
    assert np.isnan(getattr(gc, name)(np.array([np.nan], dtype)).numpy()).all()


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_on_either_side(name):
    function, nan, one = getattr(gc, name), np.array(np.nan), np.array(1.0)
    assert np.isnan(function(nan, one).numpy()) and np.isnan(function(one, nan).numpy())


def test_ties_share_the_gradient():
    for function in (gc.maximum, gc.minimum):
        a, b = gc.grad(lambda a, b, f=function: f(a, b), argnums=(0, 1))(np.array(2.0), np.array(2.0))
        assert (float(a), float(b)) == (0.5, 0.5)
    assert gc.grad(gc.max)(np.array([1.0, 3.0, 3.0])).numpy().tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("mode", [reverse, forward])
def test_power_at_zero_and_below(mode):
    x = np.array([0.0, 0.0, 0.0, -2.0])
    n = np.array([0.0, 1.0, 2.0, 3.0])
    assert mode(lambda x: gc.power(x, n), x).tolist() == [0, 1, 0, 12]
    assert mode(lambda n: gc.power(x, n), n)[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", [reverse, forward])
def test_where_keeps_infinities_of_the_branch_not_taken_out(mode):
    x = np.array([0.0, 1.0, 4.0])
    safe = mode(lambda x: gc.where(x > 0.5, gc.sqrt(x), 0.0), x)
    assert safe.tolist()[1:] == [0.5, 0.25]
    assert mode(lambda x: gc.where(x > 0.5, x, gc.asarray(np.full(3, np.inf))), x).tolist() == [0, 1, 1]


def test_cross_entropy_at_large_logits():
    logits = np.array([[1e4, -1e4], [1e4, -1e4]])
    labels = np.array([0, 1])
    assert gc.cross_entropy(logits, labels, reduction="none").numpy().tolist() == [0, 2e4]
    gradient = reverse(lambda x: gc.cross_entropy(x, labels, reduction="sum"), logits)
    assert gradient.tolist() == [[0, 0], [1, -1]]
    assert gc.cross_entropy(logits.astype(np.float32), labels, reduction="none").numpy().tolist() == [0, 2e4]


def test_softmax_with_infinities():
    x = np.array([[0.0, -np.inf, 0.0], [1e4, -1e4, 1e4]])
    assert gc.softmax(x).numpy().tolist() == [[0.5, 0, 0.5], [0.5, 0, 0.5]]
    assert np.isfinite(reverse(gc.softmax, x)).all()
    assert np.isnan(gc.softmax(np.full((1, 2), -np.inf)).numpy()).all()


def test_logsumexp_with_infinities():
    x = np.array([[0.0, -np.inf], [1e4, 1e4], [-np.inf, -np.inf], [np.inf, 0.0]])
    got = gc.logsumexp(x, axis=1).numpy()
    np.testing.assert_allclose(got, [0, 1e4 + np.log(2), -np.inf, np.inf])
    gradient = gc.grad(lambda x: gc.where(gc.asarray([True, True, False]), gc.logsumexp(x, axis=1), 0.0).sum())(x[:3])
    np.testing.assert_allclose(gradient, [[1, 0], [0.5, 0.5], [0, 0]])


def test_log_softmax_at_large_logits():
    assert gc.log_softmax(np.array([1e4, -1e4])).numpy().tolist() == [0, -2e4]


def test_layer_norm_of_constant_rows():
    x, w, b = np.full((2, 4), 3.0), np.ones(4), np.full(4, 0.5)
    assert gc.layer_norm(x, w, b).numpy().tolist() == [[0.5] * 4] * 2
    assert np.isfinite(reverse(lambda x: gc.layer_norm(x, w, b), x)).all()


def test_max_and_sum_with_nan_and_nothing():
    assert np.isnan(gc.max(np.array([1.0, np.nan])).numpy())
    assert gc.sum(np.zeros((0, 3)), axis=0).numpy().tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="max"):
        gc.max(np.zeros(0))
