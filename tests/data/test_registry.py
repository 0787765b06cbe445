from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from metacortex.data import sources
from metacortex.data.registry import add, check, dataset_names, describe, load_dataset, overview
from metacortex.errors import DataError, SettingsError

Make = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("own_cache")


def test_digits() -> None:
    data = load_dataset("digits", size=16)
    assert data.store.examples.shape == (1797, 1, 16, 16)
    assert data.store.counts().min() == 174
    assert data.splits["test"].names == [str(i) for i in range(10)]
    assert data.store.examples.max() == 255
    assert load_dataset("digits", size=16).store.fingerprint == data.store.fingerprint


def test_unknown_names_and_options(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'omniglot'"):
        load_dataset("omniglott")
    with pytest.raises(SettingsError, match="did you mean 'size'"):
        load_dataset("digits", sise=3)
    with pytest.raises(DataError, match="no such folder"):
        load_dataset(str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="unknown option"):
        load_dataset(f"folder:{tmp_path}", path="x")


def test_paths_are_sources(class_folder: Make) -> None:
    folder = class_folder(["a"])
    assert load_dataset(str(folder)).store.fingerprint == load_dataset(f"folder:{folder}").store.fingerprint


def test_add_describe_check(class_folder: Make, own_cache: Path) -> None:
    folder = class_folder(["a", "b"])
    kept = add("my-symbols", folder)
    assert "my-symbols" in dataset_names()
    assert {"name": "my-symbols", "kind": "added", "available": True} in overview()
    facts = describe("my-symbols")
    json.dumps(facts)
    assert (facts["name"], facts["classes"], facts["images"]) == ("my-symbols", 2, 4)
    assert facts["splits"]["test"] == {"classes": 2, "images": 4, "least": 2, "most": 2}
    assert check("my-symbols")["ok"]
    with pytest.raises(DataError, match="added before"):
        add("my-symbols", folder)
    add("my-symbols", folder, replace=True)
    assert [p.name for p in (own_cache / "data").iterdir()] == ["my-symbols"]
    (kept / "images" / "a" / "0.png").unlink()
    report = check("my-symbols")
    assert not report["ok"]
    assert "is missing" in report["problems"][0]


def test_check_finds_a_changed_store() -> None:
    from metacortex.data.store import ClassStore

    assert check("digits")["ok"]
    store = load_dataset("digits").store
    broken = ClassStore(store.name, store.shape, store.examples[::-1], store.offsets, store.classes, store.fingerprint)
    with pytest.raises(DataError, match="fingerprint"):
        broken.verify()


@pytest.mark.parametrize("name", ["digits", "glyphs", "folder", "../x", "A", "", "a/b"])
def test_names_that_cannot_be_added(name: str, class_folder: Make) -> None:
    with pytest.raises(DataError, match=r"choose another name|cannot name"):
        add(name, class_folder(["a"]))


def test_nothing_is_left_of_a_failed_add(class_folder: Make, own_cache: Path) -> None:
    folder = class_folder(["a", "b"])
    (folder / "b" / "bad.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"bad\.png"):
        add("mine", folder)
    assert list((own_cache / "data").iterdir()) == []
    assert "mine" not in dataset_names()


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, r"cannot write .*mine.*free some space"), (errno.EIO, r"cannot read .*0\.png")]
)
def test_a_copy_that_fails_names_the_disk_at_fault(
    code: int, message: str, class_folder: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python names the file that was read, also where it is the copy that finds no room."""

    def fails(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code), str(source))

    monkeypatch.setattr(shutil, "copy2", fails)
    with pytest.raises(DataError, match=message):
        add("mine", class_folder(["a", "b"]))
    assert list((own_cache / "data").iterdir()) == []


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "metacortex.data.digits:load_digits", sources.ENTRY_POINTS)
    monkeypatch.setattr(sources, "entry_points", lambda group: EntryPoints([point]))
    assert "theirs" in dataset_names()
    assert load_dataset("theirs", size=8).store.shape == (1, 8, 8)
