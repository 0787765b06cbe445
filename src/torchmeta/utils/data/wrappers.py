"""Tasks as an ordinary supervised data set."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset as TorchDataset

from metacortex.errors import DataError
from torchmeta.transforms.target_transforms import DefaultTargetTransform
from torchmeta.utils.data.dataset import CombinationMetaDataset

__all__ = ["NonEpisodicWrapper"]


class NonEpisodicWrapper(TorchDataset):
    """All examples of all classes, one after the other, for plain supervised training.

    Args:
        dataset: whose classes are used.
        target_transform: applied to the pair (label, number of the augmentation).

    Attributes:
        num_classes: classes, augmentations included.
        num_samples: examples of all classes.

    Raises:
        DataError: (a ValueError) for anything but a CombinationMetaDataset.
    """

    def __init__(self, dataset: CombinationMetaDataset, target_transform: Callable[[Any], Any] | None = None) -> None:
        if not isinstance(dataset, CombinationMetaDataset):
            raise DataError(
                f"expected a CombinationMetaDataset, which has classes, got {type(dataset).__name__}: other data "
                "sets of tasks have no supervised counterpart"
            )
        self.dataset = dataset.dataset
        self.target_transform = target_transform
        self._label = DefaultTargetTransform(self.dataset.class_augmentations)
        self.num_classes = len(self.dataset)
        self._ends = list(accumulate(len(self.dataset[i]) for i in range(self.num_classes)))
        self.num_samples = self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not -self.num_samples <= index < self.num_samples:
            raise IndexError(f"index {index} is outside the {self.num_samples} examples")
        index %= self.num_samples
        number = bisect_right(self._ends, index)
        member = index - (self._ends[number - 1] if number else 0)
        example, label = self.dataset[number][member]
        target = self._label(label)
        return example, target if self.target_transform is None else self.target_transform(target)
