"""Which tasks are drawn, and in what order."""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Sampler

from metacortex.errors import SettingsError
from metacortex.tasks.random import bits, choose, fold, root_key

if TYPE_CHECKING:
    from torchmeta.utils.data.dataset import CombinationMetaDataset

__all__ = [
    "CombinationRandomSampler",
    "CombinationSequentialSampler",
    "SeededCombinations",
    "SeededIndices",
    "SeededInt",
    "SeededTuple",
]


class SeededTuple(tuple):
    """Numbers of classes with a seed of their own, from which the labels and members of the task are drawn."""

    seed: int

    def __new__(cls, classes: Any, seed: int) -> SeededTuple:
        """Attach the seed."""
        made = super().__new__(cls, classes)
        made.seed = seed
        return made

    def __reduce__(self) -> Any:
        return SeededTuple, (tuple(self), self.seed)


class SeededInt(int):
    """The number of a task with a seed of its own."""

    seed: int

    def __new__(cls, index: int, seed: int) -> SeededInt:
        """Attach the seed."""
        made = super().__new__(cls, index)
        made.seed = seed
        return made

    def __reduce__(self) -> Any:
        return SeededInt, (int(self), self.seed)


class _Combinations(Sampler):
    def __init__(self, data_source: CombinationMetaDataset, num_tasks: int | None = None) -> None:
        from torchmeta.utils.data.dataset import CombinationMetaDataset

        if not isinstance(data_source, CombinationMetaDataset):
            raise TypeError(
                f"expected a CombinationMetaDataset, whose tasks are combinations of classes, got "
                f"{type(data_source).__name__}: use torch's RandomSampler or SequentialSampler for other data sets"
            )
        self.data_source = data_source
        self.num_tasks = _positive(num_tasks)

    def __len__(self) -> int:
        return len(self.data_source) if self.num_tasks is None else self.num_tasks


class CombinationSequentialSampler(_Combinations):
    """Combinations of classes in lexical order.

    Args:
        data_source: where the tasks come from.
        num_tasks: how many; all when not given.

    Raises:
        TypeError: for other data than a CombinationMetaDataset.
    """

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        ways = self.data_source.num_classes_per_task
        return itertools.islice(itertools.combinations(range(len(self.data_source.dataset)), ways), self.num_tasks)


class CombinationRandomSampler(_Combinations):
    """Classes drawn at random, without an end worth the name.

    They are drawn by Python's global ``random`` (``random.seed`` governs them), as torchmeta did; `SeededCombinations`
    does without global state.

    Args:
        data_source: where the tasks come from.
        num_tasks: how many per epoch; as many as there are combinations when not given.

    Raises:
        TypeError: for other data than a CombinationMetaDataset.
    """

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        classes, ways = range(len(self.data_source.dataset)), self.data_source.num_classes_per_task
        for _ in itertools.repeat(None, len(self)):
            yield tuple(random.sample(classes, ways))


class SeededCombinations(_Combinations):
    """The native way: task *i* is a function of ``(seed, split, i)``, whatever else draws random numbers.

    Classes, labels, members and their order all follow from it, for any number of workers. The first epoch gives the
    tasks ``0 .. num_tasks-1``, the second goes on from there.

    Args:
        data_source: where the tasks come from.
        seed: any integer.
        num_tasks: how many per epoch.

    Raises:
        TypeError: for other data than a CombinationMetaDataset.
    """

    def __init__(self, data_source: CombinationMetaDataset, seed: int, num_tasks: int) -> None:
        super().__init__(data_source, num_tasks)
        self.start = 0
        self._key = root_key(operator.index(seed), f"torchmeta/{data_source.meta_split}")

    def __iter__(self) -> Iterator[SeededTuple]:
        first, self.start = self.start, self.start + len(self)
        for index in range(first, self.start):
            yield self.task(index)

    def task(self, index: int) -> SeededTuple:
        """Classes and seed of task ``index``."""
        key = fold(self._key, index)
        population = len(self.data_source.dataset)
        (classes,) = choose(fold(key, [0]), np.array([population]), self.data_source.num_classes_per_task)
        return SeededTuple(classes.tolist(), _seed(key))


class SeededIndices(Sampler):
    """The same for data sets whose tasks have numbers, e.g. toy data.

    Args:
        data_source: where the tasks come from.
        seed: any integer.
        num_tasks: how many per epoch.
    """

    def __init__(self, data_source: Any, seed: int, num_tasks: int) -> None:
        self.data_source = data_source
        self.num_tasks = _positive(num_tasks) or 0
        self.start = 0
        self._key = root_key(operator.index(seed), f"torchmeta/{getattr(data_source, 'meta_split', None)}")

    def __len__(self) -> int:
        return self.num_tasks

    def __iter__(self) -> Iterator[SeededInt]:
        first, self.start = self.start, self.start + self.num_tasks
        for index in range(first, self.start):
            key = fold(self._key, index)
            (number,) = choose(fold(key, [0]), np.array([len(self.data_source)]), 1)[0].tolist()
            yield SeededInt(number, _seed(key))


def _seed(key: Any) -> int:
    return int(bits(fold(key, 1), 1)[0]) >> 1


def _positive(number: int | None) -> int | None:
    if number is not None and operator.index(number) < 1:
        raise SettingsError(f"num_tasks must be at least 1, got {number}")
    return number
