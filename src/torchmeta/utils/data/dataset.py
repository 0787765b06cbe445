"""Data sets of classes and data sets of tasks."""

from __future__ import annotations

import copy
import itertools
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from metacortex.errors import DataError
from torchmeta.transforms.categorical import Categorical, FixedCategory
from torchmeta.transforms.target_transforms import DefaultTargetTransform
from torchmeta.transforms.utils import seed_transform, wrap_transform
from torchmeta.utils.data.sampler import SeededTuple
from torchmeta.utils.data.task import Chain, ConcatTask, Dataset

__all__ = ["ClassDataset", "CombinationMetaDataset", "MetaDataset", "one_split"]

_SPLITS = ("train", "val", "test")


def one_split(
    meta_train: bool, meta_val: bool, meta_test: bool, meta_split: str | None, *, needed: bool = True
) -> str | None:
    """The one split that was chosen by a flag or by its name.

    Raises:
        DataError: for several, for an unknown name, or for none where one is needed.
    """
    flags = [name for name, on in zip(_SPLITS, (meta_train, meta_val, meta_test), strict=True) if on]
    if len(flags) > 1:
        raise DataError(
            f"several splits were chosen ({', '.join('meta_' + f for f in flags)}): a data set holds one, choose one"
        )
    if flags:
        return flags[0]
    if meta_split in _SPLITS or (meta_split is None and not needed):
        return meta_split
    if meta_split is None:
        raise DataError("no split was chosen: say meta_train=True, meta_val=True or meta_test=True")
    raise DataError(f"meta_split must be one of {', '.join(_SPLITS)}, got {meta_split!r}")


class _Split:
    """What split a data set is of."""

    _meta_split: str | None

    @property
    def meta_split(self) -> str | None:
        """``"train"``, ``"val"``, ``"test"``, or ``None`` where there are no splits."""
        return self._meta_split

    @property
    def meta_train(self) -> bool:
        """Whether it is the split for meta-training."""
        return self.meta_split == "train"

    @property
    def meta_val(self) -> bool:
        """Whether it is the split for validation."""
        return self.meta_split == "val"

    @property
    def meta_test(self) -> bool:
        """Whether it is the split for testing."""
        return self.meta_split == "test"


class ClassDataset(_Split):
    """A data set of classes: ``self[i]`` is a `Dataset` of one class. Write ``__getitem__`` and ``num_classes``.

    Args:
        meta_train: choose the split for meta-training.
        meta_val: or that for validation.
        meta_test: or that for testing.
        meta_split: or one by name.
        class_augmentations: transforms of inputs, each of which makes a new class of every class. Class
            ``i + k * num_classes`` is class ``i`` under the k-th of them.

    Raises:
        DataError: (a ValueError) unless one split is chosen.
        TypeError: unless the augmentations are a list.
    """

    def __init__(
        self,
        meta_train: bool = False,
        meta_val: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        class_augmentations: list[Any] | None = None,
    ) -> None:
        self._meta_split = one_split(meta_train, meta_val, meta_test, meta_split)
        if class_augmentations is not None and not isinstance(class_augmentations, list):
            raise TypeError(
                f"class_augmentations must be a list of transforms, got {type(class_augmentations).__name__}: "
                "write [Rotation([90, 180, 270])]"
            )
        self.class_augmentations: list[Any] = []
        for augmentation in class_augmentations or []:
            for transform in augmentation if hasattr(augmentation, "__iter__") else [augmentation]:
                if transform in self.class_augmentations:
                    warnings.warn(f"the class augmentation {transform} comes twice: it is used once", stacklevel=2)
                else:
                    self.class_augmentations.append(transform)

    def get_class_augmentation(self, index: int) -> Any:
        """The augmentation under which class ``index`` is shown, ``None`` for the original."""
        number = index // self.num_classes - 1
        return None if number < 0 else self.class_augmentations[number]

    def get_transform(self, index: int, transform: Callable[[Any], Any] | None = None) -> Any:
        """The transform of inputs of class ``index``: its augmentation, then ``transform``."""
        augmentation = self.get_class_augmentation(index)
        if augmentation is None:
            return transform
        return augmentation if transform is None else Chain([augmentation, transform])

    def get_target_transform(self, index: int) -> Any:
        """The transform of targets of class ``index``: with augmentations, a pair (label, augmentation or None)."""
        return FixedCategory(self.get_class_augmentation(index)) if self.class_augmentations else None

    @property
    def num_classes(self) -> int:
        """Number of classes without augmentations."""
        raise NotImplementedError(f"{type(self).__name__} has no num_classes")

    def __getitem__(self, index: int) -> Dataset:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __len__(self) -> int:
        return self.num_classes * (len(self.class_augmentations) + 1)


class MetaDataset(_Split):
    """A data set of tasks: ``self[i]`` is a task, or what ``dataset_transform`` makes of it.

    Args:
        meta_train: choose the split for meta-training.
        meta_val: or that for validation.
        meta_test: or that for testing.
        meta_split: or one by name.
        target_transform: applied to targets.
        dataset_transform: applied to each task, e.g. a splitter.

    Raises:
        DataError: (a ValueError) for several splits.
    """

    def __init__(
        self,
        meta_train: bool = False,
        meta_val: bool = False,
        meta_test: bool = False,
        meta_split: str | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self._meta_split = one_split(meta_train, meta_val, meta_test, meta_split, needed=False)
        self.target_transform = target_transform
        self.dataset_transform = dataset_transform
        self.seed()

    def seed(self, seed: int | None = None) -> None:
        """Seed ``np_random`` and the dataset transform.

        This governs `sample_task`, toy data and the order within splits. Classes and labels of a loader follow from
        ``random.seed`` and ``torch.manual_seed``, or all of it from the loader's own ``seed``.
        """
        self.np_random = np.random.RandomState(seed=seed)
        seed_transform(self.dataset_transform, seed)

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[index]

    def sample_task(self) -> Any:
        """A random task."""
        return self[self.np_random.randint(min(len(self), np.iinfo(np.int64).max))]

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")


class CombinationMetaDataset(MetaDataset):
    """Tasks made of any ``num_classes_per_task`` classes; the index of a task is the tuple of its classes.

    Args:
        dataset: the classes.
        num_classes_per_task: classes of a task.
        target_transform: applied to targets; each task gets a fresh copy of a `Categorical`. When not given, targets
            are pairs (label, number of the augmentation).
        dataset_transform: applied to each task, e.g. a splitter.

    Raises:
        DataError: (a ValueError) for more classes per task than there are.
    """

    defaults: Any = None
    """What a loader does with tasks that no splitter splits; see `torchmeta.datasets.defaults`."""

    def __init__(
        self,
        dataset: ClassDataset,
        num_classes_per_task: int | None,
        target_transform: Callable[[Any], Any] | None = None,
        dataset_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if not isinstance(num_classes_per_task, int) or not 1 <= num_classes_per_task <= len(dataset):
            raise DataError(
                f"num_classes_per_task must be a whole number from 1 to {len(dataset)}, the classes of split "
                f"'{dataset.meta_split}' (augmentations included), got {num_classes_per_task!r}"
            )
        if target_transform is None:
            target_transform = DefaultTargetTransform(dataset.class_augmentations)
        self.dataset = dataset
        self.num_classes_per_task = num_classes_per_task
        super().__init__(target_transform=target_transform, dataset_transform=dataset_transform)

    @property
    def meta_split(self) -> str | None:
        """That of the classes."""
        return self.dataset.meta_split

    def __iter__(self) -> Iterator[Any]:
        for index in itertools.combinations(range(len(self.dataset)), self.num_classes_per_task):
            yield self[index]

    def sample_task(self) -> Any:
        """A task of random classes, drawn from ``np_random``."""
        classes = self.np_random.choice(len(self.dataset), size=self.num_classes_per_task, replace=False)
        return self[tuple(classes.tolist())]

    def __getitem__(self, index: tuple[int, ...]) -> Any:
        if isinstance(index, int):
            raise DataError(
                f"the index of a task is the tuple of its {self.num_classes_per_task} classes, e.g. "
                f"{tuple(range(self.num_classes_per_task))}, got {index}: use sample_task(), or a loader"
            )
        if len(index) != self.num_classes_per_task:
            raise DataError(f"a task has {self.num_classes_per_task} classes, got {len(index)}: {tuple(index)}")
        seed = index.seed if isinstance(index, SeededTuple) else None
        target_transform = wrap_transform(
            self.target_transform, lambda fresh: _fresh_categorical(fresh, seed), transform_type=Categorical
        )
        task = ConcatTask([self.dataset[i] for i in index], self.num_classes_per_task, target_transform)
        if seed is not None:
            task.native_seed = seed  # type: ignore[attr-defined]
        return task if self.dataset_transform is None else self.dataset_transform(task)

    def __len__(self) -> int:
        count = math.comb(len(self.dataset), self.num_classes_per_task)
        if count > sys.maxsize:
            warnings.warn(
                f"there are {count} combinations of {self.num_classes_per_task} classes: the length given is "
                f"the largest there can be, {sys.maxsize}",
                stacklevel=2,
            )
            return sys.maxsize
        return count


def _fresh_categorical(transform: Categorical, seed: int | None) -> Categorical:
    fresh = copy.copy(transform)
    fresh.reset(seed)
    return fresh
