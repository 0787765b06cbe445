from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from collection_support import shrink
from PIL import Image

from metacortex.data.collections import cifar
from metacortex.data.collections.lists import load_classes
from metacortex.data.images import read_image
from metacortex.data.registry import add, check, load_dataset
from metacortex.errors import DataError

REAL = pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not name the shared data")
FINE, COARSE = ["apple", "bear", "cup", "dog"], ["things", "animals"]
ABOVE = {"apple": 0, "bear": 1, "cup": 0, "dog": 1}
LABELS = {"train": [2, 0, 1, 3, 0, 1, 3, 2], "test": [3, 2, 1, 0]}
"""Class of each picture in the official order: two of each for training, one for test."""


def contents() -> dict[str, dict[str, object]]:
    """The three official pickles, tiny."""
    rng = np.random.default_rng(1)
    parts: dict[str, dict[str, object]] = {"meta": {"fine_label_names": FINE, "coarse_label_names": COARSE}}
    for part, labels in LABELS.items():
        parts[part] = {
            "data": rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8),
            "fine_labels": labels,
            "coarse_labels": [ABOVE[FINE[label]] for label in labels],
        }
    return parts


def of_class(parts: dict[str, dict[str, object]], name: str) -> np.ndarray:
    """``[3, C, H, W]``: training pictures in order, then those for test."""
    pixels = [parts[p]["data"][np.array(LABELS[p]) == FINE.index(name)] for p in ("train", "test")]  # type: ignore[index]
    return np.concatenate(pixels).reshape(3, 3, 32, 32)


def write_archive(folder: Path, parts: dict[str, dict[str, object]], *, extra: tarfile.TarInfo | None = None) -> None:
    with tarfile.open(folder / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, content in parts.items():
            data = pickle.dumps(content, 2)
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if extra is not None:
            archive.addfile(extra)


def write_unpacked(folder: Path, parts: dict[str, dict[str, object]]) -> None:
    (folder / "cifar-100-python").mkdir()
    for name, content in parts.items():
        (folder / "cifar-100-python" / name).write_bytes(pickle.dumps(content, 2))


def write_hdf5(folder: Path, parts: dict[str, dict[str, object]]) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "data.hdf5", "w") as file:
        for name in FINE:
            pictures = of_class(parts, name).transpose(0, 2, 3, 1)
            file.create_dataset(f"{COARSE[ABOVE[name]]}/{name}", data=pictures)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> dict[str, dict[str, object]]:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    monkeypatch.setattr(cifar, "_EACH", 3)
    shrink(
        monkeypatch, cifar, "CIFAR_FS", each=3, expects={"train": ["apple", "bear"], "val": ["dog"], "test": ["cup"]}
    )
    shrink(monkeypatch, cifar, "FC100", each=3, expects={"train": ["bear", "dog"], "val": ["cup"], "test": ["apple"]})
    return contents()


@pytest.mark.parametrize("write", [write_archive, write_unpacked, write_hdf5])
def test_layouts(
    tiny: dict[str, dict[str, object]], tmp_path: Path, own_cache: Path, write: Callable[..., None]
) -> None:
    write(tmp_path, tiny)
    assert add("cifar_fs", tmp_path) == own_cache / "data" / "cifar100"
    data = load_dataset("cifar_fs")
    assert data.protocol == "CIFAR-FS split of Bertinetto et al. (2/1/1 classes), RGB 32x32"
    assert data.splits["train"].names == ["apple", "bear"]
    for number, info in enumerate(data.store.classes):
        assert info.meta["coarse"] == COARSE[ABOVE[info.name]]
        assert np.array_equal(data.store.of_class(number), of_class(tiny, info.name))
    other = load_dataset("fc100")
    assert other.store.path == data.store.path  # the same pictures, split differently
    assert other.splits["test"].names == ["apple"]
    assert check("fc100")["ok"]


def test_strips(tiny: dict[str, dict[str, object]], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rows = [f"{i},{name},{ABOVE[name]},{COARSE[ABOVE[name]]}" for i, name in enumerate(FINE)]
    (tmp_path / "fine_to_coarse.csv").write_text("\n".join(["fine_index,fine,coarse_index,coarse", *rows]))
    for name in FINE:
        strip = np.full((96, 32, 3), 10 * FINE.index(name), np.uint8)
        strip[32:64] = 200
        Image.fromarray(strip).save(tmp_path / "images" / f"{name}.jpg", quality=95)
    add("fc100", tmp_path)
    data = load_dataset("fc100")
    assert data.store.of_class(1)[:, 0, 5, 5].tolist() == [10, 200, 10]
    assert data.store.classes[1].meta == {"coarse": "animals"}
    Image.new("RGB", (32, 90)).save(tmp_path / "images" / "cup.jpg")
    with pytest.raises(DataError, match=r"cup.jpg: expected pictures of 32x32 below each other, got \(90, 32\)"):
        add("fc100", tmp_path, replace=True)
    Image.new("RGB", (32, 64)).save(tmp_path / "images" / "cup.jpg")
    with pytest.raises(DataError, match="class 'cup' has 2 examples, needs 3"):
        add("fc100", tmp_path, replace=True)
    assert check("fc100")["ok"]  # what was added before is still there


def test_hostile_archives(tiny: dict[str, dict[str, object]], tmp_path: Path, own_cache: Path) -> None:
    link = tarfile.TarInfo("cifar-100-python/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for extra, message in [
        (tarfile.TarInfo("../../evil"), "leads out of its folder"),
        (tarfile.TarInfo("/etc/evil"), "leads out of its folder"),
        (link, "is a link or a device"),
    ]:
        write_archive(tmp_path, tiny, extra=extra)
        with pytest.raises(DataError, match=message):
            add("cifar_fs", tmp_path)
    whole = (tmp_path / "cifar-100-python.tar.gz").read_bytes()
    for end in (0, 15, len(whole) // 2, len(whole) - 200):
        (tmp_path / "cifar-100-python.tar.gz").write_bytes(whole[:end])
        with pytest.raises(DataError, match="cut short"):
            add("cifar_fs", tmp_path)
    write_archive(tmp_path, {k: v for k, v in tiny.items() if k != "test"})
    with pytest.raises(DataError, match="there is no test in it"):
        add("cifar_fs", tmp_path)
    assert list((own_cache / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("train", {"data": np.zeros((8, 3071), np.uint8)}, r"expected data \[pictures, 3072\]"),
        ("train", {"fine_labels": [0] * 7}, r"expected data \[pictures, 3072\]"),
        ("test", {"fine_labels": [3, 2, 1, 9]}, "labels without a name"),
        ("test", {"coarse_labels": [1, 0, 0, 0]}, "class 'bear' should be in one superclass, is in 2"),
        ("meta", {"fine_label_names": None}, "expected a pickled dictionary with fine_label_names"),
        ("train", {"data": [1, 2]}, "expected a pickled dictionary with data"),
    ],
)
def test_wrong_content(
    tiny: dict[str, dict[str, object]], tmp_path: Path, part: str, change: dict[str, object], message: str
) -> None:
    tiny[part].update(change)
    write_unpacked(tmp_path, tiny)
    with pytest.raises(DataError, match=message):
        add("cifar_fs", tmp_path)


def test_missing_names_the_command(tiny: dict[str, dict[str, object]]) -> None:
    with pytest.raises(DataError, match=r"metacortex data fetch fc100.*metacortex data add fc100 --from"):
        load_dataset("fc100")


@REAL
def test_the_real_lists_and_strips() -> None:
    folder = Path(os.environ["METACORTEX_DATA"]) / "cifar100"
    strips = {info.name: (info, items) for info, items in cifar._read_strips(folder, (3, 32, 32), None)}  # type: ignore[arg-type]
    lists = {name: load_classes(name) for name in ("cifar_fs", "fc100")}
    for splits in lists.values():
        assert sorted(name for names in splits.values() for name in names) == sorted(strips)
    groups = {s: {strips[name][0].meta["coarse"] for name in names} for s, names in lists["fc100"].items()}
    assert [len(groups[s]) for s in ("train", "val", "test")] == [12, 4, 4]
    exact = read_image(folder / "lossless_first_train_image.png", None, "RGB").reshape(3, 100, 32, 32)
    for number, name in ((0, "apple"), (99, "worm")):
        pictures = list(strips[name][1])
        assert len(pictures) == 600
        assert np.abs(pictures[0].astype(int) - exact[:, number]).mean() < 8
