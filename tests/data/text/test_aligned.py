from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from metacortex.data.text.aligned import load_aligned, read_pairs
from metacortex.data.text.sources import add_corpus, corpus_names, load_corpus
from metacortex.errors import DataError, SettingsError


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def lines(*items: str) -> str:
    return "".join(f"{item}\n" for item in items)


def test_splits_by_file(tmp_path: Path) -> None:
    files = {
        "train.en": lines("one", "two", ""),
        "train.fr.gz": lines("un", "", "trois"),
        "dev.en": lines("four"),
        "dev.fr": lines("quatre"),
        "test.en": lines("five"),
        "test.de": lines("fünf"),
        "test_b.en": lines("six"),
        "test_b.de": lines("sechs"),
        "README.md": "not text",
        "notes.en": "alone in its set",
        ".hidden.en": "",
    }
    corpus = load_aligned(write(tmp_path / "mine", files), held_out="fr-en")
    assert corpus.name == "mine"
    assert corpus.protocol == "split by file (lines: train 3, val 1, test 1, test_b 1)"
    assert corpus.languages == {"de": "German", "en": "English", "fr": "French"}
    assert corpus.split("train").rows("en", "fr").tolist() == [0]
    assert corpus.split("test_b").text["de"] == ("sechs",)
    assert corpus.pairs("trained") == (("en", "fr"),)
    assert set(corpus.pairs("held_out")) == {("fr", "en"), ("de", "en"), ("en", "de")}  # German is in tests alone


def test_missing_splits_are_dealt_by_content(tmp_path: Path) -> None:
    numbers = list(range(40))
    text = {f"news.{code}": lines(*(f"{code}{n % 35}" for n in numbers)) for code in ("en", "fr")}
    corpus = load_aligned(write(tmp_path / "a", text))
    parts = {name: corpus.split(name).text["en"] for name in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 40
    assert not set(parts["train"]) & set(parts["test"])
    assert not set(parts["train"]) & set(parts["val"])
    assert len(set(parts["val"])) == len(set(parts["test"])) == 4
    for name in parts:
        assert [line[2:] for line in corpus.split(name).text["fr"]] == [line[2:] for line in parts[name]]
    turned = {f"z.{code}": lines(*(f"{code}{n % 35}" for n in reversed(numbers))) for code in ("en", "fr")}
    again = load_aligned(write(tmp_path / "b", turned))
    assert set(again.split("test").text["en"]) == set(parts["test"])


def test_tables(tmp_path: Path) -> None:
    rows = ["en\tfr\tde", *(f"a {n}\tun {n}\t{'' if n % 2 else f'ein {n}'}" for n in range(30))]
    for name, data in (("t.tsv", lines(*rows).encode()), ("u.tsv.gz", gzip.compress("\r\n".join(rows).encode()))):
        (tmp_path / name).write_bytes(data)
    plain, packed = load_corpus(str(tmp_path / "t.tsv")), load_corpus(f"folder:{tmp_path / 'u.tsv.gz'}")
    assert plain.fingerprint == packed.fingerprint
    assert (plain.name, packed.name) == ("t", "u")
    assert sum(len(plain.split(s)) for s in ("train", "val", "test")) == 30
    assert sum(len(plain.split(s).rows("en", "de")) for s in ("train", "val", "test")) == 15


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.en": "a\nb\n", "train.fr": "un\n"}, r"train.en has 2 lines and \S*train.fr has 1"),
        ({"train.en": "a\n"}, "holds no aligned text: expected files of one name"),
        ({"notes.txt.x9": "a\n"}, "holds no aligned text"),
        ({"a.en": "a\n", "a.en.gz": "a\n", "a.fr": "b\n"}, "the same text twice"),
        ({"test.en": "a\n", "test.fr": "b\n"}, "no text to train on, only test"),
        ({"a.en": "a\nb\n", "a.fr": "c\nd\n"}, "2 different lines are too few"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_aligned(write(tmp_path / "x", files))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got an empty file"),
        ("Hello\tworld\n", "expected language codes"),
        ("en\n", "expected language codes"),
        ("en\ten\n", "stands twice"),
        ("en\tfr\na\tb\nc\n", "line 3: expected 2 columns separated by tabs, got 1"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_aligned(tmp_path / "t.tsv")


def test_bad_utf8(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {f"{s}.en": lines(*"abc") for s in ("train", "val", "test")})
    for name in ("train", "val", "test"):
        (folder / f"{name}.fr").write_bytes(b"\xe9t\xe9\nx\ny\n")
    with pytest.raises(DataError, match=r"\.fr, line 1: byte 0xe9"):
        load_aligned(folder)
    assert load_aligned(folder, bad_text="replace").split("train").text["fr"][0] == "\ufffdt\ufffd"


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path / "cache"))
    text = {f"all.{code}": lines(*(f"{code} {n}" for n in range(20))) for code in ("en", "fr")}
    folder = write(tmp_path / "mine", text)
    with pytest.raises(DataError, match="there is no such folder or table"):
        load_corpus(str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="did you mean 'phrasebook'"):
        load_corpus("phrasebok")
    for name in ("Mine", "phrasebook", "../x"):
        with pytest.raises(DataError, match="cannot name text"):
            add_corpus(name, folder)
    add_corpus("mine", folder)
    assert corpus_names() == ["mine", "multi30k", "phrasebook"]
    assert load_corpus("mine").fingerprint == load_corpus(str(folder)).fingerprint
    assert load_corpus("mine", held_out="en-fr").pairs("trained") == (("fr", "en"),)
    with pytest.raises(SettingsError, match="option of corpus mine 'held': did you mean 'held_out'"):
        load_corpus("mine", held="en-fr")


def test_example_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("en\tfr\na dog\tun chien\n\n  \ttrou\na cat\tun chat\r\n")
    assert read_pairs(path) == [("a dog", "un chien"), ("a cat", "un chat")]
    path.write_text("me\tma\nyou\ttoi\n")
    assert len(read_pairs(path)) == 2
    path.write_text("no\tnej\nyou\tdu\n")  # codes of a language look like words
    assert read_pairs(path) == [("no", "nej"), ("you", "du")]
    path.write_text("a dog\tun chien\n\na cat\n")
    with pytest.raises(DataError, match="line 3: expected 2 columns"):
        read_pairs(path)
    path.write_text("\t\n")
    with pytest.raises(DataError, match="holds no pair"):
        read_pairs(path)
