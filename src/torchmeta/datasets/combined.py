"""Tasks of stored classes: what the data sets of torchmeta have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torchmeta.datasets.defaults import TaskDefaults
from torchmeta.datasets.stored import StoredClassDataset
from torchmeta.utils.data.dataset import CombinationMetaDataset

__all__ = ["StoredMetaDataset"]


class StoredMetaDataset(CombinationMetaDataset):
    """Tasks of classes of a data source of metacortex.

    Args:
        root: folder in which the source is looked for first, see `torchmeta.datasets.stored.StoredClassDataset`.
        num_classes_per_task: classes of a task.
        meta_train: choose the split for meta-training.
        meta_val: or that for validation.
        meta_test: or that for testing.
        meta_split: or one by name.
        transform: of inputs, which are Pillow images (rows of numbers in tables).
        target_transform: of targets, e.g. ``Categorical(num_classes=5)``.
        dataset_transform: of tasks, e.g. a splitter.
        class_augmentations: see `torchmeta.utils.data.ClassDataset`.
        download: fetch the data where metacortex knows an address and they are missing.
        shots: training examples per class, where no splitter is given; 1 when not given. See
            `torchmeta.datasets.defaults`.
        test_shots: test examples per class, where no splitter is given; 15 when not given.
        tasks_per_epoch: tasks in an epoch of a loader, where no splitter is given.

    Raises:
        DataError: (a ValueError) if the data are missing, saying what to put where; for several splits; for more
            classes per task than there are.
    """

    classes: ClassVar[type[StoredClassDataset]]
    """The data set of its classes."""

    def __init__(
        self,
        root: str | Path,
        num_classes_per_task: int | None = None,
        meta_train: bool = False,
        meta_val: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
        class_augmentations: list[Any] | None = None,
        download: bool = False,
        *,
        shots: int | None = None,
        test_shots: int | None = None,
        tasks_per_epoch: int = 800,
        **options: Any,
    ) -> None:
        dataset = self.classes(
            root,
            meta_train=meta_train,
            meta_val=meta_val,
            meta_test=meta_test,
            meta_split=meta_split,
            transform=transform,
            class_augmentations=class_augmentations,
            download=download,
            **options,
        )
        super().__init__(dataset, num_classes_per_task, target_transform, dataset_transform)
        if target_transform is None or shots is not None or test_shots is not None:
            self.defaults = TaskDefaults(
                1 if shots is None else shots,
                15 if test_shots is None else test_shots,
                tasks_per_epoch,
                labelled=target_transform is not None,
            )
