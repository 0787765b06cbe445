"""Splitting tasks by shares of each class, for classes of different sizes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from metacortex.errors import DataError, SettingsError
from torchmeta.transforms.splitters import Splitter, class_members, named_splits
from torchmeta.transforms.utils import apply_wrapper
from torchmeta.utils.data.task import ConcatTask, Task

__all__ = ["WeightedClassSplitter", "WeightedClassSplitter_"]


class WeightedClassSplitter_(Splitter):
    """Splits that get a share of each class; see `WeightedClassSplitter`."""

    def __init__(
        self,
        shuffle: bool = True,
        min_num_samples: int | Mapping[str, int] = 1,
        max_num_samples: int | Mapping[str, int] | None = None,
        weights: Mapping[str, float] | None = None,
        train_weights: float | None = None,
        test_weights: float | None = None,
        support_weights: float | None = None,
        query_weights: float | None = None,
        force_equal_per_class: bool = False,
        random_state_seed: int | None = 0,
    ) -> None:
        splits = named_splits(weights, train_weights, test_weights, support_weights, query_weights, "the weights")
        if min(splits.values()) < 0 or sum(splits.values()) <= 0:
            raise SettingsError(f"weights must not be negative, and not all zero, got {dict(splits)}")
        self.shuffle, self.force_equal_per_class = shuffle, force_equal_per_class
        self.min_num_samples = _by_split(min_num_samples, splits, 0)
        self.max_num_samples = _by_split(max_num_samples, splits, None)
        super().__init__(splits, random_state_seed)

    def get_indices_task(self, task: Task) -> OrderedDict[str, list[int]]:
        """A share of each class."""
        members = class_members(task)
        return self._deal(task, [(place, np.asarray(m)) for place, m in enumerate(members.values())])

    def get_indices_concattask(self, task: ConcatTask) -> OrderedDict[str, list[int]]:
        """A share of each class."""
        parts, start = [], 0
        for dataset in task.datasets:
            parts.append((hash(dataset), np.arange(start, start + len(dataset))))
            start += len(dataset)
        return self._deal(task, parts)

    def _deal(self, task: Any, classes: list[tuple[int, np.ndarray]]) -> OrderedDict[str, list[int]]:
        least = min(len(members) for _, members in classes)
        indices: OrderedDict[str, list[int]] = OrderedDict((split, []) for split in self.splits)
        for place, (number, members) in enumerate(classes):
            sizes = self._sizes(least if self.force_equal_per_class else len(members))
            order, random = np.arange(len(members)), None
            if self.shuffle:
                order, random = self._order(task, place, number, len(members))
            start = 0
            for split, size in sizes.items():
                chosen = order[start : start + size]
                if random is not None:
                    random.shuffle(chosen)
                indices[split].extend(members[chosen].tolist())
                start += size
        return indices

    def _sizes(self, count: int) -> dict[str, int]:
        """Examples of each split: the least, then shares of what is left, up to the most."""
        free = count - sum(self.min_num_samples.values())
        if free < 0:
            raise DataError(f"a class has {count} examples, the splits need at least {dict(self.min_num_samples)}")
        total = sum(self.splits.values())
        sizes = {}
        for split, weight in self.splits.items():
            size = self.min_num_samples[split] + int(free * weight / total)
            most = self.max_num_samples[split]
            sizes[split] = size if most is None else min(size, most)
        return sizes


def _by_split(value: Any, splits: Mapping[str, Any], missing: Any) -> dict[str, Any]:
    return {split: value.get(split, missing) if isinstance(value, Mapping) else value for split in splits}


def WeightedClassSplitter(task: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Split every task into parts that get a share of each class; no example is in two parts.

    A split gets ``min_num_samples`` of a class and, of what is then left, its part of the weights, rounded down, but
    no more than ``max_num_samples`` in all.

    Args:
        task: as for `torchmeta.transforms.ClassSplitter`.
        args: as ``kwargs``, in this order:
        kwargs: ``shuffle=True``, ``min_num_samples=1`` and ``max_num_samples`` (numbers, or dictionaries by split),
            ``weights`` (a dictionary by split), or ``train_weights`` and ``test_weights``, or ``support_weights`` and
            ``query_weights``, ``force_equal_per_class=False`` (count every class as the smallest),
            ``random_state_seed=0``.
    """
    return apply_wrapper(WeightedClassSplitter_(*args, **kwargs), task)
