"""Which sentences a translation task can be made of, and in which order tasks go through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metacortex.tasks.random import bits, fold, integers, permutation, sample

if TYPE_CHECKING:
    from metacortex.data.text.corpus import Pair
    from metacortex.data.text.encoded import EncodedCorpus
    from metacortex.tasks.topics import Topics

__all__ = ["Drawn", "Epochs", "PairRows", "Pool"]

Integers = NDArray[np.int64]
Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Pool:
    """What a task is drawn from: a directed pair of languages, and a topic (-1 for any)."""

    pair: Pair
    topic: int = -1


class PairRows:
    """The lines of a split that a pair of languages has in common, none longer than allowed.

    Args:
        text: the corpus in subwords.
        max_length: subwords of a sentence.
        topics: of the lines, where pools have some.
    """

    def __init__(self, text: EncodedCorpus, max_length: int, topics: Topics | None = None) -> None:
        self._text, self._longest, self._topics = text, max_length, topics
        self._known: dict[tuple[str, Pool], Integers] = {}

    def of(self, split: str, pool: Pool) -> Integers:
        """The lines, ascending."""
        if (split, pool) not in self._known:
            self._known[split, pool] = self._find(split, pool)
        return self._known[split, pool]

    def total_lengths(self, split: str, pool: Pool) -> Integers:
        """Subwords of each of these lines in both languages together."""
        source, target = (self._lengths(split, language) for language in pool.pair)
        rows = self.of(split, pool)
        return source[rows] + target[rows]

    def _find(self, split: str, pool: Pool) -> Integers:
        source, target = (self._lengths(split, language) for language in pool.pair)
        fitting = (source > 0) & (target > 0) & (source <= self._longest) & (target <= self._longest)
        if pool.topic >= 0 and self._topics is not None:
            about = np.zeros(len(fitting), dtype=np.bool_)
            about[self._topics.rows(split, pool.topic)] = True
            fitting &= about
        return np.flatnonzero(fitting)

    def _lengths(self, split: str, language: str) -> Integers:
        return self._text.split(split).lengths[self._text.corpus.number(language)]


class Drawn:
    """Pool and queries of a task, drawn anew for each.

    Args:
        pools: to draw from, each as likely.
        rows: the lines of each pool.
        low: fewest queries.
        high: most queries.
    """

    def __init__(self, pools: list[Pool], rows: list[Integers], low: int, high: int) -> None:
        self._pools, self._rows, self._low, self._high = pools, rows, low, high

    def choose(self, index: int, key: Keys) -> tuple[Pool, Integers]:
        """The pool of a task and the lines of its queries; ``key`` is the task's own."""
        words = bits(key, 2)
        number = int(integers(words[0], len(self._pools)))
        count = self._low + int(integers(words[1], self._high - self._low + 1))
        rows = self._rows[number]
        return self._pools[number], rows[sample(fold(key, 0), len(rows), count)]


class Epochs:
    """Every line of every pool once per epoch, those of like length together, the parts in random order.

    Args:
        pools: to go through.
        rows: the lines of each pool.
        lengths: how long each line is.
        size: most lines of a part; those of one pool differ by one at most.
        key: of the orders.
    """

    def __init__(self, pools: list[Pool], rows: list[Integers], lengths: list[Integers], size: int, key: Keys) -> None:
        self._pools, self._rows, self._lengths, self._size, self._key = pools, rows, lengths, size, key
        parts = [-(-len(r) // size) for r in rows]
        self._pool_of = np.repeat(np.arange(len(pools)), parts)  # [parts of an epoch]
        self._part_of = np.concatenate([np.arange(n) for n in parts])
        self._orders: dict[int, tuple[Integers, list[Integers]]] = {}  # of the epochs used last

    def __len__(self) -> int:
        """Tasks of an epoch."""
        return len(self._pool_of)

    def choose(self, index: int, key: Keys) -> tuple[Pool, Integers]:
        """The pool of task ``index`` and the lines of its queries."""
        order, sorted_rows = self._order(index // len(self))
        place = int(order[index % len(self)])
        pool, part = int(self._pool_of[place]), int(self._part_of[place])
        rows = sorted_rows[pool]
        parts = -(-len(rows) // self._size)
        return self._pools[pool], rows[len(rows) * part // parts : len(rows) * (part + 1) // parts]

    def _order(self, epoch: int) -> tuple[Integers, list[Integers]]:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.clear()
            key = fold(self._key, epoch)
            rows = [
                self._sorted(fold(key, number + 1), *part)
                for number, part in enumerate(zip(self._rows, self._lengths, strict=True))
            ]
            self._orders[epoch] = permutation(fold(key, 0), len(self)), rows
        return self._orders[epoch]

    def _sorted(self, key: Keys, rows: Integers, lengths: Integers) -> Integers:
        # a stable order of shuffled lines: which of equal length meet in a part differs from epoch to epoch
        order = permutation(key, len(rows))
        return rows[order][np.argsort(lengths[order], kind="stable")]
