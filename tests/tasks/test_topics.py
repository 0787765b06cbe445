from __future__ import annotations

import itertools

import numpy as np
import pytest

from metacortex.data.text.corpus import Corpus, Sentences
from metacortex.errors import DataError, SettingsError
from metacortex.tasks.topics import Topics
from metacortex.tasks.vocabulary import vocabulary_lines

ABOUT = ("dog snow grass", "guitar stage singer", "kitchen cook onions")


def lines(count: int, seed: int) -> tuple[str, ...]:
    """Sentences of three words of one topic each, in turn."""
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.permutation(ABOUT[i % 3].split())) + f" {i}" for i in range(count))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    train = Sentences({"en": lines(60, 0), "xx": ("x",) * 60}, groups=tuple("abc"[i % 3] for i in range(60)))
    test = Sentences({"en": ("", *lines(8, 1)), "xx": ("x",) * 9}, groups=("b",) * 9)
    return Corpus("tiny", "", {"xx": "X", "en": "English"}, {"train": train, "test": test})


def test_known_topics_are_found(corpus: Corpus) -> None:
    topics = Topics.find(corpus, 3)
    wanted = [set(words.split()) for words in ABOUT]
    found = [set(name.split(", ")) for name in topics.names]
    assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))
    order = [found.index(words) for words in wanted]
    assert topics.labels["train"].tolist() == [order[i % 3] for i in range(60)]
    assert topics.labels["test"].tolist() == [-1, *(order[i % 3] for i in range(8))]
    assert topics.rows("train", order[1]).tolist() == list(range(1, 60, 3))
    again = Topics.find(corpus, 3)
    assert (again.names, again.labels["train"].tolist()) == (topics.names, topics.labels["train"].tolist())


def test_groups_of_the_source(corpus: Corpus) -> None:
    topics = Topics.of_groups(corpus)
    assert topics.names == ("a", "b", "c")
    assert topics.rows("test", 1).tolist() == list(range(9))
    bare = Corpus("bare", "", {"en": "English"}, {"train": Sentences({"en": ("a",)})})
    with pytest.raises(DataError, match="are not grouped"):
        Topics.of_groups(bare)
    with pytest.raises(DataError, match="no topics of split 'val'"):
        topics.rows("val", 0)


def test_impossible_topics(corpus: Corpus) -> None:
    with pytest.raises(SettingsError, match="at least 2 topics"):
        Topics.find(corpus, 1)
    with pytest.raises(DataError, match="61 topics need as many training sentences"):
        Topics.find(corpus, 61)
    with pytest.raises(DataError, match="no topics can be found"):
        Topics.find(corpus, 3, language="xx")
    with pytest.raises(SettingsError, match="unknown language"):
        Topics.find(corpus, 3, language="fr")


def test_subwords_know_nothing_of_topics_kept_from_training(corpus: Corpus) -> None:
    topics = Topics.of_groups(corpus)
    shown = list(vocabulary_lines(corpus, topics, only_topics=(0, 1)))
    written = {line for line in shown if any(word in line.split() for word in ABOUT[2].split())}
    assert not written
    assert sum(line == "x" for line in shown) == 40
    told = list(itertools.islice(vocabulary_lines(corpus, topics, only_topics=(0, 1)), 80, None))
    assert told
    assert all("topic c" not in line for line in told)
    assert len(list(vocabulary_lines(corpus, topics))) > len(shown)
