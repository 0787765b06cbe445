"""A run's learner told a pair of languages: from sentences to sentences."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from metacortex.data.text.corpus import Pair, parse_pairs
from metacortex.data.text.lines import clean
from metacortex.data.text.subwords import EOS, PAD, Subwords
from metacortex.engine.devices import device_of
from metacortex.errors import RunError, SettingsError, unknown_name
from metacortex.evaluation.run import LoadedRun, load_run
from metacortex.learners.base import Learner, State
from metacortex.learners.translation import Translating
from metacortex.nn.norm import fused_kernels
from metacortex.runs.translation import SUBWORDS_FILE, TranslationDomain
from metacortex.settings import TextSettings
from metacortex.task import Examples
from metacortex.tasks.descriptions import describe, description_tensors, wordings
from metacortex.tree import tree_map
from metacortex.updates.adam import Adam

Tree = TypeVar("Tree")

__all__ = [
    "TUNE_STEPS",
    "Attention",
    "TextRun",
    "Translated",
    "Translator",
    "encode_pairs",
    "encode_sentences",
    "find_language",
    "until_end",
    "written",
]

TUNE_STEPS = 100
"""Updates on example pairs, for learners that have no way of their own to learn from them."""
_TUNE_BATCH = 32
_BATCH = 64
_LONGEST = 200
"""Subwords of a sentence that are read; the rest is cut, with a note in the result."""


@dataclass(frozen=True)
class Attention:
    """Where the network looked while it wrote.

    Attributes:
        source: subwords of the source, its end included.
        target: subwords written.
        weights: ``[target, source]`` shares.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: Tensor


@dataclass(frozen=True)
class Translated:
    """What became of one sentence.

    Attributes:
        source: the sentence, cleaned.
        texts: translations, the best first.
        scores: log-probability of each (divided by the length penalty, with a beam).
        cut: whether the sentence was too long and its end was not read.
        attention: of the best translation, where asked for.
    """

    source: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    cut: bool
    attention: Attention | None = None


class TextRun:
    """A run of a learner of translation with its corpus and subwords.

    Args:
        run: the run folder.
        checkpoint: ``"best"`` or ``"last"``.
        device: where to compute, see `metacortex.engine.devices.resolve_device`.

    Raises:
        RunError: if there is no such run, its learner does not translate, its subwords are gone, or the corpus is not
            the one that it was trained on: languages and splits might be others.
        DataError: if its corpus is not there any more.
    """

    def __init__(self, run: Path | str, *, checkpoint: str | None = None, device: str = "cpu") -> None:
        self.loaded: LoadedRun = load_run(run, checkpoint=checkpoint, device=device)
        learner, settings = self.loaded.learner, self.loaded.settings.data
        if not isinstance(learner, Translating) or not isinstance(settings, TextSettings):
            raise RunError(f"the run in {run} is one of {learner.name}, which does not translate")
        self.learner, self.settings = learner, settings
        folder = self.loaded.folder
        if not (folder.path / SUBWORDS_FILE).is_file():
            raise RunError(
                f"{folder.path} has lost {SUBWORDS_FILE}, the subwords it was trained with: restore the file"
            )
        self.domain = TranslationDomain(settings, folder.path)
        trained = folder.info()["data"]["fingerprint"]
        if trained != self.domain.fingerprint:
            raise RunError(
                f"the run in {folder.path} was trained on other text of '{self.domain.name}' than is there now (sum "
                f"{trained[:12]}, now {self.domain.fingerprint[:12]}): restore it, or train anew"
            )

    def with_learner(self, learner: Learner) -> TextRun:
        """The same run with another learner of translation in place of its own, e.g. an untrained one, on its device.

        Raises:
            RunError: if it does not translate.
        """
        if not isinstance(learner, Translating):
            raise RunError(f"{learner.name} does not translate")
        other = copy.copy(self)
        other.learner = learner.to(device_of(self.learner))
        return other

    def placed(self, tensors: Tree) -> Tree:
        """A pytree of tensors on the device of the learner."""
        device = device_of(self.learner)
        return tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, tensors)

    def translator(
        self, source: str, target: str, *, words: str | None = None, support: Sequence[tuple[str, str]] = ()
    ) -> Translator:
        """The learner adapted to a pair of languages.

        Args:
            source: code or English name of the language to translate from.
            target: of the one to translate into.
            words: the description; that of `words_of` when not given, empty for none.
            support: example pairs of sentences.

        Raises:
            SettingsError: for a language that the corpus does not have.
        """
        languages = self.domain.corpus.languages
        code, other = (find_language(name, languages) for name in (source, target))
        (pair,) = parse_pairs([(code, other)], languages)
        return self.adapted(pair, self.words_of(pair) if words is None else words, support)

    def plain_words(self, pair: Pair) -> str:
        """The plainest training wording for a pair; nothing if the run was not told of its tasks in words."""
        if self.settings.description not in ("words", "both", "any"):
            return ""
        return describe(wordings("plain")[0], *self.names(pair))

    def names(self, pair: Pair) -> tuple[str, str]:
        """The names of two languages, as descriptions have them; one that the corpus has not is called as it is."""
        languages = self.domain.corpus.languages
        return languages.get(pair[0], pair[0]), languages.get(pair[1], pair[1])

    def pair(self, source: str, target: str) -> Pair:
        """Codes of two languages; a language that the corpus does not have is called as it is.

        Raises:
            SettingsError: for one language twice.
        """
        found = []
        for name, left_out in ((source, "source"), (target, "target")):
            try:
                found.append(find_language(name, self.domain.corpus.languages))
            except SettingsError:
                found.append(name.strip() or left_out)
        if found[0] == found[1]:
            raise SettingsError(f"expected two languages, got {found[0]} twice")
        return found[0], found[1]

    def words_of(self, pair: Pair) -> str:
        """What is told of a pair in words: nothing where a language was not trained, as its name then says nothing."""
        return self.plain_words(pair) if set(pair) <= set(self.domain.corpus.trained_languages) else ""

    @property
    def learns_from_examples(self) -> bool:
        """Whether the learner itself does something with example pairs."""
        reads = getattr(getattr(self.learner, "reader", None), "reads", None)
        steps = getattr(self.learner, "eval_steps", 0) or getattr(self.learner, "tune_steps", 0)
        return bool(steps) if reads is None else reads != "description"

    def taught(
        self,
        pair: Pair,
        words: str,
        examples: Sequence[tuple[str, str]],
        *,
        steps: int | None = None,
        lr: float = 1e-3,
    ) -> Translator:
        """The learner adapted to a pair of languages by examples, and maybe fine-tuned on them.

        Args:
            pair: codes, see `pair`.
            words: the description, empty for none.
            examples: pairs of sentences.
            steps: updates of all weights on the examples, after what the learner itself does; when not given, none
                for a learner that does something with examples, `TUNE_STEPS` for one that does not.
            lr: their learning rate (Adam), positive.

        Raises:
            SettingsError: for steps or a learning rate out of range.
        """
        if (steps is not None and steps < 0) or not lr > 0:
            raise SettingsError(f"expected steps of at least 0 and a positive learning rate, got {steps} and {lr:g}")
        if steps is None:
            steps = 0 if self.learns_from_examples else TUNE_STEPS
        translator = self.adapted(pair, words, examples)
        with torch.no_grad(), fused_kernels():
            support = self.placed(encode_pairs(self.domain.subwords, examples))
            rule = Adam(lr, eps=1e-16)
            state = self.learner.tuned(translator.state, support, rule, steps, size=_TUNE_BATCH)
        return replace(translator, state=tree_map(torch.Tensor.detach, state))

    def adapted(self, pair: Pair, words: str, support: Sequence[tuple[str, str]]) -> Translator:
        """The learner adapted to a pair of languages that its corpus may have or not.

        Args:
            pair: codes; a language that the corpus does not have, or training did not show, has no tag.
            words: the description, empty for none.
            support: example pairs of sentences.
        """
        corpus, subwords = self.domain.corpus, self.domain.subwords
        first, second = (corpus.tag(code) if code in corpus.languages else -1 for code in pair)
        description = description_tensors(subwords, words, self.names(pair), (first, second))
        with torch.no_grad(), fused_kernels():
            state = self.learner.adapt(
                self.placed(encode_pairs(subwords, support)), description=self.placed(description)
            )
        return Translator(self.learner, state, subwords, pair)


@dataclass(frozen=True)
class Translator:
    """Translates from one language into another.

    Attributes:
        learner: whose `Translating.translate` is used.
        state: what adaptation left.
        subwords: of its vocabulary.
        pair: codes of the languages.
    """

    learner: Translating
    state: State
    subwords: Subwords
    pair: Pair

    def translate(
        self,
        lines: Sequence[str],
        *,
        beam: int = 5,
        best: int = 1,
        length_penalty: float = 1.0,
        attention: bool = False,
    ) -> list[Translated]:
        """Translate sentences.

        Args:
            lines: plain text, a sentence each, cleaned by `metacortex.data.text.lines.clean`; an empty line gives
                empty translations.
            beam: hypotheses kept; 1 is greedy.
            best: translations of each sentence, at most ``beam``.
            length_penalty: exponent of the length that scores are divided by.
            attention: whether to say where the network looked.

        Raises:
            SettingsError: for a beam that cannot be.
        """
        cleaned = [clean(line) for line in lines]
        done: list[Translated] = [Translated("", ("",) * best, (0.0,) * best, False)] * len(lines)
        tokens = [self.subwords.encode(line) for line in cleaned]
        order = sorted((i for i, line in enumerate(cleaned) if line), key=lambda i: len(tokens[i]))
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            parts = [tokens[i][:_LONGEST] for i in chosen]
            source, lengths = encode_sentences(parts)
            found = self.learner.translate(
                self.state,
                source,
                lengths,
                beam=beam,
                best=best,
                length_penalty=length_penalty,
                attention=attention,
            )
            for row, i in enumerate(chosen):
                looked = None
                if attention and found.attention is not None:
                    looked = self._attention(parts[row], found.tokens[row, 0], found.attention[row, 0])
                texts = tuple(self.subwords.decode(written(t, len(parts[row]))) for t in found.tokens[row].tolist())
                scores = tuple(float(s) for s in found.scores[row])
                done[i] = Translated(cleaned[i], texts, scores, len(tokens[i]) > _LONGEST, looked)
        return done

    def _attention(self, source: list[int], target: Tensor, weights: Tensor) -> Attention:
        tokens = until_end(target.tolist())
        read = tuple(self.subwords.pieces(source))
        pieces = (*self.subwords.pieces(tokens), *(["</s>"] if EOS in target.tolist() else []))
        return Attention(read, pieces, weights[: len(pieces), : len(read)])


def find_language(name: str, languages: Mapping[str, str]) -> str:
    """The code of a language.

    Args:
        name: its code or English name, in any capitals.
        languages: code -> English name.

    Raises:
        SettingsError: for one that is not there, naming the nearest.

    Example:
        >>> find_language("french", {"en": "English", "fr": "French"})
        'fr'
    """
    wanted = name.strip().lower()
    for code, english in languages.items():
        if wanted in (code.lower(), english.lower()):
            return code
    raise unknown_name("language", name, [*languages, *languages.values()])


def encode_sentences(sentences: Sequence[Sequence[int]], *, end: bool = False) -> tuple[Tensor, Tensor]:
    """Subwords as a batch, padded.

    Args:
        sentences: subwords of each sentence.
        end: whether each is followed by the end of the sentence (targets are, sources are not).

    Returns:
        ``[N, L]`` int64 and ``[N]`` their lengths, the ends counted.
    """
    rows = [[*s, EOS] if end else list(s) for s in sentences]
    out = torch.full((len(rows), max([1, *map(len, rows)])), PAD)
    for row, tokens in enumerate(rows):
        out[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
    return out, torch.tensor([len(row) for row in rows], dtype=torch.int64)


def encode_pairs(subwords: Subwords, pairs: Sequence[tuple[str, str]]) -> Examples:
    """Example pairs of sentences as a support set; of each sentence 200 subwords are read."""
    sides = [[subwords.encode(clean(pair[side]))[:_LONGEST] for pair in pairs] for side in (0, 1)]
    source, lengths = encode_sentences(sides[0])
    return Examples({"source": source, "source_length": lengths}, encode_sentences(sides[1], end=True)[0])


def written(tokens: list[int], source_length: int) -> list[int]:
    """What counts of a translation: a network that finds no end stops here, wherever its neighbours in a batch stop."""
    return until_end(tokens)[: 2 * source_length + 10]


def until_end(tokens: list[int]) -> list[int]:
    """Tokens before the end of the sentence, or before the padding where it was not reached."""
    return tokens[: tokens.index(EOS)] if EOS in tokens else [t for t in tokens if t != PAD]
