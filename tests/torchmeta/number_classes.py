"""Classes of numbers for the tests: an example is its class and its place in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torchmeta.transforms import Categorical
from torchmeta.utils.data import ClassDataset, CombinationMetaDataset, Dataset

__all__ = ["Number", "Numbers", "meta_dataset"]


class Number(Dataset):
    """Twenty examples of one class."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        example: Any = torch.tensor([float(self.index), float(index)])
        if self.transform is not None:
            example = self.transform(example)
        label: Any = f"class {self.index}"
        return example, label if self.target_transform is None else self.target_transform(label)


class Numbers(ClassDataset):
    """As many classes as wanted."""

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__(**({"meta_train": True} | options))
        self.count = count

    @property
    def num_classes(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Number:
        return Number(index, self.get_transform(index), self.get_target_transform(index))


def meta_dataset(count: int = 4112, ways: int = 5, **options: Any) -> CombinationMetaDataset:
    """Tasks of five of them, with numbers as labels."""
    options = {"target_transform": Categorical(ways)} | options
    return CombinationMetaDataset(Numbers(count), ways, **options)
