"""Random numbers of the CUDA kernels are those of the CPU, bit for bit, for any key, count and address."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradcore.kernels.normal import NORMAL
from gradcore.kernels.philox import DROPOUT, RANDINT, RANDOM_BITS, SPLIT_KEY, UNIFORM
from gradcore.kernels.spec import Plan, RowSpec

from gradcore.backend import NUMPY
from gradcore.ops.distributions import normal_op, randint_op, random_bits_op
from gradcore.ops.random import dropout_op, split_key_op, uniform_op

cupy = pytest.importorskip("cupy")
run_plan = pytest.importorskip("gradcore.backend.cuda.plans").run_plan

KEYS = [np.array(key, np.uint64) for key in ([5, 7], [0, 0], [2**64 - 1, 2**63 + 1])]
SEVERAL = np.random.default_rng(0).integers(0, 2**64, (2, 3, 2), np.uint64)
SHAPES = [*[(n,) for n in range(10)], (), (3, 0), (4, 7), (1000,), (100003,)]
FLOATS = [np.dtype(t) for t in (np.float16, np.float32, np.float64)]
INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
SPANS = [(0, 1), (-3, 4), (0, 2**32), (-5, 2**32), (-(2**63), 2**63), (-(2**62) - 3, 2**62 + 10**17)]


def on_device(array: Any, offset: int = 0) -> Any:
    """A copy, `offset` elements after an address that is a multiple of 512."""
    room = cupy.empty(array.size + offset, array.dtype)[offset:].reshape(array.shape)
    room.set(array)
    return room


def run_both(
    op: Any, spec: RowSpec, values: list[Any], params: tuple[Any, ...], offset: int = 0, key_there: bool = False
) -> tuple[Any, Any]:
    """Results of the kernel and of the CPU."""
    expected = NUMPY.run(op, None, values, params)
    out = on_device(np.full_like(expected, 99), offset)
    *arrays, key = values
    moved = [on_device(x, offset) for x in arrays] + [on_device(key) if key_there else key]
    run_plan(None, spec, op.shapes_and_dtypes, out, moved, params)
    return out.get(), expected


def assert_same_bits(got: Any, expected: Any) -> None:
    """NaN counts as NaN."""
    np.testing.assert_array_equal(got, expected, strict=True)
    if got.dtype.kind == "f":
        numbers = ~np.isnan(got)
        np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(expected)[numbers])


def check_draws(op: Any, spec: RowSpec, shape: tuple[int, ...], *rest: Any, before: tuple[Any, ...] = ()) -> None:
    """One key on the host or on the device, several keys, none; addresses with and without alignment."""
    params = (*before, shape, *rest)
    for key in KEYS:
        assert_same_bits(*run_both(op, spec, [key], params))
    assert_same_bits(*run_both(op, spec, [KEYS[0]], params, offset=1, key_there=True))
    if np.prod(shape) < 1000:
        assert_same_bits(*run_both(op, spec, [SEVERAL], params, key_there=True))
        assert_same_bits(*run_both(op, spec, [SEVERAL[:0]], params, key_there=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits(shape: tuple[int, ...]) -> None:
    check_draws(random_bits_op, RANDOM_BITS, shape)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_uniform(shape: tuple[int, ...], dtype: Any) -> None:
    check_draws(uniform_op, UNIFORM, shape, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normal(shape: tuple[int, ...], dtype: Any) -> None:
    check_draws(normal_op, NORMAL, shape, dtype)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_integer_dtypes(shape: tuple[int, ...], dtype: Any) -> None:
    limits = np.iinfo(dtype)
    check_draws(randint_op, RANDINT, shape, dtype, before=(int(limits.min), int(limits.max) + 1))


@pytest.mark.parametrize(("low", "high"), SPANS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 1000])
def test_integers(count: int, low: int, high: int) -> None:
    check_draws(randint_op, RANDINT, (count,), np.dtype(np.int64), before=(low, high))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 1000])
def test_split_keys(count: int) -> None:
    for key in (*KEYS, SEVERAL):
        assert_same_bits(*run_both(split_key_op, SPLIT_KEY, [key], (count,), key_there=key.ndim > 1))


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 0.5, 0.9, 1 - 2.0**-26])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dropout(dtype: Any, rate: float) -> None:
    """A rate next to 1 is 1 in float32."""
    for shape in SHAPES:
        x = np.asarray(np.random.default_rng(1).normal(size=shape), dtype)
        x.reshape(-1)[:5] = np.array([np.inf, -np.inf, np.nan, -0.0, 0.5], dtype)[: x.size]
        with np.errstate(over="ignore"):  # float16 has no number above 65504
            assert_same_bits(*run_both(dropout_op, DROPOUT, [x, KEYS[0]], (rate,)))
            assert_same_bits(*run_both(dropout_op, DROPOUT, [x, KEYS[1]], (rate,), offset=1, key_there=True))


def test_dropout_in_place() -> None:
    x = np.random.default_rng(2).normal(size=1003)
    y = cupy.asarray(x)
    run_plan(None, DROPOUT, dropout_op.shapes_and_dtypes, y, [y, KEYS[0]], (0.3,))
    assert_same_bits(y.get(), NUMPY.run(dropout_op, None, [x, KEYS[0]], (0.3,)))


def small_grid(spec: RowSpec) -> RowSpec:
    """The same kernel with a name of its own and two blocks, whose threads take many turns."""

    def plan(operands: Any, params: Any) -> Plan:
        made = spec.plan(operands, params)
        return made._replace(launches=tuple([launch._replace(grid=2) for launch in made.launches]))

    return spec._replace(name=f"{spec.name}_of_two_blocks", plan=plan)


@pytest.mark.parametrize(("op", "spec"), [(uniform_op, UNIFORM), (normal_op, NORMAL)])
def test_numbers_do_not_depend_on_the_grid(op: Any, spec: RowSpec) -> None:
    params = ((20011,), np.dtype(np.float32))
    assert_same_bits(*run_both(op, small_grid(spec), [KEYS[0]], params))
    assert_same_bits(*run_both(op, small_grid(spec), [SEVERAL], ((1003,), np.dtype(np.float64)), key_there=True))


def test_a_key_on_the_host_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a key was copied to the device")

    out = cupy.empty(10, np.float32)
    for name in ("array", "asarray", "ascontiguousarray"):
        monkeypatch.setattr(cupy, name, refuse)
    run_plan(None, UNIFORM, uniform_op.shapes_and_dtypes, out, [KEYS[0]], ((10,), np.dtype(np.float32)))
    monkeypatch.undo()
    assert_same_bits(out.get(), NUMPY.run(uniform_op, None, [KEYS[0]], ((10,), np.dtype(np.float32))))
