"""Tensors of a translation task from what it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metacortex.task import Examples, Task
from metacortex.tasks.descriptions import description_tensors

if TYPE_CHECKING:
    from metacortex.data.text.corpus import Pair
    from metacortex.data.text.encoded import EncodedCorpus

__all__ = ["TaskPlan", "TaskWriter"]

Integers = NDArray[np.int64]

_KEPT = 20_000
"""Descriptions kept in subwords; when there are more, all are forgotten."""


@dataclass(frozen=True)
class TaskPlan:
    """What a task consists of: names and numbers of lines, nothing read yet.

    Attributes:
        index: of the task.
        pair: the languages of its queries.
        told: the languages that the description tells, and of the support pairs; ``None``: it tells nothing.
        words: the description in words, or none.
        topic: words of the topic, or none.
        support: lines of the support pairs.
        query: lines of the queries.
    """

    index: int
    pair: Pair
    told: Pair | None
    words: str
    topic: str
    support: Integers
    query: Integers

    def info(self) -> dict[str, Any]:
        """The fields for `Task.info`: ``pair`` as ``source`` and ``target``, ``words`` as ``description``."""
        return {
            "index": self.index,
            "source": self.pair[0],
            "target": self.pair[1],
            "told": None if self.told is None else list(self.told),
            "description": self.words,
            "topic": self.topic,
            "support": self.support.tolist(),
            "query": self.query.tolist(),
        }


class TaskWriter:
    """Makes tasks of plans.

    Args:
        text: the corpus in subwords.
        split: of the queries.
        support_split: of the support pairs.
        max_length: subwords after which a sentence is cut.
    """

    def __init__(self, text: EncodedCorpus, split: str, support_split: str, max_length: int) -> None:
        self._text, self._split, self._support_split, self._longest = text, split, support_split, max_length
        self._words: dict[tuple[str, Pair | None], dict[str, Tensor]] = {}

    def write(self, plan: TaskPlan) -> Task:
        """The task: inputs ``{"source": [N, L], "source_length": [N]}``, targets ``[N, L']``, and a description.

        Where the lines have features, inputs have ``"image": [N, D]`` as well.
        """
        support = self.examples(self._support_split, plan.told or plan.pair, plan.support)
        query = self.examples(self._split, plan.pair, plan.query)
        return Task(support, query, self.description(plan.words, plan.told), plan.info())

    def examples(self, split: str, pair: Pair, rows: Integers) -> Examples:
        """Lines of a split as pairs of sentences."""
        sentences, corpus = self._text.split(split), self._text.corpus
        source, lengths = sentences.gather(corpus.number(pair[0]), rows, self._longest, end=False)
        target, _ = sentences.gather(corpus.number(pair[1]), rows, self._longest, end=True)
        inputs = {"source": torch.from_numpy(source), "source_length": torch.from_numpy(lengths)}
        features = corpus.split(split).features
        if features is not None:
            inputs["image"] = torch.from_numpy(features[rows])
        return Examples(inputs, torch.from_numpy(target))

    def description(self, words: str, told: Pair | None) -> dict[str, Tensor]:
        """What is told of a task, see `metacortex.tasks.descriptions.description_tensors`."""
        if (words, told) not in self._words:
            if len(self._words) >= _KEPT:
                self._words.clear()
            corpus = self._text.corpus
            names = None if told is None else (corpus.languages[told[0]], corpus.languages[told[1]])
            numbers = (-1, -1) if told is None else (corpus.tag(told[0]), corpus.tag(told[1]))
            self._words[words, told] = description_tensors(self._text.subwords, words, names, numbers)
        return {name: tensor.clone() for name, tensor in self._words[words, told].items()}
