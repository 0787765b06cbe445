"""Tasks as data sets: what a class, a task and a part of a task are made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from torch.utils.data import ConcatDataset, Subset
from torch.utils.data import Dataset as TorchDataset

__all__ = ["Chain", "ConcatTask", "Dataset", "SubsetTask", "Task"]

Transform = Callable[[Any], Any]


class Chain:
    """Transforms one after the other, in ``transforms``; a plain object, so that it pickles."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, value: Any) -> Any:
        """Apply them in order."""
        for transform in self.transforms:
            value = transform(value)
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.transforms))})"


class Dataset(TorchDataset):
    """Labelled examples, usually of one class.

    Args:
        index: number of the class (or of the task); it is also the hash, from which members are drawn.
        transform: applied to inputs by ``__getitem__`` of subclasses.
        target_transform: applied to targets by them.
    """

    def __init__(
        self, index: Any, transform: Transform | None = None, target_transform: Transform | None = None
    ) -> None:
        self.index = index
        self.transform = transform
        self.target_transform = target_transform

    def target_transform_append(self, transform: Transform | None) -> None:
        """Apply a transform to targets after those there are."""
        if transform is None:
            return
        before = self.target_transform
        self.target_transform = transform if before is None else Chain([before, transform])

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __hash__(self) -> int:
        return hash(self.index)


class Task(Dataset):
    """The examples of a task.

    Args:
        index: see `Dataset`.
        num_classes: its classes; ``None`` for regression.
        transform: see `Dataset`.
        target_transform: see `Dataset`.
    """

    def __init__(
        self,
        index: Any,
        num_classes: int | None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        super().__init__(index, transform=transform, target_transform=target_transform)
        self.num_classes = num_classes


class ConcatTask(Task, ConcatDataset):
    """A task of several classes, one after the other.

    Args:
        datasets: one data set for each class. They are copied, not changed.
        num_classes: its classes.
        target_transform: applied to the targets of all of them, after their own.

    Attributes:
        index: tuple of the numbers of the classes.
        datasets: the copies.
    """

    datasets: list[Dataset]  # type: ignore[assignment]

    def __init__(
        self, datasets: Sequence[Dataset], num_classes: int | None, target_transform: Transform | None = None
    ) -> None:
        own = [_copy(dataset) for dataset in datasets]
        Task.__init__(self, tuple([dataset.index for dataset in own]), num_classes, None, None)
        self.datasets = own  # type: ignore[assignment]
        self.cumulative_sizes = ConcatDataset.cumsum(own)
        self.shared_target_transform = target_transform
        for dataset in own:
            dataset.target_transform_append(target_transform)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        return ConcatDataset.__getitem__(self, index)


class SubsetTask(Task, Subset):
    """Some examples of a task.

    Args:
        dataset: the task; copied where its targets are transformed.
        indices: which examples of it.
        num_classes: its classes; those of the task when not given.
        target_transform: applied to targets after the task's own.
    """

    def __init__(
        self,
        dataset: Any,
        indices: Sequence[int],
        num_classes: int | None = None,
        target_transform: Transform | None = None,
    ) -> None:
        Task.__init__(self, dataset.index, dataset.num_classes if num_classes is None else num_classes)
        if target_transform is not None:
            dataset = _with_target_transform(dataset, target_transform)
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __hash__(self) -> int:
        return hash((self.index, tuple(self.indices)))


def _copy(dataset: Dataset) -> Dataset:
    kind = type(dataset)
    if not _copies_plainly(kind):
        return copy.copy(dataset)
    # what `copy.copy` does with such an object, in a fifth of its time: a batch of tasks has many
    made = kind.__new__(kind)
    made.__dict__.update(dataset.__dict__)
    return made


@lru_cache(maxsize=256)
def _copies_plainly(kind: type) -> bool:
    """Whether all that objects of a class are is in their ``__dict__``."""
    own = ("__copy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__new__")
    bases = kind.__mro__[:-1]
    return (
        kind.__new__ is object.__new__
        and not any(base.__dict__.get("__slots__") for base in bases)
        and not any(name in base.__dict__ for base in bases for name in own)
    )


def _with_target_transform(task: Any, transform: Transform) -> Any:
    if isinstance(task, ConcatTask):
        return ConcatTask(task.datasets, task.num_classes, transform)
    changed = copy.copy(task)
    changed.target_transform_append(transform)
    return changed
