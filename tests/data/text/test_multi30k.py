from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from metacortex.data.text.lines import clean
from metacortex.data.text.multi30k import find_multi30k, load_multi30k
from metacortex.data.text.sources import add_corpus, load_corpus
from metacortex.errors import DataError, SettingsError

REAL = pytest.mark.skipif("METACORTEX_DATA" not in os.environ, reason="METACORTEX_DATA does not name the shared data")
SIZES = {"train": 12, "val": 3, "test_2016_flickr": 2}


def write(folder: Path, packed: bool) -> None:
    """A Multi30k of 17 lines in the official layout, without the sets of 2017 and 2018."""
    raw, names = folder / "task1" / "raw", folder / "task1" / "image_splits"
    for place in (raw, names):
        place.mkdir(parents=True)
    for name, count in SIZES.items():
        (names / f"{name}.txt").write_text("".join(f"{name}{i}.jpg#{i}\n" for i in range(count)))
        for language in ("en", "de", "fr", "cs"):
            text = "".join(f"{language} {name} {i}.\n" for i in range(count)).encode()
            path = raw / f"{name}.{language}"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(text))
            else:
                path.write_bytes(text)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Roots of the same Multi30k, plain and packed; none of them is found yet."""
    monkeypatch.delenv("METACORTEX_DATA", raising=False)
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    for name in ("plain", "packed"):
        write(tmp_path / name / "multi30k", name == "packed")
    return [tmp_path / "plain", tmp_path / "packed"]


def test_plain_and_packed_are_the_same(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for root in folders:
        monkeypatch.setenv("METACORTEX_DATA", str(root))
        found.append(load_corpus("multi30k"))
    plain, packed = found
    assert plain.fingerprint == packed.fingerprint
    assert {name: len(part) for name, part in plain.splits.items()} == {**SIZES, "test": 2}
    assert plain.split("test") is plain.split("test_2016_flickr")
    assert plain.split("val").text["cs"] == ("cs val 0.", "cs val 1.", "cs val 2.")
    assert len(plain.pairs("trained")) == 9
    assert set(plain.pairs("held_out")) == {("cs", "fr"), ("fr", "cs"), ("de", "cs")}
    monkeypatch.setenv("METACORTEX_DATA", str(folders[0]))
    assert load_multi30k(train=5, languages=("fr", "en"), held_out="").pairs("all") == (("fr", "en"), ("en", "fr"))


def test_missing_says_what_to_do(folders: list[Path]) -> None:
    with pytest.raises(DataError, match="metacortex data add multi30k --from"):
        find_multi30k()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("below", [".", "task1", "task1/raw"])
def test_added_from_any_of_its_folders(folders: list[Path], which: int, below: str) -> None:
    add_corpus("multi30k", folders[which] / "multi30k" / below)
    corpus = load_multi30k()
    assert len(corpus.split("train")) == 12
    assert (corpus.split("train").ids == ()) == (below == "task1/raw")
    with pytest.raises(DataError, match="was added before"):
        add_corpus("multi30k", folders[which] / "multi30k")
    add_corpus("multi30k", folders[which] / "multi30k", replace=True)


def test_misaligned_files_are_named_with_both_counts(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (folders[0] / "multi30k" / "task1" / "raw" / "val.fr").write_text("un\ndeux\n")
    monkeypatch.setenv("METACORTEX_DATA", str(folders[0]))
    with pytest.raises(DataError, match=r"val.en has 3 lines and \S*val.fr has 2"):
        load_multi30k()
    with pytest.raises(DataError, match=r"val.en has 3 lines and \S*val.fr has 2"):
        add_corpus("multi30k", folders[0] / "multi30k")
    assert not list((folders[0].parent / "cache" / "data").iterdir())


def test_unknown_options(folders: list[Path]) -> None:
    with pytest.raises(SettingsError, match="did you mean 'test_2016_flickr'"):
        load_multi30k(test="test_2016_flicker")
    with pytest.raises(SettingsError, match="unknown language of multi30k 'es'"):
        load_multi30k(languages=("en", "es"))
    with pytest.raises(SettingsError, match="option of corpus multi30k 'held_ou': did you mean 'held_out'"):
        load_corpus("multi30k", held_ou="en-fr")


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_features_follow_the_image_names(folders: list[Path], monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("METACORTEX_DATA", str(folders[1]))
    names = [f"{name}{i}.jpg" for name, count in SIZES.items() for i in reversed(range(count))]
    rows = np.arange(len(names) * 2, dtype=np.float64).reshape(-1, 2)
    path = folders[0] / f"features.{form}"
    if form == "npz":
        np.savez(path, names=np.array(names), features=rows)
    else:
        np.save(path, rows)
        path.with_suffix(".txt").write_text("\n".join(names))
    features = load_multi30k(features=path).split("val").features
    assert features is not None
    assert features.dtype == np.float32
    assert features.tolist() == [rows[names.index(f"val{i}.jpg")].tolist() for i in range(3)]


def test_bad_features(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_DATA", str(folders[1]))
    path = folders[0] / "features.npz"
    with pytest.raises(DataError, match="there is no such file"):
        load_multi30k(features=path)
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"not an .npy or .npz file of features"):
        load_multi30k(features=path)
    np.savez(path, names=np.array(["train0.jpg"]), features=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"one name per row, got \[2, 2\] float64 and 1 names"):
        load_multi30k(features=path)
    np.savez(path, names=np.array(["train0.jpg"]), features=np.zeros((1, 2)))
    with pytest.raises(DataError, match=r"the image train1.jpg and 10 others of it have no row"):
        load_multi30k(features=path)


@REAL
def test_real_multi30k() -> None:
    corpus = load_multi30k()
    assert {name: len(part) for name, part in corpus.splits.items()} == {
        "train": 29000,
        "val": 1014,
        "test_2016_flickr": 1000,
        "test_2017_flickr": 1000,
        "test_2017_mscoco": 461,
        "test_2018_flickr": 1071,
        "test": 1000,
    }
    wanted = "Plusieurs hommes en casque font fonctionner un système de poulies géant."
    assert corpus.split("train").text["fr"][1] == wanted
    assert all(present.all() for present in corpus.split("train").present.values())
    assert len(corpus.split("test_2017_flickr").rows("en", "cs")) == 0
    assert len(corpus.split("test_2018_flickr").rows("en", "cs")) == 1071
    assert corpus.split("train").ids[0] == "1000092795.jpg"
    # cleaning moves no word: scores against these references are scores against the official ones
    packed = find_multi30k() / "task1" / "raw" / "test_2016_flickr.de.gz"
    raw = gzip.decompress(packed.read_bytes()).decode().split("\n")
    assert list(corpus.split("test").text["de"]) == raw[:1000] == [clean(line) for line in raw[:1000]]
