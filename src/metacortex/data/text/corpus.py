"""A corpus: the same sentences in several languages, in splits, with what is held out."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import DataError, SettingsError, unknown_name

__all__ = ["PAIR_KINDS", "Corpus", "Pair", "PairKind", "Sentences", "parse_pairs", "show_pair"]

Pair = tuple[str, str]
"""A directed pair of languages: from, to."""

PairKind = Literal["trained", "held_out", "new_val", "new_test", "all"]

PAIR_KINDS: tuple[PairKind, ...] = ("trained", "held_out", "new_val", "new_test", "all")
"""The kinds of pairs that `Corpus.pairs` knows."""


@dataclass(frozen=True, eq=False)
class Sentences:
    """Aligned sentences: line ``n`` says the same in every language that has it.

    Attributes:
        text: language -> its ``N`` lines; ``""`` where the language lacks that line.
        ids: ``N`` names of the lines (of images, of phrases), or none.
        groups: ``N`` names of kinds or topics, where the source knows them, or none.
        features: ``[N, D]`` float32, e.g. of the image that each line describes, or ``None``.

    Raises:
        DataError: if the numbers of lines differ.
    """

    text: Mapping[str, tuple[str, ...]]
    ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    features: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        counts = {language: len(lines) for language, lines in self.text.items()}
        if not counts:
            raise DataError("aligned sentences need at least one language, got none")
        for name, part in (("ids", self.ids), ("groups", self.groups)):
            if part:
                counts[name] = len(part)
        if self.features is not None:
            counts["features"] = len(self.features)
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise DataError(f"aligned sentences must have as many lines in each language, got {found}")

    def __len__(self) -> int:
        """Number of lines."""
        return len(next(iter(self.text.values())))

    @functools.cached_property
    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Language -> ``[N]``: whether it has the line."""
        return {language: np.array(lines, dtype=object) != "" for language, lines in self.text.items()}

    def rows(self, source: str, target: str) -> NDArray[np.int64]:
        """The lines that both languages have, ascending."""
        if source not in self.text or target not in self.text:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self.present[source] & self.present[target])

    def head(self, lines: int) -> Sentences:
        """The first lines alone."""
        return Sentences(
            {language: text[:lines] for language, text in self.text.items()},
            self.ids[:lines],
            self.groups[:lines],
            None if self.features is None else self.features[:lines],
        )


@dataclass(frozen=True, eq=False)
class Corpus:
    """Aligned sentences of some languages in splits, and which languages and pairs are held out.

    Attributes:
        name: name of the source, e.g. ``"multi30k"``.
        protocol: how it is split, to be printed beside every figure.
        languages: code -> English name; the position of a code is the number of its language.
        splits: ``"train"``, ``"val"``, ``"test"`` and whatever other test sets there are.
        held_out_pairs: directed pairs of trained languages that no training task shows.
        held_out_languages: ``"val"``/``"test"`` -> languages that no training task shows.
        provenance: source, licence, counts …; all strings.
    """

    name: str
    protocol: str
    languages: Mapping[str, str]
    splits: Mapping[str, Sentences]
    held_out_pairs: tuple[Pair, ...] = ()
    held_out_languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for pair in self.held_out_pairs:
            _check_pair(pair, self.languages)
        for split, languages in self.held_out_languages.items():
            if split not in ("val", "test"):
                raise unknown_name("split of held-out languages", split, ("val", "test"))
            for language in languages:
                if language not in self.languages:
                    raise unknown_name("held-out language", language, self.languages)

    def split(self, name: str) -> Sentences:
        """The sentences of a split.

        Raises:
            DataError: if there is no such split.
        """
        if name not in self.splits:
            raise DataError(f"corpus '{self.name}' has no split '{name}', only {', '.join(self.splits)}")
        return self.splits[name]

    def number(self, language: str) -> int:
        """The number of a language, ``0 .. languages-1``.

        Raises:
            SettingsError: for a language that is not in the corpus.
        """
        if language not in self.languages:
            raise unknown_name(f"language of corpus '{self.name}'", language, self.languages)
        return list(self.languages).index(language)

    def tag(self, language: str) -> int:
        """The number by which a language is told to a learner; -1 for one that training does not show.

        Raises:
            SettingsError: for a language that is not in the corpus.
        """
        number = self.number(language)
        return number if language in self.trained_languages else -1

    @property
    def trained_languages(self) -> tuple[str, ...]:
        """The languages that training may show, in order."""
        held_out = {code for codes in self.held_out_languages.values() for code in codes}
        return tuple(code for code in self.languages if code not in held_out)

    def pairs(self, kind: PairKind = "trained") -> tuple[Pair, ...]:
        """Directed pairs of languages with at least one common line, in the order of the languages.

        Args:
            kind: ``"trained"``: both languages are trained, ``"train"`` has lines of the pair, and it is not held
                out; ``"held_out"``: both are trained, but the pair is held out or has no training line (zero-shot);
                ``"new_val"``, ``"new_test"``: one language is trained, the other held out for that split
                (few-shot); ``"all"``.

        Raises:
            SettingsError: for another kind.
        """
        if kind not in PAIR_KINDS:
            raise unknown_name("kind of pairs", kind, PAIR_KINDS)
        trained = set(self.trained_languages)
        if kind == "all":
            return self._connected
        if kind in ("trained", "held_out"):
            inside = [p for p in self._connected if trained.issuperset(p)]
            shown = set(self._connected_in(["train"])).difference(self.held_out_pairs)
            return tuple(p for p in inside if (p in shown) == (kind == "trained"))
        new = set(self.held_out_languages.get(kind.removeprefix("new_"), ()))
        return tuple(p for p in self._connected if len(trained & set(p)) == 1 and len(new & set(p)) == 1)

    def limited(self, train: int) -> Corpus:
        """The same corpus with only the first lines of the training split.

        Raises:
            SettingsError: for fewer than one line.
        """
        if train < 1:
            raise SettingsError(f"train: expected a positive number of lines, got {train}")
        splits = {name: part.head(train) if name == "train" else part for name, part in self.splits.items()}
        return replace(self, protocol=f"{self.protocol}, {len(splits['train'])} training lines", splits=splits)

    def among(self, languages: Sequence[str]) -> Corpus:
        """The same corpus in some of its languages, e.g. for a model of one pair.

        Args:
            languages: codes, in the order of their numbers.

        Raises:
            SettingsError: for fewer than two, or one that is not in the corpus.
        """
        for language in languages:
            self.number(language)
        if len(set(languages)) < 2:
            raise SettingsError(f"expected at least two languages, got {', '.join(languages) or 'none'}")
        names = {code: self.languages[code] for code in languages}
        splits = {
            name: replace(part, text={code: part.text[code] for code in names if code in part.text})
            for name, part in self.splits.items()
            if len(names.keys() & part.text.keys()) > 1
        }
        return replace(
            self,
            protocol=f"{self.protocol}, {', '.join(names)} alone",
            languages=names,
            splits=splits,
            held_out_pairs=tuple(pair for pair in self.held_out_pairs if names.keys() >= set(pair)),
            held_out_languages={
                split: tuple(code for code in codes if code in names)
                for split, codes in self.held_out_languages.items()
            },
        )

    def training_lines(self, rows: Sequence[int] | None = None) -> Iterator[str]:
        """Every training line of the trained languages, or of some rows: what vocabularies may be made of."""
        train = self.split("train")
        for language in self.trained_languages:
            lines = train.text.get(language, ())
            yield from (line for line in (lines if rows is None else (lines[row] for row in rows if lines)) if line)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over languages, splits and lines: equal if and only if the content is."""
        digest = hashlib.sha256(repr([*self.languages.items()]).encode())
        for name, part in self.splits.items():
            digest.update(repr((name, part.ids, part.groups)).encode())
            for language, lines in part.text.items():
                digest.update(f"\0{language}\0".encode())
                digest.update("\n".join(lines).encode())
            if part.features is not None:
                digest.update(np.ascontiguousarray(part.features, dtype="<f4").tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def _connected(self) -> tuple[Pair, ...]:
        return self._connected_in(self.splits)

    def _connected_in(self, splits: Iterable[str]) -> tuple[Pair, ...]:
        parts = [self.splits[name] for name in splits if name in self.splits]
        return tuple(
            (source, target)
            for source, target in itertools.permutations(self.languages, 2)
            if any(len(part.rows(source, target)) for part in parts)
        )


def show_pair(pair: Pair) -> str:
    """A pair as it is printed, e.g. ``"en-fr"``."""
    return "-".join(pair)


def parse_pairs(text: str | Sequence[Pair], languages: Mapping[str, str]) -> tuple[Pair, ...]:
    """Directed pairs from a text like ``"cs-fr,fr-cs"``, or from pairs.

    Raises:
        SettingsError: for a language that is not there, twice the same in a pair, or anything else than pairs.

    Example:
        >>> parse_pairs("cs-fr, fr-cs", {"cs": "Czech", "fr": "French"})
        (('cs', 'fr'), ('fr', 'cs'))
    """
    if isinstance(text, str):
        pairs = [_halves(part.strip(), languages) for part in text.split(",") if part.strip()]
    else:
        pairs = [tuple(pair) for pair in text]
    return tuple(dict.fromkeys(_check_pair(pair, languages) for pair in pairs))


def _halves(text: str, languages: Mapping[str, str]) -> tuple[str, ...]:
    """Split a pair at the hyphen that leaves two languages (``pt-BR`` may be one), else at every hyphen."""
    parts = text.split("-")
    cuts = [("-".join(parts[:i]), "-".join(parts[i:])) for i in range(1, len(parts))]
    return next((cut for cut in cuts if cut[0] in languages and cut[1] in languages), tuple(parts))


def _check_pair(pair: tuple[str, ...], languages: Mapping[str, str]) -> Pair:
    if len(pair) != 2 or pair[0] == pair[1]:
        raise SettingsError(f"expected a pair of two languages like en-fr, got {'-'.join(map(str, pair))!r}")
    for language in pair:
        if language not in languages:
            raise unknown_name("language", language, languages)
    return pair[0], pair[1]
