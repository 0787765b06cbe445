"""From lists of tasks to batches.

Tasks whose examples lie in a store of metacortex are read with one index gather for the whole batch; any other task
is read example by example. Both ways give the same batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate

from metacortex.errors import DataError
from torchmeta.transforms.categorical import Categorical, FixedCategory
from torchmeta.utils.data.task import Chain, ConcatTask, SubsetTask

__all__ = ["BatchMetaCollate", "UnsplitBatch", "no_collate"]


class UnsplitBatch(list):
    """A batch ``[inputs, targets]`` of tasks that no splitter has split."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            raise DataError(
                f"this batch has no '{key}': its tasks were not split, it is a list [inputs, targets]. Split them: "
                "dataset = ClassSplitter(dataset, num_train_per_class=1, num_test_per_class=15) before the loader "
                "is made"
            )
        return super().__getitem__(key)


def no_collate(batch: Any) -> Any:
    """The batch as it is: a list of tasks."""
    return batch


class BatchMetaCollate:
    """Collate each task, then stack the tasks.

    Args:
        collate_fn: makes a batch of a list of examples, and of a list of collated tasks.
    """

    def __init__(self, collate_fn: Callable[[list[Any]], Any] = default_collate) -> None:
        self.collate_fn = collate_fn

    def collate_task(self, task: Any) -> Any:
        """All examples of a task, or of each part of it.

        Raises:
            DataError: for something that is no task.
        """
        if isinstance(task, TorchDataset):
            return self.collate_fn([task[index] for index in range(len(task))])  # type: ignore[arg-type]
        if isinstance(task, Mapping):
            return OrderedDict((key, self.collate_task(part)) for key, part in task.items())
        raise DataError(f"expected a task, or a dictionary of parts of it, got {type(task).__name__}")

    def __call__(self, batch: list[Any]) -> Any:
        """``OrderedDict`` of ``[inputs, targets]`` by split, or a list ``[inputs, targets]``; tasks come first."""
        gathered = _gather(batch) if self.collate_fn is default_collate else None
        if gathered is None:
            gathered = self.collate_fn([self.collate_task(task) for task in batch])
        return UnsplitBatch(gathered) if isinstance(gathered, (list, tuple)) else gathered


@dataclass
class _Classes:
    """The classes of a task as rows of a reader."""

    reader: Any
    numbers: np.ndarray  # [W] class of the reader's view
    ends: np.ndarray  # [W]
    datasets: list[Any]

    def rows(self, indices: Any) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Classes and members ``[N]`` of these examples of the task, and their labels."""
        places = np.asarray(indices, dtype=np.int64)
        slots = np.searchsorted(self.ends, places, side="right")
        starts = np.concatenate([[0], self.ends[:-1]])
        labels: dict[int, int] = {}
        for slot in slots.tolist():
            if slot not in labels:
                dataset = self.datasets[slot]
                labels[slot] = dataset.target_transform(dataset.label)
        return self.numbers[slots], places - starts[slots], [labels[slot] for slot in slots.tolist()]


def _gather(batch: list[Any]) -> Any:
    """The batch in one gather per split; ``None`` where it must be read example by example."""
    if not batch:
        return None
    first = batch[0]
    if not isinstance(first, Mapping):
        known = [_classes(task) for task in batch]
        return _stack(known, [range(len(task)) for task in batch])
    splits = list(first)
    if any(not isinstance(task, Mapping) or list(task) != splits for task in batch):
        return None
    if any(type(part) is not SubsetTask for task in batch for part in task.values()):
        return None
    whole = [next(iter(task.values())).dataset for task in batch]
    if any(part.dataset is not one for one, task in zip(whole, batch, strict=True) for part in task.values()):
        return None
    known = [_classes(task) for task in whole]
    if any(k is None for k in known):
        return None
    # task by task, as the labels of a task are drawn when its first split is read
    rows = [[k.rows(part.indices) for part in task.values()] for k, task in zip(known, batch, strict=True) if k]
    found = OrderedDict()
    for number, split in enumerate(splits):
        stacked = _read(known[0], known, [task[number] for task in rows])
        if stacked is None:
            return None
        found[split] = stacked
    return found


def _stack(known: list[_Classes | None], indices: list[Any]) -> list[Tensor] | None:
    if any(k is None for k in known):
        return None
    return _read(known[0], known, [k.rows(i) for k, i in zip(known, indices, strict=True) if k])


def _read(first: Any, known: list[Any], rows: list[tuple[np.ndarray, np.ndarray, list[int]]]) -> list[Tensor] | None:
    count = len(rows[0][0])
    if any(k.reader is not first.reader for k in known) or any(len(r[0]) != count for r in rows):
        return None
    inputs = first.reader.read(np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows]))
    targets = torch.tensor([r[2] for r in rows])
    return [inputs.reshape(len(rows), count, *inputs.shape[1:]), targets]  # [T*N, ...] -> [T, N, ...]


def _classes(task: Any) -> _Classes | None:
    """The classes of a task where all of them lie in one reader and their labels are known without reading."""
    if type(task) is not ConcatTask:
        return None
    gathers = [getattr(dataset, "gather", None) for dataset in task.datasets]
    if any(g is None for g in gathers) or not all(_plain(d.target_transform) for d in task.datasets):
        return None
    if any(g[0] is not gathers[0][0] for g in gathers if g):  # type: ignore[index]
        return None
    numbers = np.array([g[1] for g in gathers if g])
    return _Classes(gathers[0][0], numbers, np.array(task.cumulative_sizes), task.datasets)  # type: ignore[index]


def _plain(transform: Any) -> bool:
    """Whether a transform of targets ends in a number and may be called once for all examples of a class."""
    parts = transform.transforms if type(transform) is Chain else [transform]
    return type(parts[-1]) is Categorical and all(type(p) in (Categorical, FixedCategory) for p in parts)
