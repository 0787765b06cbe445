"""Support and query from different sources: frames of one film, drawings of one hand, pictures of one sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metacortex.data.view import ClassView
from metacortex.errors import DataError
from metacortex.tasks.random import permutation

__all__ = ["Sources"]

Integers = NDArray[np.int64]


class Sources:
    """Which examples of a view come from one source, and draws of support and query that share none.

    The support of a class takes one example from each of as many sources as it has shots, or from as many as leave
    enough examples of others for the queries, then a second one from each, and so on; the queries likewise.

    Args:
        view: classes whose meta-data say the source of each example, as texts with spaces between.
        key: of the meta-data, e.g. ``"tracks"``.

    Raises:
        DataError: if a class says nothing of its sources, or has only one.
    """

    def __init__(self, view: ClassView, key: str) -> None:
        self.view, self.key = view, key
        self._of: list[Integers] = []
        for number, name, count in zip(view.index.tolist(), view.names, view.counts().tolist(), strict=True):
            labels = view.store.classes[number].meta.get(key, "").split()
            if len(labels) != count or len(set(labels)) < 2:
                raise DataError(
                    f"class '{name}' of '{view.store.name}' has {count} examples and names {len(set(labels))} {key} "
                    f"for {len(labels)} of them: tasks apart by {key} need one for each, and two at least"
                )
            self._of.append(np.unique(labels, return_inverse=True)[1].astype(np.int64))

    def draw(self, key: NDArray[np.uint64], number: int, shot: int, queries: int) -> Integers:
        """Examples of one class.

        Args:
            key: of the random numbers, ``[]``.
            number: the class of the view.
            shot: examples of the support.
            queries: examples of the query.

        Returns:
            ``[shot + queries]``: the support, then the query, which has no source in common with it.

        Raises:
            DataError: if the sources cannot be divided so.
        """
        order = permutation(key, len(self._of[number]))
        sources = self._of[number][order]
        met = sources[np.sort(np.unique(sources, return_index=True)[1])]  # the sources in random order
        for count in range(min(shot, len(met) - 1), 0, -1):
            ours = np.isin(sources, met[:count])
            if ours.sum() >= shot and (~ours).sum() >= queries:
                support, query = (_in_turns(order[side], sources[side]) for side in (ours, ~ours))
                return np.concatenate([support[:shot], query[:queries]])
        raise DataError(
            f"class '{self.view.names[number]}' has {len(order)} examples of {len(met)} {self.key}: they cannot be "
            f"divided into {shot} shots and {queries} queries of other {self.key}; lower shot or queries, or "
            f"drop such classes with min_examples={2 * (shot + queries)}"
        )


def _in_turns(examples: Integers, sources: Integers) -> Integers:
    """The first example of each source, then the second of each ..."""
    rank = np.zeros(len(examples), np.int64)
    for source in np.unique(sources):
        here = sources == source
        rank[here] = np.arange(here.sum())
    return examples[np.argsort(rank, kind="stable")]
