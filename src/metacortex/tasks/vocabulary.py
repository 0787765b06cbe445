"""The subwords of a run: learned on training text and on the descriptions of training tasks, nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from metacortex.data.text.subwords import Subwords
from metacortex.tasks.descriptions import TRAINING, describe

if TYPE_CHECKING:
    from metacortex.data.text.corpus import Corpus
    from metacortex.tasks.topics import Topics

__all__ = ["learn_subwords", "vocabulary_lines"]

_SHARE = 20
"""The descriptions make about one in so many lines: enough for names of languages to become subwords."""


def learn_subwords(
    corpus: Corpus,
    size: int = 8000,
    *,
    kind: Literal["bpe", "unigram"] = "bpe",
    topics: Topics | None = None,
    only_topics: Sequence[int] | None = None,
) -> Subwords:
    """Learn the subwords of a corpus and of the descriptions of its training tasks.

    Args:
        corpus: of which the training lines of trained languages are used.
        size: number of subwords.
        kind: see `metacortex.data.text.subwords.Subwords.learn`.
        topics: whose names the descriptions may contain.
        only_topics: numbers of those that training shows, of whose lines alone is learned; all when not given.

    Raises:
        DataError: if there is no training text.
        SettingsError: for a size that cannot hold the characters of the text.
        MissingExtraError: if sentencepiece is not installed.
    """
    return Subwords.learn(vocabulary_lines(corpus, topics, only_topics), size, kind=kind)


def vocabulary_lines(
    corpus: Corpus, topics: Topics | None = None, only_topics: Sequence[int] | None = None
) -> Iterator[str]:
    """The lines that subwords are learned from: the training lines, then descriptions over and over."""
    shown = None if topics is None or only_topics is None else list(only_topics)
    rows = None if topics is None or shown is None else np.flatnonzero(np.isin(topics.labels["train"], shown))
    names = ("",) if topics is None else tuple(topics.names[i] for i in shown or range(len(topics)))
    count = 0
    for line in corpus.training_lines(None if rows is None else rows.tolist()):
        count += 1
        yield line
    yield from itertools.islice(_descriptions(corpus, names), count // _SHARE)


def _descriptions(corpus: Corpus, names: Sequence[str]) -> Iterator[str]:
    """Without an end, made as they are asked for: pairs times wordings may be many more than are wanted."""
    pairs = [(corpus.languages[source], corpus.languages[target]) for source, target in corpus.pairs("trained")]
    if not pairs:
        return
    # names of languages in turn with wordings, so that few lines show all of both
    count = max(len(pairs), len(names)) * len(TRAINING)
    for i in itertools.cycle(range(count)):
        yield describe(TRAINING[i % len(TRAINING)], *pairs[i % len(pairs)], names[i % len(names)])
