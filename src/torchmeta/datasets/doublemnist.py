"""torchmeta's place of DoubleMNIST; see `torchmeta.datasets.images`."""

from __future__ import annotations

from torchmeta.datasets.images import DoubleMNIST, DoubleMNISTClassDataset, DoubleMNISTDataset

__all__ = ["DoubleMNIST", "DoubleMNISTClassDataset", "DoubleMNISTDataset"]
