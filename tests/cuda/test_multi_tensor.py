"""Kernels over many tensors: optimiser steps and clipping, each in one launch, against NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from gradcore.kernels.multi_tensor import BLOCKS, CLIP_TABLE, NORM_TABLE, chunk_for, step_table

import gradcore as gc
from gradcore import nn
from gradcore.backend import NUMPY, backend_on
from gradcore.core.op import OPS
from gradcore.ops.clipping import clip_to_norm_op, global_norm, global_norm_op

STEPS = [op for op in OPS.values() if op.variadic and "elementwise" in op.kernels]
DTYPES = [np.float16, np.float32, np.float64]
TOLERANCES = {2: 2e-3, 4: 1e-5, 8: 1e-12}
SHAPES = [(3, 4), (), (0, 3), (9001,), (17,), (64, 65), (1,), (8192,), (0,)]


@pytest.fixture
def xp(device: Any) -> Any:
    return backend_on(device)


def drawn(op: Any, shapes: Any, dtype: Any) -> tuple[list[Any], list[Any]]:
    """Hyperparameters, and the arrays of all groups: parameter, gradient, slots."""
    rng = np.random.default_rng(0)
    spec = op.kernels["elementwise"].forward
    shared = len(spec.scalar_inputs)
    hyper = [np.asarray(rng.uniform(0.1, 0.5), np.result_type(dtype, np.float32)) for _ in range(shared)]
    values = [rng.normal(size=(len(spec.inputs) - shared, *shape)) for shape in shapes]
    return hyper, [np.asarray(abs(x) if k > 1 else x, dtype) for group in values for k, x in enumerate(group)]


def assert_agree(got: Any, want: Any) -> None:
    """The definition of agreement, for operands of about 1."""
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        exact = w.astype(np.float64)
        error = abs(g.get().astype(np.float64) - exact)
        assert (error <= TOLERANCES[w.dtype.itemsize] * np.maximum(1, abs(exact))).all(), error.max()


def assert_same(got: Any, want: Any) -> None:
    for g, w in zip(got, want, strict=True):
        assert g.get().tobytes() == w.get().tobytes()


# --- optimiser steps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", STEPS, ids=lambda op: op.name)
def test_a_step_is_that_of_numpy_in_one_launch(op: Any, dtype: Any, xp: Any, counters: Any) -> None:
    hyper, arrays = drawn(op, SHAPES, dtype)
    want = NUMPY.run(op, None, [*hyper, *arrays], ())
    there = [xp.np.asarray(x) for x in arrays]
    before = counters()
    got = xp.run(op, None, [*hyper, *there], ())
    after = counters()
    assert after["kernel_launches"] - before["kernel_launches"] == 1
    assert [after[name] - before[name] for name in ("h2d", "d2h", "d2d", "syncs")] == [0, 0, 0, 0]
    assert_agree(got, want)
    width = len(arrays) // len(SHAPES)
    places = tuple([x for k, x in enumerate(there) if k % width != 1])  # parameters and slots, in place
    assert xp.run(op, places, [*map(xp.np.asarray, hyper), *there], ()) is places
    assert_same(places, got)


@pytest.mark.parametrize("op", [OPS["adamw"], OPS["sgd"]], ids=lambda op: op.name)
def test_more_parameters_than_a_table_holds(op: Any, xp: Any, counters: Any) -> None:
    spec = op.kernels["elementwise"].forward
    shapes = [(k % 5, 3) for k in range(2 * step_table(spec).capacity)]
    hyper, arrays = drawn(op, [*shapes, (0, 3)], np.float32)
    there = [xp.np.asarray(x) for x in arrays]
    before = counters()["kernels"].get(f"gradcore_multi_{spec.name}", 0)
    got = xp.run(op, None, [*hyper, *there], ())
    assert counters()["kernels"][f"gradcore_multi_{spec.name}"] - before == 2  # a third has nothing to do
    assert_agree(got, NUMPY.run(op, None, [*hyper, *arrays], ()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_alignment(dtype: Any, xp: Any) -> None:
    op = OPS["adamw"]
    hyper, arrays = drawn(op, [(5001,), (33, 3)], dtype)
    shifted = []
    for x in arrays:
        room = xp.np.empty(x.size + 1, dtype)
        room[1:] = xp.np.asarray(x.ravel())
        shifted.append(room[1:].reshape(x.shape))
    aligned = [xp.np.asarray(x) for x in arrays]
    assert_same(xp.run(op, None, [*hyper, *shifted], ()), xp.run(op, None, [*hyper, *aligned], ()))
    norm = (2.0, np.result_type(dtype, np.float32))
    totals = [xp.run(global_norm_op, None, values, norm) for values in (shifted, aligned)]
    assert_same(totals[:1], totals[1:])
    limit = np.asarray(0.5, norm[1])
    clipped = [xp.run(clip_to_norm_op, None, [totals[0], limit, *values], ()) for values in (shifted, aligned)]
    assert_same(*clipped)


def test_views_are_read_in_their_order(xp: Any) -> None:
    op = OPS["sgd"]
    hyper, arrays = drawn(op, [(6, 5), (4, 3)], np.float32)
    there = [xp.np.asarray(x.T.copy()).T for x in arrays]
    got = xp.run(op, None, [*hyper, *there], ())
    assert all(x.flags.c_contiguous for x in got)
    assert_agree(got, NUMPY.run(op, None, [*hyper, *arrays], ()))


def test_nothing_to_do_launches_nothing(xp: Any, counters: Any) -> None:
    hyper, arrays = drawn(OPS["adam"], [(0,), (2, 0)], np.float32)
    there = [xp.np.asarray(x) for x in arrays]
    before = counters()["kernel_launches"]
    got = xp.run(OPS["adam"], None, [*hyper, *there], ())
    assert [x.shape for x in got] == [(0,)] * 3 + [(2, 0)] * 3
    assert counters()["kernel_launches"] == before


def test_groups_that_no_launch_can_take(xp: Any) -> None:
    lr = np.asarray(0.1, np.float32)
    single, double, short = xp.np.ones(4, np.float32), xp.np.ones(4), xp.np.ones(3, np.float32)
    with pytest.raises(TypeError, match="'sgd_step': parameters of one launch must have one floating dtype"):
        xp.run(OPS["sgd"], None, [lr, single, single, double, double], ())
    with pytest.raises(ValueError, match="must have one size and dtype"):
        xp.run(OPS["sgd"], None, [lr, single, short], ())


def test_tables_fit_into_the_parameters_of_a_kernel() -> None:
    for layout in (NORM_TABLE, CLIP_TABLE, *[step_table(op.kernels["elementwise"].forward) for op in STEPS]):
        assert all(3500 < layout.dtype(real).itemsize <= 4096 - 32 for real in (np.float32, np.float64))
        assert layout.capacity > 40
    assert chunk_for(BLOCKS * 4096) == 4096
    assert chunk_for(BLOCKS * 4096 + 1) == 8192
    assert chunk_for(2**40) * BLOCKS == 2**40


# --- clipping ---------------------------------------------------------------------------------------------------------


def gradients(shapes: Any, dtypes: Any, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=s), dtypes[k % len(dtypes)]) for k, s in enumerate(shapes)]


MIXES = [[np.float16], [np.float32], [np.float64], [np.float16, np.float64], [np.float32, np.float16, np.float64]]


@pytest.mark.parametrize("norm_type", [2.0, math.inf])
@pytest.mark.parametrize("dtypes", MIXES, ids=lambda dtypes: "-".join(np.dtype(d).name for d in dtypes))
def test_the_norm_is_that_of_numpy_in_one_launch(dtypes: Any, norm_type: float, xp: Any, counters: Any) -> None:
    grads = gradients(SHAPES, dtypes)
    there = [gc.Tensor(xp.np.asarray(g)) for g in grads]
    before = counters()
    total = global_norm(there, norm_type)
    after = counters()
    assert after["kernels"]["gradcore_multi_norm"] - before["kernels"].get("gradcore_multi_norm", 0) == 1
    assert after["d2h"] == before["d2h"]
    want = np.linalg.norm(np.concatenate([g.ravel().astype(np.float64) for g in grads]), norm_type)
    assert total.shape == ()
    assert total.dtype == global_norm([gc.Tensor(g) for g in grads], norm_type).dtype == np.result_type(*dtypes, "f4")
    assert abs(total.item() - want) <= {4: 1e-6, 8: 1e-14}[total.dtype.itemsize] * want
    assert not xp.tickets().any()
    again = global_norm(there, norm_type)
    assert_same([again.data], [total.data])


def test_norms_of_more_tensors_than_a_table_holds(xp: Any) -> None:
    for layout, norm_type in ((NORM_TABLE, 2.0), (CLIP_TABLE, math.inf)):
        grads = gradients([(k % 7,) for k in range(2 * layout.capacity + 3)], [np.float64, np.float16])
        there = [gc.Tensor(xp.np.asarray(g)) for g in grads]
        total = global_norm(there, norm_type)
        want = np.linalg.norm(np.concatenate([g.astype(np.float64) for g in grads]), norm_type)
        assert total.item() == pytest.approx(want, rel=1e-13)
        scaled = xp.run(clip_to_norm_op, None, [total.data, np.asarray(0.1), *[t.data for t in there]], ())
        assert_agree(scaled, NUMPY.run(clip_to_norm_op, None, [np.asarray(want), np.asarray(0.1), *grads], ()))


def test_long_sums_keep_their_digits(xp: Any) -> None:
    x = gc.Tensor(xp.np.full(2**20 + 3, 0.1, np.float32))
    want = math.sqrt((2**20 + 3) * float(np.float32(0.1)) ** 2)
    assert global_norm([x], 2.0).item() == pytest.approx(want, rel=2e-7)


@pytest.mark.parametrize(
    ("gradient", "two", "largest"),
    [
        ([1e30, 1.0], math.inf, np.float32(1e30)),
        ([math.inf, 1.0], math.inf, math.inf),
        ([-math.inf, math.nan], math.nan, math.nan),
        ([math.nan, *range(5000)], math.nan, math.nan),
        ([*range(5000), math.nan, 1.0], math.nan, math.nan),
        ([-3.0, 0.0], 3.0, 3.0),
        ([], 0.0, 0.0),
    ],
)
def test_norms_at_the_extremes(gradient: Any, two: float, largest: float, xp: Any) -> None:
    x = gc.Tensor(xp.np.asarray(np.float32(gradient)))
    np.testing.assert_equal([global_norm([x], norm_type).item() for norm_type in (2.0, math.inf)], [two, largest])


@pytest.mark.parametrize("max_norm", [0.5, 1e6, math.inf, gc.tensor(0.5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_is_that_of_the_cpu_in_two_launches(dtype: Any, max_norm: Any, counters: Any) -> None:
    grads = gradients(SHAPES, [dtype])
    results = []
    for device in ("cpu", "cuda"):
        parameters = [nn.Parameter(gc.asarray(np.ones(g.shape, dtype), device=device)) for g in grads]
        for p, g in zip(parameters, grads, strict=True):
            p.grad = gc.asarray(g, device=device)
        before = counters()
        total = nn.utils.clip_grad_norm_(parameters, max_norm)
        after = counters()
        results.append((total, parameters))
    assert after["kernel_launches"] - before["kernel_launches"] == 2
    assert [after[name] - before[name] for name in ("h2d", "d2h", "syncs")] == [0, 0, 0]
    (expected, here), (total, there) = results
    assert_agree([total.data], [expected.data])
    assert_agree([p.grad.data for p in there], [p.grad.data for p in here])


def test_a_factor_on_the_device(xp: Any) -> None:
    grads = [xp.np.asarray(g) for g in gradients([(5,), (2, 3)], [np.float32])]
    total = xp.np.asarray(np.float32(4.0))
    by_value = xp.run(clip_to_norm_op, None, [total, np.asarray(0.5, np.float32), *grads], ())
    by_pointer = xp.run(clip_to_norm_op, None, [total, xp.np.asarray(0.5), *grads], ())
    assert_same(by_value, by_pointer)
    assert_same(xp.run(clip_to_norm_op, tuple(grads), [total, xp.np.asarray(0.5), *grads], ()), by_value)


def test_gradients_below_the_limit_are_left_as_they_are(xp: Any) -> None:
    grads = [xp.np.asarray(np.float32([3.0, 4.0])), xp.np.asarray(np.float32([0.0]))]
    kept = [g.copy() for g in grads]
    limit = np.asarray(6.0, np.float32)
    total = xp.np.asarray(np.float32(5.0))
    assert_same(xp.run(clip_to_norm_op, None, [total, limit, *grads], ()), kept)
    assert_same(xp.run(clip_to_norm_op, tuple(grads), [total, limit, *grads], ()), kept)
    nan = xp.np.asarray(np.float32("nan"))
    assert all(xp.np.isnan(g).all() for g in xp.run(clip_to_norm_op, None, [nan, limit, *grads], ()))


def test_longer_chunks_change_no_step(xp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks grow only where there are more elements than a test can hold."""
    op = OPS["adamw"]
    hyper, arrays = drawn(op, [(20011,), (5,), (9000,)], np.float32)
    there = [xp.np.asarray(x) for x in arrays]
    norm = (2.0, np.dtype(np.float32))
    step, total = xp.run(op, None, [*hyper, *there], ()), xp.run(global_norm_op, None, there, norm)
    from gradcore.backend.cuda import multi_tensor

    caches = (multi_tensor._step_tables, multi_tensor._mixed_tables)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(multi_tensor, "chunk_for", lambda elements: 16384)
    assert_same(xp.run(op, None, [*hyper, *there], ()), step)
    assert_agree([xp.run(global_norm_op, None, there, norm)], [total.get()])
    for cache in caches:
        cache.cache_clear()
