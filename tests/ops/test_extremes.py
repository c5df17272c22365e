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


def erfc(x):
    """Right in float64, which is wide enough; scipy has no long double."""
    from scipy.special import erfc

    return erfc(x.astype(np.float64)).astype(np.longdouble)


def bell(x):
    return 2 / np.sqrt(np.longdouble(np.pi)) * np.exp(-x * x)


def flat(x):
    return np.zeros_like(x)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sech2(x):
    """1 - tanh(x) ** 2, without the difference."""
    x = np.minimum(np.abs(x), 5000)
    return 4 / (np.exp(x) + np.exp(-x)) ** 2


def slope(x):
    return 1 / (1 + np.exp(-np.abs(x))) / (1 + np.exp(np.abs(x)))


def gate(x):
    """The argument of the logistic function in the tanh form of gelu, and its derivative."""
    root = 2 * np.sqrt(2 / np.longdouble(np.pi))
    return root * (x + 0.044715 * x**3), root * (1 + 3 * 0.044715 * x**2)


def pole(x):
    return (1 - x) * (1 + x)


LN2, LN10 = np.log(np.longdouble(2)), np.log(np.longdouble(10))
SCALE, ALPHA = np.longdouble("1.0507009873554804934193"), np.longdouble("1.6732632423543772848170")

# name -> the function and its derivative (None: it has none), right in long double (whose exponents reach 1e4932)
REFERENCE = {
    "abs": (np.abs, np.sign),
    "arccos": (np.arccos, lambda x: -1 / np.sqrt(pole(x))),
    "arccosh": (np.arccosh, lambda x: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1))),
    "arcsin": (np.arcsin, lambda x: 1 / np.sqrt(pole(x))),
    "arcsinh": (np.arcsinh, lambda x: 1 / np.hypot(x, 1)),
    "arctan": (np.arctan, lambda x: 1 / (1 + x * x)),
    "arctanh": (np.arctanh, lambda x: 1 / pole(x)),
    "ceil": (np.ceil, flat),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "cosh": (np.cosh, np.sinh),
    "erf": (lambda x: 1 - erfc(x), bell),
    "erfc": (erfc, lambda x: -bell(x)),
    "exp": (np.exp, np.exp),
    "exp2": (np.exp2, lambda x: LN2 * np.exp2(x)),
    "expm1": (np.expm1, np.exp),
    "floor": (np.floor, flat),
    "gelu": (lambda x: x * phi(x), lambda x: phi(x) + x * density(x)),
    "gelu_tanh": (
        lambda x: x * logistic(gate(x)[0]),
        lambda x: logistic(gate(x)[0]) + x * gate(x)[1] * slope(gate(x)[0]),
    ),
    "isfinite": (np.isfinite, None),
    "isinf": (np.isinf, None),
    "isnan": (np.isnan, None),
    "log": (np.log, lambda x: 1 / x),
    "log10": (np.log10, lambda x: 1 / (LN10 * x)),
    "log1p": (np.log1p, lambda x: 1 / (1 + x)),
    "log2": (np.log2, lambda x: 1 / (LN2 * x)),
    "log_sigmoid": (lambda x: -softplus(-x), lambda x: logistic(-x)),
    "logical_not": (np.logical_not, None),
    "mish": (
        lambda x: x * np.tanh(softplus(x)),
        lambda x: np.tanh(softplus(x)) + x * sech2(softplus(x)) * logistic(x),
    ),
    "neg": (np.negative, lambda x: np.where(np.isnan(x), np.nan, -1.0)),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / (x * x)),
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "round": (np.rint, flat),
    "rsqrt": (lambda x: 1 / np.sqrt(x), lambda x: -0.5 * (1 / np.sqrt(x)) ** 3),
    "selu": (
        lambda x: SCALE * np.where(x > 0, x, ALPHA * np.expm1(x)),
        lambda x: SCALE * np.where(x > 0, 1, ALPHA * np.exp(x)),
    ),
    "sigmoid": (logistic, slope),
    "sign": (np.sign, flat),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) + x * slope(x)),
    "sin": (np.sin, np.cos),
    "sinh": (np.sinh, np.cosh),
    "softplus": (softplus, logistic),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "tan": (np.tan, lambda x: 1 + np.tan(x) ** 2),
    "tanh": (np.tanh, sech2),
}
UNARY = sorted(op.name for op in OPS.values() if op.family is Family.ELEMENTWISE and op.inputs == ("x",))
SMOOTH = [name for name in UNARY if REFERENCE.get(name, (None, None))[1] is not None]


def function_named(name):
    return (lambda x: gc.gelu(x, "tanh")) if name == "gelu_tanh" else getattr(gc, name)


def reverse(function, x):
    return np.asarray(gc.grad(lambda x: function(x).sum())(x))


def forward(function, x):
    return np.asarray(gc.jvp(function, (x,), (np.ones(x.shape, x.dtype),))[1])


def eager(function, x):
    leaf = gc.tensor(x, requires_grad=True)
    function(leaf).sum().backward()
    return np.zeros_like(x) if leaf.grad is None else leaf.grad.numpy()  # nothing flows back from a flat function


def assert_equal(got, want, what):
    """Errors of a few units in the last place of the larger of |want| and 1; infinities and NaN in the same places."""
    assert (got.dtype == bool) == (want.dtype == bool), f"{what}: {got.dtype} instead of {want.dtype}"
    if got.dtype == bool:
        return np.testing.assert_array_equal(got, want)
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
    got = function_named(name)(x).numpy()
    assert_equal(got, REFERENCE[name][0](x.astype(np.longdouble)), name)


@pytest.mark.parametrize("mode", [reverse, forward, eager])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name, dtype, mode):
    x = np.array([*FINITE, 1e200, -1e200]).astype(dtype)
    x = x[np.isfinite(x)]
    assert_equal(mode(function_named(name), x), REFERENCE[name][1](x.astype(np.longdouble)), f"derivative of {name}")


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_goes_through(name, dtype):
    assert np.isnan(function_named(name)(np.array([np.nan], dtype)).numpy()).all()


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_nan_on_either_side(name):
    function, nan, one = getattr(gc, name), np.array(np.nan), np.array(1.0)
    assert np.isnan(function(nan, one).numpy()) and np.isnan(function(one, nan).numpy())


def test_ties_share_the_gradient():
    for function in (gc.maximum, gc.minimum):
        a, b = gc.grad(lambda a, b, f=function: f(a, b), argnums=(0, 1))(np.array(2.0), np.array(2.0))
        assert (float(a), float(b)) == (0.5, 0.5)
    assert np.asarray(gc.grad(gc.max)(np.array([1.0, 3.0, 3.0]))).tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("mode", [reverse, forward])
def test_power_at_zero_and_below(mode):
    x = np.array([0.0, 0.0, 0.0, -2.0])
    n = np.array([0.0, 1.0, 2.0, 3.0])
    assert mode(lambda x: gc.power(x, n), x).tolist() == [0, 1, 0, 12]
    assert mode(lambda n: gc.power(x, n), n)[:3].tolist() == [0, 0, 0]


def test_mixed_derivatives_of_power_at_exponent_zero():
    """Of x ** n at n = 0: by x and n 1 / x, by x and twice by n 2 * log(x) / x."""
    by_n = gc.grad(gc.power, argnums=1)
    x, n = np.array(2.0), np.array(0.0)
    assert gc.grad(by_n)(x, n).item() == gc.grad(gc.grad(gc.power), argnums=1)(x, n).item() == 0.5
    assert gc.grad(gc.grad(by_n, argnums=1))(x, n).item() == pytest.approx(np.log(2.0))
    assert gc.grad(gc.power)(np.array(0.0), n).item() == 0


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


def test_the_gradient_of_a_loss_that_is_nan_is_nan():
    x = np.array([[0.0, 1.0, np.nan]])
    for function in (gc.log_softmax, gc.softmax, gc.logsumexp):
        weights = gc.asarray(np.arange(3.0)) if function is not gc.logsumexp else 1.0
        for mode in (reverse, eager):
            assert np.isnan(mode(lambda x, f=function, w=weights: f(x) * w, x)).all(), (function, mode)


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


@pytest.mark.parametrize("mode", [reverse, forward])
def test_logaddexp_with_infinities(mode):
    inf, nan = np.inf, np.nan
    a, b = np.array([inf, -inf, inf, -inf, 800.0, nan, 0.0]), np.array([inf, -inf, 0.0, 0.0, -800.0, 0.0, 0.0])
    np.testing.assert_array_equal(gc.logaddexp(a, b).numpy(), np.logaddexp(a, b))
    np.testing.assert_array_equal(mode(lambda a: gc.logaddexp(a, b), a), [0.5, 0.5, 1, 0, 1, nan, 0.5])
    np.testing.assert_array_equal(mode(lambda b: gc.logaddexp(a, b), b), [0.5, 0.5, 0, 1, 0, nan, 0.5])


@pytest.mark.parametrize("name", ["softplus", "log_sigmoid", "sigmoid", "logaddexp", "silu", "mish", "gelu_tanh"])
def test_higher_derivatives_at_zero(name):
    """Where min, max and abs have kinks, the function that is made of them has none."""
    first = gc.grad(lambda x: gc.logaddexp(x, 0.0) if name == "logaddexp" else function_named(name)(x))
    third, h = gc.grad(gc.grad(first)), 1e-3
    by_differences = (first(np.array(h)).item() - 2 * first(np.array(0.0)).item() + first(np.array(-h)).item()) / h**2
    assert third(np.array(0.0)).item() == pytest.approx(by_differences, abs=1e-5)


@pytest.mark.parametrize("mode", [reverse, forward])
def test_second_derivative_of_logaddexp_at_equal_operands(mode):
    a, b = np.array([0.0, 3.0, np.inf, -np.inf]), np.array([0.0, 3.0, np.inf, -np.inf])
    slope = gc.grad(lambda a, b: gc.logaddexp(a, b).sum())
    assert mode(lambda a: slope(a, gc.asarray(b)), a).tolist() == [0.25, 0.25, 0, 0]
    assert mode(lambda b: slope(gc.asarray(a), b), b).tolist() == [-0.25, -0.25, 0, 0]


@pytest.mark.parametrize("mode", [reverse, forward])
def test_hypot_at_the_origin_and_far_away(mode):
    a, b = np.array([0.0, 1e200, 1e-200, 0.0]), np.array([0.0, 1e200, 1e-200, 3.0])
    np.testing.assert_array_equal(gc.hypot(a, b).numpy(), np.hypot(a, b))
    np.testing.assert_allclose(mode(lambda a: gc.hypot(a, b), a), [0, 0.5**0.5, 0.5**0.5, 0], rtol=1e-15)


@pytest.mark.parametrize("mode", [reverse, forward])
def test_bounds_and_their_gradients(mode):
    x = np.array([-np.inf, -2.0, -1.0, 0.0, 1.0, 2.0, np.inf])
    assert gc.clip(x, -1.0, 1.0).numpy().tolist() == gc.hardtanh(x).numpy().tolist() == [-1, -1, -1, 0, 1, 1, 1]
    assert mode(lambda x: gc.clip(x, -1.0, 1.0), x).tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert mode(lambda x: gc.clip(x, min=-1.0), x).tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert mode(lambda x: gc.clip(x, max=1.0), x).tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert mode(gc.hardtanh, x).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert gc.clip(x, 1.0, -1.0).numpy().tolist() == np.clip(x, 1.0, -1.0).tolist()
    assert mode(lambda x: gc.clip(x, 1.0, -1.0), x).tolist() == [0] * 7
    for function in (gc.clip, gc.hardtanh):
        assert np.isnan(function(np.array(np.nan), -1.0, 1.0).numpy())


def test_remainder_and_quotient_are_those_of_numpy():
    special = np.array([0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 7.5, -7.5, 1e300, np.inf, -np.inf, np.nan])
    a, b = np.meshgrid(special, special)
    np.testing.assert_array_equal(gc.mod(a, b).numpy(), np.remainder(a, b))
    np.testing.assert_array_equal(gc.floor_divide(a, b).numpy(), np.floor_divide(a, b))
    i, j = np.meshgrid(np.arange(-3, 4), np.arange(-3, 4))
    np.testing.assert_array_equal(gc.mod(i, j).numpy(), np.remainder(i, j))
    np.testing.assert_array_equal(gc.floor_divide(i, j).numpy(), np.floor_divide(i, j))
