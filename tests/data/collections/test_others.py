"""CUB, tiered-ImageNet, traffic signs and the tables."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from collection_support import SPLITS, pictures, png, shrink, write_folders, write_hdf5

from metacortex.data.archives import open_zip
from metacortex.data.collections import cub, gtsrb, tables, tiered_imagenet
from metacortex.data.collections.catalogue import COLLECTIONS
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pictures import zip_classes
from metacortex.data.registry import add, load_dataset, overview
from metacortex.data.sources import BUILT_IN, find_loader
from metacortex.errors import DataError, MissingExtraError, SettingsError
from metacortex.runs.domain import open_domain
from metacortex.settings import DataSettings

DATA = Path(os.environ.get("METACORTEX_DATA", ""))
REAL = pytest.mark.skipif(Path() == DATA, reason="METACORTEX_DATA does not name the shared data")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)


@pytest.mark.parametrize("name", sorted(COLLECTIONS))
def test_each_is_a_source_that_says_what_is_missing(name: str) -> None:
    assert name in BUILT_IN
    with pytest.raises(DataError, match=f"{name} is not on this machine .* metacortex data add {name} --from FOLDER"):
        find_loader(name)[0]()
    assert {row["name"]: row["available"] for row in overview()}[name] is False


def test_cub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"train": ["001.A_bird"], "val": ["002.B_bird"], "test": ["003.C_bird"]}
    shrink(monkeypatch, cub, "CUB", expects=names)
    data = pictures(names, each=2)
    official = tmp_path / "official" / "CUB_200_2011"
    write_folders(official, {"images": {k: v for group in data.values() for k, v in group.items()}})
    stores = []
    for place in (official.parent, official):
        add("cub", place, replace=True)
        loaded = load_dataset("cub", size=12)
        assert loaded.splits["val"].names == ["002.B_bird"]
        stores.append(loaded.store.fingerprint)
    (tmp_path / "cache").mkdir()
    write_hdf5(tmp_path / "cache", data, encoded=True)
    add("cub", tmp_path / "cache", replace=True)
    assert np.array_equal(
        load_dataset("cub", size=12).store.of_class(0), data["train"]["001.A_bird"].transpose(0, 3, 1, 2)
    )
    assert len(set(stores)) == 1


def test_tiered_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, tiered_imagenet, "TIERED_IMAGENET", expects={"train": 2, "val": 1, "test": 1})
    names = {"train": ["crane", "cat"], "val": ["dog"], "test": ["crane"]}
    data = pictures(names, each=2)
    for split, classes in data.items():
        flat = [p for images in classes.values() for p in images]
        encoded = [np.frombuffer(png(p), np.uint8)[:, None] for p in flat]
        labels = {"label_specific": np.repeat(np.arange(len(classes)), 2), "label_specific_str": list(classes)}
        (tmp_path / f"{split}_images_png.pkl").write_bytes(pickle.dumps(encoded, 2))
        (tmp_path / f"{split}_labels.pkl").write_bytes(pickle.dumps(labels, 2))
    add("tiered_imagenet", tmp_path)
    loaded = load_dataset("tiered_imagenet", size=12)
    assert {s: v.names for s, v in loaded.splits.items()} == {
        "train": ["cat", "crane"],
        "val": ["dog"],
        "test": ["crane/test"],
    }
    assert np.array_equal(loaded.store.of_class(2), data["test"]["crane"].transpose(0, 3, 1, 2))
    (tmp_path / "val_images_png.pkl").write_bytes(pickle.dumps([b"x"], 2))
    with pytest.raises(DataError, match="a list of as many pictures"):
        add("tiered_imagenet", tmp_path, replace=True)


def test_traffic_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signs = load_classes("gtsrb")["test"]
    assert len(signs) == 43
    shrink(monkeypatch, gtsrb, "GTSRB", expects={"test": signs[:2]})
    data = pictures({"": ["00", "01"]}, each=6)[""]
    frames = [f"0000{i // 3}_{i % 3:02}.png" for i in range(6)]
    with zipfile.ZipFile(tmp_path / "gtsrb_48.zip", "w") as archive:
        for name, images in data.items():
            for frame, image in zip(frames, images, strict=True):
                archive.writestr(f"{name}/{frame}", png(image))
    add("gtsrb", tmp_path)
    loaded = load_dataset("gtsrb", size=12)
    assert loaded.splits["test"].names == ["00.Speed limit (20km/h)", "01.Speed limit (30km/h)"]
    tasks = open_domain(DataSettings("gtsrb", size=12)).tasks("test", DataSettings(way=2, shot=2, queries=3))
    assert tasks.protocol.endswith("queries of other tracks")
    for number in range(5):
        for members in tasks.task(number).info["members"]:
            assert {m // 3 for m in members[:2]}.isdisjoint({m // 3 for m in members[2:]})
    official = tmp_path / "official" / "GTSRB"
    write_folders(official / "Final_Training", {"Images": {f"000{name}": images for name, images in data.items()}})
    for place in (official / "Final_Training" / "Images").iterdir():
        for frame, path in zip(frames, sorted(place.iterdir()), strict=True):
            path.rename(place / frame)
    add("gtsrb", official, replace=True)
    assert load_dataset("gtsrb", size=12).store.fingerprint == loaded.store.fingerprint
    (official / "Final_Training" / "Images" / "00001").rename(official / "Final_Training" / "Images" / "00077")
    with pytest.raises(DataError, match="expected folders 00 to 42, got '00077'"):
        add("gtsrb", official, replace=True)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one_hundred_plants_margin"
    folder.mkdir()
    counts = dict(zip(SPLITS, (70, 15, 15), strict=True))
    rng = np.random.default_rng(0)
    rows = {s: {f"{s}{i:02}": rng.normal(size=(3, 5)) for i in range(n)} for s, n in counts.items()}
    write_hdf5(folder, rows)
    monkeypatch.setenv("METACORTEX_DATA", str(tmp_path))
    loaded = load_dataset("plants_margin")
    assert (loaded.store.shape, loaded.store.examples.dtype) == ((5,), np.float32)
    assert np.array_equal(loaded.store.of_class(0), rows["test"]["test00"].astype(np.float32))
    with pytest.raises(SettingsError, match="option of data source plants_margin 'size'"):
        load_dataset("plants_margin", size=28)
    rows["val"]["val00"][1, 2] = np.nan
    write_hdf5(folder, rows)
    with pytest.raises(DataError, match=r"val00, example 1: expected a row of finite numbers"):
        load_dataset("plants_margin")


def test_a_table_of_the_wrong_size(tmp_path: Path) -> None:
    rows = {s: {f"{s}{i}": np.zeros((2, 3)) for i in range(4)} for s in SPLITS}
    write_hdf5(tmp_path, rows)
    with pytest.raises(DataError, match="expected the 15 classes of letter's train split, got 4"):
        add("letter", tmp_path)
    add("bach", tmp_path)
    assert len(load_dataset("bach").splits["test"]) == 4
    assert tables.TABLES["bach"].expects == dict.fromkeys(SPLITS)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {s: {f"{s}{i}": np.zeros((2, 3)) for i in range(2)} for s in SPLITS}
    write_hdf5(tmp_path, rows)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"metacortex\[hdf5\]"):
        add("bach", tmp_path)


@REAL
def test_the_real_lists() -> None:
    for name, place in (("cub", "cub"), ("double_mnist", "doublemnist"), ("triple_mnist", "triplemnist")):
        for split, members in load_classes(name).items():
            assert members == sorted(json.loads((DATA / "splits" / place / f"{split}.json").read_text()))


@REAL
def test_the_real_signs() -> None:
    with open_zip(DATA / "gtsrb" / "gtsrb_48.zip") as archive:
        classes = zip_classes(archive, (3, 48, 48))
        assert [name for name, _, _ in classes] == [f"{i:02}" for i in range(43)]
        assert sum(count for _, count, _ in classes) == 4425
        assert next(classes[7][2]).shape == (3, 48, 48)
