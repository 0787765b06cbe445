"""Reasons for a translation: which subwords of the sentence, which words of the description, which example pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metacortex.data.text.lines import clean
from metacortex.data.text.subwords import EOS
from metacortex.errors import DataError
from metacortex.explain.change import weight_changes
from metacortex.nn.mode import evaluating
from metacortex.nn.norm import fused_kernels
from metacortex.translation.translator import Attention, TextRun, Translator, encode_sentences, until_end

__all__ = ["TranslationExplanation", "explain_translation", "token_influences"]

_LONGEST = 100
"""Subwords of a sentence that are explained."""


@dataclass(frozen=True)
class TranslationExplanation:
    """Why a sentence was translated as it was.

    Attributes:
        source: the sentence.
        translation: greedy, which the reasons are of.
        rival: the best other translation of a beam; empty if there is none.
        read: subwords of the sentence.
        written: subwords of the translation, its end included.
        probabilities: ``[L']`` of each subword written, given those before it.
        influence: ``[L', L]``: how much each subword read adds to the log-probability of each one written.
        attention: ``[L', L]`` where the network looked while it wrote, for networks that do.
        words: the description, word by word.
        word_influence: ``[words]``: how much each adds to the log-probability of the translation.
        pairs: the example pairs.
        pair_influence: ``[pairs]``: the same of each pair.
        changes: how far each weight moved while adapting; empty where weights are generated, or none moves.
    """

    source: str
    translation: str
    rival: str
    read: tuple[str, ...]
    written: tuple[str, ...]
    probabilities: Tensor
    influence: Tensor
    attention: Tensor | None
    words: tuple[str, ...]
    word_influence: Tensor
    pairs: tuple[tuple[str, str], ...]
    pair_influence: Tensor
    changes: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "source": self.source,
            "translation": self.translation,
            "rival": self.rival,
            "read": list(self.read),
            "written": list(self.written),
            "probabilities": self.probabilities.tolist(),
            "influence": self.influence.tolist(),
            "attention": None if self.attention is None else self.attention.tolist(),
            "words": [[w, float(i)] for w, i in zip(self.words, self.word_influence, strict=True)],
            "pairs": [[*p, float(i)] for p, i in zip(self.pairs, self.pair_influence, strict=True)],
            "changes": self.changes,
        }


def explain_translation(
    text: TextRun,
    source: str,
    target: str,
    sentence: str,
    *,
    words: str | None = None,
    support: Sequence[tuple[str, str]] = (),
) -> TranslationExplanation:
    """Explain the greedy translation of a sentence by leaving out, in turn, everything that it rests on.

    A subword of the sentence, a word of the description, an example pair: each is left out, the learner adapts and
    reads anew, and says with what probability it would now write what it has written.

    Args:
        text: the run.
        source: code or name of the language of the sentence.
        target: of the one to translate into.
        sentence: what is translated.
        words: the description, see `metacortex.translation.translator.TextRun.translator`.
        support: example pairs.

    Raises:
        DataError: for a sentence without words.
        SettingsError: for a language that the corpus does not have.
    """
    translator = text.translator(source, target, words=words, support=support)
    told = text.plain_words(translator.pair) if words is None else words
    tokens = translator.subwords.encode(clean(sentence))[:_LONGEST]
    if not tokens:
        raise DataError("there is nothing to explain: the sentence is empty")
    greedy = translator.translate([sentence], beam=1, attention=True)[0]
    beam = translator.translate([sentence], beam=5, best=5)[0]
    written = _written(translator, tokens)
    logs = _log_probabilities(translator, [tokens], written)[0]  # [L']
    parts = told.split()
    by_word = [
        _total(text.adapted(translator.pair, " ".join([*parts[:i], *parts[i + 1 :]]), support), tokens, written)
        for i in range(len(parts))
    ]
    by_pair = [
        _total(text.adapted(translator.pair, told, [*support[:i], *support[i + 1 :]]), tokens, written)
        for i in range(len(support))
    ]
    whole, looked = float(logs.sum()), greedy.attention
    return TranslationExplanation(
        greedy.source,
        greedy.texts[0],
        next((t for t in beam.texts if t != greedy.texts[0]), ""),
        tuple(translator.subwords.pieces(tokens)),
        _pieces(translator, written),
        logs.exp(),
        token_influences(translator, tokens, written),
        _fitting(looked, len(written), len(tokens)),
        tuple(parts),
        whole - torch.tensor(by_word),
        tuple((a, b) for a, b in support),
        whole - torch.tensor(by_pair),
        weight_changes(translator.learner, translator.state) if support else {},
    )


def token_influences(translator: Translator, tokens: Sequence[int], written: Sequence[int]) -> Tensor:
    """How much each subword read adds to the log-probability of each one written, by leaving it out.

        I_ti = log p(y_t | y_<t, x) − log p(y_t | y_<t, x without x_i)

    Args:
        translator: a learner adapted to a pair of languages.
        tokens: ids of the sentence, L of them, at least one.
        written: ids of a translation, L' of them.

    Returns:
        ``[L', L]``.

    Reference: Li, Monroe and Jurafsky, "Understanding Neural Networks through Representation Erasure", 2016, eq. 1.
    """
    rest = [[*tokens[:i], *tokens[i + 1 :]] for i in range(len(tokens))]
    logs = _log_probabilities(translator, [list(tokens), *rest], written)  # [1 + L, L']
    return (logs[0] - logs[1:]).T


def _written(translator: Translator, tokens: list[int]) -> list[int]:
    source, length = encode_sentences([tokens])
    found = translator.learner.translate(translator.state, source, length).tokens[0, 0].tolist()
    # As `Translator.translate` cuts it, for networks that do not find the end.
    whole = until_end(found)[: 2 * len(tokens) + 10]
    return [*whole, EOS] if EOS in found[: len(whole) + 1] else whole


def _log_probabilities(translator: Translator, sources: list[list[int]], written: Sequence[int]) -> Tensor:
    """Of each subword written, under each source: ``[N, L']``."""
    source, length = encode_sentences(sources)
    target = torch.tensor(written, dtype=torch.int64).expand(len(sources), -1)
    given = {"source": source, "source_length": length, "target": target}
    with evaluating(translator.learner), torch.no_grad(), fused_kernels():
        logits = translator.learner.predict(translator.state, given)
    return logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]


def _total(translator: Translator, tokens: list[int], written: Sequence[int]) -> float:
    return float(_log_probabilities(translator, [tokens], written).sum())


def _pieces(translator: Translator, written: Sequence[int]) -> tuple[str, ...]:
    end = bool(written) and written[-1] == EOS
    pieces = translator.subwords.pieces(list(written[:-1]) if end else list(written))
    return (*pieces, "</s>") if end else tuple(pieces)


def _fitting(attention: Attention | None, rows: int, columns: int) -> Tensor | None:
    """The weights, if they are of what is explained (a long sentence may have been cut differently)."""
    if attention is None or tuple(attention.weights.shape) != (rows, columns):
        return None
    return attention.weights
