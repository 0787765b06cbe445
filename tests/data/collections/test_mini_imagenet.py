from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from collection_support import (
    Pictures,
    pictures,
    png,
    shrink,
    write_folders,
    write_hdf5,
    write_listed,
    write_zips,
)

from metacortex.data.archives import open_zip
from metacortex.data.collections import mini_imagenet
from metacortex.data.collections.lists import load_classes
from metacortex.data.collections.pictures import read_listed, zip_classes
from metacortex.data.registry import add, check, load_dataset
from metacortex.errors import DataError

NAMES = {"train": ["n03", "n01"], "val": ["n02"], "test": ["n00"]}
REAL = pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not name the shared data")


def write_cache_pickles(folder: Path, data: Pictures) -> None:
    for split, classes in data.items():
        flat = np.concatenate(list(classes.values()))
        rows = {n: list(range(3 * i, 3 * i + 3)) for i, n in enumerate(classes)}
        content = {"image_data": flat, "class_dict": rows}
        (folder / f"mini-imagenet-cache-{split}.pkl").write_bytes(pickle.dumps(content, 2))


def write_phase_pickles(folder: Path, data: Pictures) -> None:
    for split, classes in data.items():
        marks = [i + 7 for i in range(len(classes)) for _ in range(3)]
        content = {
            "data": np.concatenate(list(classes.values())),
            "labels": marks,
            "catname2label": {n: i + 7 for i, n in enumerate(classes)},
            "label2catname": {i + 7: n for i, n in enumerate(classes)},
        }
        name = "train_phase_train" if split == "train" else split
        (folder / f"miniImageNet_category_split_{name}.pickle").write_bytes(pickle.dumps(content))


LAYOUTS = {
    "zips": write_zips,
    "folders": write_folders,
    "listed": write_listed,
    "cache pickles": write_cache_pickles,
    "phase pickles": write_phase_pickles,
    "hdf5": write_hdf5,
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Pictures:
    """Four classes of three pictures 12x12 take the place of the published ones."""
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    shrink(monkeypatch, mini_imagenet, "MINI_IMAGENET", expects=NAMES, each=3)
    return pictures(NAMES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_store(tiny: Pictures, tmp_path: Path, layout: str, own_cache: Path) -> None:
    LAYOUTS[layout](tmp_path, tiny)
    path = add("mini_imagenet", tmp_path)
    assert path == own_cache / "data" / "mini_imagenet"
    seen = []
    data = load_dataset("mini_imagenet", size=12, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    assert {s: v.names for s, v in data.splits.items()} == {"train": ["n01", "n03"], "val": ["n02"], "test": ["n00"]}
    assert data.protocol == "split of Ravi and Larochelle (2/1/1 classes), RGB 12x12"
    for number, info in enumerate(data.store.classes):
        wanted = next(classes[info.name] for classes in tiny.values() if info.name in classes)
        assert np.array_equal(data.store.of_class(number), wanted.transpose(0, 3, 1, 2))
    assert check("mini_imagenet")["ok"]


def test_sizes_and_rotations(tiny: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "miniimagenet").mkdir()
    write_hdf5(tmp_path / "miniimagenet", tiny)
    monkeypatch.setenv("METACORTEX_DATA", str(tmp_path))
    data = load_dataset("mini_imagenet", rotations="train")
    assert data.store.shape == (3, 84, 84)
    assert len(data.splits["train"]) == 8
    assert "train rotated" in data.protocol
    assert "torchmeta" in data.provenance["layout"]


def test_the_same_content_is_built_once(tiny: Pictures, tmp_path: Path, own_cache: Path) -> None:
    write_zips(tmp_path, tiny)
    add("mini_imagenet", tmp_path)
    built: list[int] = []
    for _ in range(2):
        load_dataset("mini_imagenet", size=12, progress=lambda done, total: built.append(done))
    assert built == [1, 2, 3, 4]
    with pytest.raises(DataError, match="was added before"):
        add("mini_imagenet", tmp_path)
    add("mini_imagenet", tmp_path, replace=True)
    (own_cache / "data" / "mini_imagenet" / "val.zip").unlink()
    report = check("mini_imagenet")
    assert not report["ok"]
    assert "metacortex data add mini_imagenet --from" in report["problems"][0]


def test_missing_says_what_to_put_where(tiny: Pictures, tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(DataError, match=r"metacortex data add mini_imagenet --from FOLDER.*train\.zip") as caught:
        load_dataset("mini_imagenet")
    assert str(own_cache / "data" / "mini_imagenet") in str(caught.value)
    with pytest.raises(DataError, match=r"does not hold mini_imagenet: expected train\.zip"):
        add("mini_imagenet", tmp_path)
    assert not (own_cache / "data" / "mini_imagenet").exists()


def spoil_class(folder: Path, data: Pictures) -> None:
    write_zips(folder, {**data, "val": {"n09": data["val"]["n02"]}})


def spoil_count(folder: Path, data: Pictures) -> None:
    write_zips(folder, {**data, "val": {"n02": data["val"]["n02"][:2]}})


def spoil_escape(folder: Path, data: Pictures) -> None:
    write_zips(folder, data)
    with zipfile.ZipFile(folder / "val.zip", "a") as archive:
        archive.writestr("../n02/x.png", b"")


def spoil_picture(folder: Path, data: Pictures) -> None:
    write_zips(folder, data)
    with zipfile.ZipFile(folder / "test.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"n00/{i}.png", b"nonsense")


def spoil_archive(folder: Path, data: Pictures) -> None:
    write_zips(folder, data)
    (folder / "train.zip").write_bytes((folder / "train.zip").read_bytes()[:900])


def spoil_twice(folder: Path, data: Pictures) -> None:
    write_zips(folder, data)
    with zipfile.ZipFile(folder / "val.zip", "a") as archive:
        archive.writestr("again/n02/x.png", png(data["val"]["n02"][0]))


def spoil_pickle(folder: Path, data: Pictures) -> None:
    write_cache_pickles(folder, data)
    (folder / "mini-imagenet-cache-val.pkl").write_bytes(b"\x80\x02cposix\nsystem\nU\x04true\x85R.")


def spoil_dtype(folder: Path, data: Pictures) -> None:
    write_cache_pickles(folder, {**data, "val": {"n02": data["val"]["n02"].astype(np.float32)}})


def spoil_rows(folder: Path, data: Pictures) -> None:
    write_cache_pickles(folder, data)
    content = {"image_data": data["val"]["n02"], "class_dict": {"n02": [0, 1, 3]}}
    (folder / "mini-imagenet-cache-val.pkl").write_bytes(pickle.dumps(content))


def spoil_table(folder: Path, data: Pictures) -> None:
    write_listed(folder, data)
    (folder / "val.csv").write_text("filename,label\n../secret.png,n02\n")


def spoil_hdf5(folder: Path, data: Pictures) -> None:
    write_hdf5(folder, data)
    (folder / "val_data.hdf5").write_bytes((folder / "val_data.hdf5").read_bytes()[:1000])


def spoil_labels(folder: Path, data: Pictures) -> None:
    write_hdf5(folder, data)
    (folder / "val_labels.json").write_text('["n05"]')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_class, r"expected the 1 classes of mini_imagenet's val split, got 1 \(first difference: n02\)"),
        (spoil_count, "class 'n02' has 2 examples, mini_imagenet has 3 of each class"),
        (spoil_escape, "leads out of its folder"),
        (spoil_picture, "n00/0.png: not an image"),
        (spoil_archive, "not a zip archive, or cut short"),
        (spoil_twice, "class 'n02' is in two folders"),
        (spoil_pickle, r"asks for posix.system"),
        (spoil_dtype, r"image_data should be .*got \(3, 12, 12, 3\) float32"),
        (spoil_rows, r"class 'n02' should have rows within 0..2"),
        (spoil_table, r"val.csv, line 2: expected the name of a file"),
        (spoil_hdf5, "not an HDF5 file, damaged or cut short"),
        (spoil_labels, "there is no class 'datasets/n05'"),
    ],
)
def test_wrong_content_is_refused(
    tiny: Pictures, tmp_path: Path, own_cache: Path, spoil: Callable[[Path, Pictures], None], message: str
) -> None:
    source = tmp_path / "mini_imagenet"
    source.mkdir()
    spoil(source, tiny)
    with pytest.raises(DataError, match=message):
        add("mini_imagenet", source)
    assert list((own_cache / "data").iterdir()) == []


def test_damage_leaves_no_store(
    tiny: Pictures, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini_imagenet").mkdir()
    spoil_picture(tmp_path / "mini_imagenet", tiny)
    monkeypatch.setenv("METACORTEX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="not an image"):
        load_dataset("mini_imagenet")
    assert list((own_cache / "stores").iterdir()) == []


def test_an_hdf5_file_cannot_point_elsewhere(tiny: Pictures, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_hdf5(tmp_path, tiny)
    other, pixels = str(tmp_path / "train_data.hdf5"), (3, 12, 12, 3)
    (tmp_path / "raw.bin").write_bytes(bytes(3 * 12 * 12 * 3))

    def link(file: h5py.File) -> None:
        file.create_group("datasets")["n02"] = h5py.ExternalLink(other, "datasets/n01")

    def linked_group(file: h5py.File) -> None:
        file["datasets"] = h5py.ExternalLink(str(tmp_path / "decoy.hdf5"), "datasets")

    def raw(file: h5py.File) -> None:
        space = [(str(tmp_path / "raw.bin"), 0, 3 * 12 * 12 * 3)]
        file.create_dataset("datasets/n02", pixels, np.uint8, external=space)

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(pixels, np.uint8)
        layout[:] = h5py.VirtualSource(other, "datasets/n01", pixels)
        file.create_virtual_dataset("datasets/n02", layout)

    def huge(file: h5py.File) -> None:
        file.create_dataset("datasets/n02", (3, 2**20, 2**20, 3), np.uint8, chunks=(1, 64, 64, 3))

    with h5py.File(tmp_path / "decoy.hdf5", "w") as file:
        file["datasets/n02"] = tiny["val"]["n02"]
    for spoil, message in [
        *((f, "there is no class 'datasets/n02'") for f in (link, linked_group, raw, virtual)),
        (huge, "far too large"),
    ]:
        with h5py.File(tmp_path / "val_data.hdf5", "w") as file:
            spoil(file)
        with pytest.raises(DataError, match=message):
            add("mini_imagenet", tmp_path)


@REAL
def test_the_real_lists_and_pictures() -> None:
    folder = Path(os.environ["METACORTEX_DATA"]) / "mini_imagenet"
    published = load_classes("mini_imagenet")
    for split in ("val", "test"):
        listed = read_listed([(split, folder / "splits" / f"{split}.csv")], folder, (3, 84, 84))
        assert [(info.name, info.count) for info, _ in listed] == [(name, 600) for name in published[split]]
    with open_zip(folder / "val.zip") as archive:
        classes = zip_classes(archive, (3, 84, 84))
        assert [(name, count) for name, count, _ in classes] == [(name, 600) for name in published["val"]]
        picture = next(classes[0][2])
    assert picture.shape == (3, 84, 84)
    assert 20 < picture.std() < 120
