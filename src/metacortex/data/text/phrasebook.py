"""Phrasebook: parallel phrases in dozens of languages, made from CLDR and num2words; nothing to download.

Dates, spans of time, measures, sums of money, numbers in words, lists and the names of countries, languages and
currencies, as the Unicode Common Locale Data Repository (through Babel) and num2words have them. A phrase that a
language would have to borrow (CLDR falls back to its root) is missing in it.

Whole languages are held out, each with kin among the trained ones: Galician, Macedonian and Slovenian for validation,
Danish, Estonian, Lithuanian, Portuguese, Slovak and Ukrainian for test; so is a tenth of the pairs of trained
languages, and a fifth of the phrases, which are other combinations of parts that training shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from metacortex.data.atomic import discard, new_folder
from metacortex.data.locations import stores_dir
from metacortex.data.text.corpus import Corpus, Pair, Sentences, parse_pairs
from metacortex.data.text.corpus_file import FORMAT, open_corpus, save_corpus
from metacortex.data.text.languages import name_languages
from metacortex.data.text.phrase_list import GROUPS, phrases, split_of
from metacortex.data.text.phrase_writer import Writer, versions
from metacortex.errors import DataError, SettingsError, unknown_name

__all__ = ["HELD_OUT_LANGUAGES", "LANGUAGES", "RECIPE", "load_phrasebook"]

RECIPE = 2
"""Version of everything that decides about the phrases; raised with each change, so that old caches are left alone."""

_ROMANCE, _GERMANIC, _SLAVIC = "fr es it ca ro gl pt", "de nl af sv no is da", "pl cs hr sl bg mk ru be sr sk uk"
LANGUAGES = tuple(f"en {_ROMANCE} {_GERMANIC} {_SLAVIC} fi et lv lt el hu tr az id sq eu cy vi".split())
"""The languages, in the order of their numbers; all are written in Latin, Cyrillic or Greek letters."""

HELD_OUT_LANGUAGES = {"val": ("gl", "mk", "sl"), "test": ("da", "et", "lt", "pt", "sk", "uk")}
_HELD_OUT_PAIRS = 10
"""One in so many pairs of trained languages is held out."""

_PROVENANCE = {
    "source": "generated from CLDR (Babel) and num2words",
    "licence": "CLDR: Unicode License v3; the packages: BSD (Babel), LGPL (num2words)",
}


def load_phrasebook(
    *,
    languages: Sequence[str] = LANGUAGES,
    held_out: str | Sequence[Pair] | None = None,
    held_out_languages: Sequence[str] | None = None,
    groups: Sequence[str] = GROUPS,
    train: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Open the phrasebook; the first time it is made, which takes some seconds, then it lies in the cache.

    Args:
        languages: codes in the order of their numbers; any that CLDR has, at least two.
        held_out: directed pairs that no training task shows; when not given, a tenth of the pairs of trained
            languages, chosen by a hash.
        held_out_languages: languages held out for test; when not given, those of `HELD_OUT_LANGUAGES`.
        groups: kinds of phrases, of `metacortex.data.text.phrase_list.GROUPS`.
        train: use only the first so many training phrases.
        progress: called with (languages done, languages in all) while it is made.

    Returns:
        Splits ``"train"``, ``"val"`` and ``"test"``; ``groups`` of the lines is the kind of phrase.

    Raises:
        MissingExtraError: if Babel or num2words is not installed.
        SettingsError: for a language or kind of phrase that does not exist, or fewer than two languages.
        DataError: if the cache cannot be written.
    """
    for group in groups:
        if group not in GROUPS:
            raise unknown_name("kind of phrases", group, GROUPS)
    codes = tuple(dict.fromkeys(languages))
    if len(codes) < 2 or not groups:
        raise SettingsError(f"the phrasebook needs two languages and a kind of phrases, got {codes} and {groups}")
    corpus = _open_or_make(codes, tuple(g for g in GROUPS if g in groups), progress)
    new = _new_languages(codes, held_out_languages)
    names = corpus.languages
    kept = [code for code in codes if code not in {c for held in new.values() for c in held}]
    pairs = _choose_pairs(kept) if held_out is None else parse_pairs(held_out, names)
    text = ", ".join(f"{split} {len(part)}" for split, part in corpus.splits.items())
    held = "; ".join(f"{split} {', '.join(held)}" for split, held in new.items() if held) or "none"
    done = Corpus(
        corpus.name,
        f"phrases: {text}; {len(kept)} trained languages, held out: {held}, and {len(pairs)} pairs",
        names,
        corpus.splits,
        pairs,
        new,
        corpus.provenance,
    )
    return done if train is None else done.limited(train)


def _open_or_make(codes: Sequence[str], groups: Sequence[str], progress: Callable[[int, int], None] | None) -> Corpus:
    made_from = {"recipe": RECIPE, "format": FORMAT, "languages": codes, "groups": groups, **versions()}
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    folder = stores_dir() / f"phrasebook-{key}"
    if folder.exists():
        try:
            return open_corpus(folder / "corpus.json")
        except DataError:  # damaged; the format is part of the name
            discard(folder)
    return _make(folder, codes, groups, progress)


def _make(
    folder: Path, codes: Sequence[str], groups: Sequence[str], progress: Callable[[int, int], None] | None
) -> Corpus:
    chosen = [phrase for phrase in phrases() if phrase.group in groups]
    root = Writer("root")
    borrowed = [root.say(phrase.meaning) for phrase in chosen]
    text: dict[str, list[str]] = {}
    for done, code in enumerate(codes, start=1):
        writer = Writer(code)
        said = [writer.say(phrase.meaning) for phrase in chosen]
        # what reads as in the root (digits alone, a bare code) is in no language
        text[code] = ["" if s == r else s for s, r in zip(said, borrowed, strict=True)]
        if progress is not None:
            progress(done, len(codes))
    splits = {}
    for split in ("train", "val", "test"):
        rows = [i for i, phrase in enumerate(chosen) if split_of(phrase) == split]
        splits[split] = Sentences(
            {code: tuple(lines[i] for i in rows) for code, lines in text.items()},
            tuple(chosen[i].name for i in rows),
            tuple(chosen[i].group for i in rows),
        )
    provenance = {**_PROVENANCE, "recipe": str(RECIPE), **versions()}
    corpus = Corpus("phrasebook", "phrases", name_languages(codes), splits, provenance=provenance)
    with new_folder(folder) as temporary:
        save_corpus(corpus, temporary / "corpus.json")
    return corpus


def _new_languages(codes: Sequence[str], test: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    if test is None:
        return {split: tuple(c for c in held if c in codes) for split, held in HELD_OUT_LANGUAGES.items()}
    for code in test:
        if code not in codes:
            raise unknown_name("held-out language", code, codes)
    return {"test": tuple(test)}


def _choose_pairs(codes: Sequence[str]) -> tuple[Pair, ...]:
    """One in ten, by a hash; English, which most readers can check, keeps all of its pairs."""
    pairs = [(s, t) for s in codes for t in codes if s != t and "en" not in (s, t)]
    return tuple(p for p in pairs if hashlib.sha256("-".join(p).encode()).digest()[0] % _HELD_OUT_PAIRS == 0)
