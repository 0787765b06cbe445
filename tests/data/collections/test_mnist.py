from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from collection_support import shrink, write_hdf5

from metacortex.data.collections import mnist
from metacortex.data.collections.idx import find_pairs, read_digits
from metacortex.data.collections.mnist import compose
from metacortex.data.registry import add, check, load_dataset
from metacortex.errors import DataError, SettingsError

DATA = Path(os.environ.get("METACORTEX_DATA", ""))
REAL = pytest.mark.skipif(Path() == DATA, reason="METACORTEX_DATA does not name the shared data")
NUMBERS = {"train": ["07", "70"], "val": ["12"], "test": ["99"]}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, stem: str = "t10k", count: int = 30, *, packed: bool = True) -> tuple[np.ndarray, ...]:
    """Images whose every pixel is 10 times their digit plus 5; digits come round and round."""
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = np.broadcast_to((labels * 10 + 5)[:, None, None], (count, 28, 28)).astype(np.uint8)
    for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
        content = idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return images, labels


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)


@pytest.mark.parametrize("packed", [True, False])
def test_digits(tmp_path: Path, own_cache: Path, packed: bool) -> None:
    write_mnist(tmp_path, packed=packed)
    assert add("mnist", tmp_path) == own_cache / "data" / "mnist"
    data = load_dataset("mnist")
    assert data.store.examples.shape == (30, 1, 28, 28)
    assert data.store.of_class(7).max() == data.store.of_class(7).min() == 75
    assert list(data.splits) == ["test"]
    assert check("mnist")["ok"]


def test_training_images_come_first(tmp_path: Path) -> None:
    write_mnist(tmp_path, "t10k", 10)
    write_mnist(tmp_path, "train", 40)
    assert [one.name for one, _ in find_pairs(tmp_path)] == ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"]
    assert [len(group) for group in read_digits(tmp_path)] == [5] * 10


def test_numbers_are_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    shrink(monkeypatch, mnist, "DOUBLE_MNIST", expects=NUMBERS)
    monkeypatch.setattr(mnist, "load_classes", lambda name: NUMBERS)
    write_mnist(tmp_path)
    assert add("double_mnist", tmp_path) == own_cache / "data" / "mnist"
    data = load_dataset("double_mnist", per_class=4)
    assert data.store.examples.shape == (16, 1, 64, 64)
    assert {s: v.names for s, v in data.splits.items()} == NUMBERS
    for image in data.store.of_class(0)[:, 0]:  # 07
        left, right = (np.flatnonzero((image == level).any(axis=0)) for level in (5, 75))
        assert len(left) == len(right) == 28
        assert left.max() < right.min()
    assert len({image.tobytes() for image in data.store.of_class(0)}) == 4
    again = load_dataset("double_mnist", per_class=4, size=32)
    assert again.store.shape == (1, 32, 32)
    with pytest.raises(SettingsError, match="per_class"):
        load_dataset("double_mnist", per_class=0)


def test_composition_is_fixed() -> None:
    """Known answer: a change of the drawing would change every number that was measured with it."""
    digits = [np.full((3, 28, 28), d * 20 + 10, np.uint8) for d in range(10)]
    first = [next(compose(number, digits, 84, 5)) for number in ("123", "007")]
    tops = [(image[:, [14, 42, 70]] > 0).argmax(axis=0).tolist() for image in first]
    assert tops == [[37, 8, 55], [8, 13, 23]]
    assert np.array_equal(list(compose("123", digits, 84, 5))[:2], list(compose("123", digits, 84, 2)))


def test_torchmeta_files_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, mnist, "DOUBLE_MNIST", expects=NUMBERS)
    folder = tmp_path / "doublemnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = {s: {n: rng.integers(0, 255, (2, 64, 64), dtype=np.uint8) for n in ns} for s, ns in NUMBERS.items()}
    write_hdf5(folder, pictures, encoded=True)
    monkeypatch.setenv("METACORTEX_DATA", str(tmp_path))
    data = load_dataset("double_mnist")
    assert np.array_equal(data.store.of_class(1)[:, 0], pictures["val"]["12"])


def test_damage_is_found(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=False)
    path = tmp_path / "t10k-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, message in [
        (whole[:-1], r"expected 23520 bytes after its head, got 23519"),
        (whole + b"\0", r"expected 23520 bytes after its head, got 23521"),
        (whole[:7], "not an idx file of bytes with 3 axes"),
        (b"\0\0\x0d\x03" + whole[4:], "not an idx file of bytes with 3 axes"),
        (whole[:4] + b"\xff" * 12 + whole[16:], "is not to be expected"),
        (idx(np.zeros((29, 28, 28), np.uint8)), "a digit for each of the 29 images"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            add("mnist", tmp_path)
    path.write_bytes(whole)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.full(30, 10, np.uint8)))
    with pytest.raises(DataError, match="labels up to 10"):
        add("mnist", tmp_path)
    labels.write_bytes(idx(np.zeros(30, np.uint8)))
    with pytest.raises(DataError, match="no image of the digit 1"):
        add("mnist", tmp_path)
    labels.unlink()
    packed = gzip.compress(idx((np.arange(30) % 10).astype(np.uint8)))
    labels.with_suffix(".gz").write_bytes(packed[:-12])
    with pytest.raises(DataError, match="damaged or cut short"):
        add("mnist", tmp_path)


@REAL
def test_the_real_digits() -> None:
    folder = DATA / "mnist"
    assert [len(group) for group in read_digits(folder)] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
