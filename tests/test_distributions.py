"""gradcore.random's distributions: statistics with fixed seeds, the words that they are made of, keys, gradients.

Seeds are fixed, so these tests give the same result each time; the p-values are those of a sound generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import gradcore as gc
from gradcore.backend.numpy_backend import NumpyBackend
from gradcore.compile import Program
from gradcore.ops.distributions import normal_op, randint_op
from gradcore.testing import gradcheck

KEY = np.array([5, 7], np.uint64)
COUNT = 200_000
LIKELY = 0.001  # there are about 40 p-values below; each is above this with a chance of 0.999


def words(count: int) -> Any:
    return np.random.Philox(key=KEY).random_raw(count)


# --- uniform ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_between_bounds(dtype: type) -> None:
    drawn = gc.random.uniform(COUNT, dtype, -2.0, 6.0, key=KEY).numpy()
    assert drawn.dtype == dtype
    assert drawn.min() >= -2 and drawn.max() <= 6
    assert stats.kstest(drawn.astype(float), stats.uniform(-2, 8).cdf).pvalue > LIKELY
    np.testing.assert_array_equal(drawn, gc.random.uniform(COUNT, dtype, key=KEY).numpy() * dtype(8) - dtype(2))


def test_bounds_and_moments_have_gradients() -> None:
    low, high = np.array([0.0, 1.0]), np.array(2.0)
    gradcheck(lambda a, b: gc.random.uniform((3, 2), np.float64, a, b, key=KEY), (low, high))
    gradcheck(lambda a, b: gc.random.normal((3, 2), np.float64, a, b, key=KEY), (low, high))
    z = gc.random.normal(3, np.float64, key=KEY).numpy()
    pulled = gc.grad(lambda std: gc.sum(gc.random.normal(3, np.float64, 1.0, std, key=KEY)))(np.array(2.0))
    np.testing.assert_allclose(np.asarray(pulled), z.sum(), rtol=1e-14)


# --- normal -----------------------------------------------------------------------------------------------------------


def polar(first: Any, second: Any, bits: int) -> Any:
    """Squared radius and angle of Box and Muller, from integers of some bits."""
    u = (first.astype(np.longdouble) + 1) * 2.0**-bits
    return -2 * np.log(u), (second.astype(np.longdouble) - 2 ** (bits - 1)) * np.longdouble(np.pi) * 2.0 ** (1 - bits)


def test_normal_float64_is_the_formula() -> None:
    w = words(1000) >> np.uint64(11)
    square, angle = polar(w[0::2], w[1::2], 53)
    want = np.sqrt(square) * np.stack([np.cos(angle), np.sin(angle)])
    got = gc.random.normal(999, np.float64, key=KEY).numpy()
    np.testing.assert_allclose(got, want.T.reshape(-1)[:999].astype(float), rtol=1e-12, atol=1e-14)


def test_normal_float32_has_the_stated_errors() -> None:
    w = words(COUNT)
    square, angle = polar(w & np.uint64(2**32 - 1), w >> np.uint64(32), 32)
    x, y = gc.random.normal(2 * COUNT, key=KEY).numpy().astype(np.longdouble).reshape(-1, 2).T
    assert (np.abs(x * x + y * y - square) <= 1e-6 * np.maximum(square, 1)).all()
    turned = (np.arctan2(y, x) - angle + np.pi) % (2 * np.pi) - np.pi
    assert (np.abs(turned)[square > 0] <= 1e-6 * np.maximum(np.abs(angle), 1)[square > 0]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_normal_is_normal(dtype: type) -> None:
    z = gc.random.normal(COUNT, dtype, key=KEY).numpy()
    assert z.dtype == dtype
    z = z.astype(float)
    moments = [1.0, 3.0, 15.0]  # of powers 2, 4, 6; their errors have deviations sqrt(m(2k) - m(k)^2) / sqrt(n)
    for power, moment, next_moment in zip((2, 4, 6), moments, (3.0, 105.0, 10395.0), strict=True):
        allowed = 4 * np.sqrt((next_moment - moment**2) / COUNT)
        assert abs((z**power).mean() - moment) < allowed
    assert abs(z.mean()) < 4 / np.sqrt(COUNT)
    if dtype != np.float16:  # rounding to 11 bits is visible to this test
        assert stats.kstest(z, "norm").pvalue > LIKELY
    assert abs(np.corrcoef(z[0::2], z[1::2])[0, 1]) < 4 / np.sqrt(COUNT / 2)
    assert stats.kstest(z[0::2] ** 2 + z[1::2] ** 2, "chi2", (2,)).pvalue > LIKELY


def test_normal_float16_is_float32_rounded() -> None:
    half, single = (gc.random.normal((3, 5), dtype, key=KEY).numpy() for dtype in (np.float16, np.float32))
    np.testing.assert_array_equal(half, single.astype(np.float16))


class Stuck(NumpyBackend):
    """A generator that gives the same word again and again."""

    def __init__(self, word: int) -> None:
        self.word = word

    def philox(self, key: Any, count: int) -> Any:
        return np.full(count, self.word, np.uint64)


@pytest.mark.parametrize("word", [0, 2**64 - 1, 2**11, 2**63, 2**32 - 1, 2**32])
@pytest.mark.parametrize(("dtype", "longest"), [(np.float32, 6.67), (np.float64, 8.6)])
def test_no_word_gives_an_infinite_normal(word: int, dtype: type, longest: float) -> None:
    z = normal_op.impl(Stuck(word), None, KEY, (2,), np.dtype(dtype))
    assert np.hypot(*z) < longest
    if word == 0:
        assert np.hypot(*z) > longest - 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_normal_depends_on_words_of_its_own_only(dtype: type) -> None:
    longest = gc.random.normal(20, dtype, key=KEY).numpy()
    for count in (0, 1, 2, 7, 12):
        np.testing.assert_array_equal(gc.random.normal(count, dtype, key=KEY).numpy(), longest[:count])
    np.testing.assert_array_equal(gc.random.normal((4, 5), dtype, key=KEY).numpy().reshape(-1), longest)


# --- integers ---------------------------------------------------------------------------------------------------------

RANGES = [(0, 1), (-3, 4), (0, 2**32), (-5, 2**32), (0, 2**63 - 1), (-(2**63), 2**63), (-(2**62) - 3, 2**62 + 10**17)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_integers_are_fractions_of_the_span(low: int, high: int) -> None:
    span = high - low
    if span <= 2**32:
        want = [low + (w * span >> 64) for w in map(int, words(100))]
    else:
        pairs = [(int(a) << 64) + int(b) for a, b in words(200).reshape(-1, 2)]
        want = [low + (w * span >> 128) for w in pairs]
    assert gc.random.randint(low, high, 100, key=KEY).numpy().tolist() == want


@pytest.mark.parametrize("word", [0, 2**64 - 1])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_ends_of_a_range(word: int, low: int, high: int) -> None:
    (got,) = randint_op.impl(Stuck(word), None, KEY, low, high, (1,), np.dtype(np.int64)).tolist()
    assert got == (low if word == 0 else high - 1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_whole_dtypes(dtype: type) -> None:
    limits = np.iinfo(dtype)
    drawn = gc.random.randint(limits.min, limits.max + 1, COUNT, dtype, key=KEY).numpy()
    assert drawn.dtype == dtype
    shifted = (drawn.astype(float) - limits.min) / (float(limits.max) - limits.min + 1)
    counts = np.histogram(shifted, 64, (0, 1))[0]
    assert stats.chisquare(counts).pvalue > LIKELY


def test_dice() -> None:
    counts = np.bincount(gc.random.randint(1, 7, COUNT, key=KEY).numpy(), minlength=7)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > LIKELY


# --- bernoulli, permutation, categorical ------------------------------------------------------------------------------


def test_bernoulli() -> None:
    for p in (0.0, 0.1, 0.5, 1.0):
        drawn = gc.random.bernoulli(p, COUNT, key=KEY).numpy()
        assert drawn.dtype == bool
        assert stats.binomtest(int(drawn.sum()), COUNT, p).pvalue > LIKELY
    p = np.array([0.2, 0.9], np.float32)
    drawn = gc.random.bernoulli(p, (COUNT, 2), key=KEY).numpy()
    np.testing.assert_array_equal(drawn, gc.random.uniform((COUNT, 2), np.float64, key=KEY).numpy() < p)
    assert gc.random.bernoulli(p).shape == (2,)
    assert gc.random.bernoulli(gc.zeros(0)).shape == (0,)


def test_bernoulli_per_example() -> None:
    p = np.array([0.0, 1.0, 0.5])
    drawn = np.asarray(gc.vmap(lambda p: gc.random.bernoulli(p, 100))(p))
    assert drawn.sum(1).tolist()[:2] == [0, 100] and 20 < drawn[2].sum() < 80
    same = np.asarray(gc.vmap(lambda p: gc.random.bernoulli(p, 100, key=KEY))(p))
    np.testing.assert_array_equal(same[2], gc.random.bernoulli(0.5, 100, key=KEY).numpy())
    assert np.asarray(gc.grad(lambda p: gc.sum(p * gc.random.bernoulli(p)))(np.array([1.0, 0.0]))).tolist() == [1, 0]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_probabilities_are_checked(p: float) -> None:
    program = Program(gc.make_graph(gc.random.bernoulli)(gc.zeros(2)))
    for run in (gc.random.bernoulli, gc.vmap(gc.random.bernoulli), program):
        values = np.array([0.5, p], np.float32)
        with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
            run(values)
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
        gc.random.bernoulli(p, 3)


def test_permutation_is_the_order_of_the_words() -> None:
    got = gc.random.permutation(1000, key=KEY)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got.numpy(), np.argsort(words(1000), kind="stable"))
    assert gc.random.permutation(0).shape == (0,)


def test_permutations_are_equally_likely() -> None:
    gc.random.seed(3)
    drawn = gc.vmap(lambda _: gc.random.permutation(3))(gc.zeros(6000)).numpy()
    assert (np.sort(drawn, 1) == np.arange(3)).all()
    counts = np.unique(drawn @ np.array([9, 3, 1]), return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > LIKELY


def test_permutation_of_a_tensor() -> None:
    x = np.arange(6.0).reshape(3, 2)
    order = gc.random.permutation(3, key=KEY).numpy()
    np.testing.assert_array_equal(gc.random.permutation(x, key=KEY).numpy(), x[order])
    gradcheck(lambda x: gc.random.permutation(x, key=KEY), (x,))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_categorical(dtype: type) -> None:
    logits = np.array([0.0, 1.5, -np.inf, -2.0, 0.5], dtype)
    drawn = gc.random.categorical(logits, shape=COUNT, key=KEY)
    assert drawn.dtype == np.int64
    parts = np.exp(logits.astype(float))
    counts = np.bincount(drawn.numpy(), minlength=5)
    assert counts[2] == 0
    likely = np.delete(parts / parts.sum() * COUNT, 2)
    assert stats.chisquare(np.delete(counts, 2), likely).pvalue > LIKELY


def test_categorical_along_an_axis() -> None:
    logits = np.full((3, 4, 2), -np.inf)
    classes = np.array([[0, 2], [1, 1], [3, 0]])
    np.put_along_axis(logits, classes[:, None, :], 5.0, 1)
    np.testing.assert_array_equal(gc.random.categorical(logits, 1).numpy(), classes)
    np.testing.assert_array_equal(gc.random.categorical(logits, 1, (7, 3, 2)).numpy(), [classes] * 7)
    np.testing.assert_array_equal(np.asarray(gc.vmap(lambda x: gc.random.categorical(x, 0))(logits)), classes)


def test_unlikely_words_give_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform number of 0 has no logarithm."""
    monkeypatch.setattr(gc.ops.random, "_fill_uniform", lambda xp, out, key: out.fill(0))
    assert gc.random.categorical(gc.zeros(3)).item() == 0


# --- keys and states --------------------------------------------------------------------------------------------------

DRAWS = {
    "uniform": lambda **key: gc.random.uniform(40, **key),
    "normal": lambda **key: gc.random.normal(40, **key),
    "bernoulli": lambda **key: gc.random.bernoulli(0.5, 40, **key),
    "randint": lambda **key: gc.random.randint(0, 1000, 40, **key),
    "permutation": lambda **key: gc.random.permutation(40, **key),
    "categorical": lambda **key: gc.random.categorical(gc.zeros(9), shape=40, **key),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_functions_of_the_key(name: str) -> None:
    draw = DRAWS[name]
    gc.random.seed(5)
    first, second = draw().numpy(), draw().numpy()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(draw(key=np.array([5, 0], np.uint64)).numpy(), first)
    np.testing.assert_array_equal(draw(key=gc.tensor(np.array([5, 1], np.uint64))).numpy(), second)
    assert gc.random.key().numpy().tolist() == [5, 2]  # a given key leaves the source alone
    with pytest.raises(TypeError, match=rf"'{name}': key must be uint64\[2\]"):
        draw(key=3)


@pytest.mark.parametrize("name", DRAWS)
def test_examples_of_vmap_have_keys_of_their_own(name: str) -> None:
    draw = DRAWS[name]
    gc.random.seed(5)
    rows = gc.vmap(lambda _: draw())(gc.zeros(50)).numpy()
    assert len({row.tobytes() for row in rows}) == 50
    keys = words_of_split(np.array([5, 0], np.uint64), 50)
    np.testing.assert_array_equal(rows, np.stack([draw(key=key).numpy() for key in keys]))
    np.testing.assert_array_equal(rows, np.asarray(gc.vmap(lambda key: draw(key=key))(keys)))


def words_of_split(key: Any, count: int) -> Any:
    return np.random.Philox(key=key).random_raw(2 * count).reshape(count, 2)


def test_examples_are_not_correlated() -> None:
    gc.random.seed(1)
    rows = gc.vmap(lambda _: gc.random.normal(5000))(gc.zeros(20)).numpy()
    among = np.corrcoef(rows)[np.triu_indices(20, 1)]
    assert np.abs(among).max() < 4 / np.sqrt(5000)  # the largest of 190
    assert stats.kstest(rows.reshape(-1).astype(float), "norm").pvalue > LIKELY


@pytest.mark.parametrize("name", DRAWS)
def test_programs_draw_anew_each_time(name: str) -> None:
    draw = DRAWS[name]
    gc.random.seed(8)
    want = [draw().numpy() for _ in range(2)]
    gc.random.seed(8)
    program = Program(gc.make_graph(lambda: draw())())
    for row in want:
        np.testing.assert_array_equal(program().numpy(), row)


def test_state_dict() -> None:
    gc.random.seed(12)
    gc.random.key()
    state = gc.random.state_dict()
    assert state["source"].numpy().tolist() == [12, 1]
    want = gc.random.normal(3).numpy()
    gc.random.seed(0)
    gc.random.load_state_dict(state)
    np.testing.assert_array_equal(gc.random.normal(3).numpy(), want)
    array = np.array([12, 1], np.uint64)
    gc.random.load_state_dict({"source": array})
    array[:] = 0
    np.testing.assert_array_equal(gc.random.normal(3).numpy(), want)


BAD_STATES = [
    ({}, KeyError, "one name, 'source'"),
    ({"source": KEY, "more": KEY}, KeyError, "one name, 'source'"),
    ({"source": np.zeros(3, np.uint64)}, ValueError, r"must be uint64\[2\].*not uint64\[3\]"),
    ({"source": np.zeros(2)}, ValueError, "not float64"),
    ({"source": [1, 2]}, ValueError, "not int64"),
]


@pytest.mark.parametrize("number", range(len(BAD_STATES)))
def test_bad_states_change_nothing(number: int) -> None:
    state, kind, message = BAD_STATES[number]
    gc.random.seed(4)
    with pytest.raises(kind, match=message):
        gc.random.load_state_dict(state)
    assert gc.random.key().numpy().tolist() == [4, 0]


MISTAKES = [
    (lambda: gc.random.normal(2, int), TypeError, "normal numbers are float16, float32 or float64, not int64"),
    (lambda: gc.random.normal(2.5), TypeError, "a shape is an integer or several"),
    (lambda: gc.random.normal(2, std=-1.0), ValueError, "std must not be negative"),
    (lambda: gc.random.normal(2, mean=np.zeros(2)), TypeError, "parameters of float64 for numbers of float32"),
    (lambda: gc.random.normal(2, mean=gc.zeros(3, 2)), ValueError, r"shape \(3, 2\) do not broadcast to \(2,\)"),
    (lambda: gc.random.uniform(2, low=1, high=0), ValueError, "low must not be above high"),
    (lambda: gc.random.randint(0, 0), ValueError, "low must be below high"),
    (lambda: gc.random.randint(0, 257, dtype=np.uint8), ValueError, "both within uint8, got 0 and 257"),
    (lambda: gc.random.randint(-1, 2, dtype=np.uint8), ValueError, "both within uint8"),
    (lambda: gc.random.randint(0, 1.5), TypeError, "must be integers, not 0 and 1.5"),
    (lambda: gc.random.randint(0, 2, dtype=float), TypeError, "the dtype must be one of integers"),
    (lambda: gc.random.bernoulli(gc.arange(2)), TypeError, "p must be floating, not int64"),
    (lambda: gc.random.bernoulli(gc.zeros(3), 2), ValueError, r"shape \(3,\) does not broadcast to shape \(2,\)"),
    (lambda: gc.random.bernoulli(gc.zeros(3), (3, 1)), ValueError, "does not broadcast"),
    (lambda: gc.random.permutation(-1), ValueError, "at least 0"),
    (lambda: gc.random.permutation(gc.zeros()), ValueError, "a tensor with an axis"),
    (lambda: gc.random.permutation("abc"), TypeError, "'permutation' takes a number or a tensor, not str"),
    (lambda: gc.random.categorical(gc.arange(3)), TypeError, "logits must be floating, not int64"),
    (lambda: gc.random.categorical(gc.zeros(3), 1), ValueError, "out of bounds"),
    (lambda: gc.random.categorical(gc.zeros(2, 3), shape=(3,)), ValueError, "does not broadcast"),
    (lambda: gc.random.categorical(gc.zeros(2, 0)), ValueError, "'categorical': there are no classes"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes(number: int) -> None:
    call, kind, message = MISTAKES[number]
    with pytest.raises(kind, match=message):
        call()
