from __future__ import annotations

import numpy as np
import pytest

from metacortex.data.dataset import Dataset, parse_rotations, square
from metacortex.data.store import ClassStore
from metacortex.data.view import ClassView
from metacortex.errors import DataError, SettingsError


def make(shape: tuple[int, ...] = (1, 3, 3)) -> ClassStore:
    meta = [{"alphabet": "A"}, {"alphabet": "B"}, {"alphabet": "A"}]
    return ClassStore.from_arrays(
        np.arange(6 * 9, dtype=np.uint8).reshape(6, *shape), [0, 0, 1, 1, 1, 2], "abc", meta=meta
    )


def test_rotations_are_classes_of_their_own() -> None:
    view = ClassView.of(make(), [2, 1], group_by="alphabet").with_rotations()
    assert view.names == ["c", "c/rot090", "c/rot180", "c/rot270", "b", "b/rot090", "b/rot180", "b/rot270"]
    assert view.rotation.tolist() == [0, 1, 2, 3] * 2
    assert view.counts().tolist() == [1] * 4 + [3] * 4
    assert view.group is not None
    assert len(set(view.group.tolist())) == 8
    with pytest.raises(DataError, match="rotated classes already"):
        view.with_rotations()


def test_groups_follow_the_alphabet() -> None:
    view = ClassView.of(make(), group_by="alphabet")
    assert view.group is not None
    assert view.group.tolist() == [0, 1, 0]
    assert ClassView.of(make()).group is None


def test_arrays_are_frozen_copies() -> None:
    index = np.array([0, 1])
    view = ClassView(make(), index, np.zeros(2))
    index[0] = 2
    assert view.index.tolist() == [0, 1]
    assert view.rotation.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        view.index[0] = 1


@pytest.mark.parametrize(
    ("index", "rotation", "group"),
    [([3], [0], None), ([-1], [0], None), ([0], [4], None), ([0], [0, 1], None), ([0], [0], [0, 1])],
)
def test_bad_views(index: list[int], rotation: list[int], group: list[int] | None) -> None:
    with pytest.raises(DataError, match="view of 'arrays'"):
        ClassView(make(), np.array(index), np.array(rotation), None if group is None else np.array(group))


def test_only_squares_are_rotated() -> None:
    with pytest.raises(DataError, match="square"):
        ClassView.of(make((1, 1, 9))).with_rotations()


def test_rotations_setting() -> None:
    assert parse_rotations("test,train") == parse_rotations(["test", "train"]) == ("train", "test")
    assert parse_rotations(None) == parse_rotations("none") == parse_rotations("") == ()
    assert parse_rotations("all") == ("train", "val", "test")
    with pytest.raises(SettingsError, match="did you mean 'train'"):
        parse_rotations("trian")


@pytest.mark.parametrize("size", [0, -3, 5000, (3,), "28", 2.5, None])
def test_bad_sizes(size: object) -> None:
    with pytest.raises(DataError, match="size must be"):
        square(size)  # type: ignore[arg-type]


def test_missing_split() -> None:
    store = make()
    data = Dataset("d", "p", store, {"test": ClassView.of(store)})
    assert len(data.split("test")) == 3
    with pytest.raises(DataError, match="no split 'train', only test"):
        data.split("train")
    with pytest.raises(SettingsError, match="did you mean 'test'"):
        data.split("tset")
