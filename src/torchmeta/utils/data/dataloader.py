"""Loaders of batches of tasks."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader

from metacortex.errors import SettingsError
from torchmeta.utils.data.collate import BatchMetaCollate, UnsplitBatch, no_collate
from torchmeta.utils.data.dataset import CombinationMetaDataset
from torchmeta.utils.data.sampler import (
    CombinationRandomSampler,
    CombinationSequentialSampler,
    SeededCombinations,
    SeededIndices,
)

__all__ = ["BatchMetaCollate", "BatchMetaDataLoader", "MetaDataLoader", "UnsplitBatch", "no_collate"]

_SEEDED_EPOCH = 1000
"""Tasks per epoch of a loader with a seed of its own, unless told."""


class MetaDataLoader(DataLoader):
    """Batches that are lists of tasks.

    Args:
        dataset: a `MetaDataset`.
        batch_size: tasks per batch.
        shuffle: random tasks (the default here, unlike torch's loader).
        sampler: of indices of tasks; for a CombinationMetaDataset, tuples of classes.
        batch_sampler: see `torch.utils.data.DataLoader`, as the rest.
        num_workers: processes. Data in metacortex's stores need none: a batch is one index gather.
        collate_fn: from a list of tasks to a batch.
        pin_memory: see torch.
        drop_last: see torch.
        timeout: see torch.
        worker_init_fn: see torch.
        num_tasks: tasks per epoch; when not given, all combinations, an astronomic number.
        seed: the native way: classes, labels, members, their order and toy data all follow from this number and
            the number of the task, for any number of workers, and no global random state is used or changed. An
            epoch then has ``num_tasks`` tasks, 1000 when not given; the next epoch goes on with other tasks.
        kwargs: further arguments of `torch.utils.data.DataLoader`.

    Raises:
        SettingsError: (a ValueError) for a seed together with a sampler.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool = True,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        *,
        num_tasks: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if seed is not None:
            if sampler is not None or batch_sampler is not None:
                raise SettingsError("seed chooses the tasks: give either a seed or a sampler")
            kwargs.setdefault("generator", torch.Generator().manual_seed(operator.index(seed)))
        if sampler is None and batch_sampler is None:
            sampler = _sampler(dataset, shuffle, num_tasks, seed)
        if batch_sampler is not None:
            kwargs["batch_sampler"] = batch_sampler
        else:
            kwargs |= {"batch_size": batch_size, "drop_last": drop_last, "sampler": sampler}
            kwargs["shuffle"] = shuffle if sampler is None else None
        super().__init__(
            dataset,
            num_workers=num_workers,
            collate_fn=collate_fn or no_collate,
            pin_memory=pin_memory,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            **kwargs,
        )


class BatchMetaDataLoader(MetaDataLoader):
    """Batches of stacked tasks: ``batch["train"]`` is ``[inputs, targets]`` of shapes ``[T, N, ...]`` and ``[T, N]``.

    A data set of `torchmeta.datasets` that was made without splitter and labels is split as its ``shots`` and
    ``test_shots`` say, and its epoch has ``tasks_per_epoch`` tasks; see `torchmeta.datasets.defaults`. Any other data
    set without a splitter gives batches ``[inputs, targets]``.

    Args:
        dataset: a `MetaDataset`; the rest as for `MetaDataLoader`.
        batch_size: tasks per batch.
        shuffle: random tasks.
        sampler: of indices of tasks.
        num_workers: processes; none are started for tasks that are split by default and read from stores, nor for
            sentences, unless there is a ``worker_init_fn``.
        pin_memory: see torch.
        drop_last: see torch.
        timeout: see torch.
        worker_init_fn: see torch.
        num_tasks: tasks per epoch.
        seed: the native way, see `MetaDataLoader`.
        kwargs: further arguments of `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = True,
        sampler: Any = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        *,
        num_tasks: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        defaults = getattr(dataset, "defaults", None)
        if defaults is not None and defaults.apply_to(dataset):
            dataset = defaults.prepared(dataset)
            num_tasks = num_tasks or defaults.tasks_per_epoch
            if worker_init_fn is None and defaults.reads_at_once(dataset):
                num_workers = 0  # a process more would only copy what one index gather has read
        own = getattr(dataset, "collate", None)  # of data sets whose tasks are no lists of examples
        if own is not None and worker_init_fn is None:
            num_workers = 0
        super().__init__(
            dataset,
            batch_size=batch_size,
            shuffle=shuffle,
            sampler=sampler,
            num_workers=num_workers,
            collate_fn=kwargs.pop("collate_fn", None) or own or BatchMetaCollate(),
            pin_memory=pin_memory,
            drop_last=drop_last,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            num_tasks=num_tasks,
            seed=seed,
            **kwargs,
        )


def _sampler(dataset: Any, shuffle: bool, num_tasks: int | None, seed: int | None) -> Any:
    own = getattr(dataset, "sampler", None)
    if own is not None:
        return own(shuffle, num_tasks, seed)
    combinations = isinstance(dataset, CombinationMetaDataset)
    if seed is not None:
        kind = SeededCombinations if combinations else SeededIndices
        return kind(dataset, seed, num_tasks or _SEEDED_EPOCH)
    if combinations and shuffle:
        return CombinationRandomSampler(dataset, num_tasks)
    if combinations:
        return CombinationSequentialSampler(dataset, num_tasks)
    return None
