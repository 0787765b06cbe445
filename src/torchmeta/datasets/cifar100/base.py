"""torchmeta's place of the classes of CIFAR-100; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import CIFAR100ClassDataset, CIFAR100Dataset

__all__ = ["CIFAR100ClassDataset", "CIFAR100Dataset"]
