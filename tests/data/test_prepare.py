"""Splits, standardisation, scores."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gradcore as gc
from gradcore.data import DataError, Split, Task, datasets, prepare

RNG = np.random.default_rng(0)
X = RNG.normal(3, 5, (100, 4))


def test_classes_are_split_by_themselves_and_numbered() -> None:
    labels = np.repeat([-7, 40, 1000], [50, 30, 20])
    data = prepare(X, labels, test_share=0.3)
    assert (data.task.kind, data.task.classes) == ("classification", (-7, 40, 1000))
    assert (data.features, data.task.outputs) == (4, 3)
    assert np.bincount(data.test_y.numpy()).tolist() == [15, 9, 6]
    assert np.bincount(data.train_y.numpy()).tolist() == [35, 21, 14]
    assert sorted(data.task.actual(data.test_y)) == [-7] * 15 + [40] * 9 + [1000] * 6


def test_rare_classes_are_in_both_parts() -> None:
    data = prepare(X[:12], [0] * 10 + [1] * 2, test_share=0.1)
    assert np.bincount(data.test_y.numpy()).tolist() == [1, 1]
    assert np.bincount(data.train_y.numpy()).tolist() == [9, 1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_training_part_has_mean_0_and_deviation_1(dtype: str) -> None:
    y = X @ [1.0, 2.0, 3.0, 4.0] + 50
    data = prepare(X, y, dtype=dtype)
    tolerance = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-12}[dtype]
    for part in (data.train_x, data.train_y):
        assert part.dtype == dtype
        np.testing.assert_allclose(part.numpy().mean(0, dtype="f8"), 0, atol=tolerance)
        np.testing.assert_allclose(part.numpy().std(0, dtype="f8"), 1, rtol=tolerance)
    assert (data.train_y.shape, data.test_y.shape) == ((80, 1), (20, 1))
    together = np.concatenate([data.task.actual(part) for part in (data.train_y, data.test_y)])
    np.testing.assert_allclose(sorted(together), sorted(y), rtol=3e-3 if dtype == "float16" else 1e-5, atol=0.1)


def test_examples_keep_their_targets() -> None:
    data = prepare(X, X[:, 0].copy(), dtype="float64")
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        np.testing.assert_allclose(x.numpy()[:, 0], y.numpy()[:, 0], atol=1e-12)


def test_constant_features_become_zero() -> None:
    """Also those whose mean is not exact."""
    x = X.copy()
    x[:, 1] = 0.1
    data = prepare(x, X[:, 0])
    assert not data.train_x.numpy()[:, 1].any()
    assert not data.test_x.numpy()[:, 1].any()


@pytest.mark.parametrize(("scale", "dtype"), [(1e308, "float32"), (1e-320, "float64")])
def test_numbers_out_of_range_are_refused(scale: float, dtype: str) -> None:
    x = X.copy()
    x[:, 2] = np.sign(X[:, 2] - 3) * scale * 1.5
    with pytest.raises(DataError, match="column 2 of X are too far apart"):
        prepare(x, X[:, 0], dtype=dtype)
    with pytest.raises(DataError, match="column 0 of y are too far apart"):
        prepare(X, x[:, 2], dtype=dtype)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.sign(X - 3) * 1.5e308, "heights.csv: values in column 0 of X are too far apart"),
        (X[:1], "heights.csv: X has 1 examples"),
    ],
)
def test_messages_name_the_source(x: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(x, X[:, 0], source="heights.csv")


def test_a_target_that_only_varies_in_the_test_part() -> None:
    gc.random.seed(0)
    y = np.zeros(100)
    y[gc.random.generator().permutation(100)[0]] = 1  # the first to be chosen for testing
    gc.random.seed(0)
    with pytest.raises(DataError, match="in the whole training part"):
        prepare(X, y)


@pytest.mark.parametrize("options", [{"test_share": 0}, {"test_share": 1.0}, {"dtype": "int32"}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"int32|test_share"):
        prepare(X, X[:, 0], **options)


def test_splits_follow_the_seed() -> None:
    def tests(seed: int) -> list[float]:
        gc.random.seed(seed)
        return prepare(X, X[:, 0]).test_y.numpy()[:, 0].tolist()

    assert tests(0) == tests(0) != tests(1)


def test_scores_of_numbers_are_in_their_units() -> None:
    task = Task("regression", mean=100.0, scale=10.0)
    outputs, y = gc.tensor([[1.0], [2.0], [3.0]]), gc.tensor([[1.0], [2.0], [0.0]])
    assert task.predicted(outputs).tolist() == [110, 120, 130]
    scores = task.scores(outputs, y)
    assert scores["rmse"] == pytest.approx(np.sqrt(900 / 3))
    assert scores["r2"] == pytest.approx(1 - 900 / 200)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("y", [X[:, 0], np.repeat(["no", "yes"], 50)], ids=["numbers", "text"])
def test_a_task_from_json_standardises_as_ever(y: Any, dtype: str) -> None:
    x = X.copy()
    x[:, 1] = 0.1
    data = prepare(x, y, dtype=dtype)
    task = Task.from_metadata(json.loads(json.dumps(data.task.metadata())))
    assert task == data.task
    rows = {row.tobytes() for row in task.inputs(x).numpy()}
    assert rows == {row.tobytes() for part in (data.train_x, data.test_x) for row in part.numpy()}
    assert task.inputs(x[:1] + 1).numpy()[0, 1] == 0


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([1.0, 2.0, 3.0, 4.0], r"X has shape \(4, 1\); it must be \(examples, 4\)"),
        ([[1, 2, 3, np.nan]], r"X\[0, 3\] is nan"),
        ([["a", "b", "c", "d"]], "X holds text; it must hold real numbers$"),
        ([[1e300, 0, 0, 0]], "column 0 of X are too far apart for float32"),
    ],
)
def test_wrong_inputs(x: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(X, X[:, 0]).task.inputs(x)


@pytest.mark.parametrize("metadata", [None, {}, {"kind": "regression"}, Task("clustering").metadata()])
def test_metadata_of_no_task(metadata: Any) -> None:
    with pytest.raises(DataError, match="does not describe a task"):
        Task.from_metadata(metadata)


# --- data sets --------------------------------------------------------------------------------------------------------

BUNDLED = {  # features, outputs, examples for training and for testing
    "digits": (64, 10, 1438, 359),
    "wine": (13, 3, 142, 36),
    "breast_cancer": (30, 2, 456, 113),
    "diabetes": (10, 1, 354, 88),
}


@pytest.fixture(scope="module", params=BUNDLED)
def bundled(request: pytest.FixtureRequest) -> tuple[str, Split]:
    pytest.importorskip("sklearn", reason="the demo extra is not installed")
    gc.random.seed(0)
    return request.param, getattr(datasets, request.param)()


def test_bundled_sizes(bundled: tuple[str, Split]) -> None:
    name, data = bundled
    assert (data.features, data.task.outputs, len(data.train_x), len(data.test_x)) == BUNDLED[name]
    assert (len(data.train_y), len(data.test_y)) == BUNDLED[name][2:]
    assert data.task.kind == ("regression" if name == "diabetes" else "classification")


def test_no_example_is_in_both_parts(bundled: tuple[str, Split]) -> None:
    _, data = bundled
    rows = {row.tobytes() for row in data.train_x.numpy()}
    assert not any(row.tobytes() in rows for row in data.test_x.numpy())


def test_bundled_targets_in_their_units() -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="the demo extra is not installed")
    data = datasets.diabetes(dtype="float64")
    together = np.concatenate([data.task.actual(part) for part in (data.train_y, data.test_y)])
    np.testing.assert_allclose(sorted(together), sorted(sklearn.load_diabetes().target), rtol=1e-12)


def test_digits_are_split_as_ever() -> None:
    """The bits that a run with seed 0 has always been trained on."""
    sklearn = pytest.importorskip("sklearn.datasets", reason="the demo extra is not installed")
    gc.random.seed(0)
    data = datasets.digits()
    x, y = sklearn.load_digits(return_X_y=True)
    generator = np.random.Generator(np.random.Philox(key=[0, 0]))
    test = np.zeros(len(y), bool)
    for label in range(10):
        members = generator.permutation(np.flatnonzero(y == label))
        test[members[: round(0.2 * len(members))]] = True
    deviation = x[~test].std(axis=0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    x = ((x - x[~test].mean(axis=0)) * scale).astype(np.float32)
    for got, expected in zip(data, (x[~test], y[~test], x[test], y[test]), strict=False):
        assert got.numpy().tobytes() == expected.tobytes()
