from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.data.arrays import from_arrays
from metacortex.errors import DataError, SettingsError


def test_layouts_agree() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    last = from_arrays(images, [1, 0, 1, 0])
    first = from_arrays(images.transpose(0, 3, 1, 2), [1, 0, 1, 0])
    assert last.store.shape == (3, 5, 6)
    assert last.store.fingerprint == first.store.fingerprint
    assert np.array_equal(last.store.of_class(0), images[[1, 3]].transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match="layout='hwc'"):
        from_arrays(np.zeros((2, 3, 3, 3)), [0, 1])
    assert from_arrays(np.zeros((2, 3, 4, 3)), [0, 1], layout="chw").store.shape == (3, 4, 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_rows_stay_with_their_labels(labels: list[int]) -> None:
    data = from_arrays(np.arange(2 * len(labels)).reshape(-1, 2), labels)
    assert data.store.examples.dtype == np.float32
    assert [c.name for c in data.store.classes] == [str(n) for n in sorted(set(labels))]
    for i, label in enumerate(sorted(set(labels))):
        assert (data.store.of_class(i)[:, 0] / 2).tolist() == [j for j, n in enumerate(labels) if n == label]


def test_splits_and_names() -> None:
    data = from_arrays(
        np.zeros((3, 4, 4)), ["x", "y", "z"], names=["X", "Y", "Z"], splits={"train": ["z", "x"], "test": ["y"]}
    )
    assert data.splits["train"].names == ["Z", "X"]
    assert data.splits["test"].names == ["Y"]
    with pytest.raises(SettingsError, match="did you mean 'train'"):
        from_arrays(np.zeros((1, 4, 4)), [0], splits={"trian": [0]})
    with pytest.raises(DataError, match="label 7, which no row has"):
        from_arrays(np.zeros((1, 4, 4)), [0], splits={"train": [7]})
    with pytest.raises(DataError, match="again in 'test'"):
        from_arrays(np.zeros((1, 4, 4)), [0], splits={"train": [0], "test": [0]})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers_name_the_first_row(bad: float) -> None:
    values = np.zeros((5, 3, 3))
    values[[2, 4], 1, 1] = bad
    with pytest.raises(DataError, match=r"in 2 rows, first in row 2"):
        from_arrays(values, np.zeros(5, int))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 2, 2)), [0, 1], "2 labels and 3 rows"),
        (np.zeros((0, 2, 2)), [], "not empty"),
        (np.zeros(3), [0, 1, 2], "must be images"),
        (np.zeros((2, 2), complex), [0, 1], "real numbers"),
        ([[1], [2, 3]], [0, 1], "no array"),
        (np.zeros((2, 2)), [0.5, np.nan], "y must be"),
        (np.zeros((2, 2)), [[0], [1]], "y must be"),
        (np.full((1, 2), 1e300), [0], "float32"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_input(X: object, y: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(X, y)
