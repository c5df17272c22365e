"""The kernels written in CUDA that go through rows and columns, against NumPy in double precision."""

import contextlib

import numpy as np
import pytest
from gradcore.kernels.argmax import ARGMAX, ARGMIN
from gradcore.kernels.column_sum import COLUMN_SUM
from gradcore.kernels.cross_entropy import CROSS_ENTROPY, CROSS_ENTROPY_VJP, CROSS_ENTROPY_WITH_GRADIENT
from gradcore.kernels.layer_norm import LAYER_NORM, LAYER_NORM_VJP
from gradcore.kernels.softmax import SOFTMAX, SOFTMAX_VJP

cupy = pytest.importorskip("cupy")
pytestmark = pytest.mark.cuda

FLOATS = ("float16", "float32", "float64")
TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}
LENGTHS = (1, 3, 4, 31, 32, 33, 128, 1000, 1025, 5000, 20_000)
SHAPES = [(5, n) for n in LENGTHS] + [(1, 10), (300, 12), (2000, 10), (3, 4, 40), (7,)]
MATRICES = [(1, 1), (1, 5000), (3, 1), (4097, 1), (5000, 16), (257, 33), (100, 3000), (20_000, 3), (64, 4200), (0, 5)]
REDUCTIONS = ("mean", "sum", "none")


@pytest.fixture(autouse=True)
def poison():
    """On the simulated device, memory never written reads as NaN."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import cusim

            stack.enter_context(cusim.poison_pool())
        yield


def on_device(array, misaligned=False):
    """The array on the device, at an address that is no multiple of 16 if asked for."""
    flat = cupy.empty(array.size + 1, array.dtype)[int(misaligned) :][: array.size]
    flat[...] = cupy.asarray(np.ascontiguousarray(array).reshape(-1))
    return flat.reshape(array.shape)


def run(spec, operands, params=(), outputs=(), misaligned=False):
    """What a kernel gives, as NumPy arrays; `outputs` are shapes and dtypes."""
    from gradcore.backend.cuda.devices import backend_for
    from gradcore.backend.cuda.plans import run_plan

    arrays = [on_device(array, misaligned) for array in operands]
    outs = tuple([on_device(np.zeros(shape, dtype), misaligned) for shape, dtype in outputs])
    run_plan(backend_for(0), spec, None, outs, arrays, params)
    return [cupy.asnumpy(out) for out in outs]


def numbers(shape, dtype, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


def assert_near(actual, expected, terms=0.0):
    """`terms` is the sum of the absolute terms of each sum."""
    assert actual.shape == np.shape(expected)
    bound = TOLERANCE[str(actual.dtype)] * np.maximum(np.abs(expected), terms)
    assert np.all(np.abs(actual - np.asarray(expected, np.float64)) <= bound)


def double(*arrays):
    return [array.astype(np.float64) for array in arrays]


def softmax(x):
    with np.errstate(all="ignore"):
        top = x.max(-1, keepdims=True)
        parts = np.exp(x - np.where(np.isfinite(top), top, 0))
        return parts / parts.sum(-1, keepdims=True)


# --- softmax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax(shape, dtype):
    x = numbers(shape, dtype, scale=5)
    (y,) = run(SOFTMAX, [x], outputs=[(shape, dtype)])
    if dtype == "float16":
        assert np.abs(y - softmax(*double(x))).max() <= 2e-3 * y.max()  # small ones are subnormal
    else:
        assert_near(y, softmax(*double(x)), 1e-30)
    (again,) = run(SOFTMAX, [x], outputs=[(shape, dtype)], misaligned=True)
    np.testing.assert_array_equal(y, again)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [3, 4, 700, 20_000])
def test_softmax_of_infinities(n, dtype):
    x = numbers((6, n), dtype)
    x[0], x[1, 1], x[2, 2], x[3, :2], x[4, -1] = -np.inf, np.inf, np.nan, -np.inf, np.inf
    x[4, 0] = 1000
    (y,) = run(SOFTMAX, [x], outputs=[(x.shape, dtype)])
    expected = softmax(x.astype("float64" if dtype == "float64" else "float32"))
    np.testing.assert_allclose(y, expected, rtol=10 * TOLERANCE[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_vjp(shape, dtype):
    g, y = numbers(shape, dtype), softmax(numbers(shape, "float64", 1)).astype(dtype)
    (gx,) = run(SOFTMAX_VJP, [g, y], outputs=[(shape, dtype)])
    gd, yd = double(g, y)
    products = gd * yd
    terms = (np.abs(gd) + np.abs(products).sum(-1, keepdims=True)) * yd
    if dtype == "float16":
        terms += 1e-4  # half of the smallest subnormal, and more
    assert_near(gx, (gd - products.sum(-1, keepdims=True)) * yd, terms)
    (again,) = run(SOFTMAX_VJP, [g, y], outputs=[(shape, dtype)], misaligned=True)
    np.testing.assert_array_equal(gx, again)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_rows(shape):
    x = np.zeros(shape, "float32")
    assert run(SOFTMAX, [x], outputs=[(shape, "float32")])[0].shape == shape
    assert run(SOFTMAX_VJP, [x, x], outputs=[(shape, "float32")])[0].shape == shape


# --- cross entropy ----------------------------------------------------------------------------------------------------


def losses_and_gradients(x, labels):
    """Of each row, in double precision."""
    flat, picks = x.astype(np.float64).reshape(-1, x.shape[-1]), labels.reshape(-1)
    top = flat.max(-1, keepdims=True)
    rows = np.log(np.exp(flat - top).sum(-1)) + top[:, 0] - flat[np.arange(len(flat)), picks]
    gradients = softmax(flat)
    gradients[np.arange(len(flat)), picks] -= 1
    return rows.reshape(labels.shape), gradients.reshape(x.shape)


def reduced(rows, reduction):
    return rows if reduction == "none" else rows.sum() if reduction == "sum" else rows.mean()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy(shape, reduction, dtype):
    x = numbers(shape, dtype)
    labels = np.random.default_rng(1).integers(0, shape[-1], shape[:-1])
    labels = np.asarray(labels, {"float16": "int64", "float32": "int32", "float64": "uint16"}[dtype])
    rows, gradients = losses_and_gradients(x, labels)
    loss_shape = labels.shape if reduction == "none" else ()
    size = labels.size if reduction == "mean" else 1
    outputs = [(loss_shape, dtype), (shape, dtype)]

    (loss,) = run(CROSS_ENTROPY, [x, labels], (reduction,), outputs[:1])
    terms = np.abs(x.astype(float)).max()
    assert_near(loss, reduced(rows, reduction), terms)
    both = run(CROSS_ENTROPY_WITH_GRADIENT, [x, labels], (reduction,), outputs)
    np.testing.assert_array_equal(both[0], loss)
    assert_near(both[1], gradients / size, 1 / size)
    g = numbers(loss_shape, dtype, 2)
    (gx,) = run(CROSS_ENTROPY_VJP, [g, x, labels], (reduction,), outputs[1:])
    weights = np.asarray(g, np.float64)[..., None] if reduction == "none" else float(g)
    assert_near(gx, gradients * weights / size, np.abs(weights) / size)

    again = run(CROSS_ENTROPY_WITH_GRADIENT, [x, labels], (reduction,), outputs, misaligned=True)
    np.testing.assert_array_equal(again[0], both[0])
    np.testing.assert_array_equal(again[1], both[1])


@pytest.mark.parametrize("n", [5, 700])
def test_labels_that_are_no_class(n):
    x, labels = numbers((4, n), "float32"), np.array([0, n, -1, 2**40])
    outputs = [((4,), "float32"), (x.shape, "float32")]
    loss, gradient = run(CROSS_ENTROPY_WITH_GRADIENT, [x, labels], ("none",), outputs)
    (gx,) = run(CROSS_ENTROPY_VJP, [np.ones(4, "float32"), x, labels], ("none",), outputs[1:])
    for actual in (loss, gradient.max(-1), gradient.min(-1), gx.max(-1)):
        np.testing.assert_array_equal(np.isnan(actual), [False, True, True, True])
    assert np.isnan(run(CROSS_ENTROPY, [x, labels], ("mean",), [((), "float32")])[0])


def test_cross_entropy_of_infinities():
    x = np.array([[0, -np.inf, 1], [-np.inf] * 3, [np.inf, 0, 1], [np.nan, 0, 1], [0, -np.inf, 1]], "float32")
    (loss,) = run(CROSS_ENTROPY, [x, np.array([0, 0, 1, 1, 1])], ("none",), [((5,), "float32")])
    np.testing.assert_allclose(loss, [np.log(1 + np.e), np.nan, np.inf, np.nan, np.inf], rtol=1e-6)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", np.nan), ("sum", 0)])
def test_cross_entropy_of_nothing(reduction, expected):
    operands = [np.zeros((0, 3), "float32"), np.zeros(0, "int64")]
    loss, _ = run(CROSS_ENTROPY_WITH_GRADIENT, operands, (reduction,), [((), "float32"), ((0, 3), "float32")])
    np.testing.assert_array_equal(loss, np.float32(expected))


# --- layer norm -------------------------------------------------------------------------------------------------------


def layer_norm(x, eps):
    average = x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(((x - average) ** 2).mean(-1, keepdims=True) + eps)
    return (x - average) * rstd, average, rstd


def sums_of(dtype):
    return "float64" if dtype == "float64" else "float32"


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [*SHAPES, (0, 3)])
def test_layer_norm(shape, dtype):
    x, w, b = numbers(shape, dtype) + 3, numbers(shape[-1:], dtype, 1), numbers(shape[-1:], dtype, 2)
    x = x.astype(dtype)
    rows = ((*shape[:-1], 1), sums_of(dtype))
    y, average, rstd = run(LAYER_NORM, [x, w, b], (1e-3,), [(shape, dtype), rows, rows])
    xd, wd, bd = double(x, w, b)
    z, average64, rstd64 = layer_norm(xd, 1e-3)
    assert_near(y, z * wd + bd, (np.abs(xd) + np.abs(average64)) * rstd64 * np.abs(wd) + np.abs(bd))
    assert_near(average, average64, 3)
    assert_near(rstd, rstd64)
    again = run(LAYER_NORM, [x, w, b], (1e-3,), [(shape, dtype), rows, rows], misaligned=True)
    for first, second in zip((y, average, rstd), again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_layer_norm_far_from_zero():
    x = (1e4 + numbers((3, 500), "float64")).astype("float32")
    w, rows = np.ones(500, "float32"), ((3, 1), "float32")
    y, *_ = run(LAYER_NORM, [x, w, 0 * w], (0.0,), [(x.shape, "float32"), rows, rows])
    np.testing.assert_allclose(y, layer_norm(x.astype(float), 0.0)[0], atol=2e-3)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [*SHAPES, (3000, 40), (700, 1500), (300, 9000), (0, 3), (0, 5000)])
def test_layer_norm_vjp(shape, dtype):
    n = shape[-1]
    g, x, w = numbers(shape, dtype), numbers(shape, dtype, 1), numbers((n,), dtype, 2)
    gd, xd, wd = double(g, x, w)
    z, average, rstd = layer_norm(xd, 1e-3)
    operands = [g, x, w, average.astype(sums_of(dtype)), rstd.astype(sums_of(dtype))]
    outputs = [(shape, dtype), ((n,), dtype), ((n,), dtype)]
    gx, gw, gb = run(LAYER_NORM_VJP, operands, (1e-3,), outputs)
    gz = gd * wd
    inner, product = gz.mean(-1, keepdims=True), (gz * z).mean(-1, keepdims=True)
    terms = np.abs(gz) + np.abs(gz).mean(-1, keepdims=True) + np.abs(z) * np.abs(gz * z).mean(-1, keepdims=True)
    if n > 1:
        assert_near(gx, (gz - inner - z * product) * rstd, terms * rstd)
    before = tuple(range(len(shape) - 1))
    z_terms = (np.abs(xd) + np.abs(average)) * rstd
    assert_near(gw, (gd * z).sum(before), np.abs(gd * z_terms).sum(before))
    assert_near(gb, gd.sum(before), np.abs(gd).sum(before))
    again = run(LAYER_NORM_VJP, operands, (1e-3,), outputs, misaligned=True)
    for first, second in zip((gx, gw, gb), again, strict=True):
        np.testing.assert_array_equal(first, second)


# --- sums of columns, places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", MATRICES)
def test_column_sum(shape, dtype):
    x = numbers(shape, dtype)
    (total,) = run(COLUMN_SUM, [x], outputs=[(shape[1:], dtype)])
    assert_near(total, x.sum(0, dtype="float64"), np.abs(x).sum(0, dtype="float64"))
    (again,) = run(COLUMN_SUM, [x], outputs=[(shape[1:], dtype)], misaligned=True)
    np.testing.assert_array_equal(total, again)


def test_column_sum_of_equal_terms_does_not_drift():
    x = np.full((200_000, 5), 0.1, "float32")
    (total,) = run(COLUMN_SUM, [x], outputs=[((5,), "float32")])
    np.testing.assert_allclose(total, x.sum(0, dtype="float64"), rtol=1e-6)


def sample(shape, dtype):
    """Few values, so that there are ties; NaN in some rows."""
    x = np.random.default_rng(0).integers(0 if dtype in ("bool", "uint8", "uint64") else -5, 6, shape).astype(dtype)
    if x.dtype.kind == "f" and x.size:
        x.reshape(-1)[:: x.shape[-1] * 2 + 1] = np.nan
    return x


@pytest.mark.parametrize("dtype", [*FLOATS, "bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
@pytest.mark.parametrize("shape", [(5, 1), (300, 3), (4, 33), (6, 1025), (3, 20_000), (0, 3), (2, 3, 10), (9,)])
def test_places(shape, dtype):
    x = sample(shape, dtype)
    for spec, find in ((ARGMAX, np.argmax), (ARGMIN, np.argmin)):
        for axis in range(len(shape)):
            if shape[axis]:
                outputs = [((*shape[:axis], *shape[axis + 1 :]), "int64")]
                for misaligned in (False, True):
                    (place,) = run(spec, [x], (axis,), outputs, misaligned)
                    np.testing.assert_array_equal(place, find(x, axis))


def test_places_in_rows_of_extremes():
    x = np.array([[-np.inf, -np.inf], [np.nan, np.inf], [np.inf, np.nan], [0.0, -0.0]])
    assert run(ARGMAX, [x], (1,), [((4,), "int64")])[0].tolist() == np.argmax(x, 1).tolist() == [0, 0, 1, 0]
    big = np.array([[2**63, 2**64 - 1]], "uint64")
    assert run(ARGMAX, [big], (1,), [((1,), "int64")])[0].tolist() == [1]


def test_place_of_nothing():
    with pytest.raises(ValueError, match="argmax of an empty sequence"):
        run(ARGMAX, [np.zeros((2, 0))], (1,), [((2,), "int64")])


# --- launches ---------------------------------------------------------------------------------------------------------

ONE = (SOFTMAX, SOFTMAX_VJP, CROSS_ENTROPY, CROSS_ENTROPY_WITH_GRADIENT, CROSS_ENTROPY_VJP, LAYER_NORM, COLUMN_SUM)


@pytest.mark.parametrize(
    ("spec", "count"),
    [(spec, 1) for spec in (*ONE, ARGMAX, ARGMIN)] + [(LAYER_NORM_VJP, 2)],
    ids=lambda v: v.name if hasattr(v, "name") else "",
)
def test_launches(spec, count):
    for operands, params in spec.examples:
        plan = spec.plan([np.empty(shape, dtype) for shape, dtype in operands], params)
        assert len(plan.launches) == count


def test_tall_and_wide_sums_fill_the_device_and_keep_to_the_tickets():
    for shape in ((1_000_000, 16), (16, 1_000_000), (100_000, 10_000), (2**33, 3), (4096, 4096)):
        (launch,) = COLUMN_SUM.plan([np.broadcast_to(np.float32(0), shape)], ()).launches
        *_, tiles, groups = launch.arguments
        assert launch.grid == tiles * groups >= 256
        assert groups == 1 or tiles <= 1024
