from __future__ import annotations

import time
from pathlib import Path

import pytest
from babel import Locale

from metacortex.data.text import phrasebook
from metacortex.data.text.corpus import Corpus
from metacortex.data.text.phrase_list import GROUPS, phrases, split_of
from metacortex.data.text.phrase_writer import Writer
from metacortex.data.text.phrasebook import HELD_OUT_LANGUAGES, LANGUAGES, load_phrasebook
from metacortex.errors import MissingExtraError, SettingsError


@pytest.fixture(scope="module")
def full() -> Corpus:
    return load_phrasebook()


def test_it_is_made_quickly_and_opened_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Corpus) -> None:
    monkeypatch.setenv("METACORTEX_CACHE", str(tmp_path))
    seen = []
    start = time.process_time()
    made = load_phrasebook(languages=LANGUAGES[:4], progress=lambda done, total: seen.append((done, total)))
    assert time.process_time() - start < 5
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    opened = load_phrasebook(languages=LANGUAGES[:4], progress=lambda *_: pytest.fail("made again"))
    assert opened.fingerprint == made.fingerprint
    file = next(tmp_path.glob("stores/phrasebook-*/corpus.json"))
    file.write_text(file.read_text()[:-100])
    assert load_phrasebook(languages=LANGUAGES[:4]).fingerprint == made.fingerprint


def test_content(full: Corpus) -> None:
    assert len(full.languages) >= 36
    train, test = full.split("train"), full.split("test")
    assert len(train) > 3000
    assert set(train.groups) == set(GROUPS)
    assert set(test.groups) == set(GROUPS) - {"names"}
    number = {name: (part, i) for part in full.splits.values() for i, name in enumerate(part.ids)}
    assert len(number) == sum(len(full.split(s)) for s in ("train", "val", "test"))

    def say(name: str, language: str) -> str:
        part, row = number[name]
        return part.text[language][row]

    assert say("weekday/0", "cs") == "pondělí"
    assert say("named/territories/DE", "fr") == "Allemagne"
    assert say("cardinal/42", "de") == "zweiundvierzig"
    assert [say("ordinal/3", code) for code in ("en", "es")] == ["third", "tercero"]
    assert say("cardinal/42", "el") == ""  # num2words knows no Greek
    assert say("cardinal/42", "sr") == ""  # and writes Serbian in Latin letters, CLDR in Cyrillic


def test_known_phrases() -> None:
    english, french, polish = Writer("en"), Writer("fr"), Writer("pl")
    assert polish.say(("measure", "length-kilometer", 1)) == "1 kilometr"
    assert polish.say(("measure", "length-kilometer", 3)) == "3 kilometry"
    assert polish.say(("measure", "length-kilometer", 5)) == "5 kilometrów"
    assert french.say(("relative", "day", "past", 3)) == "il y a 3 jours"
    assert english.say(("money", "EUR", 1)) == "1 euro"
    months = tuple(("month", n) for n in (1, 2, 3, 4))
    assert english.say(("listed", "standard", months)) == "January, February, March, and April"
    assert french.say(("listed", "or", months[:2])) == "janvier ou février"


def test_what_is_borrowed_is_left_out(full: Corpus) -> None:
    assert Writer("cy").say(("named", "languages", "xx")) == ""
    assert Writer("bg").say(("cardinal", 3)) == ""  # num2words knows no Bulgarian
    assert Writer("zu").say(("measure", "power-horsepower-none", 3)) == ""
    root = Writer("root")
    assert root.say(("weekday", 0)) == "Mon"  # in no language: a weekday that reads so was not translated
    train = full.split("train")
    meanings = {phrase.name: phrase.meaning for phrase in phrases()}
    borrowed = [root.say(meanings[name]) for name in train.ids]
    assert any(borrowed)
    for code in ("en", "cy", "hu"):
        assert not any(line and line == other for line, other in zip(train.text[code], borrowed, strict=True))


def test_no_phrase_reads_as_a_code_or_a_hole(full: Corpus) -> None:
    for part in full.splits.values():
        for lines in part.text.values():
            assert not any(mark in line for line in lines for mark in ("{", "}", "\u2191", "length-", "  "))
            assert not any(line.isascii() and line.isdigit() for line in lines)


def test_the_locales_of_others_are_left_alone() -> None:
    """Babel keeps what was loaded without its ancestors for everybody."""
    Writer("ga")
    assert Locale.parse("ga").currency_formats["standard"]
    assert "start" in Locale.parse("ga").list_patterns["standard"]


def test_held_out_languages_pairs_and_phrases(full: Corpus) -> None:
    for held in HELD_OUT_LANGUAGES.values():
        assert not set(held) & set(full.trained_languages)
    kinds = [set(full.pairs(kind)) for kind in ("trained", "held_out", "new_val", "new_test")]
    assert all(not a & b for i, a in enumerate(kinds) for b in kinds[:i])
    assert all(kinds)
    assert len(kinds[1]) == pytest.approx(len(kinds[0] | kinds[1]) / 10, rel=0.3)
    assert not any("en" in pair for pair in kinds[1])
    for code in ("en", "fi", "el", "vi"):
        texts = [{line for line in full.split(s).text[code] if line} for s in ("train", "val", "test")]
        assert not texts[0] & texts[2]
        assert not texts[0] & texts[1]
        assert not texts[1] & texts[2]


def test_phrases_are_the_same_each_time() -> None:
    assert phrases() == phrases()
    assert len({p.name for p in phrases()}) == len(phrases())
    assert {split_of(p) for p in phrases() if p.group == "names"} == {"train"}


def test_choices() -> None:
    corpus = load_phrasebook(languages=("en", "pt", "fr"), groups=("money",), held_out="en-fr", train=50)
    assert list(corpus.languages) == ["en", "pt", "fr"]
    assert set(corpus.split("train").groups) == {"money"}
    assert len(corpus.split("train")) == 50
    assert corpus.pairs("trained") == (("fr", "en"),)
    assert corpus.pairs("held_out") == (("en", "fr"),)
    assert set(corpus.pairs("new_test")) == {("en", "pt"), ("pt", "en"), ("pt", "fr"), ("fr", "pt")}
    mine = load_phrasebook(languages=("en", "pt", "fr"), groups=("money",), held_out_languages=("fr",))
    assert mine.trained_languages == ("en", "pt")
    for options, message in [
        ({"languages": ("en", "qq")}, "CLDR has no data of it"),
        ({"languages": ("en",)}, "needs two languages"),
        ({"groups": ("moneys",)}, "did you mean 'money'"),
        ({"held_out_languages": ("xx",)}, "unknown held-out language"),
    ]:
        with pytest.raises(SettingsError, match=message):
            load_phrasebook(**{"groups": ("money",), "languages": ("en", "fr"), **options})


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "num2words", None)
    with pytest.raises(MissingExtraError, match=r"metacortex\[phrasebook\]"):
        phrasebook.load_phrasebook()
