"""Splitting tasks into train and test (support and query).

The members of a split are a function of the task: with the numbers of its classes ``c_0 … c_{W-1}``, class *j* is
ordered by ``RandomState((hash((c_0, …)) + hash(c_j) + random_state_seed) mod 2**32).permutation(n_j)`` and dealt to
the splits from the front. Only the order within a split depends on ``seed``. Tasks of a loader with a ``seed`` of its
own (`torchmeta.utils.data.BatchMetaDataLoader`) draw their members from that instead, anew each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from metacortex.errors import DataError, SettingsError
from torchmeta.transforms.utils import apply_wrapper
from torchmeta.utils.data.task import ConcatTask, SubsetTask, Task

__all__ = ["ClassSplitter", "ClassSplitter_", "Splitter", "class_members", "named_splits"]


class Splitter:
    """Base of splitters: from a task to a dictionary of parts of it.

    Args:
        splits: what is wanted of each split, by name, in order.
        random_state_seed: added to the seed of every class; ``None`` draws the members from ``np_random``.
    """

    def __init__(self, splits: Mapping[str, Any], random_state_seed: int | None) -> None:
        self.splits = OrderedDict(splits)
        self.random_state_seed = random_state_seed
        # seeded anew for every class: making one anew would first ask the system for randomness
        self._of_class = np.random.RandomState(0)
        self.seed(random_state_seed)

    def seed(self, seed: int | None) -> None:
        """Seed the order within the splits."""
        self.np_random = np.random.RandomState(seed=seed)

    def get_indices(self, task: Any) -> OrderedDict[str, list[int]]:
        """Members of each split.

        Raises:
            TypeError: for anything but a task.
        """
        if isinstance(task, ConcatTask):
            return self.get_indices_concattask(task)
        if isinstance(task, Task):
            return self.get_indices_task(task)
        raise TypeError(f"only a Task can be split, got {type(task).__name__}")

    def get_indices_task(self, task: Task) -> OrderedDict[str, list[int]]:
        """Members of each split of a plain task."""
        raise NotImplementedError(f"{type(self).__name__} does not split plain tasks")

    def get_indices_concattask(self, task: ConcatTask) -> OrderedDict[str, list[int]]:
        """Members of each split of a task of several classes."""
        raise NotImplementedError(f"{type(self).__name__} does not split tasks of several classes")

    def __call__(self, task: Any) -> OrderedDict[str, SubsetTask]:
        """The parts of a task by split."""
        indices = self.get_indices(task)
        return OrderedDict((split, SubsetTask(task, members)) for split, members in indices.items())

    def __len__(self) -> int:
        return len(self.splits)

    def __repr__(self) -> str:
        return f"{type(self).__name__.rstrip('_')}({dict(self.splits)})"

    def _order(self, task: Any, place: int, number: int, count: int) -> tuple[np.ndarray, np.random.RandomState]:
        """The members of a class in random order, and what shuffles them within their splits."""
        seed = getattr(task, "native_seed", None)
        if seed is not None:
            self._of_class.seed((seed + 0x9E3779B1 * (place + 1)) % 2**32)
            return self._of_class.permutation(count), self._of_class
        if self.random_state_seed is None:
            return self.np_random.permutation(count), self.np_random
        self._of_class.seed((hash(task) + number + self.random_state_seed) % 2**32)
        return self._of_class.permutation(count), self.np_random


def named_splits(
    given: Mapping[str, Any] | None, train: Any, test: Any, support: Any, query: Any, what: str
) -> OrderedDict[str, Any]:
    """The splits by name, from whichever of the arguments were given.

    Raises:
        SettingsError: (a ValueError) for none, or for train and test mixed with support and query.
    """
    if given is not None:
        return OrderedDict(given)
    first = OrderedDict((k, v) for k, v in (("train", train), ("test", test)) if v is not None)
    second = OrderedDict((k, v) for k, v in (("support", support), ("query", query)) if v is not None)
    if bool(first) == bool(second):
        raise SettingsError(f"a splitter needs {what} of train and test, or of support and query, or a dictionary")
    return first or second


def class_members(task: Task) -> OrderedDict[Any, list[int]]:
    """The examples of each class of a plain task, in the order in which the classes are met.

    Raises:
        DataError: (a ValueError) for another number of classes than the task says.
    """
    if task.num_classes is None:
        return OrderedDict([("regression", list(range(len(task))))])
    members: OrderedDict[Any, list[int]] = OrderedDict()
    for index in range(len(task)):
        label = task[index][-1]
        members.setdefault(label.item() if hasattr(label, "item") else label, []).append(index)
    if len(members) != task.num_classes:
        raise DataError(f"the task says that it has {task.num_classes} classes, its targets have {len(members)}")
    return members


class ClassSplitter_(Splitter):
    """Splits with a fixed number of examples of each class; see `ClassSplitter`."""

    def __init__(
        self,
        shuffle: bool = True,
        num_samples_per_class: Mapping[str, int] | None = None,
        num_train_per_class: int | None = None,
        num_test_per_class: int | None = None,
        num_support_per_class: int | None = None,
        num_query_per_class: int | None = None,
        random_state_seed: int | None = 0,
    ) -> None:
        splits = named_splits(
            num_samples_per_class,
            num_train_per_class,
            num_test_per_class,
            num_support_per_class,
            num_query_per_class,
            "the number of examples per class",
        )
        self.shuffle = shuffle
        self._needs = sum(splits.values())
        super().__init__(splits, random_state_seed)

    def get_indices_task(self, task: Task) -> OrderedDict[str, list[int]]:
        """The same number of examples of each class."""
        indices: OrderedDict[str, list[int]] = OrderedDict((split, []) for split in self.splits)
        for place, (name, members) in enumerate(class_members(task).items()):
            self._deal(indices, task, place, place, len(members), name, np.asarray(members))
        return indices

    def get_indices_concattask(self, task: ConcatTask) -> OrderedDict[str, list[int]]:
        """The same number of examples of each class."""
        indices: OrderedDict[str, list[int]] = OrderedDict((split, []) for split in self.splits)
        start = 0
        for place, dataset in enumerate(task.datasets):
            self._deal(indices, task, place, hash(dataset), len(dataset), dataset, start)
            start += len(dataset)
        return indices

    def _deal(
        self, indices: dict[str, list[int]], task: Any, place: int, number: int, count: int, name: Any, where: Any
    ) -> None:
        if count < self._needs:
            raise DataError(
                f"class {name} has {count} examples, the splits {dict(self.splits)} need {self._needs}: "
                "ask for fewer examples per class"
            )
        if self.shuffle:
            order, random = self._order(task, place, number, count)
        else:
            order, random = np.arange(count), None
        start = 0
        for split, size in self.splits.items():
            chosen = order[start : start + size]
            if random is not None:
                random.shuffle(chosen)
            indices[split].extend((where[chosen] if isinstance(where, np.ndarray) else chosen + where).tolist())
            start += size


def ClassSplitter(task: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Split every task into parts with a fixed number of examples of each class.

    Args:
        task: nothing: returns a transform, to be given as ``dataset_transform``. A MetaDataset: it is changed, its
            tasks are split from now on, and returned. A Task: returns its parts.
        args: as ``kwargs``, in this order:
        kwargs: ``shuffle=True``, ``num_samples_per_class`` (a dictionary by split), or ``num_train_per_class`` and
            ``num_test_per_class``, or ``num_support_per_class`` and ``num_query_per_class``,
            ``random_state_seed=0``.

    Example:
        >>> from torchmeta.toy import Sinusoid
        >>> task = Sinusoid(num_samples_per_task=10, num_tasks=3)[0]
        >>> parts = ClassSplitter(task, num_train_per_class=2, num_test_per_class=8)
        >>> {name: len(part) for name, part in parts.items()}
        {'train': 2, 'test': 8}
    """
    return apply_wrapper(ClassSplitter_(*args, **kwargs), task)


def __getattr__(name: str) -> Any:
    """torchmeta's place of what stands on this module in `torchmeta.transforms.weighted`."""
    if name in ("WeightedClassSplitter", "WeightedClassSplitter_"):
        from torchmeta.transforms import weighted

        return getattr(weighted, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
