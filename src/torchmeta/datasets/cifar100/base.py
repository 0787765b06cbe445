"""torchmeta"s place of CIFAR100ClassDataset; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import CIFAR100ClassDataset

__all__ = ["CIFAR100ClassDataset"]
