from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metacortex.data.text.corpus import Corpus
from metacortex.data.text.encoded import EncodedCorpus
from metacortex.data.text.lines import clean
from metacortex.data.text.subwords import BOS, EOS, PAD, UNK, Subwords
from metacortex.errors import DataError, MissingExtraError, SettingsError

TEXT = [f"{n} Hunde spielen im Schnee, deux chiens jouent dans la neige" for n in range(60)]


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.learn(TEXT, 330)


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_any_text_survives(subwords: Subwords, text: str) -> None:
    numbers = subwords.encode(text)
    assert all(UNK < n < len(subwords) for n in numbers)
    assert subwords.decode(numbers) == clean(text.replace("\u2581", " "))  # sentencepiece's own mark of a space


def test_learning_is_deterministic() -> None:
    assert Subwords.learn(TEXT, 330).model == Subwords.learn(iter(TEXT), 330).model
    assert Subwords.learn(TEXT, 330).model != Subwords.learn(TEXT[:30], 330).model
    assert len(Subwords.learn(TEXT, 330, kind="unigram")) <= 330


def test_size_is_lowered_where_the_text_has_not_enough() -> None:
    assert 260 < len(Subwords.learn(["zwei Hunde"], 5000)) < 300
    with pytest.raises(SettingsError, match="100 subwords cannot be learned"):
        Subwords.learn(TEXT, 100)
    with pytest.raises(DataError, match="no line that is not empty"):
        Subwords.learn(["", " \n"], 300)
    with pytest.raises(SettingsError, match="did you mean 'bpe'"):
        Subwords.learn(TEXT, 300, kind="bp")  # type: ignore[arg-type]


def test_special_numbers(subwords: Subwords) -> None:
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    words = subwords.encode("Hunde spielen")
    assert subwords.decode([BOS, *words, EOS, *words, PAD]) == "Hunde spielen"
    assert subwords.decode([]) == subwords.decode([EOS, 5]) == ""
    assert subwords.encode("") == subwords.encode(" \x00") == []
    assert "".join(subwords.pieces(words)) == "▁Hunde▁spielen"
    for wrong in ([-1], [len(subwords)]):
        with pytest.raises(DataError, match=r"subwords are 0\.\."):
            subwords.decode(wrong)
        with pytest.raises(DataError, match=r"subwords are 0\.\."):
            subwords.pieces(wrong)


def test_digits_stand_alone(subwords: Subwords) -> None:
    assert subwords.pieces(subwords.encode("59")) == ["▁", "5", "9"]


def test_kept_in_bytes_files_and_pickles(subwords: Subwords, tmp_path: Path) -> None:
    subwords.save(tmp_path / "model")
    for again in (
        Subwords.open(tmp_path / "model"),
        Subwords(subwords.model),
        pickle.loads(pickle.dumps(subwords)),
    ):
        assert again == subwords
        assert again.fingerprint == subwords.fingerprint
        assert again.encode(TEXT[3]) == subwords.encode(TEXT[3])
    (tmp_path / "model").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no model of sentencepiece"):
        Subwords.open(tmp_path / "model")
    with pytest.raises(DataError, match="cannot read"):
        Subwords.open(tmp_path / "none")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"metacortex\[translate\]"):
        Subwords.learn(TEXT, 300)


def test_encoded_corpus(corpus: Corpus, subwords: Subwords) -> None:
    text = EncodedCorpus(corpus, subwords)
    train = text.split("train")
    rows = np.array([7, 1, 4])
    tokens, lengths = train.gather(corpus.number("nl"), rows, 100, end=True)
    for row, line, length in zip(rows, tokens.tolist(), lengths.tolist(), strict=True):
        assert line[:length] == [*subwords.encode(corpus.split("train").text["nl"][row]), EOS]
        assert not any(line[length:])
    bare, short = train.gather(corpus.number("nl"), rows, 3, end=False)
    assert bare.shape == (3, 3)
    assert short.tolist() == [3, 3, 3]
    assert np.array_equal(bare, tokens[:, :3])
    cut, _ = train.gather(corpus.number("nl"), rows, 3, end=True)
    assert np.array_equal(cut[:, :3], bare)
    assert cut[:, 3].tolist() == [EOS] * 3
    missing, none = train.gather(corpus.number("nl"), np.array([0]), 9, end=False)
    assert (missing.tolist(), none.tolist()) == ([[PAD]], [0])
    nothing, _ = train.gather(0, np.zeros(0, dtype=np.int64), 9, end=True)
    assert nothing.shape == (0, 1)
    assert text.split("val") is text.split("test")
    again = pickle.loads(pickle.dumps(text)).split("train")
    assert np.array_equal(again.tokens, train.tokens)
