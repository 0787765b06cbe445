from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metacortex.data.text.corpus import Corpus, Sentences, parse_pairs
from metacortex.data.text.corpus_file import open_corpus, save_corpus
from metacortex.errors import DataError, SettingsError


def test_pairs_of_each_kind_are_disjoint_and_complete(corpus: Corpus) -> None:
    assert corpus.trained_languages == ("en", "fr", "nl")
    kinds = {kind: set(corpus.pairs(kind)) for kind in ("trained", "held_out", "new_val", "new_test", "all")}
    assert kinds["held_out"] == {("fr", "nl")}
    assert kinds["trained"] == {("en", "fr"), ("fr", "en"), ("en", "nl"), ("nl", "en"), ("nl", "fr")}
    assert kinds["new_test"] == {(a, b) for a in ("en", "fr", "nl", "da") for b in ("da", a) if a != b} | {
        ("da", a) for a in ("en", "fr", "nl")
    }
    assert kinds["new_val"] == set()
    assert kinds["all"] == kinds["trained"] | kinds["held_out"] | kinds["new_test"]
    with pytest.raises(SettingsError, match="did you mean 'trained'"):
        corpus.pairs("train")  # type: ignore[arg-type]


def test_rows_are_those_that_both_have(corpus: Corpus) -> None:
    train = corpus.split("train")
    assert train.rows("nl", "en").tolist() == [1, 2, 4, 5, 7, 8]
    assert train.rows("en", "da").tolist() == list(range(10))
    assert corpus.split("test").rows("en", "nl").tolist() == []
    with pytest.raises(DataError, match="has no split 'tset', only train, val, test"):
        corpus.split("tset")


def test_training_lines_are_of_trained_languages(corpus: Corpus) -> None:
    lines = list(corpus.training_lines())
    assert len(lines) == 10 + 10 + 6
    assert not any("hunde" in line or "cat" in line or line == "" for line in lines)


def test_some_of_the_languages(corpus: Corpus) -> None:
    codes = list(corpus.languages)[:2]
    two = corpus.among(codes[::-1])
    assert list(two.languages) == codes[::-1]
    assert two.number(codes[0]) == 1
    assert all(set(part.text) == set(codes) for part in two.splits.values())
    assert two.split("train").text[codes[0]] == corpus.split("train").text[codes[0]]
    assert {*two.pairs("all")} == {pair for pair in corpus.pairs("all") if set(pair) <= set(codes)}
    assert two.fingerprint != corpus.fingerprint
    with pytest.raises(SettingsError, match="at least two languages, got"):
        corpus.among(codes[:1])
    with pytest.raises(SettingsError, match="unknown language"):
        corpus.among([codes[0], "tlh"])


def test_limited(corpus: Corpus) -> None:
    few = corpus.limited(4)
    assert [len(few.split(s)) for s in ("train", "test")] == [4, 1]
    assert few.split("train").ids == ("image0", "image1", "image2", "image3")
    assert few.protocol == "made here, 4 training lines"
    assert few.fingerprint != corpus.fingerprint
    with pytest.raises(SettingsError, match="positive number of lines"):
        corpus.limited(0)


def test_fingerprint_sees_every_part(corpus: Corpus) -> None:
    train = corpus.split("train")
    changed = [
        replace(train, ids=tuple(reversed(train.ids))),
        replace(train, text={**train.text, "en": (*train.text["en"][:-1], "the 9 cats")}),
        replace(train, features=np.zeros((10, 2), dtype=np.float32)),
        replace(train, features=np.ones((10, 2), dtype=np.float32)),
    ]
    prints = {replace(corpus, splits={**corpus.splits, "train": part}).fingerprint for part in changed}
    assert len(prints | {corpus.fingerprint}) == 5


def test_misaligned_sentences() -> None:
    with pytest.raises(DataError, match="as many lines in each language, got en 2, fr 1"):
        Sentences({"en": ("a", "b"), "fr": ("c",)})
    with pytest.raises(DataError, match="got en 1, features 2"):
        Sentences({"en": ("a",)}, features=np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(DataError, match="at least one language"):
        Sentences({})


def test_parse_pairs() -> None:
    languages = {"en": "", "pt": "", "pt-BR": ""}
    assert parse_pairs("en-pt,pt-BR-en, en-pt", languages) == (("en", "pt"), ("pt-BR", "en"))
    assert parse_pairs([("pt", "en")], languages) == (("pt", "en"),)
    assert parse_pairs("", languages) == ()
    for text in ("en", "en-en", "en-pt-en"):
        with pytest.raises(SettingsError, match="expected a pair of two languages"):
            parse_pairs(text, languages)
    with pytest.raises(SettingsError, match="unknown language 'fr'"):
        parse_pairs("en-fr", languages)


def test_held_out_must_exist(corpus: Corpus) -> None:
    with pytest.raises(SettingsError, match="unknown language 'xx'"):
        replace(corpus, held_out_pairs=(("en", "xx"),))
    with pytest.raises(SettingsError, match="unknown held-out language"):
        replace(corpus, held_out_languages={"test": ("xx",)})
    with pytest.raises(SettingsError, match="split of held-out languages"):
        replace(corpus, held_out_languages={"train": ("da",)})


def test_a_file_keeps_everything(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    save_corpus(corpus, path)
    again = open_corpus(path)
    assert again.fingerprint == corpus.fingerprint
    assert (again.held_out_pairs, again.held_out_languages) == (corpus.held_out_pairs, corpus.held_out_languages)
    assert again.pairs("trained") == corpus.pairs("trained")


def test_damaged_files_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    save_corpus(corpus, path)
    good = path.read_text()
    for bad, message in [
        (good[:-30], "is damaged"),
        (good.replace("the 3 dogs", "the 3 cats"), "its fingerprint differs"),
        (json.dumps({**json.loads(good), "format": 99}), "format 99, this program knows 1"),
        ("[]", "is damaged"),
    ]:
        path.write_text(bad)
        with pytest.raises(DataError, match=message):
            open_corpus(path)
    with pytest.raises(DataError, match="cannot read"):
        open_corpus(tmp_path / "none.json")
    featured = replace(corpus, splits={"train": Sentences({"en": ("a",)}, features=np.zeros((1, 1), np.float32))})
    with pytest.raises(DataError, match="features"):
        save_corpus(featured, path)


def test_a_pair_that_only_the_test_connects_is_no_trained_pair() -> None:
    train = Sentences({"en": ("a", "b"), "fr": ("x", ""), "de": ("", "y")})
    test = Sentences({"en": ("c",), "fr": ("z",), "de": ("w",)})
    languages = {"en": "English", "fr": "French", "de": "German"}
    corpus = Corpus("three", "", languages, {"train": train, "test": test})
    assert set(corpus.pairs("trained")) == {("en", "fr"), ("fr", "en"), ("en", "de"), ("de", "en")}
    assert set(corpus.pairs("held_out")) == {("fr", "de"), ("de", "fr")}
    assert len(corpus.pairs("all")) == 6


def test_only_trained_languages_have_a_tag() -> None:
    lines = Sentences({"en": ("a",), "fr": ("x",), "de": ("y",)})
    languages = {"en": "English", "fr": "French", "de": "German"}
    corpus = Corpus("three", "", languages, {"train": lines}, held_out_languages={"test": ("fr",)})
    assert [corpus.tag(code) for code in languages] == [0, -1, 2]
    with pytest.raises(SettingsError, match="did you mean 'en'"):
        corpus.tag("enn")
