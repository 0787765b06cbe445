"""A corpus in subwords: one flat array of numbers, from which any sentences are gathered at once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metacortex.data.text.corpus import Corpus, Sentences
from metacortex.data.text.subwords import EOS, PAD, Subwords

__all__ = ["EncodedCorpus", "EncodedSentences"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EncodedSentences:
    """Sentences of a split in subwords.

    Attributes:
        tokens: ``[all]`` int32: the subwords of all sentences one after the other.
        starts: ``[languages, N]`` int64: where each begins.
        lengths: ``[languages, N]`` int64: how long each is; 0 where it is missing.
    """

    tokens: NDArray[np.int32]
    starts: Integers
    lengths: Integers

    def gather(self, language: int, rows: Integers, longest: int, *, end: bool) -> tuple[Integers, Integers]:
        """Sentences of a language, padded.

        Args:
            language: its number.
            rows: ``[n]`` which lines.
            longest: subwords after which a sentence is cut.
            end: whether each is followed by the end of the sentence.

        Returns:
            ``[n, L]`` int64 and ``[n]`` their lengths, the ends counted; ``L`` is the greatest length, at least 1.
        """
        words = np.minimum(self.lengths[language, rows], longest)  # [n]
        lengths = words + 1 if end else words
        columns = np.arange(max(1, int(lengths.max(initial=0))))  # [L]
        places = self.starts[language, rows][:, None] + columns
        out = self.tokens.take(places, mode="clip").astype(np.int64)
        out[columns >= words[:, None]] = PAD
        if end:
            out[np.arange(len(rows)), words] = EOS
        return out, lengths


class EncodedCorpus:
    """A corpus and its subwords; each split is encoded when it is first asked for.

    Args:
        corpus: the text.
        subwords: in which it is written.
    """

    def __init__(self, corpus: Corpus, subwords: Subwords) -> None:
        self.corpus = corpus
        self.subwords = subwords
        self._splits: dict[str, EncodedSentences] = {}

    def split(self, name: str) -> EncodedSentences:
        """The sentences of a split in subwords.

        Raises:
            DataError: if there is no such split.
        """
        if name not in self._splits:
            sentences = self.corpus.split(name)
            # a set may be a split under two names
            same = (n for n in self._splits if self.corpus.splits[n] is sentences)
            twin = next(same, None)
            self._splits[name] = self._encode(sentences) if twin is None else self._splits[twin]
        return self._splits[name]

    def __reduce__(self) -> tuple[type[EncodedCorpus], tuple[Corpus, Subwords]]:
        return EncodedCorpus, (self.corpus, self.subwords)

    def _encode(self, sentences: Sentences) -> EncodedSentences:
        missing = ("",) * len(sentences)
        lines = [line for code in self.corpus.languages for line in sentences.text.get(code, missing)]
        encoded = self.subwords.encode_all(lines)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        total = int(lengths.sum())
        # one more, so that there is something to gather where there is no text at all
        tokens = np.full(total + 1, PAD, dtype=np.int32)
        tokens[:total] = np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int32, count=total)
        shape = (len(self.corpus.languages), len(sentences))
        return EncodedSentences(tokens, (np.cumsum(lengths) - lengths).reshape(shape), lengths.reshape(shape))
