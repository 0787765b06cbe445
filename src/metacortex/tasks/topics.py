"""What sentences are about: a topic for each line of a corpus, so that a task can stay within one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metacortex.errors import DataError, SettingsError

if TYPE_CHECKING:
    from metacortex.data.text.corpus import Corpus

__all__ = ["Topics"]

_COMPONENTS = 64
_LETTERS = r"(?u)\b[^\W\d_]{2,}\b"


@dataclass(frozen=True, eq=False)
class Topics:
    """A topic for each line.

    Attributes:
        names: words that say what each topic is about, e.g. ``"dog, grass, running"``.
        labels: split -> ``[N]`` int64 number of the topic of each line, -1 where it has none.
    """

    names: tuple[str, ...]
    labels: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        """Number of topics."""
        return len(self.names)

    def rows(self, split: str, topic: int) -> NDArray[np.int64]:
        """The lines of a split that are about a topic, ascending.

        Raises:
            DataError: if the topics were made without this split.
        """
        if split not in self.labels:
            raise DataError(f"there are no topics of split '{split}', only of {', '.join(self.labels)}")
        return np.flatnonzero(self.labels[split] == topic)

    @staticmethod
    def of_groups(corpus: Corpus) -> Topics:
        """The groups that the source itself gives, such as the kinds of phrases of the phrasebook.

        Raises:
            DataError: if it gives none.
        """
        names = tuple(dict.fromkeys(group for part in corpus.splits.values() for group in part.groups))
        if not names:
            raise DataError(f"the lines of corpus '{corpus.name}' are not grouped: find topics with Topics.find")
        number = {name: i for i, name in enumerate(names)}
        labels = {
            split: np.array([number[group] for group in part.groups] or [-1] * len(part), dtype=np.int64)
            for split, part in corpus.splits.items()
        }
        return Topics(names, labels)

    @staticmethod
    def find(corpus: Corpus, count: int = 20, *, language: str = "", seed: int = 0, words: int = 3) -> Topics:
        """Clusters of the training sentences; those of the other splits go to the nearest.

        Sentences of one language become TF-IDF vectors, are reduced to 64 components (latent semantic analysis),
        scaled to length one and clustered by k-means, in one thread: the same corpus and seed give the same topics.

        Args:
            corpus: the sentences; only its training split decides about the topics.
            count: topics.
            language: whose sentences; English where there is, else the first.
            seed: of the reduction and the clustering.
            words: how many words name a topic.

        Raises:
            DataError: if there are fewer training sentences than topics.
            SettingsError: for fewer than two topics or an unknown language.
        """
        if count < 2 or words < 1:
            raise SettingsError(f"expected at least 2 topics and 1 word to name each, got {count} and {words}")
        code = language or ("en" if "en" in corpus.languages else next(iter(corpus.languages)))
        corpus.number(code)
        return _find(corpus, count, code, seed, words)


def _find(corpus: Corpus, count: int, code: str, seed: int, words: int) -> Topics:
    from sklearn.cluster import KMeans  # slow to import, and needed here alone
    from threadpoolctl import threadpool_limits

    text = {split: part.text[code] for split, part in corpus.splits.items() if code in part.text}
    lines = [line for line in text.get("train", ()) if line]
    if len(lines) < count:
        raise DataError(f"{count} topics need as many training sentences in {code}, corpus has {len(lines)}")
    with threadpool_limits(1):
        counter, vectors, reduction = _vectors(lines, code, count, seed)
        options: dict[str, Any] = {"n_init": 2, "random_state": seed}
        clusters: Any = KMeans(count, **options).fit(reduction.transform(vectors))
        labels: dict[str, NDArray[np.int64]] = {}
        for split, part in corpus.splits.items():
            found = np.full(len(part), -1, dtype=np.int64)
            here = np.flatnonzero(part.present[code]) if code in part.present else np.zeros(0, dtype=np.int64)
            if len(here):
                tokens = counter.transform([part.text[code][row] for row in here])
                found[here] = clusters.predict(reduction.transform(tokens))
            labels[split] = found
    return Topics(_names(counter, vectors, clusters.labels_, count, words), labels)


def _vectors(lines: list[str], code: str, count: int, seed: int) -> tuple[Any, Any, Any]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    common = "english" if code == "en" else None
    least = 5 if len(lines) > 1000 else 1
    counter = TfidfVectorizer(
        stop_words=common, token_pattern=_LETTERS, min_df=least, max_df=0.4, sublinear_tf=True, dtype=np.float64
    )
    try:
        vectors = counter.fit_transform(lines)
    except ValueError as error:  # every word too common
        raise DataError(f"no topics can be found in {len(lines)} sentences of {code}: {error}") from None
    components = max(1, min(_COMPONENTS, vectors.shape[1] - 1))
    reduction = make_pipeline(TruncatedSVD(components, random_state=seed), Normalizer(copy=False))
    return counter, vectors, reduction.fit(vectors)


def _names(counter: Any, vectors: Any, labels: NDArray[np.int64], count: int, words: int) -> tuple[str, ...]:
    """The words that a topic has most above all sentences together."""
    vocabulary = counter.get_feature_names_out()
    overall = np.asarray(vectors.mean(axis=0))[0]
    names = []
    for topic in range(count):
        members = np.flatnonzero(labels == topic)
        excess = np.asarray(vectors[members].mean(axis=0))[0] - overall if len(members) else overall
        best = np.argsort(-excess, kind="stable")[:words]
        names.append(", ".join(vocabulary[best]))
    return tuple(names)
