from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metacortex.data.folder import load_folder
from metacortex.errors import DataError

Make = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("own_cache")


def test_everything_is_test_when_small(class_folder: Make) -> None:
    folder = class_folder(["b", "a"], 3)
    (folder / ".hidden").mkdir()
    (folder / "README.txt").write_text("not a class")
    (folder / "a" / ".DS_Store").write_bytes(b"x")
    (folder / "a" / "Thumbs.db").write_bytes(b"x")
    data = load_folder(folder, size=(8, 6))
    assert data.store.shape == (1, 8, 6)
    assert list(data.splits) == ["test"]
    assert data.splits["test"].names == ["a", "b"]
    assert data.store.counts().tolist() == [3, 3]
    assert "too few classes" in data.protocol


def test_mixed_images_become_alike(class_folder: Make) -> None:
    folder = class_folder(["a"], 1)
    Image.new("CMYK", (300, 20)).save(folder / "a" / "z.jpg")
    Image.new("P", (3, 5)).save(folder / "a" / "y.gif")
    assert load_folder(folder, mode="RGB").store.examples.shape == (3, 3, 28, 28)


def test_random_split_is_fixed_and_disjoint(class_folder: Make) -> None:
    folder = class_folder([f"c{i:02d}" for i in range(30)], 1)
    data = load_folder(folder, rotations="train")
    parts = {s: {n.split("/")[0] for n in v.names} for s, v in data.splits.items()}
    assert [len(parts[s]) for s in ("train", "val", "test")] == [18, 6, 6]
    assert len(set.union(*parts.values())) == 30
    assert len(data.splits["train"]) == 72
    again = load_folder(folder)
    assert again.splits["test"].names == data.splits["test"].names
    assert again.store.fingerprint == data.store.fingerprint
    assert load_folder(folder, seed=1).splits["test"].names != data.splits["test"].names
    assert list(load_folder(folder, fractions=None).splits) == ["test"]
    with pytest.raises(DataError, match="sum to 1"):
        load_folder(folder, fractions=(0.5, 0.1, 0.1))


def test_split_folders(class_folder: Make) -> None:
    folder = class_folder(["train/a", "train/b", "test/c"])
    data = load_folder(folder)
    assert {s: v.names for s, v in data.splits.items()} == {"train": ["a", "b"], "test": ["c"]}
    class_folder(["test/a"])
    with pytest.raises(DataError, match="class 'a' is in both"):
        load_folder(folder)


def test_store_follows_the_files(class_folder: Make, own_cache: Path) -> None:
    folder = class_folder(["a", "b"])
    before = load_folder(folder).store
    assert load_folder(folder).store.path == before.path
    Image.fromarray(np.full((5, 5), 77, np.uint8)).save(folder / "a" / "0.png")
    after = load_folder(folder).store
    assert after.path != before.path
    assert (after.of_class(0)[0] == 77).all()
    assert len(list((own_cache / "stores").iterdir())) == 2


def test_bad_folders(class_folder: Make, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds nothing"):
        load_folder(tmp_path / "empty")
    (tmp_path / "empty" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="holds only files"):
        load_folder(tmp_path / "empty")
    with pytest.raises(DataError, match="is a file"):
        load_folder(tmp_path / "empty" / "1.png")
    folder = class_folder(["a", "b"])
    with pytest.raises(DataError, match=r"class 'a' .* has 2 images, needs at least 5"):
        load_folder(folder, at_least=5)
    (folder / "c").mkdir()
    with pytest.raises(DataError, match=r"class 'c' .* has 0 images"):
        load_folder(folder)
    (folder / "c" / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt: not an image"):
        load_folder(folder)
    (folder / "c" / "deep").mkdir()
    with pytest.raises(DataError, match="is a folder inside the class folder"):
        load_folder(folder)
    stores = own_cache / "stores"
    assert not stores.exists() or list(stores.iterdir()) == []

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        load_folder(folder)
