from __future__ import annotations

import io
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metacortex.data import omniglot
from metacortex.data.archives import open_zip, safe_entries
from metacortex.data.omniglot_lists import PROTOCOLS, Lists, load_lists, protocol_splits
from metacortex.data.registry import add, check, load_dataset
from metacortex.errors import DataError, SettingsError

pytestmark = pytest.mark.usefixtures("own_cache")

TINY = Lists(
    {"Aa": 2, "Bb": 1, "Cc": 1},
    {"Dd": 2},
    {"small1": ("Aa",), "small2": ("Bb",)},
    {"train": {"Aa": "all"}, "val": {"Bb": "all"}, "test": {"Dd": [1], "Cc": "all"}},
)
REAL = pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not name the shared data")


def drawing(seed: int, side: int = 105) -> bytes:
    file = io.BytesIO()
    paper = np.full((side, side), 255, np.uint8)
    paper[10:90, 10 + seed % 60] = 0
    Image.fromarray(paper).convert("1").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both archives of an Omniglot with six characters; no other is found."""
    monkeypatch.setattr(omniglot, "load_lists", lambda: TINY)
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    for part in ("background", "evaluation"):
        with zipfile.ZipFile(tmp_path / f"images_{part}.zip", "w") as archive:
            for i, name in enumerate(TINY.characters(part)):
                for d in range(20):
                    archive.writestr(f"images_{part}/{name}/{i:04d}_{d + 1:02d}.png", drawing(i * 20 + d))
    return tmp_path


def test_missing_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    with pytest.raises(DataError, match="metacortex data add omniglot --from"):
        load_dataset("omniglot")
    assert not check("omniglot")["ok"]


@pytest.mark.parametrize("extracted", [False, True])
def test_add_and_load(tiny: Path, extracted: bool) -> None:
    source = tiny
    if extracted:
        source = tiny / "extracted"
        for part in ("background", "evaluation"):
            with zipfile.ZipFile(tiny / f"images_{part}.zip") as archive:
                archive.extractall(source)
    add("omniglot", source)
    data = load_dataset("omniglot")
    assert data.store.examples.shape == (120, 1, 28, 28)
    assert data.splits["train"].names[:2] == ["Aa/character01", "Aa/character01/rot090"]
    assert data.splits["test"].names == ["Cc/character01", "Dd/character01"]
    assert data.store.examples[:, 0, 0, 0].max() == 0
    assert data.store.examples.max() > 60
    within = load_dataset("omniglot", protocol="within", rotations="none")
    assert within.within_group
    assert {s: v.names for s, v in within.splits.items()}["train"] == [
        "Aa/character01",
        "Aa/character02",
        "Cc/character01",
    ]
    assert check("omniglot")["ok"]


def test_wrong_content_is_refused(tiny: Path, own_cache: Path) -> None:
    path = tiny / "images_evaluation.zip"
    with zipfile.ZipFile(path) as archive:
        content = {n: archive.read(n) for n in archive.namelist()}

    def rewrite(**changes: bytes | None) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**content, **changes}.items():
                if data is not None:
                    archive.writestr(name, data)

    first = next(iter(content))
    for change, message in [
        ({first: None}, "has 19 drawings, needs 20"),
        ({first: drawing(0, 50)}, "expected 105x105 pixels, got 50x50"),
        ({first: b"nonsense"}, f"{first}: not an image"),
        ({n: None for n in content if "character02" in n}, "first difference: Dd/character02"),
        ({"images_evaluation/../../x.png": b""}, "leads out of its folder"),
    ]:
        rewrite(**change)
        with pytest.raises(DataError, match=message):
            add("omniglot", tiny)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="not a zip archive"):
        add("omniglot", tiny)
    assert list((own_cache / "data").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:\\x"])
def test_entries_that_escape(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(name, b"")
    with open_zip(tmp_path / "z.zip") as archive, pytest.raises(DataError, match="leads out"):
        safe_entries(archive)


def test_lists_are_complete() -> None:
    lists = load_lists()
    everything = lists.characters("background") + lists.characters("evaluation")
    assert (len(lists.background), len(lists.evaluation), len(everything)) == (30, 20, 1623)
    sizes = {}
    for protocol in PROTOCOLS:
        splits = protocol_splits(protocol, lists)
        members = [m for split in splits.values() for m in split]
        assert len(set(members)) == len(members)
        assert set(members) <= set(everything)
        assert all(split == sorted(split) for split in splits.values())
        sizes[protocol] = tuple(len(splits.get(s, ())) for s in ("train", "val", "test"))
    assert sizes == {
        "vinyals": (1028, 172, 423),
        "random1200": (1100, 100, 423),
        "within": (792, 172, 659),
        "background": (964, 0, 659),
        "small1": (136, 150, 659),
        "small2": (156, 172, 659),
    }
    with pytest.raises(SettingsError, match="did you mean 'vinyals'"):
        protocol_splits("vinyal", lists)


@REAL
def test_lists_agree_with_the_published_ones() -> None:
    folder = Path(os.environ["METACORTEX_DATA"]) / "omniglot" / "splits" / "vinyals"
    for split, members in protocol_splits("vinyals", load_lists()).items():
        lines = (folder / f"{split}.txt").read_text().split()
        assert members == sorted(line[: -len("/rot000")] for line in lines if line.endswith("/rot000"))


@REAL
@pytest.mark.slow
def test_real_omniglot() -> None:
    # processor time: the wall clock says more of what else the machine is doing
    start = time.process_time()
    seen = []
    data = load_dataset("omniglot", progress=lambda done, total: seen.append((done, total)))
    assert time.process_time() - start < 30
    assert seen[-1] == (1623, 1623)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        again = load_dataset("omniglot")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1
    assert again.store.fingerprint == data.store.fingerprint
    assert set(data.store.counts().tolist()) == {20}
    assert {s: len(v) for s, v in data.splits.items()} == {"train": 4112, "val": 172, "test": 423}
    ink = (data.store.examples > 127).mean()
    assert 0.02 < ink < 0.2
