"""Translation tasks: a directed pair of languages, a description in words and example pairs, and queries."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metacortex.data.text.corpus import Pair, parse_pairs, show_pair
from metacortex.errors import DataError, SettingsError
from metacortex.task import Task, stack_tasks
from metacortex.tasks.descriptions import describe, wordings
from metacortex.tasks.random import bits, fold, integers, root_key, sample
from metacortex.tasks.translation_rows import Drawn, Epochs, PairRows, Pool
from metacortex.tasks.translation_spec import TranslationSpec
from metacortex.tasks.translation_writer import TaskPlan, TaskWriter

if TYPE_CHECKING:
    from metacortex.data.text.encoded import EncodedCorpus
    from metacortex.tasks.topics import Topics

__all__ = ["TranslationTasks"]

Integers = NDArray[np.int64]
Keys = NDArray[np.uint64]

# Streams of random numbers within a task. Their numbers are part of what a task is: never renumber.
_CHOICE, _SHOT, _SUPPORT, _WORDING, _TOLD, _KIND = range(6)
_KINDS = ("words", "pairs", "both")


class TranslationTasks:
    """Translation tasks drawn from a corpus.

    Task ``i`` is a pure function of ``(seed, split, i)``, the spec and the corpus in subwords. It is one directed
    pair of languages (and, with topics, one topic), each as likely. Support and query never share a line. What is
    told of a task (`TranslationSpec`: ``description``, ``wording``, ``told``, ``shot``) changes no query (only with
    topics, a larger ``shot`` may leave out some that have too few lines), and the support pairs of a larger ``shot``
    begin with those of a smaller one.

    Args:
        text: the corpus in subwords.
        spec: the size and description of the tasks.
        seed: any integer.
        split: of the queries, e.g. ``"train"``, ``"val"``, ``"test_2017_flickr"``.
        pairs: directed pairs of languages, also as a text like ``"cs-fr,fr-cs"``; those that the corpus trains on
            when not given (`Corpus.pairs` has those held out).
        support_split: of the support pairs: ``"train"`` when not given.
        topics: keep each task within one topic; topics with too few lines of a pair are left out.
        only_topics: numbers of the topics to use; all when not given.

    Raises:
        DataError: if a pair has too few lines for a task.
        SettingsError: for an unknown language or topic, no pair, or a false description where there is no other pair.

    Example:
        >>> from metacortex.data.text.corpus import Corpus, Sentences
        >>> from metacortex.data.text.encoded import EncodedCorpus
        >>> from metacortex.tasks.vocabulary import learn_subwords
        >>> lines = Sentences({"en": ("a dog", "a cat", "two cats"), "fr": ("un chien", "un chat", "deux chats")})
        >>> corpus = Corpus("tiny", "-", {"en": "English", "fr": "French"}, {"train": lines})
        >>> text = EncodedCorpus(corpus, learn_subwords(corpus, 300))
        >>> tasks = TranslationTasks(text, TranslationSpec(1, 2, "both"), seed=0, split="train")
        >>> task = tasks.task(0)
        >>> len(task.support.targets), len(task.query.targets), int(task.description["length"]) > 3
        (1, 2, True)
    """

    def __init__(
        self,
        text: EncodedCorpus,
        spec: TranslationSpec | None = None,
        *,
        seed: int,
        split: str,
        pairs: str | Sequence[Pair] | None = None,
        support_split: str = "train",
        topics: Topics | None = None,
        only_topics: Sequence[int] | None = None,
    ) -> None:
        self.text = text
        self.spec = spec = spec or TranslationSpec()
        self.seed = operator.index(seed)
        self.split = split
        self.support_split = support_split
        corpus = text.corpus
        self.pairs = corpus.pairs("trained") if pairs is None else parse_pairs(pairs, corpus.languages)
        if not self.pairs:
            raise SettingsError(f"no pair of languages to draw tasks of: corpus '{corpus.name}' has {corpus.languages}")
        self._topics, self._only_topics = topics, only_topics
        self._rows = PairRows(text, spec.max_length, topics)
        self._writer = TaskWriter(text, split, support_split, spec.max_length)
        self._key = root_key(self.seed, split)
        self._pools = self._find_pools()
        self._others = {pair: self._other_pairs(pair) for pair in self.pairs}
        self._queries = self._query_order()

    @property
    def protocol(self) -> str:
        """What is drawn, e.g. ``"9 pairs of multi30k, 0 support pairs, 32 queries, described by words, split val"``."""
        shown = ", ".join(map(show_pair, self.pairs)) if len(self.pairs) <= 12 else f"{len(self.pairs)} pairs"
        topics = f", within {len({pool.topic for pool in self._pools})} topics" if self._topics is not None else ""
        return f"{shown} of {self.text.corpus.name}, {self.spec}, split {self.split}{topics}"

    @property
    def epoch(self) -> int:
        """Tasks of an epoch; 0 where queries are drawn anew for each task."""
        return len(self._queries) if isinstance(self._queries, Epochs) else 0

    def but(self, **changes: Any) -> TranslationTasks:
        """The same tasks with another spec, e.g. ``but(told="shuffled")`` or ``but(wording="unseen")``.

        Raises:
            SettingsError: as `TranslationSpec` does.
            DataError: as `TranslationTasks` does.
        """
        return TranslationTasks(
            self.text,
            replace(self.spec, **changes),
            seed=self.seed,
            split=self.split,
            pairs=self.pairs,
            support_split=self.support_split,
            topics=self._topics,
            only_topics=self._only_topics,
        )

    def task(self, index: int) -> Task:
        """Draw one task.

        Args:
            index: which, from 0.

        Returns:
            A `Task` with inputs ``{"source": [N, L], "source_length": [N]}``, targets ``[N, L']`` (sentences ended
            by EOS, padded with PAD), the description of `metacortex.tasks.descriptions.description_tensors`, all
            int64, and the ``info`` of `TaskPlan.info`.

        Raises:
            DataError: for a negative index.
        """
        return self._writer.write(self.plan(index))

    def batch(self, indices: Sequence[int]) -> Task:
        """Several tasks with a leading task axis, padded and masked: ``stack_tasks([self.task(i) for i in indices])``.

        Raises:
            DataError: for no index at all, or a negative one.
        """
        return stack_tasks([self.task(i) for i in indices])

    def plan(self, index: int) -> TaskPlan:
        """What task ``index`` consists of.

        Raises:
            DataError: for a negative index.
        """
        number = operator.index(index)
        if number < 0:
            raise DataError(f"task indices count from 0, got {number}")
        key = fold(self._key, number)
        pool, query = self._queries.choose(number, fold(key, _CHOICE))
        low, high = self.spec.range_of("shot")
        shot = low + _integer(fold(key, _SHOT), high - low + 1)
        plan = self._plan(number, key, pool, query, shot)
        if self.spec.description != "any":
            return plan
        kind = _KINDS[_integer(fold(key, _KIND), len(_KINDS))]
        if kind == "words":
            return replace(plan, support=query[:0])
        return replace(plan, words="") if kind == "pairs" and len(plan.support) else plan

    def covering(
        self,
        pair: Pair,
        *,
        shot: int | None = None,
        size: int = 64,
        variant: int = 0,
        limit: int = 0,
        topic: int = -1,
    ) -> list[Task]:
        """Every line of the split that a pair has, as tasks with one and the same description and support.

        For scores over a whole test set: nothing is left out, sentences longer than ``max_length`` are cut, and tasks
        described by ``"any"`` are described by both. Lines are sorted by the length of the source, so that little
        is padded; ``info["query"]`` says which they are.

        Args:
            pair: from, to; it need not be among the pairs of the tasks.
            shot: support pairs; the most that the spec allows when not given.
            size: queries of a task.
            variant: another number draws another support and wording.
            limit: only the first so many lines of the set, in its own order; 0 for all.
            topic: number of a topic, to keep queries and support within; -1 for all lines.

        Raises:
            DataError: if the split has no line of the pair (and topic), or there are too few for the support.
            SettingsError: for a size below one, a shot that the description excludes, an unknown language or topic.
        """
        known = 0 if self._topics is None else len(self._topics)
        if topic >= known:
            raise SettingsError(
                f"there is no topic {topic}: " + (f"topics are numbered 0..{known - 1}" if known else "there are none")
            )
        (found,) = parse_pairs([pair], self.text.corpus.languages)
        spec = self.spec if shot is None else replace(self.spec, shot=shot)
        if size < 1 or min(variant, limit) < 0:
            raise SettingsError(
                f"expected a positive size, a variant and a limit from 0, got {size}, {variant} and {limit}"
            )
        rows = self.text.corpus.split(self.split).rows(*found)
        key = fold(root_key(self.seed, f"covering/{self.split}/{show_pair(found)}"), variant)
        nothing = np.zeros(0, dtype=np.int64)
        start = self._plan(0, key, Pool(found, topic), nothing, spec.range_of("shot")[1])
        if self._topics is not None and topic >= 0:
            rows = rows[np.isin(rows, self._topics.rows(self.split, topic))]
        if self.support_split == self.split:
            rows = rows[~np.isin(rows, start.support)]
        if not len(rows):
            about = f" about topic {topic}" if topic >= 0 else ""
            raise DataError(
                f"split '{self.split}' of '{self.text.corpus.name}' has no line of {show_pair(found)}{about}"
            )
        rows = rows[:limit] if limit else rows
        lengths = self.text.split(self.split).lengths[self.text.corpus.number(found[0])]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        parts = range(0, len(rows), size)
        return [self._writer.write(replace(start, index=i, query=rows[p : p + size])) for i, p in enumerate(parts)]

    def sentences(self, info: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Sources and references of the queries of a task as text, in their order; ``info`` is the task's own."""
        text = self.text.corpus.split(self.split).text
        source, target = text[info["source"]], text[info["target"]]
        return [source[row] for row in info["query"]], [target[row] for row in info["query"]]

    def fingerprint(self, count: int = 1000) -> str:
        """SHA-256 over the tasks ``0 .. count-1``: their languages, descriptions and lines, and over the corpus."""
        digest = hashlib.sha256(self.text.corpus.fingerprint.encode())
        for index in range(count):
            plan = self.plan(index)
            digest.update(repr((plan.pair, plan.told, plan.words, plan.topic, len(plan.support))).encode())
            for rows in (plan.support, plan.query):
                digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
        return digest.hexdigest()

    def _plan(self, index: int, key: Keys, pool: Pool, query: Integers, shot: int) -> TaskPlan:
        told = self._told(key, pool.pair)
        topic = self._topics.names[pool.topic] if self._topics is not None and pool.topic >= 0 else ""
        words = ""
        if told is not None and self.spec.in_words:
            choices = wordings(self.spec.wording)
            names = self.text.corpus.languages
            wording = choices[_integer(fold(key, _WORDING), len(choices))]
            words = describe(wording, names[told[0]], names[told[1]], topic)
        support = self._support(key, replace(pool, pair=told), query, shot) if told is not None else query[:0]
        return TaskPlan(index, pool.pair, told, words, topic, support, query)

    def _support(self, key: Keys, pool: Pool, query: Integers, shot: int) -> Integers:
        if not shot:
            return query[:0]
        rows = self._rows.of(self.support_split, pool)
        # as many more as could be queries, so that which are drawn first does not depend on how many are wanted
        spare = len(query) if self.support_split == self.split else 0
        if len(rows) < shot + spare:
            raise DataError(
                f"{show_pair(pool.pair)} has {len(rows)} lines in split '{self.support_split}', {shot} support pairs "
                f"and {spare} queries need {shot + spare}: lower shot"
            )
        drawn = rows[sample(fold(key, _SUPPORT), len(rows), shot + spare)]
        return drawn[~np.isin(drawn, query)][:shot] if spare else drawn

    def _told(self, key: Keys, pair: Pair) -> Pair | None:
        if self.spec.told == "empty":
            return None
        if self.spec.told == "true":
            return pair
        others = self._others[pair] if pair in self._others else self._other_pairs(pair)
        return others[_integer(fold(key, _TOLD), len(others))]

    def _other_pairs(self, pair: Pair) -> list[Pair]:
        """The pairs that a false description may tell, with enough lines; drawn or trained ones where there are any."""
        if self.spec.told in ("true", "empty"):
            return []
        trained = tuple(dict.fromkeys([*self.pairs, *self.text.corpus.pairs("trained")]))
        if self.spec.told == "shuffled":
            choices = [self.pairs, trained]
        else:
            choices = [[p for p in known if p[0] == pair[0]] for known in (trained, self.text.corpus.pairs("all"))]
        for known in choices:
            others = [other for other in known if other != pair and self._can_support(other)]
            if others:
                return others
        raise SettingsError(
            f"there is no other pair that a {self.spec.told} description of {show_pair(pair)} could tell"
        )

    def _can_support(self, pair: Pair) -> bool:
        shot = self.spec.range_of("shot")[1]
        spare = self.spec.range_of("queries")[1] if self.support_split == self.split else 0
        return not shot or len(self._rows.of(self.support_split, Pool(pair))) >= shot + spare

    def _find_pools(self) -> list[Pool]:
        """The pools with enough lines."""
        within = self._topics is not None
        topics: Sequence[int] = (-1,)
        if self._topics is not None:
            topics = range(len(self._topics)) if self._only_topics is None else list(self._only_topics)
            if any(not 0 <= topic < len(self._topics) for topic in topics):
                raise SettingsError(f"topics are numbered 0..{len(self._topics) - 1}, got {list(topics)}")
        shot, queries = self.spec.range_of("shot")[1], self.spec.range_of("queries")[1]
        pools = []
        for pool in (Pool(pair, topic) for pair in self.pairs for topic in topics):
            needs = self._needs(pool, shot, queries)
            if not needs:
                pools.append(pool)
            elif not within:
                raise DataError(needs)
        if not pools:
            raise DataError(f"no topic has enough lines: a task needs {queries} queries and {shot} support pairs")
        return pools

    def _needs(self, pool: Pool, shot: int, queries: int) -> str:
        """What a pool lacks for a task, in words."""
        # in epochs a part may be smaller than asked for
        least = 1 if self.spec.order == "epochs" else queries
        same = self.support_split == self.split
        for split, wanted in (
            (self.split, least + shot * same),
            (self.support_split, shot + queries * (same and shot > 0)),
        ):
            lines = len(self._rows.of(split, pool))
            if lines < wanted:
                return (
                    f"{show_pair(pool.pair)} has {lines} lines of at most {self.spec.max_length} subwords in split "
                    f"'{split}', a task needs {wanted}: lower shot or queries, or leave out this pair"
                )
        return ""

    def _query_order(self) -> Drawn | Epochs:
        rows = [self._rows.of(self.split, pool) for pool in self._pools]
        low, high = self.spec.range_of("queries")
        if self.spec.order == "drawn":
            return Drawn(self._pools, rows, low, high)
        lengths = [self._rows.total_lengths(self.split, pool) for pool in self._pools]
        return Epochs(self._pools, rows, lengths, high, root_key(self.seed, f"epochs/{self.split}"))


def _integer(key: Keys, below: int) -> int:
    return int(integers(bits(key, 1)[0], below))
